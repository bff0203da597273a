//! Batches made before the clock runs, so that sending one costs a header and no copy.
//!
//! The records of a batch, compressed or not, are the same bytes each time and are sent from where they are. Only the 61
//! bytes before them change: timestamps, producer and sequence. Their checksum covers both, and CRC-32C is linear: that of
//! the header, moved by the length of the records, and that of the records make it up. So it costs the same for ten bytes
//! and for a megabyte.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use corelane::{
    record::{Attributes, BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BatchOptions, Codec, Producer, TimestampType},
    types::{LeaderEpoch, Offset},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::payload::{KeySpace, Payload};
use crate::{error::Error, workload::Workload};

/// Memory for prepared batches, over all variants.
const PREPARED_BYTES: usize = 16 << 20;
/// More variants would not make the broker's work more like that of real data.
const VARIANTS_MAX: usize = 16;
const KEYED_BYTES_MAX: usize = 1 << 30;
/// Compressed batches of fewer records than a full one, kept by each producer thread.
const PARTIAL_BYTES_MAX: usize = 64 << 20;
/// Length and base offset, which the length of a batch does not count.
const BEFORE_LENGTH_BYTES: usize = 12;
/// Where the part that the checksum covers begins.
const CHECKED_FROM: usize = 21;
const CRC_AT: usize = 17;

/// The records of a batch that is ready, and their checksum.
#[derive(Clone)]
pub struct Records {
    pub bytes: Bytes,
    crc: u32,
    shift: Option<Box<Shift>>,
}

/// What moving a checksum over so many bytes does to each of its bits.
type Shift = [u32; 32];

/// A full batch of which fewer records may be sent.
pub struct Template {
    plain: Bytes,
    /// Where each record ends.
    ends: Vec<u32>,
    /// Bytes of the values up to and with each record.
    values: Vec<u64>,
    full: Records,
}

pub struct Templates {
    codec: Codec,
    /// Without keys, variants for all partitions; with keys, one for each.
    all: Vec<Template>,
    keys: Option<KeySpace>,
}

impl Templates {
    pub fn new(workload: &Workload, payload: &Payload) -> Result<Templates, Error> {
        let keys = KeySpace::new(workload.keys, workload.partitions);
        let batch_bytes = workload.batch_bytes.max(workload.record_bytes_max + 128);
        let count = if keys.is_some() {
            let bytes = batch_bytes * workload.partitions as usize;
            if bytes > KEYED_BYTES_MAX {
                return Err(Error::Wrong(format!(
                    "batches with keys for {} partitions of {batch_bytes} bytes each would take {} MiB: use smaller batches",
                    workload.partitions,
                    bytes >> 20
                )));
            }
            workload.partitions as usize
        } else {
            (PREPARED_BYTES / batch_bytes).clamp(2, VARIANTS_MAX)
        };
        let codec = workload.codec();
        let variants: Vec<usize> = (0..count).collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let all = corelane::runtime::threads::map_parallel(&variants, threads, |&variant| {
            Template::new(workload, payload, keys.as_ref().map(|keys| (keys, variant)), codec, variant as u64)
        });
        Ok(Templates { codec, all, keys })
    }

    /// The number of the template for the next batch of a partition.
    pub fn pick(&self, partition: usize, batch: u64) -> usize {
        if self.keys.is_some() { partition } else { (batch % self.all.len() as u64) as usize }
    }

    pub fn get(&self, number: usize) -> &Template {
        &self.all[number]
    }

    pub fn keys(&self) -> Option<&KeySpace> {
        self.keys.as_ref()
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }
}

impl Template {
    fn new(
        workload: &Workload,
        payload: &Payload,
        keys: Option<(&KeySpace, usize)>,
        codec: Codec,
        variant: u64,
    ) -> Template {
        let mut random = SmallRng::seed_from_u64(workload.seed ^ (variant << 32));
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let (mut ends, mut values, mut value) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let bytes = random.random_range(workload.record_bytes_min..=workload.record_bytes_max);
            let key = keys.and_then(|(keys, partition)| keys.key(partition, &mut random));
            value.clear();
            payload.value((variant << 32) + ends.len() as u64, bytes, &mut value);
            let grown =
                builder.uncompressed_bytes() + BatchBuilder::record_bytes_max(key.as_deref(), Some(&value), &[]);
            if !ends.is_empty() && grown > workload.batch_bytes {
                break;
            }
            builder.append(0, key.as_deref(), Some(&value), &[]);
            ends.push((builder.uncompressed_bytes() - BATCH_HEADER_BYTES) as u32);
            values.push(values.last().copied().unwrap_or(0) + bytes as u64);
        }
        let plain = builder.build().freeze().slice(BATCH_HEADER_BYTES..);
        let mut full = Records::new(plain.clone(), codec);
        full.prepare_shift();
        Template { plain, ends, values, full }
    }

    /// Records of a full batch.
    pub fn count(&self) -> u32 {
        self.ends.len() as u32
    }

    /// Bytes of the values of the first `count` records.
    pub fn value_bytes(&self, count: u32) -> u64 {
        count.checked_sub(1).map_or(0, |last| self.values[last as usize])
    }

    fn part(&self, count: u32, codec: Codec) -> Records {
        Records::new(self.plain.slice(..self.ends[count as usize - 1] as usize), codec)
    }
}

