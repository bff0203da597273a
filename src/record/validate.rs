//! What a broker demands of a batch that a client produces (`ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords`, `LogValidator`).
//!
//! Stricter than Kafka where no client is known to differ: records must be numbered 0, 1, 2, ... in uncompressed
//! batches too (Kafka rewrites compressed batches that aren't), bytes behind the batch are refused (Kafka drops a part
//! of a batch there), and a batch already of LogAppendTime is refused whatever the topic's type.

use crate::types::{LeaderEpoch, Offset, ProducerId};

use super::compression::Decompressor;
use super::error::{RecordError, Rejected};
use super::header::{self, TimestampType, check_crc, increment_sequence};
use super::varint::{take_varint, take_varlong};
use super::view::RecordFields;
use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Codec, DECOMPRESSED_BYTES_MAX, NO_SEQUENCE, NO_TIMESTAMP};

/// How many records of a refused batch are named; Kafka names all, in an answer as large as the batch.
const RECORD_ERRORS_MAX: usize = 100;
/// The first Produce version with zstd (KIP-110).
const PRODUCE_VERSION_ZSTD: i16 = 7;

/// What a produced batch is held against.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRules {
    /// The version of the Produce request.
    pub version: i16,
    /// `max.message.bytes` of the topic: the whole batch, as it came.
    pub max_message_bytes: u64,
    /// The topic is compacted: each record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type` of the topic.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how much older than the broker's clock a record may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how much newer.
    pub timestamp_after_max_ms: i64,
    /// The broker's clock.
    pub now_ms: i64,
    /// What the records may decompress to.
    pub decompressed_bytes_max: u64,
}

impl Default for ProduceRules {
    /// Kafka's defaults, at time 0.
    fn default() -> ProduceRules {
        ProduceRules {
            version: 13,
            max_message_bytes: 1_048_588,
            compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            now_ms: 0,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
        }
    }
}

/// A batch that may be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchInfo {
    /// The whole batch in bytes.
    pub size: usize,
    /// Records; the last offset delta is one less.
    pub count: i32,
    pub last_offset_delta: i32,
    pub codec: Codec,
    /// The greatest timestamp of the records, `NO_TIMESTAMP` if none has one.
    pub max_timestamp: i64,
    /// The producer wrote another max timestamp into the header; `assign` corrects it.
    pub max_timestamp_differs: bool,
    /// `ProducerId::NONE` unless idempotent or transactional.
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub transactional: bool,
    /// What the records are uncompressed, without the batch's header.
    pub records_bytes: u64,
}

impl BatchInfo {
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

    /// Makes the validated `batch` the one at `base_offset`: offset and leader epoch, and the max timestamp where the
    /// topic is of LogAppendTime (`append_time_ms`) or the producer got it wrong.
    pub fn assign(
        &mut self,
        batch: &mut [u8],
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        append_time_ms: Option<i64>,
    ) {
        header::stamp(batch, base_offset, leader_epoch);
        if let Some(now_ms) = append_time_ms {
            header::set_log_append_time(batch, now_ms);
            self.max_timestamp = now_ms;
        } else if self.max_timestamp_differs {
            header::set_max_timestamp(batch, self.max_timestamp);
        }
        self.max_timestamp_differs = false;
    }
}

/// Checks the bytes that a client sent for one partition: one whole batch in which everything holds together.
/// An uncompressed one is read in place, in one pass behind that of the CRC, without allocating.
pub fn validate_produce(bytes: &[u8], rules: &ProduceRules) -> Result<BatchInfo, BatchError> {
    let header = the_one_batch(bytes, rules)?;
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::Header("the base offset of a produced batch must be 0"));
    }
    if header.size() as u64 > rules.max_message_bytes {
        return Err(BatchError::TooLarge { size: header.size() as u64, max: rules.max_message_bytes });
    }
    check_crc(bytes)?;
    let codec = header.attributes.codec()?;
    check_header(&header)?;

    let records = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
    let mut checker = Checker::new(&header, rules);
    let records_bytes = match codec {
        Codec::None => checker.read_plain(records)?,
        _ => checker.read_compressed(codec, records)?,
    };
    if let Some(rejected) = checker.rejected {
        return Err(BatchError::Rejected(rejected));
    }
    Ok(BatchInfo {
        size: header.size(),
        count: header.count,
        last_offset_delta: header.last_offset_delta,
        codec,
        max_timestamp: checker.max_timestamp,
        max_timestamp_differs: checker.max_timestamp != header.max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.attributes.is_transactional(),
        records_bytes,
    })
}

/// The header of the batch that `bytes` is, all of it and nothing else.
fn the_one_batch(bytes: &[u8], rules: &ProduceRules) -> Result<BatchHeader, BatchError> {
    if bytes.is_empty() {
        return Err(BatchError::NoBatch);
    }
    let header = BatchHeader::parse(bytes)?;
    if rules.version < PRODUCE_VERSION_ZSTD && header.attributes.codec_id() == Codec::Zstd.id() {
        return Err(BatchError::ZstdTooOld { version: rules.version });
    }
    if bytes.len() > header.size() {
        return Err(BatchError::MoreBatches);
    }
    Ok(header)
}

