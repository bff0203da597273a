//! From the journal into the segments, so that a file of it can be used again.

use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::log::error::LogError;
use crate::log::full::wait_for_room;
use crate::log::log::{Log, State};
use crate::log::log_shard::LogShard;
use crate::runtime::{offload, sleep, spawn, wall_ms};
use crate::types::Offset;

use super::{JournalFile, Phase};

/// So many segments are filled at a time, for the device and for whoever waits for a record meanwhile.
const FILLS_AT_ONCE: usize = 64;
/// A journal that is not written to for so long is drained.
const IDLE: Duration = Duration::from_secs(1);

impl JournalFile {
    /// Room for records.
    pub(super) fn left(&self) -> u64 {
        self.bytes.get().saturating_sub(self.end.get())
    }
}

impl LogShard {
    /// Goes on in the other file, if that is free; the one so far is drained.
    pub(super) fn switch_journal(self: &Rc<Self>) -> bool {
        let journal = &self.journal;
        if journal.phase.get() != Phase::Ready || !journal.other().free.get() || journal.draining.replace(true) {
            return false;
        }
        let full = journal.current.get();
        journal.current.set(1 - full);
        let next = journal.current();
        next.free.set(false);
        next.end.set(0);
        next.generation.set(journal.next_generation());
        drop(spawn(Rc::clone(self).drain_journal(full)));
        true
    }

    async fn drain_journal(self: Rc<Self>, at: usize) {
        let journal = &self.journal;
        let members = journal.files[at].members.take();
        for log in &members {
            log.journaled.member[at].set(false);
        }
        for some in members.chunks(FILLS_AT_ONCE) {
            let ends: Vec<Offset> = some.iter().map(|log| log.written_offset()).collect();
            for (log, end) in some.iter().zip(&ends) {
                log.start_filling(*end);
            }
            for (log, end) in some.iter().zip(&ends) {
                while !log.filled(*end).await {
                    wait_for_room().await;
                }
            }
        }
        let is_needed = |log: &&Rc<Log>| !log.is_gone() && !matches!(*log.state().borrow(), State::Poisoned { .. });
        let members: Vec<Rc<Log>> = members.iter().filter(is_needed).cloned().collect();
        for log in &members {
            log.journaled.syncing.set(true);
        }
        let synced = self.sync_filled(&members).await;
        for log in &members {
            log.journaled.syncing.set(false);
            if let Err(error) = &synced {
                journal.retire();
                log.poison_by("flushing what the journal held failed", error);
            }
            log.next_commit();
        }
        if journal.phase.get() == Phase::Ready {
            // Records that are many in a short time want larger files.
            if journal.files[at].left() < journal.files[at].bytes.get() / 2 {
                self.grow_journal(at).await;
            }
            journal.files[at].free.set(true);
        }
        journal.draining.set(false);
        journal.stuck.set(false);
        self.run_journal();
    }

    /// Makes durable what the segments of these logs were filled with.
    async fn sync_filled(&self, members: &[Rc<Log>]) -> io::Result<()> {
        let mut files = Vec::new();
        for log in members.iter().take(self.options.fdatasync_files_max + 1) {
            let front = log.live().borrow().front().map(|front| front.base_offset);
            let file = front.and_then(|base_offset| self.descriptors.get((log.key(), base_offset)));
            // Of one that is being sealed, or was closed meanwhile, another file is meant.
            if let Some(file) = file.filter(|_| log.seal_jobs.borrow().is_empty()) {
                files.push(self.file(file));
            }
        }
        self.count(|stats| stats.flushes += 1);
        if files.len() == members.len() {
            let syncs: Vec<_> = files.iter().map(super::super::file::File::fdatasync).collect();
            let mut result = Ok(());
            for sync in syncs {
                result = sync.await.and(result);
            }
            return result;
        }
        self.count(|stats| stats.file_system_flushes += 1);
        let Some(file) = self.journal.current().file.borrow().clone() else { return Ok(()) };
        let file = self.file(file);
        offload(move || file.syncfs()).await
    }

    /// Has the journal drained when it is not used any more.
    pub(super) fn watch_journal(self: &Rc<Self>) {
        if !self.journal.watched.replace(true) {
            drop(spawn(watch(Rc::downgrade(self))));
        }
    }
}

