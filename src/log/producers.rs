//! What a partition remembers of its idempotent and transactional producers (KIP-98; Kafka's
//! `ProducerStateManager`, `ProducerStateEntry`, `ProducerAppendInfo`): enough to tell a retry from new data.
//!
//! For each producer id: the epoch, the last five batches by sequence and offset, the first offset of its open
//! transaction and the epoch of the coordinator that ended the last one. Pure: clocks are arguments.
//!
//! Unlike Kafka's, an entry expires by when its batches were appended, not by the timestamps in them alone: a
//! producer of old records (a replay, a mirror) keeps its state as long as any.

mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use hashbrown::HashMap;

use crate::error_code::ErrorCode;
use crate::record::control::{self, ControlRecordType};
use crate::record::{
    BatchError, BatchHeader, BatchInfo, NO_PRODUCER_EPOCH, NO_SEQUENCE, RecordIter, increment_sequence,
};
use crate::types::{Offset, ProducerId};

pub use snapshot::SnapshotError;

/// How many batches of a producer are remembered: it may have as many in flight
/// (`max.in.flight.requests.per.connection` of an idempotent producer), and retry any of them.
const BATCHES_REMEMBERED: usize = 5;

/// The producers of one partition, as of `end_offset`.
#[derive(Clone, Debug, Default)]
pub struct ProducerTable {
    producers: HashMap<ProducerId, ProducerEntry>,
    /// Open transactions by their first offset.
    open_transactions: BTreeMap<Offset, ProducerId>,
    /// One past the last offset that is accounted for.
    end_offset: Offset,
    /// Where the table was loaded or begun: nothing is known of how it was before.
    known_from: Offset,
}

/// What a partition remembers of one producer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerEntry {
    pub epoch: i16,
    /// Of the coordinator that wrote the last transaction marker; -1: none has.
    pub coordinator_epoch: i32,
    /// The max timestamp of the last batch, or the timestamp of the last marker.
    pub last_timestamp: i64,
    /// Where its open transaction begins.
    pub transaction_first_offset: Option<Offset>,
    /// Oldest first; the ones behind `remembered` mean nothing.
    batches: [RememberedBatch; BATCHES_REMEMBERED],
    remembered: u8,
    /// The last offset of the newest batch of this epoch that is remembered no more; -1 if there is none.
    forgotten_to: Offset,
    /// The last batch that had to go, in case all behind it is taken back.
    forgotten: Option<RememberedBatch>,
    /// Where it goes on, after all that was remembered has been taken back: its producer sends that again, and one of
    /// its later batches, on their way meanwhile, must not slip in before.
    resume_sequence: Option<i32>,
    /// When it last appended, for expiry.
    touched_ms: i64,
    /// The offset of its last transaction marker, where one was seen; not in snapshots.
    marker_offset: Option<Offset>,
}

/// A batch that was appended, so that its retry is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RememberedBatch {
    pub last_sequence: i32,
    pub last_offset: Offset,
    /// The last sequence less the first.
    pub offset_delta: i32,
    /// Its max timestamp, which is the time of the append under LogAppendTime.
    pub timestamp: i64,
}

impl RememberedBatch {
    pub fn first_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    pub fn first_sequence(&self) -> i32 {
        // Backwards over the wrap from 0 to 2^31-1.
        self.last_sequence.wrapping_sub(self.offset_delta) & i32::MAX
    }
}

/// A batch of data as the table needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerBatch {
    pub producer_id: ProducerId,
    pub epoch: i16,
    pub base_sequence: i32,
    pub last_offset_delta: i32,
    pub max_timestamp: i64,
    pub transactional: bool,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }
}

impl From<&BatchInfo> for ProducerBatch {
    fn from(info: &BatchInfo) -> ProducerBatch {
        ProducerBatch {
            producer_id: info.producer_id,
            epoch: info.producer_epoch,
            base_sequence: info.base_sequence,
            last_offset_delta: info.last_offset_delta,
            max_timestamp: info.max_timestamp,
            transactional: info.transactional,
        }
    }
}

impl From<&BatchHeader> for ProducerBatch {
    fn from(header: &BatchHeader) -> ProducerBatch {
        ProducerBatch {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            last_offset_delta: header.last_offset_delta,
            max_timestamp: header.max_timestamp,
            transactional: header.attributes.is_transactional(),
        }
    }
}

