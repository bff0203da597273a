//! Record batches written by hand, byte for byte, so that a test can send any it likes.
//!
//! ```text
//! 0  baseOffset i64         23 lastOffsetDelta i32    51 producerEpoch i16
//! 8  batchLength i32        27 baseTimestamp i64      53 baseSequence i32
//! 12 partitionLeaderEpoch   35 maxTimestamp i64       57 recordCount i32
//! 16 magic i8               43 producerId i64         61 records
//! 17 crc u32 (of what follows)
//! 21 attributes i16
//! ```

use bytes::{BufMut, Bytes, BytesMut};

pub const HEADER_BYTES: usize = 61;
pub const CRC_AT: usize = 17;
pub const ATTRIBUTES_AT: usize = 21;
pub const LAST_OFFSET_DELTA_AT: usize = 23;
pub const RECORD_COUNT_AT: usize = 57;

/// One uncompressed batch; every field can be set to what no client would send.
#[derive(Clone)]
pub struct Batch {
    pub values: Vec<Vec<u8>>,
    pub keys: bool,
    pub base_timestamp: i64,
    pub attributes: i16,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl Batch {
    pub fn of(values: &[&[u8]]) -> Batch {
        Batch {
            values: values.iter().map(|value| value.to_vec()).collect(),
            keys: false,
            // Of today: what lies long ago falls to retention, and its producers are forgotten at a restart.
            base_timestamp: now_ms(),
            attributes: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// A batch of an idempotent producer.
    pub fn sequenced(values: &[&[u8]], producer_id: i64, producer_epoch: i16, base_sequence: i32) -> Batch {
        Batch { producer_id, producer_epoch, base_sequence, ..Batch::of(values) }
    }

    pub fn at(mut self, base_timestamp: i64) -> Batch {
        self.base_timestamp = base_timestamp;
        self
    }

    pub fn bytes(&self) -> Bytes {
        self.bytes_mut().freeze()
    }

    /// The batch before it is frozen, for a test that spoils it (and then calls [`seal`] or doesn't).
    pub fn bytes_mut(&self) -> BytesMut {
        let mut records = BytesMut::new();
        for (delta, value) in self.values.iter().enumerate() {
            let mut record = BytesMut::new();
            record.put_u8(0); // attributes
            put_varint(&mut record, delta as i64); // timestamp delta: a millisecond a record
            put_varint(&mut record, delta as i64);
            if self.keys {
                put_varint(&mut record, 1);
                record.put_u8(b'k');
            } else {
                put_varint(&mut record, -1);
            }
            put_varint(&mut record, value.len() as i64);
            record.put_slice(value);
            put_varint(&mut record, 0); // headers
            put_varint(&mut records, record.len() as i64);
            records.put_slice(&record);
        }
        let last_delta = self.values.len() as i32 - 1;
        let mut batch = BytesMut::new();
        batch.put_i64(0);
        batch.put_i32((HEADER_BYTES - 12 + records.len()) as i32);
        batch.put_i32(-1);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(last_delta);
        batch.put_i64(self.base_timestamp);
        batch.put_i64(self.base_timestamp + i64::from(last_delta));
        batch.put_i64(self.producer_id);
        batch.put_i16(self.producer_epoch);
        batch.put_i32(self.base_sequence);
        batch.put_i32(self.values.len() as i32);
        batch.put_slice(&records);
        seal(&mut batch);
        batch
    }
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock past 1970");
    since.as_millis() as i64
}

/// Writes the checksum that the batch's bytes have now.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

fn put_varint(buffer: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        buffer.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(rest as u8);
}

/// The header fields of each batch in what a fetch returned; a last one cut off by the limit is left out.
pub struct Fetched {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub last_offset: i64,
    pub producer_id: i64,
    pub crc_ok: bool,
}

pub fn batches(mut records: &[u8]) -> Vec<Fetched> {
    let mut found = Vec::new();
    while records.len() >= HEADER_BYTES {
        let i32_at = |at: usize| i32::from_be_bytes(records[at..at + 4].try_into().expect("four bytes"));
        let i64_at = |at: usize| i64::from_be_bytes(records[at..at + 8].try_into().expect("eight bytes"));
        let i16_at = |at: usize| i16::from_be_bytes(records[at..at + 2].try_into().expect("two bytes"));
        let size = 12 + usize::try_from(i32_at(8)).expect("a batch length");
        if size > records.len() {
            break;
        }
        let base_offset = i64_at(0);
        found.push(Fetched {
            base_offset,
            leader_epoch: i32_at(12),
            attributes: i16_at(ATTRIBUTES_AT),
            last_offset: base_offset + i64::from(i32_at(LAST_OFFSET_DELTA_AT)),
            producer_id: i64_at(43),
            crc_ok: crc32c::crc32c(&records[ATTRIBUTES_AT..size]) == i32_at(CRC_AT).cast_unsigned(),
        });
        records = &records[size..];
    }
    found
}
