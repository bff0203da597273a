//! Takes segments that are no longer the log's out of its directory, as Kafka's `LocalLog.deleteSegmentFiles` does.
//!
//! Retention takes a segment out of `sealed` and moves the log start past it; from then on no new reader finds it. Its
//! files are then renamed to `.deleted`, lowest segment first, the names made durable, and unlinked `file.delete.delay.ms`
//! later. Whoever holds a file open goes on reading it. A crash in between leaves segments that are loaded
//! again, or `.deleted` files, which a start removes.
//!
//! ```text
//!   sealed ──retire()──> retiring ──rename, sync──> graves ──delay, clean stop or full disk──> gone
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::file::RawFile;
use crate::runtime::fs;
use crate::runtime::sync::Event;
use crate::runtime::{offload, sleep, spawn};
use crate::types::Offset;

use super::disk_room::DiskLevel;
use super::log::{Log, State};
use super::log_shard::LogShard;
use super::names;
use super::segment::SealedSegment;
use super::spares::Spare;

/// How long to wait on a full disk before a file is tried to be made again.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// Segments that are on their way out of a log's directory.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    segments: RefCell<VecDeque<SealedSegment>>,
    /// Renames are under way or wait for something.
    busy: Cell<bool>,
}

impl Retiring {
    pub fn is_busy(&self) -> bool {
        self.busy.get()
    }

    fn put_back(&self, first: Vec<SealedSegment>) {
        let mut segments = self.segments.borrow_mut();
        for segment in first.into_iter().rev() {
            segments.push_front(segment);
        }
    }
}

/// What waits for its removal, for one shard.
#[derive(Debug, Default)]
pub(super) struct Graves {
    /// By the number of the log, so that a log's are found when it is closed.
    waiting: RefCell<BTreeMap<(u64, u64), Grave>>,
    next: Cell<u64>,
    /// Removals under way.
    digging: Cell<usize>,
    dug: Event,
}

#[derive(Debug)]
enum Grave {
    /// Files of a partition's directory.
    Files(Vec<PathBuf>),
    /// The whole directory of a deleted partition.
    Dir(Arc<Path>),
}

impl Grave {
    fn dig(self) -> io::Result<()> {
        match self {
            Grave::Files(paths) => paths.iter().try_for_each(|path| fs::remove_file(path).map(drop)),
            Grave::Dir(path) => fs::remove_dir_all(&path),
        }
    }
}

impl Log {
    /// Removes the files of segments that were taken out of `sealed`, lowest first; the log starts behind them already.
    pub(super) fn retire(self: &Rc<Self>, segments: Vec<SealedSegment>) {
        self.shard().count(|stats| stats.retired_segments += segments.len() as u64);
        self.retiring.segments.borrow_mut().extend(segments);
        if !self.retiring.busy.replace(true) {
            drop(spawn(Rc::clone(self).retire_all()));
        }
    }

    async fn retire_all(self: Rc<Self>) {
        loop {
            let changed = self.progress().listen();
            let state = self.state().borrow().clone();
            if self.is_gone() || matches!(state, State::Poisoned { .. }) {
                // A deleted log goes as a whole. A poisoned one is left as it is for the next start to look at.
                self.retiring.segments.borrow_mut().clear();
                break;
            }
            let ready = self.ready_to_retire();
            if !ready.is_empty() {
                if let Err(left) = self.bury(ready).await {
                    if matches!(state, State::Closed) {
                        break;
                    }
                    // Those behind them wait too: a gap between the files would look as if what is behind it had been
                    // written before what is missing, and a crash would cut it off.
                    self.retiring.put_back(left);
                    sleep(FULL_WAIT).await;
                }
                continue;
            }
            match state {
                _ if self.retiring.segments.borrow().is_empty() => break,
                State::Full { .. } => sleep(FULL_WAIT).await,
                _ => changed.await,
            }
        }
        self.retiring.busy.set(false);
        self.note_progress();
    }

    /// Those whose files nobody works at any more: a seal that is not done yet still writes to them.
    fn ready_to_retire(self: &Rc<Self>) -> Vec<SealedSegment> {
        if !self.has_successor() {
            return Vec::new();
        }
        let sealing = self.seal_jobs.borrow().front().map_or(Offset(i64::MAX), |job| job.base_offset);
        let mut segments = self.retiring.segments.borrow_mut();
        let ready = segments.iter().take_while(|segment| segment.base_offset < sealing).count();
        segments.drain(..ready).collect()
    }

    /// Whether a segment that stays has a durable name: without any file the log's offsets would be lost. Has the file
    /// made if there is none.
    fn has_successor(self: &Rc<Self>) -> bool {
        let created =
            !self.sealed.borrow().is_empty() || self.live().borrow().front().is_some_and(|front| front.room.created);
        if !created && self.seal_jobs.borrow().is_empty() && !self.preparing().get() {
            self.start_prepare();
        }
        created && self.is_named()
    }

