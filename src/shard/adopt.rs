//! How a shard follows the catalog: it opens what a newer view gave it and drops what is gone.

use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::{ResourceType, TopicImage};
use crate::config::{BrokerConfig, TimestampType, TopicConfig};
use crate::log::{
    DirCheckpoints, LoadError, LoadOptions, LoadedLog, LogConfig, delete_all, load, names, set_aside, with_room,
};
use crate::partition::Partition;
use crate::runtime;
use crate::types::{PartitionId, TopicPartition};

use super::Shard;
use super::cluster_view::ClusterView;

/// Topics configured in one turn of the loop: a resolved configuration takes some ten microseconds.
const TOPICS_PER_TURN: usize = 8;

impl Shard {
    /// Takes over a newer view. Its new partitions that belong here are made on disk and opened before
    /// this returns; those that are gone are closed and removed. Returns what could not be opened.
    pub(super) async fn adopt(self: &Rc<Self>, view: Arc<ClusterView>) -> Vec<(TopicPartition, String)> {
        let older = self.view.replace(Arc::clone(&view));
        if Arc::ptr_eq(&older, &view) {
            return Vec::new();
        }
        self.tell_groups_of_topics();
        self.drop_gone(&older, &view).await;
        self.follow_configs(&older, &view).await;
        let now_ms = runtime::wall_ms();
        let mut wanted = Vec::new();
        for topic in view.image.topics() {
            // A topic that did not change was looked at before.
            if older.image.topic_by_id(topic.id).is_some_and(|known| Arc::ptr_eq(known, topic)) {
                continue;
            }
            for partition in 0..topic.partition_count() {
                let id = PartitionId { topic_id: topic.id, partition };
                if view.shard_of(id) == Some(self.id) && !self.is_open(id) {
                    let topic_partition = TopicPartition { topic: Arc::clone(&topic.name), partition };
                    let dir = self.config.directory.join(topic_partition.to_string());
                    let config = log_config(&view, &topic.name);
                    wanted.push(LoadOptions::of_new(dir, topic_partition, topic.id, config, now_ms));
                }
            }
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        let checkpoints = Arc::clone(&self.checkpoints);
        // Blocking calls: directories, metadata files and their syncs.
        let made = with_room(&self.log_shard.options().room, LoadError::is_disk_full, || {
            let (wanted, checkpoints) = (wanted.clone(), Arc::clone(&checkpoints));
            move || load_new(wanted, &checkpoints)
        })
        .await;
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                return wanted.into_iter().map(|options| (options.topic_partition, error.to_string())).collect();
            }
        };
        let mut failed = Vec::new();
        for (name, loaded) in made {
            match loaded {
                Ok(loaded) => self.open(loaded),
                Err(why) => failed.push((name, why.to_string())),
            }
        }
        failed
    }

    /// Closes what is not in the newer view and has its directory renamed. Its names are free when this returns.
    async fn drop_gone(self: &Rc<Self>, older: &ClusterView, view: &ClusterView) {
        let is_gone = |id: &PartitionId| view.image.partition(id.topic_id, id.partition).is_none();
        for topic in older.image.topics().filter(|topic| view.topic_by_id(topic.id).is_none()) {
            self.forget_offsets_of(&topic.name, topic.id);
        }
        let gone: Vec<Rc<Partition>> =
            self.partitions.borrow_mut().extract_if(|id, _| is_gone(id)).map(|(_, partition)| partition).collect();
        for partition in &gone {
            if &*partition.name.topic == super::OFFSETS_TOPIC {
                self.drop_coordinator(partition.id.partition);
            }
            self.checkpoints.remove(&partition.name);
        }
        let deleted = delete_all(gone.iter().map(|partition| Rc::clone(&partition.log)).collect()).await;
        for (partition, deleted) in gone.iter().zip(deleted) {
            if let Err(error) = deleted {
                tracing::error!(partition = %partition.name, "its files could not be removed: {error}");
            }
        }
        let offline: Vec<PartitionId> =
            self.offline.borrow_mut().extract_if(|id, _| is_gone(id)).map(|(id, _)| id).collect();
        self.log_shard.options().room.metrics().add_offline_replicas(-(offline.len() as i64));
        for id in offline {
            if let Some(topic) = older.topic_by_id(id.topic_id) {
                let name = TopicPartition { topic: Arc::clone(&topic.name), partition: id.partition };
                self.checkpoints.remove(&name);
                self.remove_offline(name, id).await;
            }
        }
    }

    /// The files of a damaged partition go when its topic is deleted.
    async fn remove_offline(&self, name: TopicPartition, id: PartitionId) {
        let dir = names::partition_dir(&self.config.directory, &name);
        let aside = runtime::offload({
            let name = name.clone();
            move || set_aside(&dir, &name, id.topic_id)
        });
        match aside.await {
            Ok(None) => {}
            Ok(Some(aside)) => drop(runtime::spawn(async move {
                if let Err(error) = runtime::offload(move || runtime::fs::remove_dir_all(&aside)).await {
                    tracing::warn!(partition = %name, "its files could not be removed: {error}");
                }
            })),
            Err(error) => tracing::error!(partition = %name, "its files could not be removed: {error}"),
        }
    }

    /// Gives partitions what changed in their topics' configurations, or in the defaults behind them.
    async fn follow_configs(&self, older: &ClusterView, view: &ClusterView) {
        if Arc::ptr_eq(older.config(), view.config()) {
            for name in view.image.configured_otherwise(&older.image) {
                if let Some(topic) = view.topic(name) {
                    self.configure(topic, &Rc::new(view.topic_config(name)), view);
                }
            }
            return;
        }
        // Most topics have no values of their own, and share one configuration.
        let plain = Rc::new(view.topic_config(""));
        for (at, topic) in view.image.topics().enumerate() {
            if at % TOPICS_PER_TURN == 0 {
                runtime::yield_now().await;
            }
            let own = view.image.config(ResourceType::TOPIC, &topic.name).map(|_| view.topic_config(&topic.name));
            self.configure(topic, &own.map_or_else(|| Rc::clone(&plain), Rc::new), view);
        }
    }

    fn configure(&self, topic: &TopicImage, config: &Rc<TopicConfig>, view: &ClusterView) {
        let log_config = Rc::new(log_config_of(config, view.config()));
        for partition in 0..topic.partition_count() {
            if let Some(partition) = self.partition(PartitionId { topic_id: topic.id, partition }) {
                partition.set_config(Rc::clone(config));
                partition.log.set_config(Rc::clone(&log_config));
            }
        }
    }

    fn is_open(&self, id: PartitionId) -> bool {
        self.partitions.borrow().contains_key(&id) || self.is_offline(id)
    }
}

