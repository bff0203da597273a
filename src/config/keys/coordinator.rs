//! Committed offsets, groups and transactions.

use super::kind::{BOOLEAN, INT, LIST, LONG, SHORT, TEXT, list_of};
use super::reasons::{NO_SHARE_GROUPS, NO_STREAMS_GROUPS, NO_TRANSACTIONS, THREADS};
use super::{Effect, Key, keys};

keys! {COORDINATOR:
    /// How many bytes of metadata a client may store with a committed offset.
    "offset.metadata.max.bytes" = "4096", INT, High, ReadOnly;
    /// The number of partitions of __consumer_offsets; it must not change once offsets are stored.
    "offsets.topic.num.partitions" = "50", INT.at_least(1), High, ReadOnly;
    /// The replication factor of __consumer_offsets. Corelane keeps one replica, as with every topic.
    "offsets.topic.replication.factor" = "1", SHORT.at_least(1), High, ReadOnly;
    /// The size at which a segment of __consumer_offsets is rolled.
    "offsets.topic.segment.bytes" = "104857600", INT.at_least(1), High, ReadOnly;
    /// The codec of __consumer_offsets by its number.
    "offsets.topic.compression.codec" = "0", INT, High, ReadOnly,
        Effect::Ignored("committed offsets are stored uncompressed");
    /// Bytes read at a time when groups and committed offsets are loaded; between them other partitions have their turn.
    "offsets.load.buffer.size" = "5242880", INT.at_least(1), High, ReadOnly;
    /// How long storing a committed offset, or the end of one or of a group, may take before the client gets an error and
    /// tries again.
    "offsets.commit.timeout.ms" = "5000", INT.at_least(1), High, ReadOnly;
    /// How long the committed offsets of a group without members are kept.
    "offsets.retention.minutes" = "10080", INT.at_least(1), High, ReadOnly;
    /// How often committed offsets are looked at for deletion.
    "offsets.retention.check.interval.ms" = "600000", LONG.at_least(1), High, ReadOnly;
    /// How long a new group waits for further members before its first rebalance.
    "group.initial.rebalance.delay.ms" = "3000", INT, Medium, ReadOnly;
    /// The shortest session timeout a member may ask for.
    "group.min.session.timeout.ms" = "6000", INT, Medium, ReadOnly;
    /// The longest session timeout a member may ask for.
    "group.max.session.timeout.ms" = "1800000", INT, Medium, ReadOnly;
    /// How many members a classic group may have.
    "group.max.size" = "2147483647", INT.at_least(1), Medium, ReadOnly;
    /// The group protocols that are offered, classic among them; without consumer that of KIP-848 is not. share and streams
    /// are known and not there yet.
    "group.coordinator.rebalance.protocols" = "classic,consumer,streams", list_of(&["consumer", "classic", "share", "streams"]), Medium, ReadOnly;
    /// Threads of the group coordinator.
    "group.coordinator.threads" = "4", INT.at_least(1), High, ReadOnly, Effect::Ignored(THREADS);
    /// Threads for the group coordinator's background work.
    "group.coordinator.background.threads" = "2", INT.at_least(1), High, ReadOnly, Effect::Ignored(THREADS);
    /// How long the group coordinator collects records before it writes them.
    "group.coordinator.append.linger.ms" = "-1", INT.at_least(-1), Medium, ReadOnly, Effect::Ignored(THREADS);
    /// Largest write buffer the group coordinator keeps for reuse.
    "group.coordinator.cached.buffer.max.bytes" = "1048588", INT.at_least(524_288), Medium, ClusterWide,
        Effect::Ignored(THREADS);
    /// The shortest time between two new assignments of a group (KIP-848).
    "group.consumer.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide;
    /// The least a group may set that time to.
    "group.consumer.min.assignment.interval.ms" = "0", INT.at_least(0), Medium, ReadOnly;
    /// The most a group may set that time to.
    "group.consumer.max.assignment.interval.ms" = "15000", INT.at_least(0), Medium, ReadOnly;
    /// The assignors of the broker, the default one first (KIP-848).
    "group.consumer.assignors" = "uniform,range", LIST, Medium, ReadOnly;
    /// How often members send a heartbeat (KIP-848).
    "group.consumer.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly;
    /// The least a group may set that to.
    "group.consumer.min.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly;
    /// The most a group may set that to.
    "group.consumer.max.heartbeat.interval.ms" = "15000", INT.at_least(1), Medium, ReadOnly;
    /// After how long without a heartbeat a member is out (KIP-848).
    "group.consumer.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly;
    /// The least a group may set that to.
    "group.consumer.min.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly;
    /// The most a group may set that to.
    "group.consumer.max.session.timeout.ms" = "60000", INT.at_least(1), Medium, ReadOnly;
    /// How many members a consumer group may have (KIP-848).
    "group.consumer.max.size" = "2147483647", INT.at_least(1), Medium, ReadOnly;
    /// Whether classic groups turn into consumer groups and back.
    "group.consumer.migration.policy" = "bidirectional", TEXT, Medium, ReadOnly;
    /// How often subscriptions by regular expression are matched anew.
    internal "group.consumer.regex.refresh.interval.ms" = "600000", INT.at_least(10000), Medium, ReadOnly;
    /// How long a partition remembers a producer that writes no more.
    "producer.id.expiration.ms" = "86400000", INT.at_least(1), Low, ClusterWide;
    /// How often partitions look for such producers.
    internal "producer.id.expiration.check.interval.ms" = "600000", INT.at_least(1), Low, ReadOnly;
    /// The longest timeout a transactional producer may ask for.
    "transaction.max.timeout.ms" = "900000", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// How long a transactional id without transactions is remembered.
    "transactional.id.expiration.ms" = "604800000", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// The number of partitions of __transaction_state.
    "transaction.state.log.num.partitions" = "50", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// The replication factor of __transaction_state.
    "transaction.state.log.replication.factor" = "1", SHORT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// The min.insync.replicas of __transaction_state.
    "transaction.state.log.min.isr" = "1", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// The size at which a segment of __transaction_state is rolled.
    "transaction.state.log.segment.bytes" = "104857600", INT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// Bytes read at a time when transactions are loaded at start.
    "transaction.state.log.load.buffer.size" = "5242880", INT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// How often transactions are looked at for their timeout.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms" = "10000", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// How often transactional ids are looked at for expiry.
    "transaction.remove.expired.transaction.cleanup.interval.ms" = "3600000", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// Check that a partition was added to its transaction before writing to it.
    "transaction.partition.verification.enable" = "true", BOOLEAN, Low, ClusterWide, Effect::Ignored(NO_TRANSACTIONS);
    /// Let an outside coordinator take part in transactions (KIP-939).
    "transaction.two.phase.commit.enable" = "false", BOOLEAN, Low, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// The pause before adding a partition to a transaction is tried again.
    "add.partitions.to.txn.retry.backoff.ms" = "20", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_TRANSACTIONS);
    /// The longest such pause.
    "add.partitions.to.txn.retry.backoff.max.ms" = "100", INT.at_least(0), High, ReadOnly,
        Effect::Ignored(NO_TRANSACTIONS);
    /// The shortest time between two new assignments of a share group.
    "group.share.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that time to.
    "group.share.min.assignment.interval.ms" = "0", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that time to.
    "group.share.max.assignment.interval.ms" = "15000", INT.at_least(0), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The assignors for share groups.
    "group.share.assignors" = "simple", LIST, Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// How often a record is delivered at most.
    "group.share.delivery.count.limit" = "5", INT.between(2, 10), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that to.
    "group.share.min.delivery.count.limit" = "2", INT.between(2, 5), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that to.
    "group.share.max.delivery.count.limit" = "10", INT.between(5, 25), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How often members of a share group send a heartbeat.
    "group.share.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that to.
    "group.share.min.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that to.
    "group.share.max.heartbeat.interval.ms" = "15000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// After how long without a heartbeat a member of a share group is out.
    "group.share.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that to.
    "group.share.min.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that to.
    "group.share.max.session.timeout.ms" = "60000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The pause before a share group's state is initialised again.
    internal "group.share.initialize.retry.interval.ms" = "30000", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How many records of a partition may be locked at once.
    "group.share.partition.max.record.locks" = "2000", INT.between(100, 10000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that to.
    "group.share.min.partition.max.record.locks" = "100", INT.between(100, 2000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that to.
    "group.share.max.partition.max.record.locks" = "4000", INT.between(2000, 10000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How long a record stays locked for the consumer it was delivered to.
    "group.share.record.lock.duration.ms" = "30000", INT.between(1000, 3_600_000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The least a group may set that to.
    "group.share.min.record.lock.duration.ms" = "15000", INT.between(1000, 30000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The most a group may set that to.
    "group.share.max.record.lock.duration.ms" = "60000", INT.between(30000, 3_600_000), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How many share sessions are kept.
    "group.share.max.share.sessions" = "2000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// How many members a share group may have.
    "group.share.max.size" = "200", INT.between(1, 1000), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The Java class that stores the state of share groups.

           internal "group.share.persister.class.name" = "org.apache.kafka.server.share.persister.DefaultStatePersister", TEXT, Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How long the share coordinator collects records before it writes them.
    "share.coordinator.append.linger.ms" = "-1", INT.at_least(-1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// Largest write buffer the share coordinator keeps for reuse.
    "share.coordinator.cached.buffer.max.bytes" = "1048588", INT.at_least(524_288), Medium, ClusterWide,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How often share partitions that do not change are snapshotted.
    internal "share.coordinator.cold.partition.snapshot.interval.ms" = "300000", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// Bytes read at a time when share state is loaded at start.
    "share.coordinator.load.buffer.size" = "5242880", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// Updates between two snapshots of a share partition.
    "share.coordinator.snapshot.update.records.per.snapshot" = "500", INT.between(0, 500), Medium, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The codec of __share_group_state by its number.
    "share.coordinator.state.topic.compression.codec" = "0", INT, High, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The min.insync.replicas of __share_group_state.
    "share.coordinator.state.topic.min.isr" = "1", SHORT.at_least(1), High, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The number of partitions of __share_group_state.
    "share.coordinator.state.topic.num.partitions" = "50", INT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// How often __share_group_state is pruned.
    internal "share.coordinator.state.topic.prune.interval.ms" = "300000", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The replication factor of __share_group_state.
    "share.coordinator.state.topic.replication.factor" = "1", SHORT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// The size at which a segment of __share_group_state is rolled.
    "share.coordinator.state.topic.segment.bytes" = "104857600", INT.at_least(1), High, ReadOnly,
        Effect::Ignored(NO_SHARE_GROUPS);
    /// Threads of the share coordinator.
    "share.coordinator.threads" = "1", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// How long storing share state may take.
    "share.coordinator.write.timeout.ms" = "5000", INT.at_least(1), High, ReadOnly, Effect::Ignored(NO_SHARE_GROUPS);
    /// The shortest time between two new assignments of a streams group.
    "group.streams.assignment.interval.ms" = "1000", INT.at_least(0), Medium, ClusterWide,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The least a group may set that time to.
    "group.streams.min.assignment.interval.ms" = "0", INT.at_least(0), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The most a group may set that time to.
    "group.streams.max.assignment.interval.ms" = "15000", INT.at_least(0), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// How often members of a streams group send a heartbeat.
    "group.streams.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The least a group may set that to.
    "group.streams.min.heartbeat.interval.ms" = "5000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The most a group may set that to.
    "group.streams.max.heartbeat.interval.ms" = "15000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// After how long without a heartbeat a member of a streams group is out.
    "group.streams.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_STREAMS_GROUPS);
    /// The least a group may set that to.
    "group.streams.min.session.timeout.ms" = "45000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// The most a group may set that to.
    "group.streams.max.session.timeout.ms" = "60000", INT.at_least(1), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// How long a new streams group waits for further members.
    "group.streams.initial.rebalance.delay.ms" = "3000", INT.at_least(0), Medium, ReadOnly,
        Effect::Ignored(NO_STREAMS_GROUPS);
    /// How many members a streams group may have.
    "group.streams.max.size" = "2147483647", INT.at_least(1), Medium, ReadOnly, Effect::Ignored(NO_STREAMS_GROUPS);
    /// Standby copies of each task.
    "group.streams.num.standby.replicas" = "0", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(NO_STREAMS_GROUPS);
    /// The most a group may set that to.
    "group.streams.max.standby.replicas" = "2", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(NO_STREAMS_GROUPS);
}
