//! What can be wrong with a batch, and Kafka's code for it.

use std::fmt;

use crate::error_code::ErrorCode;

use super::Codec;

/// Why a batch was refused. The codes are those of Kafka's `LogValidator`, `DefaultRecordBatch` and
/// `ProduceRequest.validateRecords`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchError {
    /// There is no whole batch in the bytes.
    NoBatch,
    /// The claimed length cannot be that of a batch.
    Length { claimed: i32 },
    /// The bytes end before the batch does.
    Cut { size: u64, available: usize },
    /// A magic that no Kafka version has.
    UnknownMagic { magic: i8 },
    /// Message sets of magic 0 and 1, which Produce 3 and later may not hold.
    OldMagic { magic: i8 },
    /// More than one batch for a partition.
    MoreBatches,
    /// The stored CRC-32C is not that of the bytes.
    Crc { stored: u32, computed: u32 },
    /// Larger than `max.message.bytes`.
    TooLarge { size: u64, max: u64 },
    /// The records decompress to more than is accepted.
    DecompressedTooLarge { max: u64 },
    /// A codec number that stands for nothing.
    UnknownCodec { id: u8 },
    /// zstd needs Produce 7.
    ZstdTooOld { version: i16 },
    /// The compressed bytes are not what the codec makes.
    Decompression { codec: Codec, what: &'static str },
    /// A field of the batch header that contradicts another or the rules.
    Header(&'static str),
    /// The records are not laid out as records are, or are not as many as the header says.
    Records { index: i32, what: &'static str },
    /// Records that are well-formed but not acceptable; the answer names them.
    Rejected(Box<Rejected>),
}

/// The records of a batch that made it refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// One of them has a timestamp out of range, which decides the code.
    pub timestamp: bool,
    /// The first few of them, by their index in the batch.
    pub records: Vec<RecordError>,
}

/// One record of a refused batch, for `record_errors` of the Produce response (KIP-467).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError {
    pub batch_index: i32,
    pub message: String,
}

impl BatchError {
    /// Kafka's code for the error.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            BatchError::Length { .. } | BatchError::UnknownMagic { .. } | BatchError::Crc { .. } => {
                ErrorCode::CorruptMessage
            }
            BatchError::TooLarge { .. } | BatchError::DecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            BatchError::UnknownCodec { .. } | BatchError::ZstdTooOld { .. } => ErrorCode::UnsupportedCompressionType,
            BatchError::Rejected(rejected) if rejected.timestamp => ErrorCode::InvalidTimestamp,
            _ => ErrorCode::InvalidRecord,
        }
    }

    /// The records that the answer names, if it was records.
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            BatchError::Rejected(rejected) => &rejected.records,
            _ => &[],
        }
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::NoBatch => f.write_str("Produce requests must have at least one record batch per partition"),
            BatchError::Length { claimed } => {
                write!(f, "the batch claims a length of {claimed}, less than any batch has")
            }
            BatchError::Cut { size, available } => {
                write!(f, "the batch claims {size} bytes where {available} are left")
            }
            BatchError::UnknownMagic { magic } => write!(f, "invalid magic {magic} found in a record batch"),
            BatchError::OldMagic { magic } => {
                write!(f, "only record batches with magic version 2 are allowed, not {magic}")
            }
            BatchError::MoreBatches => {
                f.write_str("Produce requests are only allowed to contain exactly one record batch per partition")
            }
            BatchError::Crc { stored, computed } => {
                write!(f, "the record batch is corrupt (stored CRC {stored:#010x}, computed {computed:#010x})")
            }
            BatchError::TooLarge { size, max } => {
                write!(f, "the record batch has {size} bytes, more than the {max} that max.message.bytes allows")
            }
            BatchError::DecompressedTooLarge { max } => {
                write!(f, "the records decompress to more than the {max} bytes that a batch may hold")
            }
            BatchError::UnknownCodec { id } => write!(f, "unknown compression type id {id}"),
            BatchError::ZstdTooOld { version } => {
                write!(f, "Produce requests with version {version} are not allowed to use ZStandard compression")
            }
            BatchError::Decompression { codec, what } => {
                write!(f, "the {codec} records cannot be decompressed: {what}")
            }
            BatchError::Header(what) => f.write_str(what),
            BatchError::Records { index, what } => write!(f, "record {index} of the batch: {what}"),
            BatchError::Rejected(rejected) if rejected.timestamp => {
                f.write_str("One or more records have been rejected due to invalid timestamp")
            }
            BatchError::Rejected(rejected) => write!(
                f,
                "One or more records have been rejected due to {} record errors, the first: {}",
                rejected.records.len(),
                rejected.records.first().map_or("", |e| e.message.as_str())
            ),
        }
    }
}

impl std::error::Error for BatchError {}
