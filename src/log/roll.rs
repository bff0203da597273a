//! From one segment to the next: when a roll is decided, and how the old segment is sealed.
//!
//! The decision falls inside `append` and costs nothing there: the new segment exists in memory, its file is made when its first
//! write is due. Once the old segment's last write is done it is sealed behind the back of further appends: cut to its
//! data, synced, its index files, the producer snapshot of the roll offset and the leader epochs written and synced. Only then
//! does the recovery point pass it.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, sleep, spawn};
use crate::types::Offset;

use super::config::LogConfig;
use super::error::is_disk_full;
use super::full::FULL_WAIT;
use super::index::SegmentIndexes;
use super::log::{Log, State};
use super::log_shard::FlushAcks;
use super::names;
use super::segment::{LiveSegment, SealedSegment};

/// A segment whose data is written and whose files are to be completed.
#[derive(Clone, Debug)]
pub(super) struct SealJob {
    pub base_offset: Offset,
    end_offset: Offset,
    size_bytes: u64,
    indexes: Rc<SegmentIndexes>,
    snapshot: Option<Bytes>,
}

/// Everything that makes a segment's files complete, for a helper thread.
#[derive(Debug)]
pub(super) struct Completion {
    pub dir: Arc<Path>,
    pub file: Option<Arc<RawFile>>,
    pub base_offset: Offset,
    pub end_offset: Offset,
    pub size_bytes: u64,
    pub offset_index: Vec<u8>,
    pub time_index: Vec<u8>,
    /// The producer state at `end_offset`.
    pub snapshot: Option<Bytes>,
    pub epochs: String,
}

impl Completion {
    /// Leaves the files as a clean stop of Apache Kafka would, all of them on the device.
    pub fn run(self) -> io::Result<()> {
        let file = match self.file {
            Some(file) => file,
            None => Arc::new(fs::open(&names::log_file(&self.dir, self.base_offset), OpenFlags::CREATE)?),
        };
        fs::truncate(&file, self.size_bytes)?;
        fs::sync_data(&file)?;
        fs::write_synced(&names::offset_index_file(&self.dir, self.base_offset), &self.offset_index)?;
        fs::write_synced(&names::time_index_file(&self.dir, self.base_offset), &self.time_index)?;
        if let Some(snapshot) = &self.snapshot {
            fs::write_synced(&names::snapshot_file(&self.dir, self.end_offset), snapshot)?;
        }
        // Syncs the directory, and with it the names made above.
        fs::write_atomic(&self.dir.join(names::LEADER_EPOCH_CHECKPOINT), self.epochs.as_bytes())
    }
}

impl Log {
    /// Begins a new segment at `base_offset`.
    pub(super) fn roll(&self, base_offset: Offset, config: &LogConfig, now_ms: i64) {
        let snapshot = self.producer_snapshot();
        let mut live = self.live().borrow_mut();
        let Some(last) = live.back() else { return };
        let growth = last.room.growth.inherit();
        let mut next = LiveSegment::next(base_offset, config, growth, now_ms);
        next.snapshot = snapshot;
        live.push_back(next);
        self.checkpoint_due.set(self.shard().options().checkpoint_after_bytes);
        self.shard().count(|stats| stats.rolls += 1);
    }

    /// Takes segments whose last write is done out of the way of the next one.
    pub(super) fn seal_finished(self: &Rc<Self>) {
        if self.committing().get() || self.extending().get() || matches!(*self.state().borrow(), State::Poisoned { .. })
        {
            return;
        }
        let mut live = self.live().borrow_mut();
        while live.len() > 1 && live.front().is_some_and(|front| front.placed.is_empty()) {
            let (Some(mut old), Some(next)) = (live.pop_front(), live.front_mut()) else { return };
            let straddling = self.straddling_of(&mut old);
            let indexes = Rc::new(sealed_indexes(old.indexes));
            self.sealed.borrow_mut().push(SealedSegment {
                base_offset: old.base_offset,
                size_bytes: old.written_end,
                largest: Some(indexes.largest),
                indexes: Some(Rc::clone(&indexes)),
                straddling,
            });
            self.seal_jobs.borrow_mut().push_back(SealJob {
                base_offset: old.base_offset,
                end_offset: next.base_offset,
                size_bytes: old.written_end,
                indexes,
                snapshot: next.snapshot.take(),
            });
        }
        if !self.seal_jobs.borrow().is_empty() && !self.sealing.replace(true) {
            drop(spawn(Rc::clone(self).seal_all()));
        }
    }

