//! The 61 bytes before the records, and the changes a broker makes to them in place.

use crate::types::{LeaderEpoch, Offset, ProducerId};

use super::{BatchError, Codec, NO_SEQUENCE};

/// The size of a batch without its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and length, which the length does not count.
pub(super) const LOG_OVERHEAD: usize = 12;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// What a record's timestamp says (`message.timestamp.type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// When the producer made it.
    #[default]
    CreateTime,
    /// When the broker appended it.
    LogAppendTime,
}

/// The attribute bits of a batch. Bits without a meaning are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    pub fn new(codec: Codec, timestamp_type: TimestampType, transactional: bool, control: bool) -> Attributes {
        let mut bits = i16::from(codec.id());
        if timestamp_type == TimestampType::LogAppendTime {
            bits |= LOG_APPEND_TIME_BIT;
        }
        if transactional {
            bits |= TRANSACTIONAL_BIT;
        }
        if control {
            bits |= CONTROL_BIT;
        }
        Attributes(bits)
    }

    /// The number of the codec, 0 to 7.
    pub fn codec_id(self) -> u8 {
        (self.0 & CODEC_MASK) as u8
    }

    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = self.codec_id();
        Codec::from_id(id).ok_or(BatchError::UnknownCodec { id })
    }

    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Attributes {
        Attributes((self.0 & !CODEC_MASK) | i16::from(codec.id()))
    }

    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME_BIT == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// The batch holds control records, which consumers do not show: transaction markers and Raft's own.
    pub fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// The base timestamp is the time at which compaction may drop the batch's tombstones (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    #[must_use]
    pub fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | DELETE_HORIZON_BIT)
    }

    #[must_use]
    pub fn without_delete_horizon(self) -> Attributes {
        Attributes(self.0 & !DELETE_HORIZON_BIT)
    }
}

/// A batch's header, field by field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes behind the length field, 49 at least.
    pub length: i32,
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch at the front of `bytes`, all of which is there. More may follow it.
    /// Of the claims in it only magic and length are checked.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let header = BatchHeader::parse_prefix(bytes)?;
        if bytes.len() < header.size() {
            return Err(BatchError::Cut { size: header.size() as u64, available: bytes.len() });
        }
        Ok(header)
    }

    /// Reads the header at the front of `bytes`, whether or not the records behind it are there.
    pub fn parse_prefix(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let mut fields = Fields(bytes);
        BatchHeader::take(&mut fields, bytes)
            .ok_or(BatchError::Cut { size: BATCH_HEADER_BYTES as u64, available: bytes.len() })?
    }

    fn take(fields: &mut Fields<'_>, bytes: &[u8]) -> Option<Result<BatchHeader, BatchError>> {
        let base_offset = Offset(fields.i64()?);
        let length = fields.i32()?;
        // Before the rest: an old message set is shorter than a batch's header.
        let magic = *bytes.get(MAGIC_AT)? as i8;
        if magic != 2 {
            return Some(Err(if magic == 0 || magic == 1 {
                BatchError::OldMagic { magic }
            } else {
                BatchError::UnknownMagic { magic }
            }));
        }
        if length < (BATCH_HEADER_BYTES - LOG_OVERHEAD) as i32 {
            return Some(Err(BatchError::Length { claimed: length }));
        }
        let leader_epoch = LeaderEpoch(fields.i32()?);
        fields.array::<1>()?;
        let header = BatchHeader {
            base_offset,
            length,
            leader_epoch,
            crc: fields.i32()? as u32,
            attributes: Attributes(fields.i16()?),
            last_offset_delta: fields.i32()?,
            base_timestamp: fields.i64()?,
            max_timestamp: fields.i64()?,
            producer_id: ProducerId(fields.i64()?),
            producer_epoch: fields.i16()?,
            base_sequence: fields.i32()?,
            count: fields.i32()?,
        };
        Some(Ok(header))
    }

    /// The 61 bytes of the header, with the CRC that is in it.
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = Out { bytes: [0; BATCH_HEADER_BYTES], filled: 0 };
        out.put(self.base_offset.0.to_be_bytes());
        out.put(self.length.to_be_bytes());
        out.put(self.leader_epoch.0.to_be_bytes());
        out.put([2]);
        out.put(self.crc.to_be_bytes());
        out.put(self.attributes.0.to_be_bytes());
        out.put(self.last_offset_delta.to_be_bytes());
        out.put(self.base_timestamp.to_be_bytes());
        out.put(self.max_timestamp.to_be_bytes());
        out.put(self.producer_id.0.to_be_bytes());
        out.put(self.producer_epoch.to_be_bytes());
        out.put(self.base_sequence.to_be_bytes());
        out.put(self.count.to_be_bytes());
        out.bytes
    }

    /// The whole batch in bytes, 61 at least. Claimed, not checked, after `parse_prefix`.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + self.length as usize
    }

    /// The offset of the last record, or where it was before compaction took it.
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(i64::from(self.last_offset_delta)))
    }

    /// The base offset of the batch that follows.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// The sequence of the last record, `NO_SEQUENCE` where the batch has none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// The delete horizon, if compaction has set it.
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        self.attributes.has_delete_horizon().then_some(self.base_timestamp)
    }
}

