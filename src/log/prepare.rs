//! Gets a segment's file ready for writes, away from the hot path: made, open, with room, its last block in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, sleep, spawn, wall_ms};
use crate::types::Offset;

use super::disk_room::{Attempt, DiskLevel};
use super::error::is_disk_full;
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
    /// Where room is wanted.
    allocate: Option<Wanted>,
    faults: Option<Arc<FaultPlan>>,
}

/// Room for a segment: up to `to` if the disk has so much, up to `least` if not.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    from: u64,
    /// Where the file ends now, behind all data: inside the first block, perhaps.
    ends: u64,
    least: u64,
    to: u64,
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
        let allocated_end =
            self.allocate.map(|wanted| allocate(&file, wanted.fitting(&self.path), self.direct)).transpose()?;
        Ok(Done { file, allocated_end, created: self.create, spare })
    }
}

impl Wanted {
    /// A step takes no more than a quarter of what is free: a large one that the disk has no room for would take all there
    /// is before it fails, and one that just fits would leave nothing for others.
    fn fitting(self, path: &Path) -> Wanted {
        let Wanted { least, to, .. } = self;
        if to <= least {
            return self;
        }
        let free = fs::fs_info(path).map_or(u64::MAX, |info| info.usable_bytes);
        Wanted { to: to.min(least + round_down(free / 4, STEP_BYTES_MIN)), ..self }
    }
}

/// Answers up to where there is room now.
fn allocate(file: &RawFile, wanted: Wanted, direct: bool) -> io::Result<u64> {
    let Wanted { from, ends, least, to } = wanted;
    // Buffered files keep their size: whoever reads them by name sees data and nothing else.
    let result = match fs::fallocate(file, from, to - from, !direct) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported && !direct => Ok(()),
        result => result,
    };
    match result {
        Err(error) if is_disk_full(&error) => {
            // What there was is taken by now, and nobody else could have it.
            if direct {
                fs::truncate(file, ends)?;
            }
            if least >= to {
                return Err(error);
            }
            allocate(file, Wanted { to: least, ..wanted }, direct)
        }
        result => result.map(|()| to),
    }
}

impl Log {
    /// Makes the front segment ready for its next write; then its commit starts.
    pub(super) fn start_prepare(self: &Rc<Self>) {
        // The end of an extension calls again.
        if self.extending().get() || self.preparing().replace(true) {
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
            let step = match shard.room.level() {
                DiskLevel::Room => segment.room.growth.next_step(wall_ms()),
                _ => STEP_BYTES_MIN,
            };
            let up_to = |step: u64| (from.max(wanted) + step).min(limit).max(wanted).next_multiple_of(block);
            let least = up_to(STEP_BYTES_MIN.min(step));
            Some(Wanted { from: round_down(from, block), ends: from, least, to: up_to(step) })
        } else if after_full {
            // To see whether there is room, and to have it.
            let to = segment.written_end + STEP_BYTES_MIN;
            Some(Wanted { from: segment.written_end, ends: segment.written_end, least: to, to })
        } else {
            None
        };
        let allocate = allocate.filter(|wanted| wanted.from < wanted.to);
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
        // Whatever this does to the end of the file, nothing may land behind it later.
        self.ahead_over().await;
        if job.create {
            // One new name at a time: the directory is synced behind the first writes.
            self.named().await;
            self.sealed_before(base_offset).await;
        }
        let opened = job.file.is_none();
        let takes_room = job.create || job.allocate.is_some();
        let attempt = if takes_room { self.begin_taking_room() } else { None };
        if takes_room && attempt.is_none() {
            self.preparing().set(false);
            self.roll_back(None);
            self.add_spares(job.spare.into_iter().collect());
            self.next_commit();
            return;
        }
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
        let (spare, wanted_end) = (job.spare, job.allocate.map(|wanted| wanted.to));
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
                    if done.allocated_end < wanted_end {
                        room.growth.fall_back();
                    }
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
                self.note_full(attempt.as_ref());
                self.roll_back(None);
                // It is not needed now, and its room is.
                self.add_spares(spare.into_iter().collect());
            }
            Err(error) => self.poison_by(&format!("{} cannot be made ready", path.display()), &error),
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
                allocate: Some(Wanted { from, ends: from, least: to.min(from + STEP_BYTES_MIN), to }),
                faults: shard.options.faults.clone(),
            };
            (segment.base_offset, job)
        };
        match self.begin_taking_room() {
            Some(attempt) => drop(spawn(Rc::clone(self).extend(job.0, job.1, attempt))),
            None => self.extending().set(false),
        }
    }

    async fn extend(self: Rc<Self>, base_offset: Offset, job: Job, attempt: Attempt) {
        let result = offload(move || job.run()).await;
        drop(attempt);
        self.extending().set(false);
        if let Some(segment) = self.live().borrow_mut().front_mut().filter(|front| front.base_offset == base_offset) {
            match result {
                Ok(done) => {
                    let room = &mut segment.room;
                    room.allocated_end = room.allocated_end.max(done.allocated_end.unwrap_or(0));
                }
                // It shows again, and is dealt with, when the room is needed.
                Err(_) => segment.room.growth.fall_back(),
            }
        }
        self.next_commit();
    }

    fn resume_from_full(&self) {
        let mut state = self.state().borrow_mut();
        if matches!(*state, State::Full { .. }) {
            tracing::debug!("{}: there is room on the disk again, appends go on", self.topic_partition());
            *state = State::Open;
        }
    }
}

/// EMFILE and ENFILE: the limits of the process and of the system.
fn no_descriptor_left(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}
