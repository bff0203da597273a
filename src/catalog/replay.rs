//! Batches of a snapshot and of the log, one after the other, becoming an image.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;

use crate::protocol::{Message, Reader};
use crate::record::control::ControlRecordType;
use crate::record::{BatchHeader, RecordIter};
use crate::types::Offset;

use super::batches::BatchFile;
use super::error::CatalogError;
use super::features::{METADATA_VERSION, METADATA_VERSION_MAX};
use super::image::{CatalogImage, ImagePosition};
use super::metadata_record::MetadataRecord;
use super::quorum::{KRaftVersionRecord, VotersRecord};
use super::snapshot::SnapshotId;

/// Reads a catalog.
pub(super) struct Replay {
    image: CatalogImage,
    /// The image before the transaction that is open, to go back to if it is aborted or never ends.
    before_transaction: Option<CatalogImage>,
}

impl Replay {
    pub(super) fn new(image: CatalogImage) -> Replay {
        Replay { image, before_transaction: None }
    }

    /// Takes a batch over. Answers whether its last record ends a snapshot.
    pub(super) fn batch(&mut self, path: &Path, header: &BatchHeader, batch: &[u8]) -> Result<bool, CatalogError> {
        let base_offset = header.base_offset;
        let wrong = |offset, error: String| CatalogError::Record { path: path.to_owned(), offset, error };
        let mut records = RecordIter::new(batch).map_err(|error| wrong(base_offset, error.to_string()))?;
        let mut ends_snapshot = false;
        loop {
            let record = records.next_record().map_err(|error| wrong(base_offset, error.to_string()))?;
            let Some(record) = record else { break };
            let value = record.value.unwrap_or_default();
            let done = if header.attributes.is_control() {
                self.control(record.key.unwrap_or_default(), value, &mut ends_snapshot)
            } else {
                self.record(value)
            };
            done.map_err(|error| wrong(record.offset, error))?;
        }
        self.set_position(ImagePosition {
            end_offset: header.next_offset(),
            leader_epoch: header.leader_epoch,
            timestamp_ms: header.max_timestamp,
        });
        Ok(ends_snapshot)
    }

    /// The snapshot is read: what follows is the log, from the offset on that the snapshot's name says.
    pub(super) fn begin_log(&mut self, id: SnapshotId) -> Result<(), CatalogError> {
        self.check()?;
        self.set_position(ImagePosition {
            end_offset: id.end_offset,
            leader_epoch: id.leader_epoch,
            timestamp_ms: self.image.position.timestamp_ms,
        });
        Ok(())
    }

    /// Reads the part of a segment that is not in the image yet.
    pub(super) fn segment(&mut self, path: &Path, size: u64) -> Result<(), CatalogError> {
        let mut file = BatchFile::open(path, Some(size))?;
        while let Some((header, batch)) = file.next_batch()? {
            let at = self.image.position.end_offset;
            if header.next_offset() <= at {
                continue;
            }
            if header.base_offset != at {
                return Err(CatalogError::Gap { expected: at, found: header.base_offset });
            }
            self.batch(path, &header, batch)?;
        }
        Ok(())
    }

    /// The image, and whether a transaction was left open: it does not apply.
    pub(super) fn finish(mut self) -> Result<(CatalogImage, bool), CatalogError> {
        let position = self.image.position;
        let open = self.before_transaction.take();
        let is_open = open.is_some();
        if let Some(before) = open {
            self.image = before;
            self.image.position = position;
        }
        self.check()?;
        Ok((self.image, is_open))
    }

    fn check(&self) -> Result<(), CatalogError> {
        let level = self.image.feature(METADATA_VERSION);
        if level > METADATA_VERSION_MAX {
            return Err(CatalogError::MetadataVersion { level });
        }
        match self.image.incomplete_topic() {
            Some(topic) => Err(CatalogError::Incomplete { topic: topic.name.to_string() }),
            None => Ok(()),
        }
    }

    fn set_position(&mut self, position: ImagePosition) {
        self.image.position = position;
    }

    fn record(&mut self, value: &[u8]) -> Result<(), String> {
        let record = MetadataRecord::decode(value).map_err(|error| error.to_string())?;
        match record {
            MetadataRecord::BeginTransaction(_) => {
                // Kafka refuses a transaction in a transaction.
                if self.before_transaction.is_some() {
                    return Err("a transaction begins before the last one ended".to_owned());
                }
                self.before_transaction = Some(self.image.clone());
                Ok(())
            }
            MetadataRecord::EndTransaction(_) => {
                self.before_transaction.take().map(|_| ()).ok_or_else(|| "no transaction is open".to_owned())
            }
            MetadataRecord::AbortTransaction(_) => {
                let before = self.before_transaction.take().ok_or_else(|| "no transaction is open".to_owned())?;
                let position = self.image.position;
                let quorum = Arc::clone(&self.image.quorum);
                self.image = before;
                self.image.position = position;
                self.image.quorum = quorum;
                Ok(())
            }
            other => self.image.apply(&other).map_err(|error| error.to_string()),
        }
    }

    fn control(&mut self, key: &[u8], value: &[u8], ends_snapshot: &mut bool) -> Result<(), String> {
        let mut reader = Reader::new(BytesMut::from(value));
        match ControlRecordType::of_key(key) {
            Some(ControlRecordType::KRaftVersion) => {
                let record = KRaftVersionRecord::decode(&mut reader, 0).map_err(|error| error.to_string())?;
                Arc::make_mut(&mut self.image.quorum).kraft_version = record.k_raft_version;
            }
            Some(ControlRecordType::KRaftVoters) => {
                let record = VotersRecord::decode(&mut reader, 0).map_err(|error| error.to_string())?;
                Arc::make_mut(&mut self.image.quorum).voters = Some(record);
            }
            Some(ControlRecordType::SnapshotFooter) => *ends_snapshot = true,
            // Leader changes, and what a later Kafka may have: nothing follows from them here.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.image.position.end_offset
    }
}