    /// Renames the files of segments and has them removed later; gives the segments back if that fails.
    async fn bury(self: &Rc<Self>, buried: Vec<SealedSegment>) -> Result<(), Vec<SealedSegment>> {
        let segments = &buried;
        let shard = Rc::clone(self.shard());
        let (recycled, wanted) = (self.to_recycle(segments), self.recycle_wanted());
        let segments: Vec<Offset> = segments.iter().map(|segment| segment.base_offset).collect();
        let files: Vec<Arc<RawFile>> =
            segments.iter().filter_map(|&base_offset| shard.descriptors.remove((self.key(), base_offset))).collect();
        shard.indexes.forget_segments(self.key(), &segments);
        let dir = self.dir();
        let renamed = offload(move || {
            // Closed here: the last close of a large file takes its time.
            drop(files);
            let mut renamed = Vec::new();
            for base_offset in segments {
                rename_segment(&dir, base_offset, &mut renamed)?;
            }
            fs::sync_dir(&dir)?;
            // From here on nobody opens the files by the names that they had.
            let mut spares = Vec::new();
            for removed in recycled {
                match removed.make_ready(wanted) {
                    Ok(Some(made)) => {
                        renamed.retain(|path| *path != removed.path);
                        spares.push(Spare::recycled(removed.path, made));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!("{} is not used again: {error}", removed.path.display()),
                }
            }
            Ok::<_, io::Error>((renamed, spares))
        })
        .await;
        match renamed {
            Ok((renamed, spares)) => {
                shard.put_in_grave(self, Grave::Files(renamed));
                self.add_spares(spares);
                Ok(())
            }
            Err(error) => {
                tracing::error!(
                    "{}: files of removed segments cannot be renamed: {error}; it is tried again",
                    self.topic_partition()
                );
                Err(buried)
            }
        }
    }

    /// Removes at once what waits for its removal, before the log is closed.
    pub(super) async fn empty_graves(&self) {
        let graves = self.shard().graves.take_of(self.key());
        self.shard().dig(graves).await;
    }

    /// The log's directory has its `-delete` name: it is removed as a whole.
    pub(super) fn bury_dir(self: &Rc<Self>, dir: Arc<Path>) {
        drop(self.shard().graves.take_of(self.key()));
        self.shard().put_in_grave(self, Grave::Dir(dir));
    }
}

/// Gives the files of a segment their `.deleted` names, the producer snapshot at its base offset too (Kafka's
/// `ProducerStateManager.removeAndMarkSnapshotForDeletion`).
fn rename_segment(dir: &Path, base_offset: Offset, renamed: &mut Vec<PathBuf>) -> io::Result<()> {
    for path in [
        // First, so that a crash leaves indexes without a segment, which are removed, not a segment without indexes.
        names::log_file(dir, base_offset),
        names::offset_index_file(dir, base_offset),
        names::time_index_file(dir, base_offset),
        names::txn_index_file(dir, base_offset),
        names::snapshot_file(dir, base_offset),
    ] {
        let deleted = names::deleted(&path);
        if fs::if_exists(fs::rename(&path, &deleted))?.is_some() {
            renamed.push(deleted);
        }
    }
    Ok(())
}

impl Graves {
    fn take_of(&self, log: u64) -> Vec<Grave> {
        let mut waiting = self.waiting.borrow_mut();
        let mut behind = waiting.split_off(&(log, 0));
        let mut rest = behind.split_off(&(log + 1, 0));
        waiting.append(&mut rest);
        behind.into_values().collect()
    }
}

impl LogShard {
    /// Has files of a log removed that have their `.deleted` names.
    pub(super) fn bury_files(self: &Rc<Self>, log: &Log, files: Vec<PathBuf>) {
        self.put_in_grave(log, Grave::Files(files));
    }

    fn put_in_grave(self: &Rc<Self>, log: &Log, grave: Grave) {
        let delay = match *log.state().borrow() {
            // Appends wait for its blocks.
            _ if self.room.level() != DiskLevel::Room => Duration::ZERO,
            State::Full { .. } => Duration::ZERO,
            _ => Duration::from_millis(log.config().file_delete_delay_ms.max(0) as u64),
        };
        let graves = &self.graves;
        let number = (log.key(), graves.next.get());
        graves.next.set(number.1 + 1);
        graves.waiting.borrow_mut().insert(number, grave);
        let shard = Rc::downgrade(self);
        drop(spawn(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let Some(shard) = shard.upgrade() else { return };
            let grave = shard.graves.waiting.borrow_mut().remove(&number);
            shard.dig(grave.into_iter().collect()).await;
        }));
    }

    /// Removes at once everything that waits for its removal, and waits for what is being removed: at a clean stop, or
    /// when the disk is full.
    pub async fn empty_graves(&self) {
        let graves = std::mem::take(&mut *self.graves.waiting.borrow_mut());
        self.dig(graves.into_values().collect()).await;
        loop {
            let changed = self.graves.dug.listen();
            if self.graves.digging.get() == 0 {
                return;
            }
            changed.await;
        }
    }

    async fn dig(&self, graves: Vec<Grave>) {
        if graves.is_empty() {
            return;
        }
        let graves_of_shard = &self.graves;
        graves_of_shard.digging.set(graves_of_shard.digging.get() + 1);
        let errors: Vec<io::Error> =
            offload(move || graves.into_iter().filter_map(|grave| grave.dig().err()).collect()).await;
        graves_of_shard.digging.set(graves_of_shard.digging.get() - 1);
        graves_of_shard.dug.notify_all();
        if let Some(error) = errors.first() {
            tracing::warn!("removed files cannot be unlinked: {error}; the next start tries again");
        }
    }
}
