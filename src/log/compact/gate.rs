//! Keeps readers and a change of names apart: a reader looks up offsets in one file and reads in another, and both have
//! to be of the same segment.

use std::cell::Cell;
use std::rc::Rc;

use crate::types::Offset;

use super::super::log::Log;

#[derive(Debug, Default)]
pub(in crate::log) struct Gate {
    readers: Cell<usize>,
    /// Readers that take long: names are not changed while they read, and nobody else waits for them.
    holders: Cell<usize>,
    closed: Cell<bool>,
    compacting: Cell<bool>,
    /// A compaction failed for another reason than a full disk: no more are tried before the next start.
    failed: Cell<bool>,
    /// Up to where the log is compacted; none if it never was.
    pub(super) compacted_to: Cell<Option<Offset>>,
}

impl Gate {
    /// A compaction begins; says whether there is one already.
    pub(super) fn begin(&self) -> bool {
        self.compacting.replace(true)
    }

    pub(super) fn end(&self) {
        self.compacting.set(false);
    }

    pub(super) fn note_failed(&self) {
        self.failed.set(true);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether a compaction is at the log's files.
    pub fn is_compacting(&self) -> bool {
        self.compacting.get()
    }

    /// Whether names are being changed, or are about to be.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

/// As long as it lives, segment files keep their names, retention aside.
pub struct FilesGuard {
    log: Rc<Log>,
}

/// As [`FilesGuard`], for who reads for long.
pub struct FilesHold {
    log: Rc<Log>,
}

impl Drop for FilesHold {
    fn drop(&mut self) {
        let holders = &self.log.gate.holders;
        holders.set(holders.get() - 1);
        self.log.note_progress();
    }
}

impl Drop for FilesGuard {
    fn drop(&mut self) {
        let gate = &self.log.gate;
        gate.readers.set(gate.readers.get() - 1);
        if gate.closed.get() && gate.readers.get() == 0 {
            self.log.note_progress();
        }
    }
}

/// As long as it lives nobody reads segment files.
pub(super) struct NamesGuard {
    log: Rc<Log>,
}

impl Drop for NamesGuard {
    fn drop(&mut self) {
        self.log.gate.closed.set(false);
        self.log.note_progress();
    }
}

impl Log {
    /// Waits, if names of segment files are just being changed, until that is over.
    pub async fn enter_files(self: &Rc<Self>) -> FilesGuard {
        self.until(|| !self.gate.closed.get()).await;
        self.share_files()
    }

    /// As [`enter_files`](Log::enter_files), for who is among the files already, and on behalf of a task that begins later:
    /// that would wait for names to be changed, which waits for this reader, who waits for that task.
    pub(in crate::log) fn share_files(self: &Rc<Self>) -> FilesGuard {
        self.gate.readers.set(self.gate.readers.get() + 1);
        FilesGuard { log: Rc::clone(self) }
    }

    /// Keeps compaction from changing the names of segment files, for a read of many of them.
    pub async fn hold_files(self: &Rc<Self>) -> FilesHold {
        self.until(|| !self.gate.closed.get()).await;
        self.gate.holders.set(self.gate.holders.get() + 1);
        FilesHold { log: Rc::clone(self) }
    }

    /// Waits until no reader is left; new ones wait for the guard's end. For one at a time.
    pub(super) async fn close_files(self: &Rc<Self>) -> NamesGuard {
        self.until(|| self.gate.holders.get() == 0).await;
        self.gate.closed.set(true);
        let guard = NamesGuard { log: Rc::clone(self) };
        self.until(|| self.gate.readers.get() == 0).await;
        guard
    }
}
