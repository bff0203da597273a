//! Fetches answered from batches that were made before: a broker's tail in memory without the broker.
//!
//! Each fetch gets the batches behind one another from where its offset points in the set, with base offsets that go on from
//! it; only the 61 bytes before the records are made for an answer. There is no end that a consumer could wait at.

use bytes::{Bytes, BytesMut};
use corelane::{
    protocol::{
        ApiKey, FetchRequest, FetchResponse, Message, Records, RequestHeader, ResponseHeader, Writer,
        fetch::{FetchableTopicResponse, PartitionData},
    },
    record::{BATCH_HEADER_BYTES, BatchBuilder, BatchOptions},
    runtime::clock,
};
use rand::{RngCore, SeedableRng, rngs::SmallRng};

use super::Sink;
use crate::error::Error;

const SET_BYTES_MAX: usize = 8 << 30;

pub struct Prepared {
    batches: Vec<(Bytes, Bytes)>,
    records_per_batch: i64,
    batch_bytes: usize,
}

impl Prepared {
    pub fn new(record_bytes: usize, batch_bytes: usize, set_bytes: usize) -> Result<Prepared, Error> {
        if set_bytes > SET_BYTES_MAX || batch_bytes > SET_BYTES_MAX || record_bytes > batch_bytes {
            return Err(Error::Wrong(format!(
                "batches of {batch_bytes} bytes with records of {record_bytes} in a set of {set_bytes} make no sense"
            )));
        }
        let mut random = SmallRng::seed_from_u64(1);
        let mut value = vec![0; record_bytes];
        let (mut batches, mut records_per_batch, mut bytes) = (Vec::new(), 0, 0);
        while batches.is_empty() || bytes < set_bytes {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            random.fill_bytes(&mut value);
            let record = BatchBuilder::record_bytes_max(None, Some(&value), &[]);
            while builder.is_empty() || builder.uncompressed_bytes() + record <= batch_bytes {
                builder.append(clock::wall_ms(), None, Some(&value), &[]);
            }
            records_per_batch = i64::from(builder.count());
            let mut batch = builder.build().freeze();
            bytes += batch.len();
            let head = batch.split_to(BATCH_HEADER_BYTES);
            batches.push((head, batch));
        }
        // Timestamps of a batch that took a millisecond more are longer: the smallest is what always fits.
        let batch_bytes = batches.iter().map(|(head, rest)| head.len() + rest.len()).max().unwrap_or(1);
        Ok(Prepared { batches, records_per_batch, batch_bytes })
    }

    fn records(&self) -> i64 {
        self.batches.len() as i64 * self.records_per_batch
    }

    /// The batches from an offset on, at most so many bytes but one batch at least.
    fn from(&self, offset: i64, bytes_max: usize) -> Vec<Bytes> {
        let count = (bytes_max / self.batch_bytes).max(1);
        let mut heads = BytesMut::with_capacity(count * BATCH_HEADER_BYTES);
        let mut parts = Vec::with_capacity(2 * count);
        let first = (offset.max(0) / self.records_per_batch) as usize;
        for at in 0..count {
            let Some((head, rest)) = self.batches.get((first + at) % self.batches.len()) else { break };
            heads.extend_from_slice(head);
            let base_offset = offset + at as i64 * self.records_per_batch;
            heads[..8].copy_from_slice(&base_offset.to_be_bytes());
            parts.push(heads.split().freeze());
            parts.push(rest.clone());
        }
        parts
    }
}

/// The answer to a fetch: from the set, or empty where there is none.
pub fn fetch(sink: &Sink, request: &FetchRequest, header: &RequestHeader) -> Result<Vec<Bytes>, Error> {
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
    let mut chosen: Vec<Vec<Bytes>> = Vec::new();
    let mut responses = Vec::new();
    for topic in &request.topics {
        let mut partitions = Vec::new();
        for asked in &topic.partitions {
            let mut records = Records::Null;
            if let Some(prepared) = sink.prepared.as_ref().filter(|_| chosen.is_empty() || left > 0) {
                let bytes_max = left.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
                let parts = prepared.from(asked.fetch_offset, bytes_max);
                let len: usize = parts.iter().map(Bytes::len).sum();
                left = left.saturating_sub(len);
                records = Records::External { len: len as u32, slot: chosen.len() as u32 };
                chosen.push(parts);
            }
            partitions.push(PartitionData {
                partition_index: asked.partition,
                // Always the whole set ahead.
                high_watermark: asked.fetch_offset + sink.prepared.as_ref().map_or(0, Prepared::records),
                records,
                ..Default::default()
            });
        }
        responses.push(FetchableTopicResponse { topic: topic.topic.clone(), partitions, ..Default::default() });
    }
    let response = FetchResponse { responses, ..Default::default() };
    let mut writer = Writer::frame();
    let version = header.request_api_version;
    ResponseHeader { correlation_id: header.correlation_id }.encode(&mut writer, ApiKey::Fetch, version);
    response.encode(&mut writer, version)?;
    let (frame, externals) = writer.finish_frame()?;
    let mut frame = frame.freeze();
    let (mut parts, mut taken) = (Vec::new(), 0);
    for external in externals {
        parts.push(frame.split_to(external.position - taken));
        taken = external.position;
        if let Some(records) = chosen.get_mut(external.slot as usize) {
            parts.append(records);
        }
    }
    if !frame.is_empty() {
        parts.push(frame);
    }
    Ok(parts)
}