impl Records {
    fn new(plain: Bytes, codec: Codec) -> Records {
        let bytes = if codec == Codec::None { plain } else { compress(&plain, codec) };
        Records { crc: crc32c::crc32c(&bytes), bytes, shift: None }
    }

    fn prepare_shift(&mut self) {
        let length = self.bytes.len();
        self.shift = Some(Box::new(std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, length))));
    }

    /// The checksum of `head` and the records behind it.
    fn crc_behind(&self, head: &[u8]) -> u32 {
        let head = crc32c::crc32c(head);
        match &self.shift {
            Some(shift) => {
                let moved = (0..32).filter(|bit| head & (1 << bit) != 0).fold(0, |sum, bit| sum ^ shift[bit]);
                moved ^ self.crc
            }
            None => crc32c::crc32c_combine(head, self.crc, self.bytes.len()),
        }
    }

    /// The 61 bytes that belong before these records.
    pub fn header(&self, codec: Codec, count: u32, timestamp_ms: i64, producer: Producer) -> Bytes {
        let header = BatchHeader {
            base_offset: Offset(0),
            length: (BATCH_HEADER_BYTES - BEFORE_LENGTH_BYTES + self.bytes.len()) as i32,
            leader_epoch: LeaderEpoch(-1),
            crc: 0,
            attributes: Attributes::new(codec, TimestampType::CreateTime, false, false),
            last_offset_delta: count as i32 - 1,
            base_timestamp: timestamp_ms,
            max_timestamp: timestamp_ms,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.base_sequence,
            count: count as i32,
        };
        let mut bytes = header.encode();
        let crc = self.crc_behind(&bytes[CHECKED_FROM..]);
        bytes[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_be_bytes());
        Bytes::copy_from_slice(&bytes)
    }
}

fn compress(plain: &[u8], codec: Codec) -> Bytes {
    let out = Vec::with_capacity(plain.len() / 2);
    let mut compressor = corelane::record::compression::Compressor::new(codec, None, out);
    compressor.write(plain);
    Bytes::from(compressor.finish())
}

/// Batches that are not full, as they were needed: an open loop sends what is due.
#[derive(Default)]
pub struct Partials {
    kept: HashMap<(usize, u32), Records>,
    bytes: usize,
}

impl Partials {
    /// The first `count` records of a template.
    pub fn records(&mut self, templates: &Templates, number: usize, count: u32) -> Records {
        let template = templates.get(number);
        if count >= template.count() {
            return template.full.clone();
        }
        if let Some(records) = self.kept.get(&(number, count)) {
            return records.clone();
        }
        let records = template.part(count, templates.codec);
        if templates.codec != Codec::None {
            self.bytes += records.bytes.len();
        }
        if self.bytes > PARTIAL_BYTES_MAX {
            self.kept.clear();
            self.bytes = 0;
        }
        self.kept.insert((number, count), records.clone());
        records
    }
}

/// A whole batch in one piece, as header and records.
pub fn whole(batch: BytesMut) -> (Bytes, Bytes) {
    let batch = batch.freeze();
    (batch.slice(..BATCH_HEADER_BYTES), batch.slice(BATCH_HEADER_BYTES..))
}

#[cfg(test)]
mod tests {
    use corelane::record::{RecordIter, crc_ok};

    use super::*;
    use crate::workload::Keys;

    fn batch(workload: &Workload, count: u32) -> Vec<u8> {
        let payload = Payload::new(workload).unwrap();
        let templates = Templates::new(workload, &payload).unwrap();
        let count = count.min(templates.get(0).count());
        let records = Partials::default().records(&templates, 0, count);
        let mut bytes = records.header(templates.codec(), count, 1_700_000_000_000, Producer::NONE).to_vec();
        bytes.extend_from_slice(&records.bytes);
        bytes
    }

    #[test]
    fn a_prepared_batch_is_a_batch_whatever_its_codec_and_count() {
        for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
            for keys in [Keys::None, Keys::Uniform { count: 50 }] {
                let workload = Workload {
                    compression: compression.to_owned(),
                    keys,
                    record_bytes_min: 10,
                    record_bytes_max: 300,
                    batch_bytes: 16 << 10,
                    ..Workload::default()
                };
                for count in [1, 7, u32::MAX] {
                    let bytes = batch(&workload, count);
                    assert!(crc_ok(&bytes), "{compression}, {count} records");
                    let mut records = RecordIter::new(&bytes).unwrap();
                    let claimed = records.header().count;
                    let mut read = 0;
                    while let Some(record) = records.next_record().unwrap() {
                        assert_eq!(record.key.is_some(), keys != Keys::None);
                        read += 1;
                    }
                    assert_eq!(read, claimed);
                }
            }
        }
    }

    #[test]
    fn a_batch_is_as_large_as_asked_for_and_holds_a_record_at_least() {
        let full = batch(&Workload { batch_bytes: 64 << 10, ..Workload::default() }, u32::MAX);
        assert!((63 << 10..=64 << 10).contains(&full.len()), "{}", full.len());
        let one = batch(&Workload { batch_bytes: 100, ..Workload::default() }, u32::MAX);
        assert_eq!(RecordIter::new(&one).unwrap().header().count, 1);
    }
}
