//! The catalog while the broker runs: requests become batches for its log, and when those are durable a new image.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::error_code::ErrorCode;
use crate::protocol::EncodeError;
use crate::record::control::{self, ControlRecordType};
use crate::types::{LeaderEpoch, Offset};

use super::batches::{BatchPlace, EncodedBatch};
use super::change::{CatalogChange, changes_between};
use super::commands::{Registration, fence, lead_partitions, register, resign_partitions};
use super::error::{CatalogError, CommandError};
use super::image::{CatalogImage, ImagePosition};
use super::load::{self, CatalogOptions, Loaded};
use super::metadata_record::MetadataRecord;
use super::placement::LastRun;
use super::quorum::{ControllerEndpoint, QuorumImage};
use super::records::AbortTransactionRecord;
use super::snapshot::{self, SnapshotId, quorum_records};

/// One step of the catalog: what to append to its log, and what it then is.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// In order; none if nothing changes.
    pub batches: Vec<CatalogBatch>,
    /// The image once all batches are durable.
    pub image: Arc<CatalogImage>,
    /// What is different in it.
    pub changes: Vec<CatalogChange>,
}

/// A batch for the catalog's log, as `Log::append` wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogBatch {
    pub bytes: Bytes,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub max_timestamp: i64,
}

impl From<EncodedBatch> for CatalogBatch {
    fn from(batch: EncodedBatch) -> CatalogBatch {
        let EncodedBatch { bytes, base_offset, last_offset, leader_epoch, max_timestamp } = batch;
        CatalogBatch { bytes: bytes.freeze(), base_offset, last_offset, leader_epoch, max_timestamp }
    }
}

/// A snapshot to be written off the shards.
#[derive(Clone, Debug)]
pub struct SnapshotJob {
    dir: PathBuf,
    image: Arc<CatalogImage>,
}

impl SnapshotJob {
    /// Writes the snapshot and removes older ones. Blocks. `None`: the image must not be cut off from its log.
    pub fn run(&self) -> Result<Option<SnapshotId>, CatalogError> {
        let written = snapshot::write(&self.dir, &self.image)?;
        if let Some(id) = written {
            snapshot::remove_older(&self.dir, id)?;
        }
        Ok(written)
    }
}

/// The catalog of a running broker. One shard owns it; the images it makes go to all.
#[derive(Debug)]
pub struct Catalog {
    dir: PathBuf,
    controller: Option<ControllerEndpoint>,
    leader_epoch: LeaderEpoch,
    /// A transaction of somebody else's was left open: it is aborted first of all.
    open_transaction: bool,
    /// The first records of an empty log.
    bootstrap: Vec<MetadataRecord>,
    /// All of it durable.
    committed: Arc<CatalogImage>,
    /// With all that is prepared.
    prepared: Arc<CatalogImage>,
    bytes_since_snapshot: u64,
    /// A snapshot is written when the log has grown by so much since the last one.
    snapshot_after_bytes: u64,
    snapshot_running: bool,
    /// Part of a step is in the log, and the rest of it is not: what follows would not stand where it belongs.
    broken: bool,
}

impl Catalog {
    /// Loads the catalog of a data directory, or makes one: the newest snapshot and the log behind it. Blocks; for
    /// the time before the shards start, with the directory locked and marked as in use. Whatever the catalog was,
    /// this run has a new epoch of its log, which [`begin`](Catalog::begin) opens.
    pub fn bootstrap_or_load(options: &CatalogOptions) -> Result<Loaded, CatalogError> {
        load::bootstrap_or_load(options)
    }

    pub(super) fn new(
        options: &CatalogOptions,
        dir: PathBuf,
        image: CatalogImage,
        leader_epoch: LeaderEpoch,
        open_transaction: bool,
        bootstrap: Vec<MetadataRecord>,
        bytes_since_snapshot: u64,
    ) -> Catalog {
        let image = Arc::new(image);
        Catalog {
            dir,
            controller: options.controller.clone(),
            leader_epoch,
            open_transaction,
            bootstrap,
            committed: Arc::clone(&image),
            prepared: image,
            bytes_since_snapshot,
            snapshot_after_bytes: options.snapshot_after_bytes,
            snapshot_running: false,
            broken: false,
        }
    }

