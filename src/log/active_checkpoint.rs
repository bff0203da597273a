//! Checkpoints inside the active segment, so that a crash leaves little to be scanned.
//!
//! A recovery point that only moves when a segment is sealed leaves up to a whole segment of each partition to be read
//! and checked after a crash. So whenever an active segment has grown by
//! [`checkpoint_after_bytes`](super::LogShardOptions::checkpoint_after_bytes), the entries that its indexes have got
//! since the last time are appended to their files, the producers' state and the leader epochs are written, all of it is
//! synced, and the recovery point moves to the offset that the log had then. Recovery begins at the last indexed batch
//! below it, if all of these files are in order, and with the whole segment otherwise.
//!
//! Only where every commit is flushed (`log.flush.acks=all`): elsewhere this would flush what the operator leaves to the
//! kernel.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, spawn};
use crate::types::Offset;

use super::log::{Log, State};
use super::log_shard::FlushAcks;
use super::names;

/// How many entries of the active segment's indexes are in their files.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub base_offset: Offset,
    pub offsets: usize,
    pub times: usize,
}

/// All of a segment below an offset, for a helper thread.
struct ActiveCheckpoint {
    dir: Arc<Path>,
    base_offset: Offset,
    end_offset: Offset,
    /// What the files hold already, and what comes behind that.
    before: Stored,
    after: Stored,
    offset_entries: Vec<u8>,
    time_entries: Vec<u8>,
    snapshot: Option<Bytes>,
    /// The snapshot of the checkpoint before, which nobody needs any more.
    last_snapshot: Option<Offset>,
    epochs: String,
}

impl ActiveCheckpoint {
    fn run(self) -> io::Result<()> {
        use super::index::{OFFSET_ENTRY_BYTES, TIME_ENTRY_BYTES};
        let index = names::offset_index_file(&self.dir, self.base_offset);
        append(&index, self.before.offsets * OFFSET_ENTRY_BYTES, &self.offset_entries)?;
        let index = names::time_index_file(&self.dir, self.base_offset);
        append(&index, self.before.times * TIME_ENTRY_BYTES, &self.time_entries)?;
        if let Some(snapshot) = &self.snapshot {
            fs::write_synced(&names::snapshot_file(&self.dir, self.end_offset), snapshot)?;
        }
        // Syncs the directory, and with it the names made above.
        fs::write_atomic(&self.dir.join(names::LEADER_EPOCH_CHECKPOINT), self.epochs.as_bytes())?;
        if let Some(offset) = self.last_snapshot {
            fs::remove_file(&names::snapshot_file(&self.dir, offset))?;
        }
        Ok(())
    }
}

/// Continues a file that holds so many bytes; nothing of what it may hold behind them stays.
fn append(path: &Path, held: usize, bytes: &[u8]) -> io::Result<()> {
    let file = fs::open(path, OpenFlags::CREATE)?;
    fs::truncate(&file, held as u64)?;
    fs::pwrite_all(&file, bytes, held as u64)?;
    fs::sync_all(&file)
}

impl Log {
    /// Begins a checkpoint if it is time for one. To be called in front of an append: the producers' state is then that
    /// of the log's end.
    pub(super) fn checkpoint_if_due(self: &Rc<Self>) {
        let live = self.live().borrow();
        let Some(segment) = live.back().filter(|segment| segment.placed_end >= self.checkpoint_due.get()) else {
            return;
        };
        let options = self.shard().options();
        self.checkpoint_due.set(segment.placed_end.saturating_add(options.checkpoint_after_bytes));
        // A segment in front of it is to be sealed first, which moves the recovery point too.
        if live.len() > 1 || !self.seal_jobs.borrow().is_empty() || options.flush_acks == FlushAcks::None {
            return;
        }
        let before = self.stored.get();
        let before = if before.base_offset == segment.base_offset { before } else { Stored::default() };
        let after = Stored {
            base_offset: segment.base_offset,
            offsets: segment.indexes.offsets.len(),
            times: segment.indexes.times.len(),
        };
        let checkpoint = ActiveCheckpoint {
            dir: self.dir(),
            base_offset: segment.base_offset,
            end_offset: self.log_end_offset(),
            before,
            after,
            offset_entries: segment.indexes.offsets.encode_from(before.offsets),
            time_entries: segment.indexes.times.encode_from(before.times),
            snapshot: self.producer_snapshot(),
            last_snapshot: None,
            epochs: self.epochs().encode(),
        };
        drop(spawn(Rc::clone(self).write_checkpoint(checkpoint)));
    }

