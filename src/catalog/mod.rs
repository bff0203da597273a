//! Topics, configs and ids as a state machine over KRaft records.

mod apply;
mod batches;
pub mod commands;
mod error;
pub mod features;
mod image;
mod metadata_record;
pub mod quorum;
pub mod records;
mod replay;
pub mod snapshot;
mod topic;
pub mod topic_name;

pub use error::{ApplyError, CatalogError, CommandError, RecordDecodeError};
pub use image::{CatalogImage, ConfigMap, Identity, ImagePosition, ResourceType};
pub use metadata_record::{MetadataRecord, UnknownRecord};
pub use topic::{NO_LEADER, NO_LEADER_CHANGE, PartitionImage, TopicImage};
