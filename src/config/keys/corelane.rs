//! Keys that only Corelane has, and the defaults in which it differs from Kafka.

use super::Key;
use super::keys;
use super::kind::{BOOLEAN, INT, LIST, LONG, TEXT, list_of, one_of};
use crate::limits;

keys! {CORELANE:
    /// When a write is acknowledged. all: acks=all is answered once the data is flushed to the device, and consumers
    /// see flushed records only, so that no power cut takes back what was acknowledged. none: once it is written, as
    /// Apache Kafka does by default; a power cut may then take the last seconds.
    "log.flush.acks" = "all", one_of(&["all", "none"]), High, ReadOnly;
    /// How segments are written. direct: past the page cache, where the file system can (ext4, XFS), else buffered.
    /// buffered: through the page cache.
    "log.io" = "direct", one_of(&["direct", "buffered"]), High, ReadOnly;
    /// Memory that holds the newest records of all partitions for consumers that keep up, over all shards.
    "log.tail.memory.bytes" = "268435456", LONG.at_least(limits::TAIL_MEMORY_BYTES_MIN), Medium, ReadOnly;
    /// How many segment files may be open at once, over all shards. Unset, it is what the limit on open files
    /// (RLIMIT_NOFILE, raised to the hard limit) leaves after max.connections and a reserve.
    "log.open.files.max" = null, INT.at_least(limits::OPEN_FILES_MIN), Medium, ReadOnly;
    /// Room that is kept back on the disk for the time when it is full: offsets, checkpoints, deletions and a clean stop
    /// go on in it while producers are refused. Unset, a hundredth of the file system, 4 MiB at least and 256 MiB at
    /// most, and no more than a sixteenth of a small one.
    "log.reserve.bytes" = null, LONG.at_least(0), Medium, ReadOnly;
    /// With log.io=direct: how many segments that retention removed a partition keeps at most, to write its next
    /// segments into their files, which is faster than into new ones. They are kept only while the partition is written
    /// so fast that they are soon needed. 0 removes all of them.
    "log.recycle.segments.max" = "2", INT.between(0, limits::RECYCLED_SEGMENTS_MAX), Low, ReadOnly;
    /// With log.io=direct and log.flush.acks=all: how much of the disk the journal may take, over all shards. Where many
    /// partitions have small batches to write at a time, the journal makes all of them durable with one write, and their
    /// segments are filled behind it; that much is held in memory too. It begins with an eighth of this and grows under
    /// load. Values below 1048576 for a shard mean none.
    "log.journal.max.bytes" = "536870912", LONG.at_least(0), Medium, ReadOnly;
    /// How many shards the broker runs: threads with a core, a ring and partitions of their own. Unset, one for each
    /// core that the process may run on.
    "shards" = null, INT.between(1, limits::SHARDS_MAX as i64), High, ReadOnly;
    /// shared: every shard accepts on the same port, and a request for another shard's partition hops to it.
    /// per-core: each shard listens on a port of its own as well and shows itself as a broker, leader of its own
    /// partitions, so that clients talk to the owning core directly.
    "shard.listeners" = "shared", one_of(&["shared", "per-core"]), High, ReadOnly;
    /// With shard.listeners=per-core, the port of shard 0; shard i has this port + i, on the advertised host too. One
    /// number, or NAME:port for each listener, separated by commas. Unset, the port after the listener's own.
    "shard.port.base" = "", LIST, Medium, ReadOnly;
    /// Optional features of the kernel's rings that are not used, separated by commas: to try what an older kernel
    /// does. all is every one of them.
    "runtime.disable" = "", list_of(RUNTIME_FEATURES), Low, ReadOnly;
    /// How many microseconds an idle shard looks for work before it sleeps. 0 sleeps at once; more takes some
    /// microseconds off an answer and costs a busy core.
    "runtime.spin.us" = "0", INT.between(0, limits::SPIN_US_MAX), Medium, ReadOnly;
    /// How many requests of one connection are carried out at once. Answers leave in the order of the requests;
    /// beyond this, a connection's next request waits.
    "max.requests.in.flight.per.connection" = "64", INT.between(1, limits::REQUESTS_IN_FLIGHT_MAX), Medium, ReadOnly;
    /// Memory for answers that clients have not taken yet, over all shards. Above it shards stop reading requests.
    "queued.max.response.bytes" = "268435456", LONG.at_least(limits::QUEUED_BYTES_MIN), Medium, ReadOnly;
    /// Whether a topic with a replication factor above 1 is refused. Otherwise it is created with one replica, and
    /// the answer says so.
    "corelane.replication.factor.strict" = "false", BOOLEAN, Medium, ReadOnly;
    /// Where metrics and health are served over HTTP, as host:port. Unset, nowhere.
    "admin.listener" = "", TEXT, Medium, ReadOnly;
    /// How log lines look.
    "corelane.log.format" = "text", one_of(&["text", "json"]), Low, ReadOnly;
    /// What is logged: error, warn, info, debug, trace or off, for single modules too, as in
    /// "info,corelane::log=debug". The environment variable RUST_LOG goes before it.
    "corelane.log.level" = "info", TEXT, Low, ReadOnly;
}

/// What `runtime.disable` takes: the names of `runtime::Feature`, which lies above this layer.
const RUNTIME_FEATURES: &[&str] = &[
    "all",
    "multishot-accept",
    "multishot-recv",
    "provided-buffers",
    "defer-taskrun",
    "single-issuer",
    "registered-ring",
    "registered-buffers",
    "msg-ring",
    "cqe-skip",
    "min-wait",
];

/// Kafka's keys whose default is another one here, and why.
pub const OTHER_DEFAULTS: &[(&str, &str)] = &[
    ("controller.listener.names", "optional here: its listeners are not opened"),
    ("listeners", "only this machine, until somebody decides otherwise"),
    ("log.dir", "/tmp is no place for data"),
    ("max.connections", "a bound that bounds"),
    ("max.connections.per.ip", "a bound that bounds"),
    ("node.id", "required in Kafka, and nothing to decide for one broker"),
    ("offsets.topic.replication.factor", "there is one replica"),
    ("process.roles", "required in Kafka, and Corelane is always both"),
    ("queued.max.request.bytes", "a bound that bounds"),
    ("share.coordinator.state.topic.min.isr", "there is one replica"),
    ("share.coordinator.state.topic.replication.factor", "there is one replica"),
    ("socket.listen.backlog.size", "50 drops connections when many clients come back at once"),
    ("socket.receive.buffer.bytes", "a fixed size turns the kernel's own tuning off"),
    ("socket.send.buffer.bytes", "a fixed size turns the kernel's own tuning off"),
    ("transaction.state.log.min.isr", "there is one replica"),
    ("transaction.state.log.replication.factor", "there is one replica"),
];