    async fn write_checkpoint(self: Rc<Self>, mut checkpoint: ActiveCheckpoint) {
        let (end_offset, after) = (checkpoint.end_offset, checkpoint.after);
        let has_snapshot = checkpoint.snapshot.is_some();
        if self.wait_flushed(end_offset).await.is_err() {
            return;
        }
        // Sealing writes the same files. Where it is under way, or another checkpoint is, the next one will do.
        let is_active =
            |log: &Log| log.live().borrow().back().is_some_and(|segment| segment.base_offset == after.base_offset);
        let is_next = self.stored.get() == checkpoint.before || checkpoint.before == Stored::default();
        // The recovery point must not pass a segment in front of this one that is not cut to its data and synced yet.
        let is_first = self.seal_jobs.borrow().is_empty();
        let is_wanted = is_active(&self) && is_next && is_first;
        if !matches!(*self.state().borrow(), State::Open) || !is_wanted || self.sealing.replace(true) {
            return;
        }
        checkpoint.last_snapshot = self.checkpoint_snapshot.get();
        match offload(move || checkpoint.run()).await {
            Ok(()) => {
                self.stored.set(after);
                if has_snapshot {
                    self.checkpoint_snapshot.set(Some(end_offset));
                }
                self.recovery_point.set(self.recovery_point.get().max(end_offset));
                self.shard().recovery_points.notify_all();
            }
            // Nothing is lost: recovery reads more. A full disk is met by whoever needs the room.
            Err(error) => tracing::warn!("the indexes of {} are not up to date: {error}", self.topic_partition()),
        }
        self.end_sealing();
        self.seal_finished();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fault::testing::power_cuts;

    #[test]
    fn no_power_cut_takes_back_what_a_checkpoint_covers() {
        let base = Offset(7);
        let checkpoint = |root: &Path, before: Stored, entries: usize, end: i64, last_snapshot| ActiveCheckpoint {
            dir: root.into(),
            base_offset: base,
            end_offset: Offset(end),
            before,
            after: Stored::default(),
            offset_entries: vec![2; 8 * entries],
            time_entries: vec![3; 12 * entries],
            snapshot: Some(Bytes::from_static(b"producers")),
            last_snapshot,
            epochs: format!("0\n1\n0 {end}\n"),
        };
        let first = |root: &Path| checkpoint(root, Stored::default(), 4, 9, None).run().unwrap();
        let second = |root: &Path| {
            let before = Stored { base_offset: base, offsets: 4, times: 4 };
            checkpoint(root, before, 6, 20, Some(Offset(9))).run().unwrap();
        };
        power_cuts(first, second, |left, done, seed| {
            let (offsets, times, end) = if done { (80, 120, 20) } else { (32, 48, 9) };
            for (path, content, bytes) in
                [(names::offset_index_file(left, base), 2, offsets), (names::time_index_file(left, base), 3, times)]
            {
                let kept = std::fs::read(&path).unwrap_or_default();
                let name = path.file_name().unwrap().display();
                let held = kept.get(..bytes).is_some_and(|kept| kept.iter().all(|byte| *byte == content));
                assert!(held, "cut {seed}: {name} lost entries that a checkpoint covers");
            }
            let either = [Offset(9), Offset(20)].map(|end| std::fs::read(names::snapshot_file(left, end)).ok());
            assert!(either.into_iter().flatten().any(|kept| kept == b"producers"), "cut {seed}: no producer snapshot");
            let epochs = std::fs::read_to_string(left.join(names::LEADER_EPOCH_CHECKPOINT)).unwrap();
            let whole = [9, 20].map(|end| format!("0\n1\n0 {end}\n"));
            assert!(
                whole.contains(&epochs) && (!done || epochs.ends_with(&format!("{end}\n"))),
                "cut {seed}: {epochs:?}"
            );
        });
    }
}
