//! Making batches: for the internal topics, the catalog and the load generator.

use bytes::{Bytes, BytesMut};

use crate::types::{LeaderEpoch, Offset, ProducerId};

use super::compression::Compressor;
use super::control::ControlRecordType;
use super::header::{LOG_OVERHEAD, TimestampType, write_crc};
use super::varint::{put_varint, put_varlong, varint_len, varlong_len};
use super::{
    Attributes, BATCH_HEADER_BYTES, BatchHeader, Codec, NO_PRODUCER_EPOCH, NO_SEQUENCE, NO_TIMESTAMP, RecordHeader,
};

/// What a batch is made with.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub codec: Codec,
    /// Kafka's `compression.<codec>.level`; `None` is its default.
    pub level: Option<i32>,
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub producer: Producer,
    pub transactional: bool,
    /// A batch of control records.
    pub control: bool,
    /// Makes it a batch of LogAppendTime.
    pub append_time_ms: Option<i64>,
    /// When compaction may drop the batch's tombstones; it takes the place of the base timestamp.
    pub delete_horizon_ms: Option<i64>,
}

/// Who wrote a batch, and its sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: i16,
    pub base_sequence: i32,
}

impl Producer {
    pub const NONE: Producer = Producer { id: ProducerId::NONE, epoch: NO_PRODUCER_EPOCH, base_sequence: NO_SEQUENCE };
}

impl Default for BatchOptions {
    /// An uncompressed batch of nobody's at offset 0, to be stamped.
    fn default() -> BatchOptions {
        BatchOptions {
            codec: Codec::None,
            level: None,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
            producer: Producer::NONE,
            transactional: false,
            control: false,
            append_time_ms: None,
            delete_horizon_ms: None,
        }
    }
}

/// Collects records and makes one batch of them.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records, not yet compressed.
    bytes: Vec<u8>,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> BatchBuilder {
        BatchBuilder {
            options,
            bytes: vec![0; BATCH_HEADER_BYTES],
            count: 0,
            last_offset_delta: -1,
            base_timestamp: options.delete_horizon_ms.unwrap_or(NO_TIMESTAMP),
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// How many records there are.
    pub fn count(&self) -> i32 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The size that the batch has so far without compression, header included.
    pub fn uncompressed_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// By how much the batch would grow, without compression, by one record more. An upper bound.
    pub fn record_bytes_max(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader<'_>]) -> usize {
        // Length, attributes, timestamp delta and offset delta at their longest.
        5 + 1 + 10 + 5 + fields_len(key, value, headers)
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> &mut BatchBuilder {
        self.append_at(self.last_offset_delta + 1, timestamp, key, value, headers)
    }

    /// Adds a record at an offset further on, as compaction leaves gaps.
    ///
    /// # Panics
    /// If the offset does not lie behind that of the record before.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader<'_>],
    ) -> &mut BatchBuilder {
        assert!(offset_delta > self.last_offset_delta, "offsets in a batch rise");
        if self.count == 0 && self.options.delete_horizon_ms.is_none() {
            self.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let body = 1 + varlong_len(timestamp_delta) + varint_len(offset_delta) + fields_len(key, value, headers);
        let out = &mut self.bytes;
        out.reserve(body + 5);
        put_varint(out, body as i32);
        out.push(0);
        put_varlong(out, timestamp_delta);
        put_varint(out, offset_delta);
        put_nullable(out, key);
        put_nullable(out, value);
        put_varint(out, headers.len() as i32);
        for header in headers {
            put_nullable(out, Some(header.key));
            put_nullable(out, header.value);
        }
        self.count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self
    }

    /// Adds a control record; its value is one that `record::control` makes.
    ///
    /// # Panics
    /// If the batch is not made one of control records.
    pub fn append_control(&mut self, timestamp: i64, kind: ControlRecordType, value: &[u8]) -> &mut BatchBuilder {
        assert!(self.options.control, "control records are in control batches");
        self.append(timestamp, Some(&kind.key()), Some(value), &[])
    }

    /// Makes the last offset one without a record, as compaction does when it drops the last record of a batch.
    pub fn extend_to(&mut self, last_offset_delta: i32) -> &mut BatchBuilder {
        self.last_offset_delta = self.last_offset_delta.max(last_offset_delta);
        self
    }

    /// The batch, with its CRC.
    ///
    /// # Panics
    /// If it is larger than 2 GiB.
    pub fn build(self) -> BytesMut {
        let BatchBuilder { options, mut bytes, .. } = self;
        if options.codec != Codec::None && self.count > 0 {
            let mut out = Vec::with_capacity(bytes.len() / 2);
            out.resize(BATCH_HEADER_BYTES, 0);
            let mut compressor = Compressor::new(options.codec, options.level, out);
            compressor.write(&bytes[BATCH_HEADER_BYTES..]);
            bytes = compressor.finish();
        }
        let timestamp_type =
            if options.append_time_ms.is_some() { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let mut attributes = Attributes::new(options.codec, timestamp_type, options.transactional, options.control);
        if options.delete_horizon_ms.is_some() {
            attributes = attributes.with_delete_horizon();
        }
        let header = BatchHeader {
            base_offset: options.base_offset,
            length: i32::try_from(bytes.len() - LOG_OVERHEAD).expect("our own batches are far below 2 GiB"),
            leader_epoch: options.leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset_delta.max(0),
            base_timestamp: self.base_timestamp,
            max_timestamp: options.append_time_ms.unwrap_or(self.max_timestamp),
            producer_id: options.producer.id,
            producer_epoch: options.producer.epoch,
            base_sequence: options.producer.base_sequence,
            count: self.count,
        };
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
        write_crc(&mut bytes);
        into_bytes_mut(bytes)
    }
}

/// A batch that says what one of that header does, its records left out: it keeps the place of its offsets and what its
/// producer did (`DefaultRecordBatch.writeEmptyHeader`).
pub fn without_records(header: &BatchHeader) -> BytesMut {
    let attributes = header.attributes.with_codec(Codec::None).without_delete_horizon();
    let length = (BATCH_HEADER_BYTES - LOG_OVERHEAD) as i32;
    let empty = BatchHeader { length, attributes, base_timestamp: NO_TIMESTAMP, count: 0, ..*header };
    let mut bytes = empty.encode().to_vec();
    write_crc(&mut bytes);
    into_bytes_mut(bytes)
}

/// The buffer without a copy.
pub(super) fn into_bytes_mut(bytes: Vec<u8>) -> BytesMut {
    BytesMut::from(Bytes::from(bytes))
}

fn fields_len(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[RecordHeader<'_>]) -> usize {
    let headers_len: usize =
        headers.iter().map(|header| nullable_len(Some(header.key)) + nullable_len(header.value)).sum();
    nullable_len(key) + nullable_len(value) + varint_len(headers.len() as i32) + headers_len
}

fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(bytes.len() as i32) + bytes.len())
}

fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