/// The sequence `increment` records further on; sequences wrap from 2^31-1 to 0 (`DefaultRecordBatch`).
pub fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    (sequence.wrapping_add(increment)) & i32::MAX
}

/// Whether the CRC in the batch is that of its bytes. `batch` is one whole batch.
pub fn crc_ok(batch: &[u8]) -> bool {
    match (stored_crc(batch), batch.get(ATTRIBUTES_AT..)) {
        (Some(stored), Some(covered)) if batch.len() >= BATCH_HEADER_BYTES => crc32c::crc32c(covered) == stored,
        _ => false,
    }
}

/// Checks the CRC of one whole batch, saying what it should be.
pub fn check_crc(batch: &[u8]) -> Result<(), BatchError> {
    let cut = BatchError::Cut { size: BATCH_HEADER_BYTES as u64, available: batch.len() };
    let (Some(stored), Some(covered)) = (stored_crc(batch), batch.get(ATTRIBUTES_AT..)) else {
        return Err(cut);
    };
    let computed = crc32c::crc32c(covered);
    if computed == stored { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
}

/// Writes where the batch goes; both fields lie outside the CRC. `batch` is one whole batch.
///
/// # Panics
/// If `batch` is shorter than a header: it must have been validated or built.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Makes the batch one of LogAppendTime: attribute bit, max timestamp and CRC. The records' deltas stay as they
/// are, as in Kafka: readers take the max timestamp for every record. `batch` is one whole batch.
///
/// # Panics
/// If `batch` is shorter than a header: it must have been validated or built.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes([batch[ATTRIBUTES_AT], batch[ATTRIBUTES_AT + 1]]) | LOG_APPEND_TIME_BIT;
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(batch, now_ms);
}

/// Writes the max timestamp and the CRC that follows from it, for a producer that got it wrong (Kafka corrects it
/// rather than refuse the batch). `batch` is one whole batch.
///
/// # Panics
/// If `batch` is shorter than a header: it must have been validated or built.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.to_be_bytes());
    write_crc(batch);
}

/// Computes and writes the CRC of a whole batch.
pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

fn stored_crc(batch: &[u8]) -> Option<u32> {
    batch.get(CRC_AT..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
}

struct Out {
    bytes: [u8; BATCH_HEADER_BYTES],
    filled: usize,
}

impl Out {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.filled..self.filled + N].copy_from_slice(&field);
        self.filled += N;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_header()(base_offset: i64, length in 49..i32::MAX, leader_epoch: i32, crc: u32, attributes: i16,
            last_offset_delta: i32, base_timestamp: i64, max_timestamp: i64, producer_id: i64, producer_epoch: i16,
            base_sequence: i32) -> BatchHeader {
            BatchHeader {
                base_offset: Offset(base_offset),
                length,
                leader_epoch: LeaderEpoch(leader_epoch),
                crc,
                attributes: Attributes(attributes),
                last_offset_delta,
                base_timestamp,
                max_timestamp,
                producer_id: ProducerId(producer_id),
                producer_epoch,
                base_sequence,
                count: last_offset_delta.wrapping_add(1),
            }
        }
    }

    proptest! {
        #![proptest_config(crate::record::tests::seeded(256))]

        #[test]
        fn a_header_reads_back(header in any_header()) {
            let bytes = header.encode();
            prop_assert_eq!(BatchHeader::parse_prefix(&bytes), Ok(header));
            for cut in 0..BATCH_HEADER_BYTES {
                prop_assert!(BatchHeader::parse_prefix(&bytes[..cut]).is_err());
            }
            if header.length > 49 {
                let cut = BatchError::Cut { size: header.size() as u64, available: 61 };
                prop_assert_eq!(BatchHeader::parse(&bytes), Err(cut));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = BatchHeader::parse(&bytes);
            let _ = crc_ok(&bytes);
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(increment_sequence(0, 4), 4);
        assert_eq!(increment_sequence(i32::MAX, 0), i32::MAX);
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 5), 3);
    }

    #[test]
    fn old_and_unknown_magics_are_told_apart() {
        let mut bytes = [0u8; 61];
        bytes[11] = 49;
        for magic in [0, 1] {
            bytes[16] = magic as u8;
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::OldMagic { magic }));
        }
        bytes[16] = 3;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::UnknownMagic { magic: 3 }));
        bytes[16] = 2;
        assert!(BatchHeader::parse(&bytes).is_ok());
        bytes[11] = 48;
        assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Length { claimed: 48 }));
    }
}
