//! What every shard knows of the whole cluster: the catalog's image and which shard owns what.

use std::sync::Arc;

use crate::catalog::{CatalogImage, Placement, TopicImage};
use crate::config::{BrokerConfig, TopicConfig};
use crate::types::{PartitionId, ShardId};

/// Immutable; a change makes a new one, which is handed to every shard.
pub struct ClusterView {
    pub image: Arc<CatalogImage>,
    pub placement: Placement,
    pub shards: u16,
}

impl ClusterView {
    /// The shard that owns a partition, if it has been placed.
    pub fn shard_of(&self, partition: PartitionId) -> Option<ShardId> {
        self.placement.shard(partition)
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.image.topic(name)
    }

    /// A topic's configuration: its own values over the broker's.
    pub fn topic_config(&self, broker: &BrokerConfig, topic: &str) -> TopicConfig {
        TopicConfig::resolve(broker.settings(), self.image.topic_overrides(topic))
            .or_else(|_| TopicConfig::resolve(broker.settings(), []))
            .expect("the broker's own values were checked at start")
    }

    pub fn topic_by_id(&self, id: crate::types::TopicId) -> Option<&Arc<TopicImage>> {
        self.image.topic_by_id(id)
    }
}
