//! Who this broker is, and what Kafka has for several of them.

use super::kind::{BOOLEAN, INT, LIST, LONG, TEXT, list_of, one_of};
use super::reasons::{JAVA_CLASS, NO_QUORUM, NO_QUOTAS, NO_TIERED_STORAGE, SINGLE_NODE};
use super::{Effect, Key, keys};

keys! {CLUSTER:
    /// The id of this broker: it names the broker to clients and, once stored in meta.properties, has to stay. With
    /// shard.listeners=per-core, shard i shows itself as node.id + i.
    "node.id" = "1", INT.at_least(0), High, ReadOnly;
    /// The older name of node.id. Where both are set they have to be equal.
    "broker.id" = "-1", INT, High, ReadOnly;
    /// The rack this broker stands in; Metadata shows it to clients, which may prefer a near replica.
    "broker.rack" = null, TEXT, Medium, ReadOnly;
    /// The roles of the process. Corelane is broker and controller in one; a list that names broker is accepted,
    /// controller alone is not.
    "process.roles" = "broker,controller", list_of(&["broker", "controller"]), High, ReadOnly;
    /// The version whose protocol brokers speak among themselves. Shown for consoles that look for a version here.
    "inter.broker.protocol.version" = "4.3-IV0", TEXT, Medium, ReadOnly,
        Effect::Ignored("Kafka 4.0 removed it; consoles still read it to show a version");
    /// Offer API versions that are not final.
    internal "unstable.api.versions.enable" = "false", BOOLEAN, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Allow feature levels that are not final.
    internal "unstable.feature.versions.enable" = "false", BOOLEAN, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How long the start of the server may take. Meant for tests.
    internal "server.max.startup.time.ms" = "9223372036854775807", LONG.at_least(0), Medium, ReadOnly,
        Effect::Ignored(SINGLE_NODE);
    /// Hand partitions over to other brokers before stopping.
    "controlled.shutdown.enable" = "true", BOOLEAN, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Milliseconds between two heartbeats of a broker to its controller.
    "broker.heartbeat.interval.ms" = "2000", INT, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// After how many milliseconds without a heartbeat the controller counts a broker as gone.
    "broker.session.timeout.ms" = "9000", INT, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How long a starting broker tries to register with its controllers.
    "initial.broker.registration.timeout.ms" = "60000", INT, Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// The names of the controller's listeners. Listeners so named are accepted in `listeners` and not opened:
    /// Corelane has no other controller to talk to.
    "controller.listener.names" = "CONTROLLER", LIST, High, ReadOnly;
    /// The static set of controllers, as id@host:port.
    "controller.quorum.voters" = "", LIST, High, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Where to find the controllers at start, as host:port.
    "controller.quorum.bootstrap.servers" = "", LIST, High, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Whether a controller adds itself to the quorum.
    "controller.quorum.auto.join.enable" = "false", BOOLEAN, Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// How long the controller collects records before it writes them.
    "controller.quorum.append.linger.ms" = "25", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// The longest pause before another election.
    "controller.quorum.election.backoff.max.ms" = "1000", INT.at_least(0), High, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// How long a voter waits for the leader before it calls an election.
    "controller.quorum.election.timeout.ms" = "1000", INT.at_least(0), High, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Most bytes of one fetch of the metadata log.
    "controller.quorum.fetch.max.bytes" = "1048576", INT.at_least(1), Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Most bytes of one fetch of a metadata snapshot.
    "controller.quorum.fetch.snapshot.max.bytes" = "1048576", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(NO_QUORUM);
    /// How long a voter may go without a successful fetch from the leader.
    "controller.quorum.fetch.timeout.ms" = "2000", INT.at_least(0), High, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// How long a request between controllers may take.
    "controller.quorum.request.timeout.ms" = "2000", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// The pause before a failed request between controllers is sent again.
    "controller.quorum.retry.backoff.ms" = "20", INT.at_least(0), Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Controller events slower than this are logged one by one.
    internal "controller.performance.always.log.threshold.ms" = "2000", LONG.at_least(0), Medium, ReadOnly,
        Effect::Ignored(NO_QUORUM);
    /// How often the controller's event times are logged.
    internal "controller.performance.sample.period.ms" = "60000", LONG.at_least(100), Medium, ReadOnly,
        Effect::Ignored(NO_QUORUM);
    /// How many samples a quota on topic changes keeps.
    "controller.quota.window.num" = "11", INT.at_least(1), Low, ReadOnly, Effect::Ignored(NO_QUOTAS);
    /// The length of one such sample in seconds.
    "controller.quota.window.size.seconds" = "1", INT.at_least(1), Low, ReadOnly, Effect::Ignored(NO_QUOTAS);
    /// Socket timeout between controller and broker.
    "controller.socket.timeout.ms" = "30000", INT, Medium, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// A directory of its own for the metadata log.
    "metadata.log.dir" = null, TEXT, High, ReadOnly, Effect::Refused("the catalog lives in log.dirs");
    /// After how many bytes of catalog records a new catalog snapshot is written.
    "metadata.log.max.record.bytes.between.snapshots" = "20971520", LONG.at_least(1), High, ReadOnly;
    /// How often changes of the catalog that no snapshot holds get one; 0 turns this off.
    "metadata.log.max.snapshot.interval.ms" = "3600000", LONG.at_least(0), High, ReadOnly;
    /// The size at which a segment of the catalog's log is rolled.
    "metadata.log.segment.bytes" = "1073741824", INT.at_least(8_388_608), High, ReadOnly,
        Effect::Ignored("the catalog's log rolls at 16 MiB, so that what a snapshot holds goes soon");
    /// The age at which a segment of the catalog's log is rolled.
    "metadata.log.segment.ms" = "604800000", LONG, High, ReadOnly,
        Effect::Ignored("the catalog's log rolls by size alone");
    /// How often an idle controller writes a no-op record.
    "metadata.max.idle.interval.ms" = "500", INT.at_least(0), Low, ReadOnly,
        Effect::Ignored("the catalog writes no no-op records");
    /// How large the metadata log and its snapshots may grow before the oldest are deleted.
    "metadata.max.retention.bytes" = "104857600", LONG, High, ReadOnly,
        Effect::Ignored("the catalog keeps its two newest snapshots and what follows them");
    /// How old a segment or snapshot of the metadata log may grow.
    "metadata.max.retention.ms" = "604800000", LONG, High, ReadOnly,
        Effect::Ignored("the catalog keeps its two newest snapshots and what follows them");
    /// Delay before files of the metadata log are deleted. Meant for tests.
    internal "internal.metadata.delete.delay.millis" = "60000", LONG, Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Segment size of the metadata log. Meant for tests.
    internal "internal.metadata.log.segment.bytes" = null, INT, Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// Largest batch of the metadata log. Meant for tests.
    internal "internal.metadata.max.batch.size.in.bytes" = "8388608", INT, Low, ReadOnly, Effect::Ignored(NO_QUORUM);
    /// The replication factor of topics that are created without one. Corelane keeps one replica: see
    /// corelane.replication.factor.strict.
    "default.replication.factor" = "1", INT, Medium, ReadOnly;
    /// Move leadership back to the preferred replicas in the background.
    "auto.leader.rebalance.enable" = "true", BOOLEAN, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How often the balance of leaders is looked at.
    "leader.imbalance.check.interval.seconds" = "300", LONG.at_least(1), High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Let a replica that is behind become leader when no other is left.
    "unclean.leader.election.enable" = "false", BOOLEAN, High, ClusterWide, Effect::Ignored(SINGLE_NODE);
    /// How often partitions without a leader are looked at for an unclean election.
    internal "unclean.leader.election.interval.ms" = "300000", LONG.at_least(1), Medium, ReadOnly,
        Effect::Ignored(SINGLE_NODE);
    /// Threads that fetch from each other broker.
    "num.replica.fetchers" = "1", INT.at_least(1), High, ClusterWide, Effect::Ignored(SINGLE_NODE);
    /// Threads that move replicas between log directories.
    "num.replica.alter.log.dirs.threads" = null, INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// The pause after a failed fetch from a leader.
    "replica.fetch.backoff.ms" = "1000", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Bytes asked for per partition when a follower fetches.
    "replica.fetch.max.bytes" = "1048576", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Bytes a follower's fetch waits for.
    "replica.fetch.min.bytes" = "1", INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Most bytes of one answer to a follower.
    "replica.fetch.response.max.bytes" = "10485760", INT.at_least(0), Medium, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How long a follower's fetch waits at most.
    "replica.fetch.wait.max.ms" = "500", INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How often the high watermarks are written to replication-offset-checkpoint.
    "replica.high.watermark.checkpoint.interval.ms" = "5000", LONG, High, ReadOnly;
    /// How long a follower may be behind before it leaves the in-sync set.
    "replica.lag.time.max.ms" = "30000", LONG, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// A Java class that picks the replica a consumer reads from.
    "replica.selector.class" = null, TEXT, Medium, ReadOnly, Effect::Ignored(JAVA_CLASS);
    /// Receive buffer of the sockets between brokers.
    "replica.socket.receive.buffer.bytes" = "65536", INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// Timeout of the sockets between brokers.
    "replica.socket.timeout.ms" = "30000", INT, High, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How many samples a replication quota keeps.
    "replication.quota.window.num" = "11", INT.at_least(1), Low, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// The length of one such sample in seconds.
    "replication.quota.window.size.seconds" = "1", INT.at_least(1), Low, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// How many samples the quota on moves between directories keeps.
    "alter.log.dirs.replication.quota.window.num" = "11", INT.at_least(1), Low, ReadOnly, Effect::Ignored(SINGLE_NODE);
    /// The length of one such sample in seconds.
    "alter.log.dirs.replication.quota.window.size.seconds" = "1", INT.at_least(1), Low, ReadOnly,
        Effect::Ignored(SINGLE_NODE);
    /// Let an empty follower begin behind what is in remote storage.
    "follower.fetch.last.tiered.offset.enable" = "false", BOOLEAN, Medium, ClusterWide,
        Effect::Ignored(NO_TIERED_STORAGE);
    /// The listener brokers use among themselves. It has to be one of `listeners`; being alone, Corelane uses it
    /// for nothing else.
    "inter.broker.listener.name" = null, TEXT, Medium, ReadOnly;
    /// The security protocol between brokers.
    "security.inter.broker.protocol" = "PLAINTEXT", one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly,
        Effect::Ignored(SINGLE_NODE);
}
