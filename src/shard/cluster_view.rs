//! What every shard knows of the whole cluster: the catalog's image, which shard owns what, and the configuration as it
//! is now.

use std::sync::Arc;

use crate::catalog::{CatalogImage, Placement, TopicImage};
use crate::config::{BrokerConfig, ConfigError, TopicConfig};
use crate::types::{PartitionId, ShardId};

/// Immutable; a change makes a new one, which is handed to every shard.
pub struct ClusterView {
    pub image: Arc<CatalogImage>,
    pub placement: Placement,
    pub shards: u16,
    config: Arc<BrokerConfig>,
}

impl ClusterView {
    /// The view of a start. `config` is what the start was given; what was changed while a broker ran is laid over it.
    pub fn new(image: Arc<CatalogImage>, placement: Placement, shards: u16, config: &Arc<BrokerConfig>) -> ClusterView {
        let config = changed_config(config, &image).unwrap_or_else(|error| {
            tracing::warn!("what was changed while the broker ran does not hold any more: {error}");
            Arc::clone(config)
        });
        ClusterView { image, placement, shards, config }
    }

    /// The view that follows this one.
    #[must_use]
    pub fn next(&self, image: Arc<CatalogImage>, placement: Placement) -> ClusterView {
        if image.broker_configs() == self.image.broker_configs() {
            return ClusterView { image, placement, shards: self.shards, config: Arc::clone(&self.config) };
        }
        ClusterView::new(image, placement, self.shards, &self.config)
    }

    /// The broker's configuration, with what was changed while it runs.
    pub fn config(&self) -> &Arc<BrokerConfig> {
        &self.config
    }

    /// The shard that owns a partition, if it has been placed.
    pub fn shard_of(&self, partition: PartitionId) -> Option<ShardId> {
        self.placement.shard(partition)
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.image.topic(name)
    }

    /// A topic's configuration: its own values over the broker's.
    pub fn topic_config(&self, topic: &str) -> TopicConfig {
        let settings = self.config.settings();
        TopicConfig::resolve(settings, self.image.topic_overrides(topic))
            .or_else(|_| TopicConfig::resolve(settings, []))
            .expect("the broker's own values were checked")
    }

    pub fn topic_by_id(&self, id: crate::types::TopicId) -> Option<&Arc<TopicImage>> {
        self.image.topic_by_id(id)
    }
}

fn changed_config(config: &BrokerConfig, image: &CatalogImage) -> Result<Arc<BrokerConfig>, ConfigError> {
    let [default, broker] = image
        .broker_configs()
        .map(|layer| layer.into_iter().flat_map(|map| map.iter().map(|(key, value)| (&**key, &**value))));
    config.with_dynamic(default, broker).map(Arc::new)
}
