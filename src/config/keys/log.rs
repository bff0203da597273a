//! The log: segments, flushing, retention, compaction. Most are the defaults of topic keys.

use super::kind::{BOOLEAN, CODECS, DOUBLE, INT, LIST, LONG, RATIO, list_of, one_of};
use super::reasons::{NO_RECOMPRESSION, NO_TIERED_STORAGE};
use super::{Effect, Key, keys};

keys! {LOG:
    /// The data directory; log.dirs goes before it. Corelane's default is corelane-data in the directory it is
    /// started from.
    "log.dir" = "corelane-data", LIST, High, ReadOnly;
    /// The data directory. Kafka allows several; Corelane works with one so far and says so.
    "log.dirs" = null, LIST, High, ReadOnly;
    /// Log directories that get no new partitions.
    "cordoned.log.dirs" = "", LIST, Medium, PerBroker, Effect::Ignored("Corelane works with one data directory");
    /// How long a broker lives on after it could not report a failed log directory.
    "log.dir.failure.timeout.ms" = "30000", LONG.at_least(1), Low, ReadOnly,
        Effect::Ignored("Corelane works with one data directory and stops when it cannot be used");
    /// The number of partitions of topics that are created without one.
    "num.partitions" = "1", INT.at_least(1), Medium, ReadOnly;
    /// Create a topic when a client asks for its metadata or writes to it and allows creation.
    "auto.create.topics.enable" = "true", BOOLEAN, High, ReadOnly;
    /// Whether topics may be deleted at all.
    "delete.topic.enable" = "true", BOOLEAN, High, ReadOnly;
    /// The largest record batch a producer may write, in bytes as sent, so after compression.
    "message.max.bytes" = "1048588", INT.at_least(0), High, ClusterWide;
    /// Replicas that have to hold a batch before acks=all is answered. With one replica the effective number is
    /// never above 1, so a higher one refuses no write.
    "min.insync.replicas" = "1", INT.at_least(1), High, ClusterWide;
    /// The codec batches are stored with; `producer` keeps the one they came with.
    "compression.type" = "producer", one_of(CODECS), High, ClusterWide, Effect::Ignored(NO_RECOMPRESSION);
    /// Level of gzip when compression.type is gzip.
    "compression.gzip.level" = "-1", INT.between(1, 9).or(-1), Medium, ClusterWide, Effect::Ignored(NO_RECOMPRESSION);
    /// Level of lz4 when compression.type is lz4.
    "compression.lz4.level" = "9", INT.between(1, 17), Medium, ClusterWide, Effect::Ignored(NO_RECOMPRESSION);
    /// Level of zstd when compression.type is zstd.
    "compression.zstd.level" = "3", INT.between(-131_072, 22), Medium, ClusterWide, Effect::Ignored(NO_RECOMPRESSION);
    /// The size at which a segment is rolled.
    "log.segment.bytes" = "1073741824", INT.at_least(1_048_576), High, ClusterWide;
    /// The age in milliseconds at which a segment is rolled even if it is not full; goes before log.roll.hours.
    "log.roll.ms" = null, LONG, High, ClusterWide;
    /// The age in hours at which a segment is rolled even if it is not full.
    "log.roll.hours" = "168", INT.at_least(1), High, ReadOnly;
    /// A random time up to this is taken off the age at which a segment is rolled, so that not all roll at once;
    /// goes before log.roll.jitter.hours.
    "log.roll.jitter.ms" = null, LONG, High, ClusterWide;
    /// The same in hours.
    "log.roll.jitter.hours" = "0", INT.at_least(0), High, ReadOnly;
    /// After how many bytes of records the offset index gets its next pair.
    "log.index.interval.bytes" = "4096", INT.at_least(0), Medium, ClusterWide;
    /// The size at which a full offset index rolls its segment.
    "log.index.size.max.bytes" = "10485760", INT.at_least(4), Medium, ClusterWide;
    /// CreateTime keeps the producer's timestamps, LogAppendTime writes the broker's over them.
    "log.message.timestamp.type" = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide;
    /// How far before the broker's time a record's timestamp may lie.
    "log.message.timestamp.before.max.ms" = "9223372036854775807", LONG.at_least(0), Medium, ClusterWide;
    /// How far ahead of the broker's time a record's timestamp may lie.
    "log.message.timestamp.after.max.ms" = "3600000", LONG.at_least(0), Medium, ClusterWide;
    /// Preallocate segment files.
    "log.preallocate" = "false", BOOLEAN, Medium, ClusterWide,
        Effect::Ignored("log.io=direct always preallocates, log.io=buffered never does");
    /// How long the files of a deleted partition or segment stay before they are removed.
    "log.segment.delete.delay.ms" = "60000", LONG.at_least(0), High, ClusterWide;
    /// Records after which a partition is flushed. It counts with log.flush.acks=none only: otherwise everything is
    /// flushed before it is acknowledged.
    "log.flush.interval.messages" = "9223372036854775807", LONG.at_least(1), High, ClusterWide;
    /// Milliseconds after which what was written is flushed, with log.flush.acks=none only. Unset,
    /// log.flush.scheduler.interval.ms stands in.
    "log.flush.interval.ms" = null, LONG, High, ClusterWide;
    /// How often Kafka looks whether a log is due for a flush; here it only stands in for log.flush.interval.ms.
    "log.flush.scheduler.interval.ms" = "9223372036854775807", LONG, High, ReadOnly;
    /// How often recovery points are written to recovery-point-offset-checkpoint.
    "log.flush.offset.checkpoint.interval.ms" = "60000", INT.at_least(0), High, ReadOnly;
    /// How often log start offsets are written to log-start-offset-checkpoint.
    "log.flush.start.offset.checkpoint.interval.ms" = "60000", INT.at_least(0), High, ReadOnly;
    /// Delay of the log's background tasks after the start. Meant for tests.
    internal "log.initial.task.delay.ms" = "30000", LONG.at_least(0), Low, ReadOnly;
    /// What happens to old segments: delete, compact, both, or with an empty list neither.
    "log.cleanup.policy" = "delete", list_of(&["compact", "delete"]), Medium, ClusterWide;
    /// How long records are kept, in milliseconds; goes before minutes and hours, -1 is for ever.
    "log.retention.ms" = null, LONG, High, ClusterWide;
    /// How long records are kept, in minutes.
    "log.retention.minutes" = null, INT, High, ReadOnly;
    /// How long records are kept, in hours.
    "log.retention.hours" = "168", INT, High, ReadOnly;
    /// How large a partition may grow before its oldest segments are deleted; -1 is no limit.
    "log.retention.bytes" = "-1", LONG, High, ClusterWide;
    /// How often segments are looked at for deletion.
    "log.retention.check.interval.ms" = "300000", LONG.at_least(1), Medium, ReadOnly;
    /// Bytes of a tiered partition that stay on this machine; -2 is retention.bytes.
    "log.local.retention.bytes" = "-2", LONG.at_least(-2), Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// How long segments of a tiered partition stay on this machine; -2 is retention.ms.
    "log.local.retention.ms" = "-2", LONG.at_least(-2), Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// Run the compaction of topics with cleanup.policy=compact.
    "log.cleaner.enable" = "true", BOOLEAN, Medium, ReadOnly;
    /// Threads that compact.
    "log.cleaner.threads" = "1", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored("every shard compacts one of its logs at a time");
    /// The pause when nothing has to be compacted.
    "log.cleaner.backoff.ms" = "15000", LONG.at_least(0), Medium, ClusterWide;
    /// Memory for the keys seen by compactions, shared among the shards. What does not fit is compacted in several rounds.
    "log.cleaner.dedupe.buffer.size" = "134217728", LONG, Medium, ClusterWide;
    /// Memory of a compaction's reads and writes.
    "log.cleaner.io.buffer.size" = "524288", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored("it is 1 MiB and a batch for each shard that compacts");
    /// How full the key table of a compaction may get.
    "log.cleaner.io.buffer.load.factor" = "0.9", DOUBLE, Medium, ClusterWide,
        Effect::Ignored("the key table grows with the keys, up to log.cleaner.dedupe.buffer.size");
    /// Bytes a second that compaction may read and write, shared among the shards. It never takes more than half of a core.
    "log.cleaner.io.max.bytes.per.second" = "1.7976931348623157E308", DOUBLE, Medium, ClusterWide;
    /// How long a compacted topic keeps the marks of deleted keys.
    "log.cleaner.delete.retention.ms" = "86400000", LONG.at_least(0), Medium, ClusterWide;
    /// The share of a log that has to be uncompacted before it is compacted.
    "log.cleaner.min.cleanable.ratio" = "0.5", RATIO, Medium, ClusterWide;
    /// How long a record stays uncompacted at least.
    "log.cleaner.min.compaction.lag.ms" = "0", LONG.at_least(0), Medium, ClusterWide;
    /// How long a record may stay uncompacted at most.
    "log.cleaner.max.compaction.lag.ms" = "9223372036854775807", LONG.at_least(1), Medium, ClusterWide;
}
