//! Files at hand for a partition's next segments, so that a roll waits for neither the making of a file nor for its room.
//!
//! A spare is a removed segment made ready to be written over (`recycle`), or a new file with the first step of
//! room. It has a name that ends in `.log.deleted`, which a start removes, Apache Kafka's too. The next segment
//! takes it over by a rename. Spares exist while a partition is written so fast that they will be needed soon; an
//! idle one has none, nor has anybody on a full disk or after a clean stop.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, spawn, wall_ms};

use super::fault::FaultOp;
use super::log::{Log, State};
use super::log_shard::LogShard;
use super::names;
use super::recycle::{Recycled, Removed, Wanted};
use super::segment::{LiveSegment, SealedSegment};
use super::space::round_up;

/// A file that waits for a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Spare {
    pub path: PathBuf,
    /// Its size, in whole blocks.
    pub bytes: u64,
    /// Up to where it holds the bytes of an earlier use; 0 for a new one.
    pub stale_bytes: u64,
}

impl Spare {
    pub fn recycled(path: PathBuf, made: Recycled) -> Spare {
        Spare { path, bytes: made.bytes, stale_bytes: made.stale_bytes }
    }

    /// Opens the file and gives it the name of a segment; not durably. `None` if somebody removed it.
    pub fn take_over(&self, name: &Path) -> io::Result<Option<RawFile>> {
        // Opened before anything is changed: descriptors can run out, and then this is tried again.
        let opened = fs::if_exists(fs::open(&self.path, OpenFlags::READ_WRITE.direct(true)))?;
        if opened.is_some() {
            fs::rename(&self.path, name)?;
        }
        Ok(opened)
    }
}

/// The spares of one log.
#[derive(Debug, Default)]
pub(super) struct Spares {
    ready: RefCell<VecDeque<Spare>>,
    /// A new one is being made.
    making: Cell<bool>,
    /// How many new ones were made.
    made: Cell<i64>,
}

impl Spares {
    pub fn is_busy(&self) -> bool {
        self.making.get()
    }

    pub fn is_empty(&self) -> bool {
        self.ready.borrow().is_empty()
    }

    /// The one to be used next: the largest part used before, since that is what is written fastest.
    pub fn take(&self) -> Option<Spare> {
        let mut ready = self.ready.borrow_mut();
        let best = ready.iter().enumerate().max_by_key(|(_, spare)| spare.stale_bytes).map(|(at, _)| at);
        best.and_then(|at| ready.remove(at))
    }

    pub fn recycled(&self) -> usize {
        self.ready.borrow().iter().filter(|spare| spare.stale_bytes > 0).count()
    }

    fn take_all(&self) -> Vec<Spare> {
        self.ready.borrow_mut().drain(..).collect()
    }
}

impl Log {
    /// Whether the partition is written so fast that files for further segments are worth their room.
    fn is_fast(&self, now_ms: i64) -> bool {
        self.pace.get().fills_soon(u64::from(self.config().segment_bytes), now_ms)
    }

    /// The positions by which a sealed segment can be used again once it is removed, if that is likely to happen.
    pub(super) fn straddling_of(&self, old: &mut LiveSegment) -> Option<Arc<[u32]>> {
        let shard = self.shard();
        let likely = shard.is_direct() && shard.options.recycled_segments_max > 0 && self.is_fast(wall_ms());
        old.straddling.take().filter(|_| likely)?.into_positions()
    }

    /// Those of removed segments that are to be used again, as far as is known before somebody looks at the files.
    pub(super) fn to_recycle(&self, removed: &[SealedSegment]) -> Vec<Removed> {
        let shard = self.shard();
        let wanted = shard.options.recycled_segments_max.saturating_sub(self.spares.recycled());
        if wanted == 0 || !shard.is_direct() || !self.takes_spares() || !self.is_fast(wall_ms()) {
            return Vec::new();
        }
        let dir = self.dir();
        let known = removed.iter().rev().filter_map(|segment| {
            let path = names::deleted(&names::log_file(&dir, segment.base_offset));
            segment.straddling.clone().map(|straddling| Removed { path, straddling })
        });
        known.take(wanted).collect()
    }

    pub(super) fn recycle_wanted(&self) -> Wanted {
        let options = &self.shard().options;
        Wanted {
            block_bytes: options.block_bytes,
            bytes_max: u64::from(self.config().segment_bytes),
            bytes_min: options.recycled_bytes_min,
        }
    }

    fn takes_spares(&self) -> bool {
        matches!(*self.state().borrow(), State::Open) && !self.is_gone()
    }