async fn watch(shard: Weak<LogShard>) {
    loop {
        sleep(IDLE).await;
        let Some(shard) = shard.upgrade() else { return };
        let journal = &shard.journal;
        if journal.phase.get() != Phase::Ready || !journal.is_in_use() {
            return journal.watched.set(false);
        }
        let idle_ms = wall_ms().saturating_sub(journal.written_ms.get());
        if idle_ms >= IDLE.as_millis() as i64 && !journal.writing.get() {
            shard.switch_journal();
        }
    }
}

impl Log {
    /// Whether segments are to be filled with what is in the journal.
    pub(in crate::log) fn wants_filling(&self) -> bool {
        self.journaled.filled.get() < self.journaled.fill_to.get() || self.live().borrow().len() > 1
    }

    /// All below this is in the segments' files.
    pub(in crate::log) fn filled_offset(&self) -> Offset {
        self.journaled.filled.get()
    }

    pub(in crate::log) fn note_filled(&self, end_offset: Offset) {
        self.journaled.filled.set(self.journaled.filled.get().max(end_offset));
    }

    /// Has the segments filled up to an offset that is written, soon.
    pub(in crate::log) fn start_filling(self: &Rc<Self>, end_offset: Offset) {
        if self.filled_offset() < end_offset {
            let fill_to = &self.journaled.fill_to;
            fill_to.set(fill_to.get().max(end_offset));
            if matches!(*self.state().borrow(), State::Full { .. }) {
                self.retry_filling();
            } else {
                self.start_commit(true);
            }
        }
    }

    /// Resolves when the segments hold all below an offset that is written, or never will; or when there is no room on
    /// the disk for it, which alone is answered with no.
    async fn filled(self: &Rc<Self>, end_offset: Offset) -> bool {
        if self.filled_offset() >= end_offset {
            return true;
        }
        self.start_filling(end_offset);
        let is_full = || matches!(*self.state().borrow(), State::Full { .. });
        let is_lost = || self.is_gone() || matches!(*self.state().borrow(), State::Poisoned { .. });
        self.until(|| self.filled_offset() >= end_offset || is_lost() || is_full()).await;
        self.filled_offset() >= end_offset || is_lost()
    }

    /// To be called before a search in the segments' files.
    ///
    /// # Errors
    /// `DiskFull`: part of what is to be searched is in the journal, and its segment has no room.
    pub(in crate::log) async fn fill_for_search(self: &Rc<Self>) -> Result<(), LogError> {
        if self.filled(self.written_offset()).await { Ok(()) } else { Err(LogError::DiskFull) }
    }

    /// Batches that no segment has yet, for a reader: as [`Log::read`]. None if a segment has them by now.
    pub(in crate::log) async fn read_journaled(
        &self,
        from: Offset,
        end_exclusive: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Option<Vec<Bytes>> {
        // What is just being written comes back or is in the segment soon.
        let is_waiting = || self.live().borrow().front().is_some_and(|front| front.holds(from));
        let is_lost = || self.is_gone() || matches!(*self.state().borrow(), State::Poisoned { .. });
        self.until(|| self.filled_offset() > from || is_waiting() || is_lost()).await;
        let live = self.live().borrow();
        let front = live.front().filter(|front| front.holds(from))?;
        let first = front.placed.partition_point(|placed| placed.end_offset <= from);
        let mut batches = Vec::new();
        let mut left = bytes_max;
        for placed in front.placed.range(first..).take_while(|placed| placed.end_offset <= end_exclusive) {
            if placed.bytes.len() > left && !(at_least_one && batches.is_empty()) {
                break;
            }
            left = left.saturating_sub(placed.bytes.len());
            batches.push(placed.bytes.clone());
        }
        Some(batches)
    }

    /// Whether a flush of what was filled is under way, which the next write must leave its block to.
    pub(in crate::log) fn is_sync_filling(&self) -> bool {
        self.journaled.syncing.get()
    }

    /// The disk was full: the journal keeps what the segment has no room for. Whoever needs the journal goes on without.
    pub(in crate::log) fn retry_filling(self: &Rc<Self>) {
        self.shard().journal.stuck.set(true);
        self.shard().run_journal();
        if self.journaled.retrying.replace(true) {
            return;
        }
        let log = Rc::clone(self);
        drop(spawn(async move {
            wait_for_room().await;
            log.journaled.retrying.set(false);
            if matches!(*log.state().borrow(), State::Full { .. }) {
                log.start_resume();
            } else {
                log.start_commit(true);
            }
        }));
    }

    pub(in crate::log) fn note_room_again(&self) {
        self.shard().journal.stuck.set(false);
    }
}
