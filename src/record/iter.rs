//! Reading the records of a batch, decompressing as it goes.

use std::ops::ControlFlow;

use crate::types::Offset;

use super::compression::Decompressor;
use super::header::TimestampType;
use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, NO_TIMESTAMP, RecordView};

/// The records of a batch, one borrowed from the iterator at a time (so not an `Iterator`). An uncompressed batch is
/// read in place; of a compressed one only the codec's block and a record that lies across blocks are in memory.
#[derive(Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    source: Decompressor<'a>,
    index: i32,
    /// Bytes of the record answered last, still unread in `source`.
    pending: usize,
    /// A record that lies across two blocks.
    gathered: Vec<u8>,
}

impl<'a> RecordIter<'a> {
    /// Reads the batch at the front of `bytes`, whose CRC is not looked at.
    pub fn new(bytes: &'a [u8]) -> Result<RecordIter<'a>, BatchError> {
        RecordIter::with_limit(bytes, u64::MAX)
    }

    /// As `new`, with a bound on what the records decompress to.
    pub fn with_limit(bytes: &'a [u8], limit: u64) -> Result<RecordIter<'a>, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        if header.count < 0 {
            return Err(BatchError::Header("the batch claims a negative count of records"));
        }
        let records = bytes.get(BATCH_HEADER_BYTES..header.size()).unwrap_or_default();
        // Compaction keeps the header of a producer's last batch when all its records are gone: nothing to decompress.
        let codec = if header.count == 0 { super::Codec::None } else { header.attributes.codec()? };
        let source = Decompressor::new(codec, records, limit)?;
        Ok(RecordIter { header, source, index: 0, pending: 0, gathered: Vec::new() })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The next record. After an error the iterator is of no more use.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>, BatchError> {
        self.source.consume(std::mem::take(&mut self.pending));
        let index = self.index;
        if index >= self.header.count {
            return if self.header.count > 0 && !self.source.at_end()? {
                Err(BatchError::Records { index, what: "bytes are left behind the last record" })
            } else {
                Ok(None)
            };
        }
        let failed = |what| BatchError::Records { index, what };
        let len = self.source.varint()?.ok_or(failed("the batch ends before it"))?;
        let len = usize::try_from(len).map_err(|_| failed("it has a negative length"))?;
        self.index += 1;
        let body = if self.source.available().len() >= len {
            self.pending = len;
            self.source.available().get(..len).unwrap_or_default()
        } else {
            self.gathered.clear();
            if !self.source.read(len, &mut self.gathered)? {
                return Err(failed("the batch ends within it"));
            }
            &self.gathered
        };
        RecordView::parse(body, &self.header).map(Some).map_err(failed)
    }
}

/// Shows each record of the batch at the front of `bytes` to `visit`, until that breaks.
/// Answers what it broke with.
pub fn for_each_record<B>(
    bytes: &[u8],
    mut visit: impl FnMut(RecordView<'_>) -> ControlFlow<B>,
) -> Result<Option<B>, BatchError> {
    let mut records = RecordIter::new(bytes)?;
    while let Some(record) = records.next_record()? {
        if let ControlFlow::Break(value) = visit(record) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The first record with a timestamp of at least `timestamp`, as ListOffsets by time answers it: offset and timestamp.
pub fn first_record_at_or_after(batch: &[u8], timestamp: i64) -> Result<Option<(Offset, i64)>, BatchError> {
    for_each_record(batch, |record| {
        if record.timestamp >= timestamp {
            ControlFlow::Break((record.offset, record.timestamp))
        } else {
            ControlFlow::Continue(())
        }
    })
}

/// The first record that has the batch's max timestamp (KIP-734; `RecordBatch.offsetOfMaxTimestamp`): offset and
/// timestamp. `None` if no record has a timestamp.
pub fn record_of_max_timestamp(batch: &[u8]) -> Result<Option<(Offset, i64)>, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if header.max_timestamp == NO_TIMESTAMP && header.attributes.timestamp_type() == TimestampType::CreateTime {
        return Ok(None);
    }
    for_each_record(batch, |record| {
        if record.timestamp == header.max_timestamp {
            ControlFlow::Break((record.offset, record.timestamp))
        } else {
            ControlFlow::Continue(())
        }
    })
}
