//! The keys of a topic, with the broker keys their defaults come from.

use super::kind::{BOOLEAN, CODECS, INT, LIST, LONG, RATIO, list_of, one_of};
use super::reasons::{NO_RECOMPRESSION, NO_TIERED_STORAGE, SINGLE_NODE};
use super::{Effect, Key, keys};

keys! {TOPIC:
    /// What happens to old segments: delete, compact, both, or with an empty list neither.
    "cleanup.policy" <- "log.cleanup.policy" = "delete", list_of(&["compact", "delete"]), Medium, ClusterWide;
    /// The codec batches are stored with; `producer` keeps the one they came with.
    "compression.type" <- "compression.type" = "producer", one_of(CODECS), Medium, ClusterWide,
        Effect::Ignored(NO_RECOMPRESSION);
    /// Level of gzip when compression.type is gzip.
    "compression.gzip.level" <- "compression.gzip.level" = "-1", INT.between(1, 9).or(-1), Medium, ClusterWide,
        Effect::Ignored(NO_RECOMPRESSION);
    /// Level of lz4 when compression.type is lz4.
    "compression.lz4.level" <- "compression.lz4.level" = "9", INT.between(1, 17), Medium, ClusterWide,
        Effect::Ignored(NO_RECOMPRESSION);
    /// Level of zstd when compression.type is zstd.
    "compression.zstd.level" <- "compression.zstd.level" = "3", INT.between(-131_072, 22), Medium, ClusterWide,
        Effect::Ignored(NO_RECOMPRESSION);
    /// How long a compacted topic keeps the marks of deleted keys.
    "delete.retention.ms" <- "log.cleaner.delete.retention.ms" = "86400000", LONG.at_least(0), Medium, ClusterWide;
    /// How long the files of a deleted partition or segment stay before they are removed. A removed segment that nobody
    /// has open may be written over at once, see log.recycle.segments.max.
    "file.delete.delay.ms" <- "log.segment.delete.delay.ms" = "60000", LONG.at_least(0), Medium, ClusterWide;
    /// Records after which a partition is flushed. It counts with log.flush.acks=none only: otherwise everything is
    /// flushed before it is acknowledged.
    "flush.messages" <- "log.flush.interval.messages" = "9223372036854775807", LONG.at_least(1), Medium, ClusterWide;
    /// Milliseconds after which what was written is flushed, with log.flush.acks=none only.
    "flush.ms" <- "log.flush.interval.ms" = "9223372036854775807", LONG.at_least(0), Medium, ClusterWide;
    /// Replicas whose copying is throttled at the follower, as partition:broker.
    "follower.replication.throttled.replicas" = "", LIST, Medium, ClusterWide, Effect::Ignored(SINGLE_NODE);
    /// Replicas whose copying is throttled at the leader, as partition:broker.
    "leader.replication.throttled.replicas" = "", LIST, Medium, ClusterWide, Effect::Ignored(SINGLE_NODE);
    /// After how many bytes of records the offset index gets its next pair.
    "index.interval.bytes" <- "log.index.interval.bytes" = "4096", INT.at_least(0), Medium, ClusterWide;
    /// The segment size without its lower bound. Meant for tests.
    internal "internal.segment.bytes" = null, INT, Medium, ClusterWide;
    /// Bytes of a tiered partition that stay on this machine; -2 is retention.bytes.
    "local.retention.bytes" <- "log.local.retention.bytes" = "-2", LONG.at_least(-2), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How long segments of a tiered partition stay on this machine; -2 is retention.ms.
    "local.retention.ms" <- "log.local.retention.ms" = "-2", LONG.at_least(-2), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How long a record may stay uncompacted at most.
    "max.compaction.lag.ms" <- "log.cleaner.max.compaction.lag.ms" = "9223372036854775807",
        LONG.at_least(1), Medium, ClusterWide;
    /// The largest record batch a producer may write, in bytes as sent, so after compression.
    "max.message.bytes" <- "message.max.bytes" = "1048588", INT.at_least(0), Medium, ClusterWide;
    /// How far ahead of the broker's time a record's timestamp may lie.
    "message.timestamp.after.max.ms" <- "log.message.timestamp.after.max.ms" = "3600000",
        LONG.at_least(0), Medium, ClusterWide;
    /// How far before the broker's time a record's timestamp may lie.
    "message.timestamp.before.max.ms" <- "log.message.timestamp.before.max.ms" = "9223372036854775807",
        LONG.at_least(0), Medium, ClusterWide;
    /// CreateTime keeps the producer's timestamps, LogAppendTime writes the broker's over them.


                  "message.timestamp.type" <- "log.message.timestamp.type" = "CreateTime", one_of(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide;
    /// The share of a log that has to be uncompacted before it is compacted.
    "min.cleanable.dirty.ratio" <- "log.cleaner.min.cleanable.ratio" = "0.5", RATIO, Medium, ClusterWide;
    /// How long a record stays uncompacted at least.
    "min.compaction.lag.ms" <- "log.cleaner.min.compaction.lag.ms" = "0", LONG.at_least(0), Medium, ClusterWide;
    /// Replicas that have to hold a batch before acks=all is answered. With one replica the effective number is
    /// never above 1, so a higher one refuses no write.
    "min.insync.replicas" <- "min.insync.replicas" = "1", INT.at_least(1), Medium, ClusterWide;
    /// Preallocate segment files.
    "preallocate" <- "log.preallocate" = "false", BOOLEAN, Medium, ClusterWide,
        Effect::Ignored("log.io=direct always preallocates, log.io=buffered never does");
    /// Move old segments of the topic to remote storage.
    "remote.storage.enable" = "false", BOOLEAN, Medium, ClusterWide, Effect::Refused("tiered storage is not there yet");
    /// Copy nothing more of a tiered topic.
    "remote.log.copy.disable" = "false", BOOLEAN, Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// Delete what is in remote storage when it is turned off for the topic.
    "remote.log.delete.on.disable" = "false", BOOLEAN, Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// How large a partition may grow before its oldest segments are deleted; -1 is no limit.
    "retention.bytes" <- "log.retention.bytes" = "-1", LONG, Medium, ClusterWide;
    /// How long records are kept, in milliseconds; -1 is for ever.
    "retention.ms" <- "log.retention.ms" = "604800000", LONG.at_least(-1), Medium, ClusterWide;
    /// The size at which a segment is rolled.
    "segment.bytes" <- "log.segment.bytes" = "1073741824", INT.at_least(1_048_576), Medium, ClusterWide;
    /// The size at which a full offset index rolls its segment.
    "segment.index.bytes" <- "log.index.size.max.bytes" = "10485760", INT.at_least(4), Medium, ClusterWide;
    /// A random time up to this is taken off the age at which a segment is rolled, so that not all roll at once.
    "segment.jitter.ms" <- "log.roll.jitter.ms" = "0", LONG.at_least(0), Medium, ClusterWide;
    /// The age in milliseconds at which a segment is rolled even if it is not full.
    "segment.ms" <- "log.roll.ms" = "604800000", LONG.at_least(1), Medium, ClusterWide;
    /// Let a replica that is behind become leader when no other is left.
    "unclean.leader.election.enable" <- "unclean.leader.election.enable" = "false", BOOLEAN, Medium, ClusterWide,
        Effect::Ignored(SINGLE_NODE);
}
