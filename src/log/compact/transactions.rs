//! What compaction has to know of transactions (Kafka's `CleanedTransactionMetadata`).
//!
//! How each transaction ended is taken from the markers in the log itself, which are there in any case, and not from
//! `.txnindex` files, of which a crash may leave less.

use std::collections::{HashMap, HashSet};

use crate::record::control::ControlRecordType;
use crate::record::{BatchError, BatchHeader, RecordIter};
use crate::types::{Offset, ProducerId};

/// Which transactions were aborted, from some offset on. Batches have to be noted in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// First offset and marker of each, in their order.
    aborted: HashMap<ProducerId, Vec<(Offset, Offset)>>,
    /// The first offsets of those that no marker was found of yet.
    open: HashMap<ProducerId, Offset>,
}

impl Outcomes {
    /// Takes note of a batch of data, by its header.
    pub fn note_data(&mut self, header: &BatchHeader) {
        if header.attributes.is_transactional() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
    }

    pub fn note_marker(&mut self, header: &BatchHeader, marker: Option<ControlRecordType>) {
        let aborts = match marker {
            Some(ControlRecordType::Abort) => true,
            Some(ControlRecordType::Commit) => false,
            _ => return,
        };
        if let Some(first) = self.open.remove(&header.producer_id)
            && aborts
        {
            self.aborted.entry(header.producer_id).or_default().push((first, header.base_offset));
        }
    }

    /// The first offset that belongs to a transaction without a marker.
    pub fn first_undecided(&self) -> Option<Offset> {
        self.open.values().min().copied()
    }

    pub fn is_aborted(&self, header: &BatchHeader) -> bool {
        header.attributes.is_transactional()
            && self.aborted.get(&header.producer_id).is_some_and(|aborted| {
                let before = aborted.partition_point(|(first, _)| *first <= header.base_offset);
                let last = before.checked_sub(1).and_then(|at| aborted.get(at));
                last.is_some_and(|(_, marker)| header.base_offset < *marker)
            })
    }
}

/// The kind of the marker in a control batch; `None` if it has no record left.
pub(super) fn marker_of(batch: &[u8]) -> Result<Option<ControlRecordType>, BatchError> {
    let mut records = RecordIter::new(batch)?;
    let record = records.next_record()?;
    Ok(record.and_then(|record| ControlRecordType::of_key(record.key?)))
}

/// Which transactions have batches left on the way through a log from its beginning: their markers have to stay.
#[derive(Debug, Default)]
pub(super) struct Seen {
    committed: HashSet<ProducerId>,
    aborted: HashSet<ProducerId>,
    /// The markers that ended transactions of which aborted batches were there.
    abort_markers: HashSet<Offset>,
}

impl Seen {
    /// A batch of data; says whether its transaction was aborted.
    pub fn data(&mut self, header: &BatchHeader, outcomes: &Outcomes) -> bool {
        if !header.attributes.is_transactional() {
            return false;
        }
        let is_aborted = outcomes.is_aborted(header);
        let seen = if is_aborted { &mut self.aborted } else { &mut self.committed };
        seen.insert(header.producer_id);
        is_aborted
    }

    /// A control batch; says whether nothing is left that it stands for.
    pub fn marker(&mut self, header: &BatchHeader, marker: Option<ControlRecordType>) -> bool {
        match marker {
            Some(ControlRecordType::Abort) => {
                // Where its aborted batches are not known for such, they count as any.
                let was_seen = self.aborted.remove(&header.producer_id) | self.committed.remove(&header.producer_id);
                if was_seen {
                    self.abort_markers.insert(header.base_offset);
                }
                !was_seen
            }
            Some(ControlRecordType::Commit) => !self.committed.remove(&header.producer_id),
            Some(_) => false,
            None => true,
        }
    }

    /// The abort markers since the last call whose transactions had batches.
    pub fn take_abort_markers(&mut self) -> HashSet<Offset> {
        std::mem::take(&mut self.abort_markers)
    }
}