type Made = Vec<(TopicPartition, Result<LoadedLog, LoadError>)>;

/// Makes new partitions. A full disk ends it, whatever is made by then; what is made is found by the next call.
fn load_new(wanted: Vec<LoadOptions>, checkpoints: &DirCheckpoints) -> Result<Made, LoadError> {
    if checkpoints.has_unwritten_removals() {
        checkpoints.write()?;
    }
    let made = wanted.into_iter().map(|options| match load(&options) {
        Err(error) if error.is_disk_full() => Err(error),
        made => Ok((options.topic_partition, made)),
    });
    made.collect()
}

/// What the log needs of a topic's configuration.
pub fn log_config(view: &ClusterView, topic: &str) -> LogConfig {
    log_config_of(&view.topic_config(topic), view.config())
}

fn log_config_of(config: &TopicConfig, broker: &BrokerConfig) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_ms: config.segment_ms,
        segment_jitter_ms: config.segment_jitter_ms,
        segment_index_bytes: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        retention_bytes: config.retention_bytes,
        retention_ms: config.retention_ms,
        cleanup_policy: crate::log::CleanupPolicy { delete: config.cleanup_delete, compact: config.cleanup_compact },
        delete_retention_ms: config.delete_retention_ms,
        min_cleanable_dirty_ratio: config.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: config.min_compaction_lag_ms,
        max_compaction_lag_ms: config.max_compaction_lag_ms,
        max_message_bytes: config.max_message_bytes,
        log_append_time: config.message_timestamp_type == TimestampType::LogAppendTime,
        flush_messages: config.flush_messages,
        flush_ms: config.flush_ms,
        file_delete_delay_ms: config.file_delete_delay_ms,
        producer_id_expiration_ms: broker.log.producer_id_expiration.as_millis() as i64,
    }
}