    /// The image of all that is durable.
    pub fn image(&self) -> &Arc<CatalogImage> {
        &self.committed
    }

    /// The image with all that is prepared: what commands are to be made from, so that they need not wait for
    /// each other's flush.
    pub fn prepared_image(&self) -> &Arc<CatalogImage> {
        &self.prepared
    }

    /// The leader epoch of the catalog's log in this run.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// What a start writes, before anything else is prepared: the leader change that opens the epoch, in a new catalog
    /// the features, the broker's registration, and a new leader epoch for every partition here.
    pub fn begin(&mut self, registration: &Registration, now_ms: i64) -> Result<Prepared, CatalogError> {
        let before = Arc::clone(&self.prepared);
        let mut image = CatalogImage::clone(&before);
        let mut place = self.place(&image, now_ms);
        let opening = self.opening(&mut image);
        let mut batches = vec![place.control(&opening)];
        let mut records = Vec::new();
        if std::mem::take(&mut self.open_transaction) {
            let reason = Some("the broker stopped before its end".into());
            records.push(AbortTransactionRecord { reason }.into());
        }
        records.extend(std::mem::take(&mut self.bootstrap));
        records.extend(register(&image, registration, place.offset.plus(records.len() as i64)));
        records.extend(lead_partitions(&image));
        for record in &records {
            image.apply(record).map_err(CatalogError::Begin)?;
        }
        // No transaction around them: a start that breaks off is begun anew, whatever it wrote.
        place
            .records(records, image.metadata_version(), |batch| {
                batches.push(batch);
                Ok::<_, EncodeError>(())
            })
            .map_err(CatalogError::Encode)?;
        Ok(self.prepared(&before, image, batches, place))
    }

    /// One step: all of the records, or on an error nothing. They are made from
    /// [`prepared_image`](Catalog::prepared_image), with nothing prepared in between. Steps are appended and
    /// committed in the order that they are prepared in; if an append fails no later one may be tried.
    pub fn prepare(&mut self, records: &[MetadataRecord], now_ms: i64) -> Result<Prepared, CommandError> {
        let before = Arc::clone(&self.prepared);
        if records.is_empty() {
            return Ok(Prepared { batches: Vec::new(), image: before, changes: Vec::new() });
        }
        if self.broken {
            let message = "The catalog's log failed in the middle of a step; the broker has to be started anew.";
            return Err(CommandError::new(ErrorCode::KafkaStorageError, message));
        }
        let internal = |error: String| CommandError::new(ErrorCode::UnknownServerError, error);
        let mut image = CatalogImage::clone(&before);
        for record in records {
            image.apply(record).map_err(|error| internal(error.to_string()))?;
        }
        let mut place = self.place(&image, now_ms);
        let batches = place.atomic(records, image.metadata_version()).map_err(|error| internal(error.to_string()))?;
        Ok(self.prepared(&before, image, batches, place))
    }

    /// The batches of a step are durable: its image is the catalog now.
    ///
    /// # Panics
    /// If steps are committed in another order than they were prepared.
    pub fn commit(&mut self, step: &Prepared) -> &Arc<CatalogImage> {
        let (from, to) = (self.committed.position().end_offset, step.image.position().end_offset);
        let first = step.batches.first().map_or(to, |batch| batch.base_offset);
        assert!(first == from, "the catalog is at {from}, and the step to commit begins at {first}");
        self.committed = Arc::clone(&step.image);
        &self.committed
    }

    /// A step could not be appended or flushed, and with it all that were prepared after it. `log_end_offset` is the
    /// log's: where that took nothing, as on a full disk, the catalog is as it was before the step and may try again.
    /// Where it kept a part, or may have, nothing more is prepared until the next start.
    pub fn step_failed(&mut self, log_end_offset: Offset) {
        self.prepared = Arc::clone(&self.committed);
        self.broken |= log_end_offset != self.committed.position().end_offset;
    }

