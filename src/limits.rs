//! Bounds that hold everywhere, and the relations between them, checked at compile time.
//!
//! What a user may choose is a key (`config::keys`); here are the ends of those ranges, and what nobody chooses.

/// Shards of one broker. `ShardId` has 16 bits; every pair of shards has a queue, so the bound on memory is the square
/// of this: 256 x 256 queues.
pub const SHARDS_MAX: usize = 256;

/// The longest topic name (`org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH`): with `-` and a partition number
/// a directory name stays within the 255 bytes that file systems allow, `-delete` and its id included.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;

/// Bytes of a directory's name on the file systems of Linux (`NAME_MAX`).
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// The bytes before a request frame: its length as an i32.
pub const FRAME_HEADER_BYTES: usize = 4;

/// The shortest a request can be: API key, version, correlation id and a null client id.
pub const REQUEST_BYTES_MIN: usize = 2 + 2 + 4 + 2;

/// The header of a record batch of magic 2, base offset to record count.
pub const BATCH_HEADER_BYTES: usize = 61;

/// Batches of a producer whose sequence numbers a partition remembers (`ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

/// The largest `max.requests.in.flight.per.connection`.
pub const REQUESTS_IN_FLIGHT_MAX: i64 = 10_000;

/// The longest `runtime.spin.us`: beyond a millisecond a sleeping shard wakes faster than it has to.
pub const SPIN_US_MAX: i64 = 1_000;

/// The least memory for requests or answers that wait.
pub const QUEUED_BYTES_MIN: i64 = 1024 * 1024;

/// The least `log.tail.memory.bytes`.
pub const TAIL_MEMORY_BYTES_MIN: i64 = 1024 * 1024;

/// The least `log.open.files.max`: an appending partition holds its segment open, and so does each cold read.
pub const OPEN_FILES_MIN: i64 = 16;

/// The most `log.recycle.segments.max`: they come on top of what retention allows.
pub const RECYCLED_SEGMENTS_MAX: i64 = 64;

/// Descriptors kept back from connections and segments: per shard the ring, its doorbell, its listeners and the files
/// being made or renamed, and for the process the standard streams, the lock, the admin port and its connections.
pub const fn descriptors_reserved(shards: usize) -> usize {
    64 + 32 * shards
}

const _: () = assert!(SHARDS_MAX <= u16::MAX as usize, "a ShardId has 16 bits");
const _: () = assert!(REQUEST_BYTES_MIN < BATCH_HEADER_BYTES, "no request with records is taken for an empty one");
const _: () = assert!(TOPIC_NAME_LENGTH_MAX + "-".len() < FILE_NAME_BYTES_MAX, "a partition's directory has a name");
const _: () = assert!(
    QUEUED_BYTES_MIN as usize / SHARDS_MAX >= FRAME_HEADER_BYTES + BATCH_HEADER_BYTES,
    "a shard's share of the queue memory holds a header at least"
);
