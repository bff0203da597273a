//! Gets a segment's file ready for writes, away from the hot path: made, open, with room, its last block in memory.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, sleep, spawn, wall_ms};
use crate::types::Offset;

use super::appender::is_disk_full;
use super::fault::{FaultOp, FaultPlan};
use super::log::{Log, State};
use super::names;
use super::segment::Room;
use super::space::{STEP_BYTES_MIN, round_down, round_up};
use super::spares::Spare;

/// How long to wait before looking again whether a descriptor is free.
const DESCRIPTOR_WAIT: Duration = Duration::from_millis(2);

/// The blocking part, for a helper thread.
#[derive(Clone, Debug)]
struct Job {
    path: PathBuf,
    /// Already open, unless it has to be opened.
    file: Option<Arc<RawFile>>,
    direct: bool,
    /// The file is to be made.
    create: bool,
    /// It is to be made from this one.
    spare: Option<Spare>,
    /// Bytes behind this are to be cut off, durably, before anything else: they were never acknowledged.
    cut_to: Option<u64>,
    /// From where to where room is wanted.
    allocate: Option<(u64, u64)>,
    faults: Option<Arc<FaultPlan>>,
}

#[derive(Debug)]
struct Done {
    file: Arc<RawFile>,
    allocated_end: Option<u64>,
    created: bool,
    /// The spare that it was.
    spare: Option<Spare>,
}

impl Job {
    fn run(self) -> io::Result<Done> {
        if let Some(faults) = &self.faults
            && (self.create || self.allocate.is_some())
        {
            faults.check(FaultOp::Allocate)?;
        }
        let mut spare = self.spare;
        let mut file = self.file;
        if let Some(taken) = &spare {
            file = taken.take_over(&self.path)?.map(Arc::new);
            if file.is_none() {
                tracing::warn!("{} is gone; a new file is made", taken.path.display());
                spare = None;
            }
        }
        let file = if let Some(file) = file {
            file
        } else {
            // One that is there already was never written to by this log, but may be left of a try that failed.
            let flags = OpenFlags { create: self.create, truncate: self.create, ..OpenFlags::READ_WRITE };
            Arc::new(fs::open(&self.path, flags.direct(self.direct))?)
        };
        if let Some(end) = self.cut_to {
            fs::truncate(&file, end)?;
            fs::sync_data(&file)?;
        }
        if let Some((from, to)) = self.allocate {
            // Buffered files keep their size: whoever reads them by name sees data and nothing else.
            match fs::fallocate(&file, from, to - from, !self.direct) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported && !self.direct => {}
                result => result?,
            }
        }
        Ok(Done { file, allocated_end: self.allocate.map(|(_, to)| to), created: self.create, spare })
    }
}

impl Log {
    /// Makes the front segment ready for its next write; then its commit starts.
    pub(super) fn start_prepare(self: &Rc<Self>) {
        if self.preparing().replace(true) {
            return;
        }
        let (base_offset, job) = self.prepare_job(false);
        drop(spawn(Rc::clone(self).prepare(base_offset, job)));
    }

    /// Looks whether a full disk has room again, and if so lets appends in again.
    pub(super) fn start_resume(self: &Rc<Self>) {
        if self.extending().get() || self.preparing().replace(true) {
            return;
        }
        let (base_offset, job) = self.prepare_job(true);
        drop(spawn(Rc::clone(self).prepare(base_offset, job)));
    }

    fn prepare_job(&self, after_full: bool) -> (Offset, Job) {
        let shard = self.shard();
        let direct = shard.is_direct();
        let block = shard.options.block_bytes;
        let mut live = self.live().borrow_mut();
        let segment = live.front_mut().expect("a log has a live segment from its opening to its end");
        if after_full {
            // The cut takes the room away with the rest.
            segment.room.allocated_end = segment.written_end;
        }
        let create = !segment.room.created;
        let spare = if create && direct && !after_full { self.spares.take() } else { None };
        let allocated_end = spare.as_ref().map_or(segment.room.allocated_end, |spare| spare.bytes);
        let wanted = segment.room.end_of_write(segment.placed_end, block);
        let from = allocated_end.max(segment.written_end);
        let limit = round_up(u64::from(self.config().segment_bytes), block);
        let allocate = if direct && (wanted > allocated_end || after_full) {
            let step = segment.room.growth.next_step(wall_ms());
            Some((round_down(from, block), (from.max(wanted) + step).min(limit).max(wanted).next_multiple_of(block)))
        } else if after_full {
            // To see whether there is room, and to have it.
            Some((segment.written_end, segment.written_end + STEP_BYTES_MIN))
        } else {
            None
        };
        let allocate = allocate.filter(|(from, to)| from < to);
        let job = Job {
            path: names::log_file(&self.dir(), segment.base_offset),
            file: shard.descriptors.get((self.key(), segment.base_offset)),
            direct,
            create,
            spare,
            cut_to: after_full.then_some(segment.written_end),
            allocate,
            faults: shard.options.faults.clone(),
        };
        (segment.base_offset, job)
    }