    /// Takes files in that were made ready; whoever made them keeps the log from being closed meanwhile.
    pub(super) fn add_spares(self: &Rc<Self>, spares: Vec<Spare>) {
        if spares.is_empty() {
            return;
        }
        self.spares.ready.borrow_mut().extend(spares);
        if !self.takes_spares() {
            self.drop_spares();
            return;
        }
        if self.spares.recycled() > 0 {
            // A new one beside it would only take room.
            let (kept, new): (Vec<_>, Vec<_>) =
                self.spares.take_all().into_iter().partition(|spare| spare.stale_bytes > 0);
            *self.spares.ready.borrow_mut() = kept.into();
            remove_later(new);
        }
        self.note_room();
    }

    /// Whether a file for the next segment should be made now.
    pub(super) fn wants_spare(&self, front: &LiveSegment) -> bool {
        let segment_bytes = u64::from(self.config().segment_bytes);
        let now_ms = self.last_append_ms();
        let pace = self.pace.get();
        // What is being removed may become one.
        self.spares.is_empty()
            && !(self.spares.is_busy() || self.sealing.get() || self.retiring.is_busy())
            && pace.is_nearly_full(segment_bytes.saturating_sub(front.placed_end), now_ms)
            && pace.fills_soon(segment_bytes, now_ms)
    }

    /// Makes a new file for the next segment, behind the back of the writes that go on.
    pub(super) fn start_spare(self: &Rc<Self>) {
        let shard = self.shard();
        let block = shard.options.block_bytes;
        let step = self.live().borrow().back().map_or(0, |segment| segment.room.growth.step_bytes());
        let bytes = round_up(step.min(u64::from(self.config().segment_bytes)), block);
        let Some(attempt) = self.begin_taking_room() else { return };
        if bytes == 0 || !self.takes_spares() || self.spares.making.replace(true) {
            return;
        }
        // Offsets are never as high: no segment gets this name when it is removed.
        let number = i64::MAX - self.spares.made.get();
        self.spares.made.set(self.spares.made.get() + 1);
        let path = names::spare_file(&self.dir(), number);
        let faults = shard.options.faults.clone();
        let log = Rc::clone(self);
        drop(spawn(async move {
            let made = offload(move || {
                faults.map_or(Ok(()), |faults| faults.check(FaultOp::Allocate).map(drop))?;
                make(&path, bytes).map(|()| Spare { path, bytes, stale_bytes: 0 })
            })
            .await;
            drop(attempt);
            log.spares.making.set(false);
            match made {
                Ok(spare) => log.add_spares(vec![spare]),
                // The roll makes its file itself, and meets whatever this is.
                Err(error) => tracing::debug!("{}: no spare segment: {error}", log.topic_partition()),
            }
            log.next_commit();
        }));
    }

    /// Removes the spares, in a while.
    pub(super) fn drop_spares(&self) {
        remove_later(self.spares.take_all());
    }

    /// Removes the spares before the log is closed.
    pub(super) async fn remove_spares(&self) {
        let spares = self.spares.take_all();
        if !spares.is_empty() {
            offload(move || remove_all(&spares)).await;
        }
    }

    /// The directory goes as a whole.
    pub(super) fn forget_spares(&self) {
        drop(self.spares.take_all());
    }

    /// Gives spares back that will not be needed soon.
    pub(super) fn review_spares(&self) {
        if !self.is_fast(wall_ms()) {
            self.drop_spares();
        }
    }
}

impl LogShard {
    /// Gives the room of all spares back, because others need it.
    pub(super) fn drop_spares(&self) {
        for log in self.roomy.borrow().iter().filter_map(std::rc::Weak::upgrade) {
            log.drop_spares();
        }
    }
}

fn make(path: &Path, bytes: u64) -> io::Result<()> {
    let flags = OpenFlags { create: true, truncate: true, ..OpenFlags::READ_WRITE };
    let made = fs::open(path, flags.direct(true)).and_then(|file| fs::fallocate(&file, 0, bytes, false));
    if made.is_err() {
        fs::remove_file(path)?;
    }
    made
}

fn remove_later(spares: Vec<Spare>) {
    if !spares.is_empty() {
        drop(spawn(offload(move || remove_all(&spares))));
    }
}

fn remove_all(spares: &[Spare]) {
    for spare in spares {
        if let Err(error) = fs::remove_file(&spare.path) {
            tracing::warn!("{} cannot be removed: {error}; the next start tries again", spare.path.display());
        }
    }
}