    /// The last step of a clean stop: the broker leads nothing any more and is fenced. `None` if it never registered.
    pub fn end(&mut self, now_ms: i64) -> Result<Option<Prepared>, CommandError> {
        let Some(fence) = fence(&self.prepared) else { return Ok(None) };
        let mut records: Vec<MetadataRecord> = resign_partitions(&self.prepared).collect();
        records.push(fence);
        self.prepare(&records, now_ms).map(Some)
    }

    /// What a clean stop writes into the placement, when all is committed.
    pub fn stopped(&self) -> LastRun {
        LastRun::Stopped { end_offset: self.committed.position().end_offset, leader_epoch: self.leader_epoch }
    }

    /// A snapshot to write now, if the log has grown by enough since the last one and none is being written.
    /// [`snapshot_ended`](Catalog::snapshot_ended) is to be called when it is done.
    pub fn snapshot_due(&mut self) -> Option<SnapshotJob> {
        self.snapshot_after(self.snapshot_after_bytes)
    }

    /// As [`snapshot_due`](Catalog::snapshot_due), if the log has grown at all.
    pub fn snapshot_of_changes(&mut self) -> Option<SnapshotJob> {
        self.snapshot_after(1)
    }

    fn snapshot_after(&mut self, bytes: u64) -> Option<SnapshotJob> {
        let due = self.bytes_since_snapshot >= bytes && !self.snapshot_running;
        due.then(|| {
            self.snapshot_running = true;
            self.bytes_since_snapshot = 0;
            SnapshotJob { dir: self.dir.clone(), image: Arc::clone(&self.committed) }
        })
    }

    /// A snapshot was written, or could not be. Answers up to where the log may be deleted.
    pub fn snapshot_ended(&mut self, result: &Result<Option<SnapshotId>, CatalogError>) -> Option<Offset> {
        self.snapshot_running = false;
        result.as_ref().ok()?.map(|id| id.end_offset)
    }

    fn place(&self, image: &CatalogImage, now_ms: i64) -> BatchPlace {
        BatchPlace { offset: image.position().end_offset, leader_epoch: self.leader_epoch, now_ms }
    }

    /// The control records that begin an epoch, as KRaft's leader writes them.
    fn opening(&self, image: &mut CatalogImage) -> Vec<(ControlRecordType, Vec<u8>)> {
        let node_id = image.node_id();
        let mut records =
            vec![(ControlRecordType::LeaderChange, control::leader_change(node_id, &[node_id], &[node_id]))];
        if image.quorum.kraft_version == 0 {
            return records;
        }
        let is_first = image.position().end_offset == Offset::ZERO;
        let wanted = self.wanted_quorum(image);
        if is_first || wanted != *image.quorum {
            records.extend(quorum_records(&wanted));
            image.quorum = Arc::new(wanted);
        }
        records
    }

    /// This node as the only voter, reached where the configuration says, or where it was reached before.
    fn wanted_quorum(&self, image: &CatalogImage) -> QuorumImage {
        let is_sole = image.quorum.voters.as_ref().is_some_and(|voters| {
            voters.voters.len() == 1
                && voters
                    .voters
                    .iter()
                    .all(|voter| voter.voter_id == image.node_id() && voter.voter_directory_id == image.directory_id())
        });
        match &self.controller {
            None if is_sole => QuorumImage::clone(&image.quorum),
            endpoint => {
                let endpoint = endpoint.clone().unwrap_or_else(ControllerEndpoint::kafkas_example);
                QuorumImage::sole(image.node_id(), image.directory_id(), &endpoint)
            }
        }
    }

    fn prepared(
        &mut self,
        before: &CatalogImage,
        mut image: CatalogImage,
        batches: Vec<EncodedBatch>,
        place: BatchPlace,
    ) -> Prepared {
        image.position =
            ImagePosition { end_offset: place.offset, leader_epoch: place.leader_epoch, timestamp_ms: place.now_ms };
        self.bytes_since_snapshot += batches.iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
        self.prepared = Arc::new(image);
        Prepared {
            batches: batches.into_iter().map(CatalogBatch::from).collect(),
            changes: changes_between(before, &self.prepared),
            image: Arc::clone(&self.prepared),
        }
    }
}