fn check_header(header: &BatchHeader) -> Result<(), BatchError> {
    let wrong = |what| Err(BatchError::Header(what));
    if header.last_offset_delta < 0 {
        return wrong("the batch has an invalid offset range");
    }
    if header.count <= 0 {
        return wrong("the batch claims no records");
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.count) {
        return wrong("the batch's offset range and its count of records differ");
    }
    if header.attributes.is_control() {
        return wrong("clients are not allowed to write control records");
    }
    if header.has_producer_id() {
        if header.base_sequence < 0 {
            return wrong("the batch has a producer id but no valid sequence number");
        }
        if header.producer_epoch < 0 {
            return wrong("the batch has a producer id but no valid producer epoch");
        }
    } else if header.attributes.is_transactional() {
        return wrong("a transactional batch needs a producer id");
    }
    Ok(())
}

/// The state of a pass over the records.
struct Checker<'a> {
    header: &'a BatchHeader,
    rules: &'a ProduceRules,
    /// The timestamps that pass, both ends inclusive, besides none at all.
    earliest: i64,
    latest: i64,
    max_timestamp: i64,
    rejected: Option<Box<Rejected>>,
}

/// What of a record the rules are about.
#[derive(Clone, Copy)]
struct Seen {
    timestamp_delta: i64,
    offset_delta: i32,
    has_key: bool,
}

impl<'a> Checker<'a> {
    fn new(header: &'a BatchHeader, rules: &'a ProduceRules) -> Checker<'a> {
        let (earliest, latest) = match (header.attributes.timestamp_type(), rules.timestamp_type) {
            // No record passes.
            (TimestampType::LogAppendTime, _) => (i64::MAX, i64::MIN),
            // Their timestamps will not be read.
            (_, TimestampType::LogAppendTime) => (i64::MIN, i64::MAX),
            (_, TimestampType::CreateTime) => (
                rules.now_ms.saturating_sub(rules.timestamp_before_max_ms),
                rules.now_ms.saturating_add(rules.timestamp_after_max_ms),
            ),
        };
        Checker { header, rules, earliest, latest, max_timestamp: NO_TIMESTAMP, rejected: None }
    }

    fn read_plain(&mut self, records: &[u8]) -> Result<u64, BatchError> {
        let mut rest = records;
        for index in 0..self.header.count {
            let failed = |what| BatchError::Records { index, what };
            let len = take_varint(&mut rest).ok_or(failed("the batch ends before it"))?;
            let len = usize::try_from(len).map_err(|_| failed("it has a negative length"))?;
            let (body, after) = rest.split_at_checked(len).ok_or(failed("the batch ends within it"))?;
            rest = after;
            let seen = match Seen::skim(body) {
                Some(seen) => seen,
                // Once more, for what is wrong with it.
                None => Seen::of(&RecordFields::parse(body).map_err(failed)?),
            };
            self.see(index, seen)?;
        }
        if rest.is_empty() {
            Ok(records.len() as u64)
        } else {
            Err(BatchError::Records { index: self.header.count, what: "bytes are left behind the last record" })
        }
    }

    fn read_compressed(&mut self, codec: Codec, records: &[u8]) -> Result<u64, BatchError> {
        let mut source = Decompressor::new(codec, records, self.rules.decompressed_bytes_max)?;
        for index in 0..self.header.count {
            let failed = |what| BatchError::Records { index, what };
            let len = source.varint()?.ok_or(failed("the batch ends before it"))?;
            let len = usize::try_from(len).map_err(|_| failed("it has a negative length"))?;
            let seen = if let Some(body) = source.available().get(..len) {
                let seen = match Seen::skim(body) {
                    Some(seen) => Ok(seen),
                    None => RecordFields::parse(body).map(|fields| Seen::of(&fields)),
                };
                source.consume(len);
                seen
            } else {
                read_across_blocks(&mut source, len as u64)?
            };
            self.see(index, seen.map_err(failed)?)?;
        }
        if source.at_end()? {
            Ok(source.position())
        } else {
            Err(BatchError::Records { index: self.header.count, what: "bytes are left behind the last record" })
        }
    }

    /// Holds a record against the rules.
    #[expect(clippy::inline_always, reason = "a call would pass the record through memory, at twice the time")]
    #[inline(always)]
    fn see(&mut self, index: i32, seen: Seen) -> Result<(), BatchError> {
        if let Some(timestamp) = self.header.base_timestamp.checked_add(seen.timestamp_delta)
            && seen.offset_delta == index
            && self.earliest <= timestamp
            && timestamp <= self.latest
            && (seen.has_key || !self.rules.compacted)
        {
            self.max_timestamp = self.max_timestamp.max(timestamp);
            return Ok(());
        }
        self.judge(index, seen)
    }

    /// Says what is wrong with a record, if anything is.
    #[cold]
    fn judge(&mut self, index: i32, seen: Seen) -> Result<(), BatchError> {
        if seen.offset_delta != index {
            return Err(BatchError::Records {
                index,
                what: "its offset is not the one after that of the record before",
            });
        }
        let Some(timestamp) = self.header.base_timestamp.checked_add(seen.timestamp_delta) else {
            return Err(BatchError::Records { index, what: "its timestamp is out of all bounds" });
        };
        self.max_timestamp = self.max_timestamp.max(timestamp);
        if self.rules.compacted && !seen.has_key {
            let message = "Compacted topic cannot accept message without key".to_owned();
            self.reject(index, false, message);
        } else if self.header.attributes.timestamp_type() == TimestampType::LogAppendTime {
            let message = "Producer should not set timestamp type to LogAppendTime".to_owned();
            self.reject(index, true, message);
        } else if timestamp != NO_TIMESTAMP && !(self.earliest..=self.latest).contains(&timestamp) {
            let message = format!(
                "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within \
                 [{}, {}]",
                self.earliest, self.latest
            );
            self.reject(index, true, message);
        }
        Ok(())
    }

    fn reject(&mut self, batch_index: i32, timestamp: bool, message: String) {
        let rejected =
            self.rejected.get_or_insert_with(|| Box::new(Rejected { timestamp: false, records: Vec::new() }));
        rejected.timestamp |= timestamp;
        if rejected.records.len() < RECORD_ERRORS_MAX {
            rejected.records.push(RecordError { batch_index, message });
        }
    }
}

