//! Topics, configs and ids as a state machine over KRaft records.

mod apply;
mod batches;
#[allow(clippy::module_inception)] // What the module is named after.
mod catalog;
mod change;
pub mod commands;
mod error;
pub mod features;
mod image;
mod load;
mod metadata_record;
pub mod placement;
pub mod quorum;
pub mod records;
mod replay;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod topic;
pub mod topic_name;

pub use catalog::{Catalog, CatalogBatch, Prepared, SNAPSHOT_AFTER_BYTES, SnapshotJob};
pub use change::CatalogChange;
pub use error::{ApplyError, CatalogError, CommandError, RecordDecodeError};
pub use image::{CatalogImage, ConfigMap, Identity, ImagePosition, ResourceType};
pub use load::{CatalogOptions, Loaded, metadata_dir, metadata_log_config, metadata_partition};
pub use metadata_record::{MetadataRecord, UnknownRecord};
pub use placement::{LastRun, Placement};
pub use topic::{NO_LEADER, NO_LEADER_CHANGE, PartitionImage, TopicImage};
