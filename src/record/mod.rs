//! Record batches (magic 2): header, validation, compression, building. Pure.
//!
//! A batch is what producers send, segments hold and consumers get; only the first 17 bytes are ours to write.
//! All integers are big-endian; varints are zigzag (`org.apache.kafka.common.record.internal.DefaultRecordBatch`):
//!
//! ```text
//!  0  base offset           int64   stamped at append; the CRC does not cover it
//!  8  length                int32   bytes behind this field
//! 12  leader epoch          int32   stamped at append; the CRC does not cover it
//! 16  magic                 int8    2
//! 17  CRC-32C               uint32  of all that follows
//! 21  attributes            int16   bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon
//! 23  last offset delta     int32   records in a fresh batch less one; compaction leaves gaps
//! 27  base timestamp        int64   what the records' deltas count from; the delete horizon if bit 6 is set
//! 35  max timestamp         int64   the time of the append if bit 3 is set
//! 43  producer id           int64   -1: neither idempotent nor transactional
//! 51  producer epoch        int16
//! 53  base sequence         int32   wraps from 2^31-1 to 0
//! 57  records count         int32
//! 61  records                       one run of records, compressed as a whole by the codec of the attributes
//! ```
//!
//! A record:
//!
//! ```text
//! length           varint    bytes behind this field
//! attributes       int8      unused
//! timestamp delta  varlong
//! offset delta     varint
//! key length       varint    -1: null
//! key
//! value length     varint    -1: null
//! value
//! headers count    varint
//!   key length     varint    not null
//!   key
//!   value length   varint    -1: null
//!   value
//! ```
//!
//! Batches can be hostile: nothing here panics on them, and nothing allocates by a length they claim.

mod builder;
pub mod compression;
pub mod control;
mod error;
mod header;
mod iter;
mod recompress;
mod validate;
mod varint;
mod view;

pub use builder::{BatchBuilder, BatchOptions, Producer, without_records};
pub use compression::Codec;
pub use error::{BatchError, RecordError};
pub use header::{
    Attributes, BATCH_HEADER_BYTES, BatchHeader, TimestampType, check_crc, crc_ok, increment_sequence,
    set_log_append_time, set_max_timestamp, stamp,
};
pub use iter::{RecordIter, first_record_at_or_after, for_each_record, record_of_max_timestamp};
pub use recompress::recompress;
pub use validate::{BatchInfo, ProduceRules, validate_produce};
pub use view::{HeaderIter, RecordHeader, RecordView};

#[cfg(test)]
pub(crate) mod tests;

/// The timestamp of a record without one.
pub const NO_TIMESTAMP: i64 = -1;
/// The base sequence of a batch without one.
pub const NO_SEQUENCE: i32 = -1;
/// The producer epoch of a batch without one.
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// What a batch of a client may decompress to at most. Kafka has no such bound; a batch past it is answered with
/// MESSAGE_TOO_LARGE, which makes Kafka's producers split it. Derived: 256 times the default `max.message.bytes`,
/// an expansion that only runs of one byte reach, and a quarter of a second of a core at 1 GB/s.
pub const DECOMPRESSED_BYTES_MAX: u64 = 256 << 20;