    async fn seal_all(self: Rc<Self>) {
        loop {
            let Some(job) = self.seal_jobs.borrow().front().cloned() else { break };
            if self.is_gone() {
                break;
            }
            let end_offset = job.end_offset;
            // A flush that fails must be seen by its own waiters: the error of a file is told once.
            if self.shard().options().flush_acks == FlushAcks::All && self.wait_flushed(end_offset).await.is_err() {
                break;
            }
            let attempt = self.shard().options().room.begin_own();
            match offload({
                let completion = self.completion_of(&job);
                move || completion.run()
            })
            .await
            {
                Ok(()) => {
                    self.seal_jobs.borrow_mut().pop_front();
                    self.note_sealed(&job);
                    self.remove_excess();
                    self.note_progress();
                }
                Err(error) if is_disk_full(&error) => {
                    self.shard().options().room.note_full(&attempt);
                    sleep(FULL_WAIT).await;
                }
                Err(error) => {
                    self.poison_by(&format!("sealing segment {} failed", job.base_offset), &error);
                    break;
                }
            }
        }
        self.end_sealing();
    }

    /// Waits until a segment may get its name. A recovery point at its base offset says that the one before it is sealed,
    /// and where nothing was appended since the start, or since a checkpoint, it says so too early.
    pub(super) async fn sealed_before(&self, base_offset: Offset) {
        self.until(|| {
            let is_early = self.recovery_point.get() >= base_offset && !self.seal_jobs.borrow().is_empty();
            !is_early || self.is_gone() || matches!(*self.state().borrow(), State::Poisoned { .. })
        })
        .await;
    }

    /// The files of this log are nobody's business any more but of the next one who asks.
    pub(super) fn end_sealing(self: &Rc<Self>) {
        self.sealing.set(false);
        if !self.has_no_flush_waiters() {
            self.flush_written();
        }
        self.note_progress();
    }

    fn note_sealed(&self, job: &SealJob) {
        if let Some(segment) =
            self.sealed.borrow_mut().iter_mut().rev().find(|segment| segment.base_offset == job.base_offset)
        {
            segment.indexes = None;
        }
        self.note_flushed(job.end_offset);
        self.recovery_point.set(self.recovery_point.get().max(job.end_offset));
    }

    fn completion_of(&self, job: &SealJob) -> Completion {
        Completion {
            dir: self.dir(),
            file: self.shard().descriptors.get((self.key(), job.base_offset)),
            base_offset: job.base_offset,
            end_offset: job.end_offset,
            size_bytes: job.size_bytes,
            offset_index: job.indexes.offsets.encode(),
            time_index: job.indexes.times.encode(),
            snapshot: job.snapshot.clone(),
            epochs: self.epochs().encode(),
        }
    }
}

/// The indexes as they are when the segment ends: the time index closes with the greatest timestamp.
pub(super) fn sealed_indexes(mut indexes: SegmentIndexes) -> SegmentIndexes {
    indexes.seal();
    indexes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fault::testing::power_cuts;

    #[test]
    fn no_power_cut_takes_back_what_the_recovery_point_passes() {
        let (base, end) = (Offset(7), Offset(9));
        let data: Vec<u8> = (0..9_000).map(|at| 1 + (at % 250) as u8).collect();
        let before = |root: &Path| {
            let file = fs::open(&names::log_file(root, base), OpenFlags::CREATE).unwrap();
            fs::sync_dir(root).unwrap();
            fs::fallocate(&file, 0, 40_960, false).unwrap();
            fs::pwrite_all(&file, &data, 0).unwrap();
        };
        let seal = |root: &Path| {
            let completion = Completion {
                dir: root.into(),
                file: None,
                base_offset: base,
                end_offset: end,
                size_bytes: data.len() as u64,
                offset_index: vec![2; 80],
                time_index: vec![3; 120],
                snapshot: Some(Bytes::from_static(b"producers")),
                epochs: "0\n1\n0 7\n".to_owned(),
            };
            completion.run().unwrap();
        };
        power_cuts(before, seal, |left, sealed, seed| {
            for (path, content) in [
                (names::log_file(left, base), &data[..]),
                (names::offset_index_file(left, base), &[2; 80]),
                (names::time_index_file(left, base), &[3; 120]),
                (names::snapshot_file(left, end), b"producers"),
                (left.join(names::LEADER_EPOCH_CHECKPOINT), b"0\n1\n0 7\n"),
            ] {
                let kept = std::fs::read(&path).unwrap_or_default();
                let name = path.file_name().unwrap().display();
                assert!(!sealed || kept == content, "cut {seed}: {name} is not what was sealed: {} bytes", kept.len());
            }
        });
    }
}