/// What is to be done with a batch that a client sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Append,
    /// It is in the log already; the answer is that of its first append, once that is as durable as asked for.
    Duplicate {
        first_offset: Offset,
        last_offset: Offset,
        timestamp: i64,
    },
    Refuse(ProducerError),
}

/// Why a producer's batch is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProducerError {
    /// Its sequence does not follow the last one: a batch before it is missing, or it is an old retry.
    OutOfOrderSequence { producer_id: ProducerId, sequence: i32, last_sequence: i32 },
    /// A new epoch of a known producer begins at sequence 0.
    NewEpochNotAtZero { producer_id: ProducerId, sequence: i32, epoch: i16, last_epoch: i16 },
    /// A later instance of the producer has written.
    StaleEpoch { producer_id: ProducerId, epoch: i16, last_epoch: i16 },
    /// Data outside of a transaction while one is open.
    InTransaction { producer_id: ProducerId },
}

impl ProducerError {
    /// Kafka's code for the error.
    pub fn error_code(self) -> ErrorCode {
        match self {
            ProducerError::OutOfOrderSequence { .. } | ProducerError::NewEpochNotAtZero { .. } => {
                ErrorCode::OutOfOrderSequenceNumber
            }
            ProducerError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            ProducerError::InTransaction { .. } => ErrorCode::InvalidTxnState,
        }
    }
}

impl fmt::Display for ProducerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProducerError::OutOfOrderSequence { producer_id, sequence, last_sequence } => write!(
                f,
                "out of order sequence number for producer {producer_id}: {sequence} (incoming), {last_sequence} \
                 (current end sequence number)"
            ),
            ProducerError::NewEpochNotAtZero { producer_id, sequence, epoch, last_epoch } => write!(
                f,
                "invalid sequence number for new epoch of producer {producer_id}: {epoch} (request epoch), \
                 {sequence} (sequence number), {last_epoch} (current producer epoch)"
            ),
            ProducerError::StaleEpoch { producer_id, epoch, last_epoch } => write!(
                f,
                "epoch of producer {producer_id} is {epoch}, which is smaller than the last seen epoch {last_epoch}"
            ),
            ProducerError::InTransaction { producer_id } => {
                write!(f, "expected a transactional write from producer {producer_id}, which has a transaction open")
            }
        }
    }
}

impl std::error::Error for ProducerError {}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Of the marker.
    pub last_offset: Offset,
    pub aborted: bool,
}

/// The marker that ends a producer's transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionMarker {
    pub producer_id: ProducerId,
    pub epoch: i16,
    pub coordinator_epoch: i32,
    pub commit: bool,
    pub timestamp: i64,
}

impl ProducerTable {
    /// A table without producers, for a log that begins (or whose state is unknown) at `offset`.
    pub fn new(offset: Offset) -> ProducerTable {
        ProducerTable { end_offset: offset, known_from: offset, ..ProducerTable::default() }
    }

