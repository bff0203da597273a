//! What a log needs to know of its topic's configuration (Kafka's `LogConfig`).

/// The topic settings that act on a log, resolved from broker defaults and topic overrides.
/// Each field is named after its topic key; sizes are bytes, times milliseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogConfig {
    /// `segment.bytes`: a segment never grows past this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment whose first batch is older than this is rolled at the next append.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this is taken off `segment.ms`, so that not all partitions roll at once.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: the most an offset or time index file holds; a full one rolls the segment.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: an index entry is added for about every so many bytes of batches.
    pub index_interval_bytes: u32,
    /// `retention.bytes` of the partition; -1 keeps everything.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 keeps everything.
    pub retention_ms: i64,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `delete.retention.ms`: how long a tombstone outlives its compaction.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`: the largest batch accepted from a producer.
    pub max_message_bytes: u32,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `flush.messages`: acts under `log.flush.acks=none` only.
    pub flush_messages: i64,
    /// `flush.ms`: acts under `log.flush.acks=none` only.
    pub flush_ms: i64,
    /// `file.delete.delay.ms`: how long a removed segment keeps its bytes under a `.deleted` name.
    pub file_delete_delay_ms: i64,
    /// `producer.id.expiration.ms`, a broker key: how long an idle producer's state is kept.
    pub producer_id_expiration_ms: i64,
}

impl LogConfig {
    /// How old a segment's first batch may get: what is to be compacted in time must not stay in the active segment
    /// (Kafka's `LogConfig.maxSegmentMs`).
    pub fn roll_ms(&self) -> i64 {
        if self.cleanup_policy.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }
}

/// `cleanup.policy`: what happens to data that is no longer wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

impl Default for LogConfig {
    /// Apache Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 60 * 60 * 1000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            log_append_time: false,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
        }
    }
}
