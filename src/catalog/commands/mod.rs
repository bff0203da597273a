//! What clients and the broker ask of the catalog: pure functions from an image and a request to records.
//!
//! None of them changes anything. The records of an answer go to [`Catalog::prepare`](super::Catalog::prepare) with
//! the image that they were made from; a request that only validates drops them.

mod alter_configs;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod placing;
mod producer_ids;
mod start;

pub use alter_configs::{ConfigChange, ConfigOp, ConfigTarget, alter_configs, replace_configs};
pub use create_partitions::{NewPartitions, create_partitions};
pub use create_topics::{CreatedTopic, NewTopic, create_topics};
pub use delete_topics::{TopicRef, delete_topic};
pub use placing::{ManualAssignment, PlacingRules};
pub use producer_ids::{PRODUCER_ID_BLOCK, ProducerIdBlock, allocate_producer_ids};
pub use start::{BrokerEndpoint, Registration, fence, first_features, lead_partitions, register, resign_partitions};