    /// One past the last offset that is accounted for; a snapshot of the table is named by it.
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub fn get(&self, producer_id: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer_id)
    }

    /// The producers in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(id, entry)| (*id, entry))
    }

    /// The first offset of the oldest open transaction, below which all is decided.
    pub fn first_undecided_offset(&self) -> Option<Offset> {
        self.open_transactions.keys().next().copied()
    }

    /// Judges a client's batch. One without a producer id is always appended.
    pub fn check(&self, batch: &ProducerBatch) -> Verdict {
        if batch.producer_id.0 < 0 {
            return Verdict::Append;
        }
        // A producer that was never seen, or that expired, or whose records are all gone, begins where it likes.
        let Some(entry) = self.producers.get(&batch.producer_id) else {
            return Verdict::Append;
        };
        match entry.check(batch) {
            Ok(None) => Verdict::Append,
            Ok(Some(twin)) => Verdict::Duplicate {
                first_offset: twin.first_offset(),
                last_offset: twin.last_offset,
                timestamp: twin.timestamp,
            },
            Err(error) => Verdict::Refuse(error),
        }
    }

    /// Takes note of a batch of data that goes into the log at `base_offset`: one that `check` lets pass, or one that
    /// recovery finds there.
    pub fn record_append(&mut self, batch: &ProducerBatch, base_offset: Offset, now_ms: i64) {
        let last_offset = base_offset.plus(i64::from(batch.last_offset_delta));
        self.advance_to(last_offset.plus(1));
        if batch.producer_id.0 < 0 {
            return;
        }
        let entry = self.producers.entry(batch.producer_id).or_insert_with(|| ProducerEntry::new(batch.epoch));
        entry.take_epoch(batch.epoch);
        entry.remember(RememberedBatch {
            last_sequence: batch.last_sequence(),
            last_offset,
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        entry.last_timestamp = batch.max_timestamp;
        entry.touched_ms = now_ms;
        if batch.transactional && entry.transaction_first_offset.is_none() {
            entry.transaction_first_offset = Some(base_offset);
            self.open_transactions.insert(base_offset, batch.producer_id);
        }
    }

    /// Takes note of a transaction marker that goes into the log at `offset`. Answers the transaction that it ends;
    /// there is none if the producer wrote nothing to this partition.
    pub fn record_marker(
        &mut self,
        marker: &TransactionMarker,
        offset: Offset,
        now_ms: i64,
    ) -> Option<CompletedTransaction> {
        self.advance_to(offset.plus(1));
        let entry = self.producers.entry(marker.producer_id).or_insert_with(|| ProducerEntry::new(marker.epoch));
        entry.take_epoch(marker.epoch);
        entry.coordinator_epoch = marker.coordinator_epoch;
        entry.last_timestamp = marker.timestamp;
        entry.touched_ms = now_ms;
        entry.marker_offset = Some(offset);
        let first_offset = entry.transaction_first_offset.take()?;
        self.open_transactions.remove(&first_offset);
        Some(CompletedTransaction {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: offset,
            aborted: !marker.commit,
        })
    }

    /// Takes note of a whole batch that is in the log, data or control, with the offsets stamped on it. What recovery
    /// does with each batch behind the snapshot. Nothing is checked: the batch has been accepted before.
    pub fn replay(&mut self, batch: &[u8], now_ms: i64) -> Result<Option<CompletedTransaction>, BatchError> {
        let header = BatchHeader::parse(batch)?;
        let mut completed = None;
        if header.has_producer_id() && header.attributes.is_control() {
            // Compaction may have taken the marker and kept the batch: then its transaction is gone too.
            if let Some(record) = RecordIter::new(batch)?.next_record()? {
                let kind = record.key.and_then(ControlRecordType::of_key);
                let coordinator_epoch = record.value.and_then(control::parse_end_txn_marker);
                if let (Some(kind @ (ControlRecordType::Commit | ControlRecordType::Abort)), Some(coordinator_epoch)) =
                    (kind, coordinator_epoch)
                {
                    let marker = TransactionMarker {
                        producer_id: header.producer_id,
                        epoch: header.producer_epoch,
                        coordinator_epoch,
                        commit: kind == ControlRecordType::Commit,
                        timestamp: record.timestamp,
                    };
                    completed = self.record_marker(&marker, header.base_offset, now_ms);
                }
            }
        } else if header.has_producer_id() {
            self.record_append(&ProducerBatch::from(&header), header.base_offset, now_ms);
        }
        self.advance_to(header.next_offset());
        Ok(completed)
    }

    /// Accounts for batches without a producer id, up to `end_offset`.
    pub fn advance_to(&mut self, end_offset: Offset) {
        self.end_offset = self.end_offset.max(end_offset);
    }

    /// Forgets producers that appended nothing for `expiration_ms` (`producer.id.expiration.ms`) and have no open
    /// transaction. Answers how many.
    pub fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            let idle_since = entry.last_timestamp.max(entry.touched_ms);
            entry.transaction_first_offset.is_some() || now_ms.saturating_sub(idle_since) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Forgets what lies at `offset` and behind it: the batches that a full disk refused after all. A producer of which
    /// nothing is left may go on with the first of what it lost and nothing else. False if the table no longer knows how
    /// it was there: it was begun later, or a marker would have to be taken back. Then it is empty.
    #[must_use]
    pub fn truncate_to(&mut self, offset: Offset) -> bool {
        if offset >= self.end_offset {
            return true;
        }
        let marker_lost = |entry: &ProducerEntry| entry.marker_offset.is_some_and(|marker| marker >= offset);
        let known = offset >= self.known_from && !self.producers.values().any(marker_lost);
        if known {
            // A producer with more in flight than it may have is forgotten alone, and begins where it likes.
            self.producers.retain(|_, entry| entry.truncate_to(offset) || entry.transaction_first_offset.is_some());
            self.open_transactions.retain(|first_offset, _| *first_offset < offset);
            self.end_offset = offset;
        } else {
            *self = ProducerTable::new(offset);
        }
        known
    }
}

impl ProducerEntry {
    fn new(epoch: i16) -> ProducerEntry {
        ProducerEntry {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first_offset: None,
            batches: [RememberedBatch::default(); BATCHES_REMEMBERED],
            remembered: 0,
            forgotten_to: Offset::UNKNOWN,
            forgotten: None,
            resume_sequence: None,
            touched_ms: i64::MIN,
            marker_offset: None,
        }
    }

    /// The batches that are remembered, oldest first.
    pub fn batches(&self) -> &[RememberedBatch] {
        self.batches.get(..usize::from(self.remembered)).unwrap_or_default()
    }

    /// The sequence that the last batch ended with, `NO_SEQUENCE` if none is remembered.
    pub fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    /// The batch it repeats, or none if it may be appended.
    fn check(&self, batch: &ProducerBatch) -> Result<Option<&RememberedBatch>, ProducerError> {
        let producer_id = batch.producer_id;
        if batch.epoch == self.epoch
            && let Some(twin) = self
                .batches()
                .iter()
                .find(|b| b.first_sequence() == batch.base_sequence && b.last_sequence == batch.last_sequence())
        {
            return Ok(Some(twin));
        }
        if batch.epoch < self.epoch {
            return Err(ProducerError::StaleEpoch { producer_id, epoch: batch.epoch, last_epoch: self.epoch });
        }
        if batch.epoch == self.epoch {
            let last_sequence = self.last_sequence();
            let is_next = match self.resume_sequence {
                Some(resumed) => batch.base_sequence == resumed,
                None => follows(last_sequence, batch.base_sequence),
            };
            if !is_next {
                let sequence = batch.base_sequence;
                return Err(ProducerError::OutOfOrderSequence { producer_id, sequence, last_sequence });
            }
        } else if batch.base_sequence != 0 && self.epoch != NO_PRODUCER_EPOCH {
            return Err(ProducerError::NewEpochNotAtZero {
                producer_id,
                sequence: batch.base_sequence,
                epoch: batch.epoch,
                last_epoch: self.epoch,
            });
        }
        if self.transaction_first_offset.is_some() && !batch.transactional {
            return Err(ProducerError::InTransaction { producer_id });
        }
        Ok(None)
    }

    /// Goes over to another epoch, of which nothing is remembered yet.
    fn take_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.remembered = 0;
            self.forgotten_to = Offset::UNKNOWN;
            self.forgotten = None;
            self.resume_sequence = None;
        }
    }

    fn remember(&mut self, batch: RememberedBatch) {
        self.resume_sequence = None;
        if usize::from(self.remembered) == BATCHES_REMEMBERED {
            self.forgotten_to = self.batches[0].last_offset;
            self.forgotten = self.batches.first().copied();
            self.batches.rotate_left(1);
            self.remembered -= 1;
        }
        self.batches[usize::from(self.remembered)] = batch;
        self.remembered += 1;
    }

    /// False if what it was at `offset` isn't known: more was taken back than is remembered.
    fn truncate_to(&mut self, offset: Offset) -> bool {
        let kept = self.batches().iter().take_while(|batch| batch.last_offset < offset).count();
        if kept == usize::from(self.remembered) {
            return true;
        }
        self.remembered = kept as u8;
        if kept == 0
            && let Some(last) = self.forgotten.take_if(|batch| batch.last_offset < offset)
        {
            self.batches[0] = last;
            self.remembered = 1;
            self.forgotten_to = Offset(last.last_offset.0 - i64::from(last.offset_delta) - 1);
        }
        if self.transaction_first_offset.is_some_and(|first| first >= offset) {
            self.transaction_first_offset = None;
        }
        match self.batches().last() {
            Some(batch) => self.last_timestamp = batch.timestamp,
            None => self.resume_sequence = self.batches.first().map(RememberedBatch::first_sequence),
        }
        self.remembered > 0 || self.forgotten_to < offset
    }
}

/// Whether a batch that begins with `next` comes right behind one that ended with `last`.
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}