impl Seen {
    /// Reads a record as `RecordFields` does, passing over what the rules are not about. `None` if anything is wrong.
    #[expect(clippy::inline_always, reason = "a call would pass the record through memory, at twice the time")]
    #[inline(always)]
    fn skim(body: &[u8]) -> Option<Seen> {
        let mut rest = body.get(1..)?;
        let timestamp_delta = take_varlong(&mut rest)?;
        let offset_delta = take_varint(&mut rest)?;
        let key = take_varint(&mut rest)?;
        skip(&mut rest, key)?;
        let value = take_varint(&mut rest)?;
        skip(&mut rest, value)?;
        let headers = take_varint(&mut rest)?;
        if headers != 0 {
            skim_headers(&mut rest, headers)?;
        }
        rest.is_empty().then_some(Seen { timestamp_delta, offset_delta, has_key: key >= 0 })
    }

    fn of(fields: &RecordFields<'_>) -> Seen {
        Seen {
            timestamp_delta: fields.timestamp_delta,
            offset_delta: fields.offset_delta,
            has_key: fields.key.is_some(),
        }
    }
}

/// Passes over a field of the length that stands before it, -1 for null.
#[inline]
fn skip(rest: &mut &[u8], len: i32) -> Option<()> {
    if len > 0 {
        *rest = rest.get(len as usize..)?;
    }
    (len >= -1).then_some(())
}

fn skim_headers(rest: &mut &[u8], count: i32) -> Option<()> {
    if count < 0 || count as usize > rest.len() {
        return None;
    }
    for _ in 0..count {
        let key = take_varint(rest).filter(|len| *len >= 0)?;
        skip(rest, key)?;
        let value = take_varint(rest)?;
        skip(rest, value)?;
    }
    Some(())
}

/// Reads a record that lies across two or more blocks of the codec, without gathering it. The outer error is one of
/// decompression, the inner one of the record.
fn read_across_blocks(source: &mut Decompressor<'_>, len: u64) -> Result<Result<Seen, &'static str>, BatchError> {
    const CUT_OFF: &str = "the batch ends within it";
    let start = source.position();
    // Whether a field of this length lies within the record, so that a bad length is not skipped to its end.
    let within = |source: &Decompressor<'_>, field: u64| source.position() - start + field <= len;

    if !source.skip(1)? {
        return Ok(Err(CUT_OFF));
    }
    let Some(timestamp_delta) = source.varlong()? else { return Ok(Err("invalid timestamp delta")) };
    let Some(offset_delta) = source.varint()? else { return Ok(Err("invalid offset delta")) };
    let mut has_key = false;
    let mut fields_left = 2i64;
    let mut counted = false;
    // Key and value, then key and value of each header.
    while fields_left > 0 {
        let Some(field) = source.varint()? else { return Ok(Err("invalid length of a field")) };
        let nullable = !counted || fields_left % 2 == 1;
        if field < -1 || (field == -1 && !nullable) {
            return Ok(Err("negative length of a field"));
        }
        if !within(source, field.max(0) as u64) {
            return Ok(Err("a field is longer than its record"));
        }
        if !source.skip(field.max(0) as u64)? {
            return Ok(Err(CUT_OFF));
        }
        if !counted && fields_left == 2 {
            has_key = field >= 0;
        }
        fields_left -= 1;
        if fields_left == 0 && !counted {
            counted = true;
            let Some(headers) = source.varint()? else { return Ok(Err("invalid number of headers")) };
            if headers < 0 || !within(source, headers as u64) {
                return Ok(Err("invalid number of headers"));
            }
            fields_left = 2 * i64::from(headers);
        }
    }
    if source.position() - start != len {
        return Ok(Err("its length is not that of its fields"));
    }
    Ok(Ok(Seen { timestamp_delta, offset_delta, has_key }))
}
