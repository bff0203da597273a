//! Topics, partitions, configurations, features and ids: a state machine over the records of Kafka's KRaft, kept in
//! `__cluster_metadata-0` in Kafka's own formats, so that Apache Kafka and Corelane can start on each other's data.
//!
//! ```text
//! Catalog::bootstrap_or_load(&options) -> Loaded { catalog, placement, log, adopted, is_new }   before the shards start
//! catalog.begin(&registration, now)    -> Prepared      features, registration, a new leader epoch everywhere
//! commands::create_topics(image, ..)   -> records       pure; likewise for all that clients ask
//! catalog.prepare(&records, now)       -> Prepared { batches, image, changes }
//!     append the batches to the catalog's log, wait until they are flushed
//! catalog.commit(&prepared)            -> &Arc<CatalogImage>, for all shards; or step_failed, if the log failed
//! catalog.snapshot_due() -> SnapshotJob, run off the shards -> snapshot_ended
//! catalog.end(now), then Placement::write(dir, catalog.stopped())      a clean stop
//! ```
//!
//! Reading order: [`records`] are Kafka's schemas and [`MetadataRecord`] the frame around them; [`CatalogImage`] is
//! what they add up to (`image`, `topic`, `apply`); [`commands`] make new ones; `batches`, `replay` and [`snapshot`]
//! bring them to disk and back; `load` finds a directory's catalog or makes one, and [`Catalog`] is the running one.
//! Beside the records stand [`quorum`], KRaft's own state, and [`placement`], which Kafka has no record for.
//!
//! What real Kafka asks of all this was tried with 4.3.1: `tests/handback`.

mod apply;
mod batches;
#[allow(clippy::module_inception)] // What the module is named after.
mod catalog;
mod change;
pub mod check;
pub mod commands;
mod error;
pub mod features;
mod image;
mod load;
mod metadata_record;
pub mod placement;
pub mod quorum;
#[allow(clippy::float_cmp)] // A field of a version that lacks it is compared with its default.
pub mod records;
mod replay;
pub mod snapshot;
#[cfg(test)]
mod tests;
mod topic;
pub mod topic_name;

pub use catalog::{Catalog, CatalogBatch, Prepared, SnapshotJob};
pub use change::CatalogChange;
pub use error::{ApplyError, CatalogError, CommandError, RecordDecodeError};
pub use image::{CatalogImage, ConfigMap, Identity, ImagePosition, ResourceType};
pub use load::{CatalogOptions, Loaded, metadata_dir, metadata_log_config, metadata_partition};
pub use metadata_record::{MetadataRecord, UnknownRecord};
pub use placement::{LastRun, Placement};
pub use topic::{NO_LEADER, NO_LEADER_CHANGE, PartitionImage, TopicImage};
