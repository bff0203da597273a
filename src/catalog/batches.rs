//! Batches of catalog records: made for an append, and read back from a log or snapshot file.
//!
//! As KRaft wants them: no producer, no compression, the timestamp deltas all 0, the leader epoch that of the
//! catalog's own log.

use std::path::{Path, PathBuf};

use bytes::BytesMut;

use crate::protocol::EncodeError;
use crate::record::control::ControlRecordType;
use crate::record::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BatchOptions, crc_ok};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::{LeaderEpoch, Offset};

use super::error::CatalogError;
use super::features::MetadataVersion;
use super::metadata_record::MetadataRecord;
use super::records::{BeginTransactionRecord, EndTransactionRecord};

/// Kafka's own are at most 8 MiB (`KafkaRaftClient.MAX_BATCH_SIZE_BYTES`); what does not fit is another batch.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// What a batch read back may have, an eighth above Kafka's bound.
const READ_BYTES_MAX: usize = 9 << 20;

/// One batch, ready for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedBatch {
    pub bytes: BytesMut,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub max_timestamp: i64,
}

/// Where the next batch goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPlace {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub now_ms: i64,
}

impl BatchPlace {
    fn builder(&self, control: bool) -> BatchBuilder {
        BatchBuilder::new(BatchOptions {
            base_offset: self.offset,
            leader_epoch: self.leader_epoch,
            control,
            ..BatchOptions::default()
        })
    }

    /// Ends a batch; the next one goes behind it.
    fn finish(&mut self, builder: BatchBuilder) -> EncodedBatch {
        let base_offset = self.offset;
        let next = base_offset.plus(i64::from(builder.count()));
        self.offset = next;
        EncodedBatch {
            bytes: builder.build(),
            base_offset,
            last_offset: next.plus(-1),
            leader_epoch: self.leader_epoch,
            max_timestamp: self.now_ms,
        }
    }

    /// One batch of control records.
    pub(super) fn control(&mut self, records: &[(ControlRecordType, Vec<u8>)]) -> EncodedBatch {
        let mut builder = self.builder(true);
        for (kind, value) in records {
            builder.append_control(self.now_ms, *kind, value);
        }
        self.finish(builder)
    }

    /// As few batches as hold the records, each handed to `sink` as it is full.
    pub(super) fn records<E: From<EncodeError>>(
        &mut self,
        records: impl IntoIterator<Item = MetadataRecord>,
        versions: MetadataVersion,
        mut sink: impl FnMut(EncodedBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut builder = self.builder(false);
        for record in records {
            let value = record.encode(versions)?;
            let size = BatchBuilder::record_bytes_max(None, Some(&value), &[]);
            if !builder.is_empty() && builder.uncompressed_bytes() + size > BATCH_BYTES_MAX {
                let full = std::mem::replace(&mut builder, self.builder(false));
                sink(self.finish(full))?;
                builder = self.builder(false);
            }
            builder.append(self.now_ms, None, Some(&value), &[]);
        }
        if builder.is_empty() { Ok(()) } else { sink(self.finish(builder)) }
    }

    /// Batches of records that apply all or not at all: one batch, or a transaction over several.
    pub(super) fn atomic(
        &mut self,
        records: &[MetadataRecord],
        versions: MetadataVersion,
    ) -> Result<Vec<EncodedBatch>, EncodeError> {
        let (start, mut batches) = (*self, Vec::new());
        let mut push = |batch| {
            batches.push(batch);
            Ok::<_, EncodeError>(())
        };
        self.records(records.iter().cloned(), versions, &mut push)?;
        if batches.len() > 1 && versions.has_transactions() {
            *self = start;
            batches.clear();
            let begin = MetadataRecord::from(BeginTransactionRecord::default());
            let end = MetadataRecord::from(EndTransactionRecord::default());
            let all = std::iter::once(begin).chain(records.iter().cloned()).chain(std::iter::once(end));
            self.records(all, versions, |batch| {
                batches.push(batch);
                Ok::<_, EncodeError>(())
            })?;
        }
        Ok(batches)
    }
}

/// The batches of a segment or snapshot file, one after the other.
pub(super) struct BatchFile {
    path: PathBuf,
    file: RawFile,
    position: u64,
    size: u64,
    buffer: Vec<u8>,
}

impl BatchFile {
    /// Reads `size` bytes of the file, or all of it.
    pub(super) fn open(path: &Path, size: Option<u64>) -> Result<BatchFile, CatalogError> {
        let file = fs::open(path, OpenFlags::READ).map_err(CatalogError::io("open", path))?;
        let size = match size {
            Some(size) => size,
            None => fs::file_size(&file).map_err(CatalogError::io("read the size of", path))?,
        };
        Ok(BatchFile { path: path.to_owned(), file, position: 0, size, buffer: Vec::new() })
    }

    /// The next batch, whole and with the right CRC; `None` at the end.
    pub(super) fn next_batch(&mut self) -> Result<Option<(BatchHeader, &[u8])>, CatalogError> {
        if self.position >= self.size {
            return Ok(None);
        }
        self.read(BATCH_HEADER_BYTES)?;
        let header = BatchHeader::parse_prefix(&self.buffer)
            .map_err(|error| CatalogError::malformed(&self.path, format!("at byte {}: {error}", self.position)))?;
        if header.size() > READ_BYTES_MAX {
            let what = format!("at byte {}: a batch of {} bytes", self.position, header.size());
            return Err(CatalogError::malformed(&self.path, what));
        }
        self.read(header.size())?;
        if !crc_ok(&self.buffer) {
            let what = format!("at byte {}: the batch's CRC is not that of its bytes", self.position);
            return Err(CatalogError::malformed(&self.path, what));
        }
        self.position += header.size() as u64;
        Ok(Some((header, &self.buffer)))
    }

    /// Fills the buffer with this many bytes from the position on.
    fn read(&mut self, count: usize) -> Result<(), CatalogError> {
        let cut = || CatalogError::malformed(&self.path, format!("its last batch, at byte {}, is cut", self.position));
        if self.size - self.position < count as u64 {
            return Err(cut());
        }
        self.buffer.resize(count, 0);
        let filled =
            fs::pread(&self.file, &mut self.buffer, self.position).map_err(CatalogError::io("read", &self.path))?;
        if filled == count { Ok(()) } else { Err(cut()) }
    }
}
