//! Tiered storage (KIP-405).

use super::kind::{BOOLEAN, DOUBLE, INT, LONG, TEXT};
use super::reasons::NO_TIERED_STORAGE;
use super::{Effect, Key, keys};

keys! {REMOTE:
    /// Move old segments to remote storage.
    "remote.log.storage.system.enable" = "false", BOOLEAN, Medium, ReadOnly,
        Effect::Refused("tiered storage is not there yet");
    /// How long a fetch waits for remote storage.
    "remote.fetch.max.wait.ms" = "500", INT.at_least(1), Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// How long a search for offsets waits for remote storage.
    "remote.list.offsets.request.timeout.ms" = "30000", LONG.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Disk space for indexes of remote segments.
    "remote.log.index.file.cache.total.size.bytes" = "1073741824", LONG.at_least(1), Low, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How long an unused index of a remote segment is kept.
    internal "remote.log.index.file.cache.ttl.ms" = "900000", LONG.at_least(-1), Low, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Threads that copy segments away.
    "remote.log.manager.copier.thread.pool.size" = "10", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Bytes a second that may be copied away.
    "remote.log.manager.copy.max.bytes.per.second" = "9223372036854775807", LONG.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How many samples that quota keeps.
    "remote.log.manager.copy.quota.window.num" = "11", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The length of one such sample in seconds.
    "remote.log.manager.copy.quota.window.size.seconds" = "1", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Threads that delete old remote segments.
    "remote.log.manager.expiration.thread.pool.size" = "10", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Bytes a second that may be fetched back.
    "remote.log.manager.fetch.max.bytes.per.second" = "9223372036854775807", LONG.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How many samples that quota keeps.
    "remote.log.manager.fetch.quota.window.num" = "11", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The length of one such sample in seconds.
    "remote.log.manager.fetch.quota.window.size.seconds" = "1", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Threads of a follower's remote tasks.
    "remote.log.manager.follower.thread.pool.size" = "2", INT.at_least(1), Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// How often remote tasks run.
    "remote.log.manager.task.interval.ms" = "30000", LONG.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The pause before a remote task is tried again.
    internal "remote.log.manager.task.retry.backoff.ms" = "500", LONG.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The longest such pause.
    internal "remote.log.manager.task.retry.backoff.max.ms" = "30000", LONG.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Random part of that pause.
    internal "remote.log.manager.task.retry.jitter" = "0.2", DOUBLE, Low, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// Threads of remote tasks.
    "remote.log.manager.thread.pool.size" = "2", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// Bytes of its own a storage plugin may keep per segment.
    "remote.log.metadata.custom.metadata.max.bytes" = "128", INT.at_least(0), Low, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The Java class that keeps the list of remote segments.
    "remote.log.metadata.manager.class.name" = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", TEXT, Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The class path of that class.
    "remote.log.metadata.manager.class.path" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// The prefix of that class's own keys.
    "remote.log.metadata.manager.impl.prefix" = "rlmm.config.", TEXT, Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The listener that class connects to.
    "remote.log.metadata.manager.listener.name" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// How many reads from remote storage may wait.
    "remote.log.reader.max.pending.tasks" = "100", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// Threads that read from remote storage.
    "remote.log.reader.threads" = "10", INT.at_least(1), Medium, ClusterWide, Effect::Ignored(NO_TIERED_STORAGE);
    /// The Java class that stores remote segments.
    "remote.log.storage.manager.class.name" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// The class path of that class.
    "remote.log.storage.manager.class.path" = null, TEXT, Medium, ReadOnly, Effect::Ignored(NO_TIERED_STORAGE);
    /// The prefix of that class's own keys.
    "remote.log.storage.manager.impl.prefix" = "rsm.config.", TEXT, Medium, ReadOnly,
        Effect::Ignored(NO_TIERED_STORAGE);
}