    async fn prepare(self: Rc<Self>, base_offset: Offset, job: Job) {
        let path = job.path.clone();
        if job.create {
            // One new name at a time: the directory is synced behind the first writes.
            self.named().await;
        }
        let opened = job.file.is_none();
        while opened && self.shard().descriptors.is_overdrawn() {
            // All are in use by operations, which end.
            self.shard().trim_descriptors();
            sleep(DESCRIPTOR_WAIT).await;
        }
        let mut result = offload({
            let job = job.clone();
            move || job.run()
        })
        .await;
        while result.as_ref().is_err_and(no_descriptor_left) {
            tracing::warn!("{}: too many open files; waiting for one to be closed", path.display());
            sleep(DESCRIPTOR_WAIT * 50).await;
            let job = job.clone();
            result = offload(move || job.run()).await;
        }
        let spare = job.spare;
        let result = match result {
            Ok(done) => {
                if opened {
                    self.keep_open(base_offset, &done.file);
                }
                self.load_tail_block(base_offset, &done.file).await.map(|tail| (done, tail))
            }
            Err(error) => Err(error),
        };
        self.preparing().set(false);
        match result {
            Ok((done, tail)) => {
                if done.created {
                    self.make_name_durable(base_offset);
                }
                if let Some(segment) =
                    self.live().borrow_mut().front_mut().filter(|front| front.base_offset == base_offset)
                {
                    let room = &mut segment.room;
                    room.created |= done.created;
                    if let Some(spare) = &done.spare {
                        self.note_spare_used(room, spare);
                    }
                    room.allocated_end = done.allocated_end.unwrap_or(room.allocated_end);
                    if tail.is_some() {
                        room.tail_block = tail;
                    }
                }
                self.note_room();
                self.resume_from_full();
            }
            Err(error) if is_disk_full(&error) => {
                self.roll_back(None);
                // It is not needed now, and its room is.
                self.add_spares(spare.into_iter().collect());
            }
            Err(error) => self.poison(&format!("{} cannot be made ready: {error}", path.display())),
        }
        self.next_commit();
    }

    fn note_spare_used(&self, room: &mut Room, spare: &Spare) {
        room.allocated_end = spare.bytes;
        room.stale_end = spare.stale_bytes;
        room.growth = room.growth.interrupted();
        self.shard().count(|stats| {
            stats.spares_used += 1;
            stats.recycled_segments += u64::from(spare.stale_bytes > 0);
        });
    }

    pub(super) fn keep_open(&self, base_offset: Offset, file: &Arc<RawFile>) {
        let surplus = self.shard().descriptors.insert((self.key(), base_offset), Arc::clone(file));
        super::log_shard::LogShard::close_files(surplus);
    }

    /// Reads the last, partial block of the front segment, if direct writes need it and it is not in memory.
    async fn load_tail_block(&self, base_offset: Offset, file: &Arc<RawFile>) -> io::Result<Option<Vec<u8>>> {
        let shard = self.shard();
        let written_end = {
            let live = self.live().borrow();
            match live.front().filter(|front| front.base_offset == base_offset) {
                Some(front) if shard.is_direct() && front.room.tail_block.is_none() => front.written_end,
                _ => return Ok(None),
            }
        };
        let block = shard.options.block_bytes;
        let start = round_down(written_end, block);
        let content = shard.file(Arc::clone(file)).read_at(start, block as usize).await?;
        let kept = (written_end - start) as usize;
        match content.get(..kept) {
            Some(tail) => Ok(Some(tail.to_vec())),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the segment is shorter than its data")),
        }
    }

    /// Has more room allocated while writes go on in what is there.
    pub(super) fn start_extension(self: &Rc<Self>) {
        let shard = self.shard();
        let block = shard.options.block_bytes;
        let job = {
            let mut live = self.live().borrow_mut();
            let Some(segment) = live.front_mut() else { return };
            let from = segment.room.allocated_end;
            let limit = round_up(u64::from(self.config().segment_bytes), block);
            let Some(file) = shard.descriptors.get((self.key(), segment.base_offset)) else { return };
            if from >= limit || !segment.room.created || self.extending().replace(true) {
                return;
            }
            let to = (from + segment.room.growth.next_step(wall_ms())).min(limit);
            let job = Job {
                path: names::log_file(&self.dir(), segment.base_offset),
                file: Some(file),
                direct: true,
                create: false,
                spare: None,
                cut_to: None,
                allocate: Some((from, to)),
                faults: shard.options.faults.clone(),
            };
            (segment.base_offset, job)
        };
        drop(spawn(Rc::clone(self).extend(job.0, job.1)));
    }

    async fn extend(self: Rc<Self>, base_offset: Offset, job: Job) {
        let result = offload(move || job.run()).await;
        self.extending().set(false);
        if let Ok(Done { allocated_end: Some(end), .. }) = result
            && let Some(segment) = self.live().borrow_mut().front_mut().filter(|front| front.base_offset == base_offset)
        {
            segment.room.allocated_end = segment.room.allocated_end.max(end);
        }
        // A failure shows again, and is dealt with, when the room is needed.
        self.next_commit();
    }

    fn resume_from_full(&self) {
        let mut state = self.state().borrow_mut();
        if matches!(*state, State::Full { .. }) {
            tracing::info!("{}: there is room on the disk again, appends go on", self.topic_partition());
            *state = State::Open;
        }
    }
}

/// EMFILE and ENFILE: the limits of the process and of the system.
fn no_descriptor_left(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}
