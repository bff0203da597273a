//! The hot tail: the batches appended last, kept in memory so that consumers that keep up cost no read.
//!
//! There is one budget per shard, whatever the number of partitions; over it the oldest batches of the shard go first. What a
//! slow connection still sends stays alive by its own reference.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use crate::types::Offset;

use super::log::Log;

/// What a batch costs beside its bytes: its places in both queues and the header of its buffer.
const BATCH_OVERHEAD_BYTES: usize = 128;

#[derive(Debug)]
struct TailBatch {
    base_offset: Offset,
    last_offset: Offset,
    bytes: Bytes,
}

/// The tail of one partition: batches without a gap between them.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: VecDeque<TailBatch>,
}

impl Tail {
    /// Takes the batches that hold `from` to `end_exclusive`, whole ones, while they fit into `bytes_max`; the first one
    /// whatever its size if `at_least_one`. `None` when the tail does not reach back to `from`.
    pub fn read(
        &self,
        from: Offset,
        end_exclusive: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Option<Vec<Bytes>> {
        if self.batches.front()?.base_offset > from {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.last_offset < from);
        let mut chunks = Vec::new();
        let mut left = bytes_max;
        for batch in self.batches.range(first..).take_while(|batch| batch.last_offset < end_exclusive) {
            if batch.bytes.len() > left && !(at_least_one && chunks.is_empty()) {
                break;
            }
            left = left.saturating_sub(batch.bytes.len());
            chunks.push(batch.bytes.clone());
        }
        Some(chunks)
    }
}

/// The budget of one shard's tails.
#[derive(Debug)]
pub(super) struct TailBudget {
    bytes_max: usize,
    bytes: Cell<usize>,
    /// One entry per batch kept, oldest first. A batch that left its tail another way leaves its entry behind, which then
    /// stands for the next batch of that partition: it goes a little early.
    order: RefCell<VecDeque<Weak<Log>>>,
}

impl TailBudget {
    pub fn new(bytes_max: usize) -> TailBudget {
        TailBudget { bytes_max, bytes: Cell::new(0), order: RefCell::new(VecDeque::new()) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Keeps a batch, and lets the oldest ones go while there are too many.
    pub fn keep(&self, log: &Rc<Log>, base_offset: Offset, last_offset: Offset, bytes: Bytes) {
        let cost = cost(&bytes);
        if cost > self.bytes_max {
            self.forget_from(log, Offset(0));
            return;
        }
        self.bytes.set(self.bytes.get() + cost);
        log.tail().borrow_mut().batches.push_back(TailBatch { base_offset, last_offset, bytes });
        self.order.borrow_mut().push_back(Rc::downgrade(log));
        while self.bytes.get() > self.bytes_max {
            let Some(oldest) = self.order.borrow_mut().pop_front() else { break };
            if let Some(log) = oldest.upgrade() {
                let batch = log.tail().borrow_mut().batches.pop_front();
                self.release(batch.as_ref());
            }
        }
    }

    /// Drops a partition's batches that begin at `offset` or above.
    pub fn forget_from(&self, log: &Log, offset: Offset) {
        let mut tail = log.tail().borrow_mut();
        while tail.batches.back().is_some_and(|batch| batch.base_offset >= offset) {
            self.release(tail.batches.pop_back().as_ref());
        }
    }

    /// Drops a partition's batches that end before `offset`: their segments have been compacted.
    pub fn forget_below(&self, log: &Log, offset: Offset) {
        let mut tail = log.tail().borrow_mut();
        while tail.batches.front().is_some_and(|batch| batch.last_offset < offset) {
            self.release(tail.batches.pop_front().as_ref());
        }
    }

    fn release(&self, batch: Option<&TailBatch>) {
        if let Some(batch) = batch {
            self.bytes.set(self.bytes.get() - cost(&batch.bytes));
        }
    }
}

fn cost(bytes: &Bytes) -> usize {
    bytes.len() + BATCH_OVERHEAD_BYTES
}
