//! One partition's log while it is served: the API that the layers above use.
//!
//! Everything happens on the shard that owns the log. `append` is synchronous: it gives the batch its place and its
//! offset becomes the log's; the appender writes and flushes it later, and `wait_written`, `wait_flushed` tell when.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::runtime::sync::Event;
use crate::runtime::{sleep, spawn, wall_ms};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

use super::active_checkpoint::Stored;
use super::appender::Done;
use super::compact::Gate;
use super::config::LogConfig;
use super::disk_room::Claim;
use super::epoch::LeaderEpochCache;
use super::error::LogError;
use super::file::File;
use super::index::TimestampOffset;
use super::journal::Journaled;
use super::loaded::LoadedLog;
use super::log_shard::{FlushAcks, LogShard};
use super::naming::Unnamed;
use super::offsets::OffsetState;
use super::read_cursor::Cursors;
use super::read_damage::ToldDamage;
use super::retire::Retiring;
use super::roll::SealJob;
use super::segment::{AppendBatch, LiveSegment, SealedSegment};
use super::space::Pace;
use super::spares::Spares;
use super::tail::Tail;
use super::waiters::{OffsetReached, Waiters};

/// A refused append looks for room on the disk again, at most this often.
const FULL_RETRY_MS: i64 = 100;

/// Whether appends are taken.
#[derive(Clone, Debug)]
pub(super) enum State {
    Open,
    /// The disk is full. Nothing above the written offset exists any more.
    Full {
        tried_ms: i64,
    },
    /// A write or flush failed.
    Poisoned {
        reason: Arc<str>,
    },
    /// Closing or closed: what is placed is still written.
    Closed,
}

/// Gives the producer state of all appends so far, as the content of a `.snapshot` file.
pub type SnapshotSource = Rc<dyn Fn() -> Bytes>;
/// Told the new log end offset when batches above it were taken back, because the disk was full.
pub type RollBackHook = Rc<dyn Fn(Offset)>;

/// One partition's log.
pub struct Log {
    pub(super) shard: Rc<LogShard>,
    pub(super) key: u64,
    pub(super) topic_partition: TopicPartition,
    pub(super) topic_id: TopicId,
    pub(super) dir: RefCell<Arc<Path>>,
    pub(super) config: RefCell<Rc<LogConfig>>,
    pub(super) claim: Cell<Claim>,
    pub(super) offsets: OffsetState,
    pub(super) leader_epoch: Cell<LeaderEpoch>,
    pub(super) epochs: RefCell<LeaderEpochCache>,
    pub(super) state: RefCell<State>,
    pub(super) sealed: RefCell<Vec<SealedSegment>>,
    /// The front takes writes, the back takes appends; mostly one segment is both.
    pub(super) live: RefCell<VecDeque<LiveSegment>>,
    pub(super) tail: RefCell<Tail>,
    pub(super) written_waiters: RefCell<Waiters>,
    pub(super) flushed_waiters: RefCell<Waiters>,
    pub(super) visible: OnceCell<Event>,
    pub(super) progress: OnceCell<Event>,
    pub(super) snapshot_source: RefCell<Option<SnapshotSource>>,
    pub(super) roll_back_hook: RefCell<Option<RollBackHook>>,
    pub(super) cursors: RefCell<Cursors>,
    pub(super) gate: Gate,
    pub(super) told_damage: ToldDamage,
    pub(super) seal_jobs: RefCell<VecDeque<SealJob>>,
    pub(super) recovery_point: Cell<Offset>,
    /// A helper thread writes the files beside the segments.
    pub(super) sealing: Cell<bool>,
    /// The size at which the active segment gets its next checkpoint.
    pub(super) checkpoint_due: Cell<u64>,
    pub(super) stored: Cell<Stored>,
    /// The producer snapshot of the last checkpoint.
    pub(super) checkpoint_snapshot: Cell<Option<Offset>>,
    pub(super) retiring: Retiring,
    pub(super) spares: Spares,
    pub(super) pace: Cell<Pace>,
    pub(super) unnamed: Cell<Option<Unnamed>>,
    /// Being deleted: nothing that is not under way already is begun.
    pub(super) gone: Cell<bool>,
    /// The files are not what a clean stop leaves behind.
    pub(super) touched: Cell<bool>,
    /// Records since the last flush, for `flush.messages`.
    pub(super) unflushed_records: Cell<i64>,
    /// Bytes in commits since the last flush, under `log.flush.acks=all`.
    pub(super) unflushed_bytes: Cell<u64>,
    pub(super) flush_timer: Cell<bool>,
    pub(super) last_append_ms: Cell<i64>,
    pub(super) queued: Cell<bool>,
    pub(super) committing: Cell<bool>,
    pub(super) preparing: Cell<bool>,
    pub(super) extending: Cell<bool>,
    pub(super) listed_roomy: Cell<bool>,
    pub(super) flushing: Cell<Option<Offset>>,
    pub(super) flush_slot: Cell<Option<u32>>,
    pub(super) journaled: Journaled,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({}, {:?})", self.topic_partition, self.offsets.get())
    }
}

impl Log {
    /// Serves a loaded log. All below its end is on the device. `leader_epoch` is the one that appends will have.
    pub fn open(loaded: LoadedLog, shard: &Rc<LogShard>, leader_epoch: LeaderEpoch) -> Rc<Log> {
        let block = shard.options.block_bytes;
        let sealed = loaded.sealed.iter().map(SealedSegment::from).collect();
        let checkpoint_due = loaded.active.size_bytes.saturating_add(shard.options.checkpoint_after_bytes);
        let live = VecDeque::from([LiveSegment::loaded(loaded.active, block, wall_ms())]);
        let damaged = loaded.damage.as_ref().map(|damage| State::Poisoned { reason: damage.to_string().into() });
        let report = &loaded.report;
        let touched =
            report.created || report.segments_scanned > 0 || report.indexes_rebuilt > 0 || report.cut.is_some();
        Rc::new(Log {
            shard: Rc::clone(shard),
            key: shard.new_key(),
            topic_partition: loaded.topic_partition,
            topic_id: loaded.topic_id,
            dir: RefCell::new(loaded.dir.into()),
            config: RefCell::new(Rc::new(loaded.config)),
            claim: Cell::new(Claim::User),
            offsets: OffsetState::new(shard.options.flush_acks, loaded.log_start_offset, loaded.log_end_offset),
            leader_epoch: Cell::new(leader_epoch),
            epochs: RefCell::new(loaded.epochs),
            state: RefCell::new(damaged.unwrap_or(State::Open)),
            sealed: RefCell::new(sealed),
            live: RefCell::new(live),
            tail: RefCell::default(),
            written_waiters: RefCell::default(),
            flushed_waiters: RefCell::default(),
            visible: OnceCell::new(),
            progress: OnceCell::new(),
            snapshot_source: RefCell::new(None),
            roll_back_hook: RefCell::new(None),
            cursors: RefCell::default(),
            gate: Gate::default(),
            told_damage: ToldDamage::default(),
            seal_jobs: RefCell::default(),
            recovery_point: Cell::new(loaded.recovery_point),
            sealing: Cell::new(false),
            checkpoint_due: Cell::new(checkpoint_due),
            stored: Cell::default(),
            checkpoint_snapshot: Cell::new(None),
            retiring: Retiring::default(),
            spares: Spares::default(),
            pace: Cell::default(),
            unnamed: Cell::new(None),
            gone: Cell::new(false),
            touched: Cell::new(touched),
            unflushed_records: Cell::new(0),
            unflushed_bytes: Cell::new(0),
            flush_timer: Cell::new(false),
            last_append_ms: Cell::new(0),
            queued: Cell::new(false),
            committing: Cell::new(false),
            preparing: Cell::new(false),
            extending: Cell::new(false),
            listed_roomy: Cell::new(false),
            flushing: Cell::new(None),
            flush_slot: Cell::new(None),
            journaled: Journaled::new(loaded.log_end_offset),
        })
    }

    /// Takes a batch: from now on it is the log's next. It is in memory only; wait for `wait_written` or
    /// `wait_flushed` before anybody is told that it is kept, and make those futures before doing anything else.
    ///
    /// # Errors
    /// `DiskFull`, `Poisoned` and `Closed`: nothing was taken.
    ///
    /// # Panics
    /// When the batch does not begin at the log end offset.
    pub fn append(self: &Rc<Self>, batch: AppendBatch) -> Result<(), LogError> {
        self.check_open()?;
        let end = self.offsets.marks().log_end;
        assert!(
            batch.base_offset == end && batch.last_offset >= end,
            "{}: a batch of offsets {} to {} cannot follow {end}",
            self.topic_partition,
            batch.base_offset,
            batch.last_offset
        );
        let config = self.config();
        let now_ms = wall_ms();
        if self.should_roll(&batch, &config, now_ms) {
            self.roll(batch.base_offset, &config, now_ms);
        }
        self.checkpoint_if_due();
        if let Some(segment) = self.live.borrow_mut().back_mut() {
            segment.place(&batch, config.index_interval_bytes);
        }
        self.touched.set(true);
        self.last_append_ms.set(now_ms);
        self.pace.set(self.pace.get().with(batch.bytes.len() as u64, now_ms));
        self.epochs.borrow_mut().assign(batch.leader_epoch, batch.base_offset);
        self.offsets.update(|marks| marks.log_end = batch.last_offset.plus(1));
        self.shard.count(|stats| stats.appended_bytes += batch.bytes.len() as u64);
        self.shard.tails.keep(self, batch.base_offset, batch.last_offset, batch.bytes);
        self.shard.mark_dirty(self);
        Ok(())
    }

    fn check_open(self: &Rc<Self>) -> Result<(), LogError> {
        if !self.shard.room.allows(self.claim.get()) {
            self.shard.note_refused();
            return Err(self.state_error().unwrap_or_else(|| self.shard.room.refusal()));
        }
        let now_ms = wall_ms();
        match &mut *self.state.borrow_mut() {
            State::Open => return Ok(()),
            State::Poisoned { reason } => return Err(LogError::Poisoned { reason: Arc::clone(reason) }),
            State::Closed => return Err(LogError::Closed),
            State::Full { tried_ms } if now_ms - *tried_ms < FULL_RETRY_MS => return Err(LogError::DiskFull),
            State::Full { tried_ms } => *tried_ms = now_ms,
        }
        self.start_resume();
        Err(LogError::DiskFull)
    }

    fn should_roll(&self, batch: &AppendBatch, config: &LogConfig, now_ms: i64) -> bool {
        // Spread over the partitions by their numbers: the jitter only has to differ between them.
        let jitter_ms = match config.segment_jitter_ms {
            max if max > 0 => (self.key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as i64 % max,
            _ => 0,
        };
        self.live.borrow().back().is_some_and(|segment| segment.should_roll(batch, config, jitter_ms, now_ms))
    }

    /// Resolves when everything below `end_offset` is written: it then survives the end of the process.
    pub fn wait_written(&self, end_offset: Offset) -> OffsetReached {
        match self.look(end_offset, self.offsets.marks().written) {
            Some(known) => known,
            None => self.written_waiters.borrow_mut().wait_for(end_offset),
        }
    }

    /// Resolves when everything below `end_offset` is on the device. Under `log.flush.acks=none` this asks for a flush.
    pub fn wait_flushed(self: &Rc<Self>, end_offset: Offset) -> OffsetReached {
        if let Some(known) = self.look(end_offset, self.offsets.marks().flushed) {
            return known;
        }
        let reached = self.flushed_waiters.borrow_mut().wait_for(end_offset);
        if self.shard.options.flush_acks == FlushAcks::None {
            self.flush_written();
        }
        reached
    }

    /// Resolves when everything below `end_offset` may be acknowledged under `acks=all`: flushed, or written under
    /// `log.flush.acks=none`.
    pub fn wait_acknowledged(self: &Rc<Self>, end_offset: Offset) -> OffsetReached {
        match self.shard.options.flush_acks {
            FlushAcks::All => self.wait_flushed(end_offset),
            FlushAcks::None => self.wait_written(end_offset),
        }
    }

    fn look(&self, end_offset: Offset, reached: Offset) -> Option<OffsetReached> {
        if end_offset <= reached {
            return Some(OffsetReached::known(Ok(())));
        }
        if end_offset > self.offsets.marks().log_end {
            // What it waited for was rolled back already.
            return Some(OffsetReached::known(Err(self.state_error().unwrap_or(LogError::DiskFull))));
        }
        match &*self.state.borrow() {
            State::Poisoned { reason } => {
                Some(OffsetReached::known(Err(LogError::Poisoned { reason: Arc::clone(reason) })))
            }
            _ => None,
        }
    }

    /// Why appends are refused, if they are.
    pub fn state_error(&self) -> Option<LogError> {
        match &*self.state.borrow() {
            State::Open => None,
            State::Full { .. } => Some(LogError::DiskFull),
            State::Poisoned { reason } => Some(LogError::Poisoned { reason: Arc::clone(reason) }),
            State::Closed => Some(LogError::Closed),
        }
    }

    /// Everything below is on the device, with its indexes: sealed segments, and what of the active one a checkpoint
    /// covers.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point.get()
    }

    /// Notified whenever the high watermark or the last stable offset moves, and when the log is poisoned or closed.
    pub fn on_high_watermark(&self) -> &Event {
        self.visible.get_or_init(Event::new)
    }

    /// The first offset of the earliest open transaction, or none.
    pub fn set_first_unstable(&self, offset: Option<Offset>) {
        if self.offsets.update(|marks| marks.first_unstable = offset) {
            self.notify_visible();
        }
    }

    /// Records below `offset` are deleted (`DeleteRecords`, retention). The log start never goes back.
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark.
    pub fn set_log_start(&self, offset: Offset) -> Result<(), LogError> {
        let now = self.offsets.get();
        if offset > now.high_watermark {
            return Err(self.out_of_range(offset));
        }
        if offset > now.log_start {
            if self.offsets.update(|marks| marks.log_start = offset) {
                self.notify_visible();
            }
            self.epochs.borrow_mut().truncate_from_start(offset);
        }
        Ok(())
    }

    pub(super) fn out_of_range(&self, offset: Offset) -> LogError {
        let marks = self.offsets.marks();
        LogError::OffsetOutOfRange { offset, log_start_offset: marks.log_start, log_end_offset: marks.log_end }
    }

    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    pub fn dir(&self) -> Arc<Path> {
        Arc::clone(&self.dir.borrow())
    }

    pub(super) fn set_dir(&self, dir: Arc<Path>) {
        *self.dir.borrow_mut() = dir;
    }

    pub fn config(&self) -> Rc<LogConfig> {
        Rc::clone(&self.config.borrow())
    }

    /// The topic's configuration changed. Acts from the next append on.
    pub fn set_config(&self, config: Rc<LogConfig>) {
        *self.config.borrow_mut() = config;
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    pub fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        self.leader_epoch.set(epoch);
    }

    /// Which leader epoch began where.
    pub fn epochs(&self) -> Ref<'_, LeaderEpochCache> {
        self.epochs.borrow()
    }

    /// Bytes of all batches in the log, those not yet written too.
    pub fn size_bytes(&self) -> u64 {
        self.sealed.borrow().iter().map(|segment| segment.size_bytes).sum::<u64>()
            + self.live.borrow().iter().map(|segment| segment.placed_end).sum::<u64>()
    }

    /// How many segments the log has.
    pub fn segment_count(&self) -> usize {
        self.sealed.borrow().len() + self.live.borrow().len()
    }

    /// Asked for the producer state whenever a segment is rolled: inside `append`, before that batch counts.
    pub fn set_snapshot_source(&self, source: SnapshotSource) {
        *self.snapshot_source.borrow_mut() = Some(source);
    }

    pub(super) fn producer_snapshot(&self) -> Option<Bytes> {
        let source = self.snapshot_source.borrow().clone();
        source.map(|source| source())
    }

    /// Called when batches that had their offsets are taken back because the disk is full: their producers' state has
    /// to go back too. Their waiters get `DiskFull` right after.
    pub fn set_roll_back_hook(&self, hook: RollBackHook) {
        *self.roll_back_hook.borrow_mut() = Some(hook);
    }

    // What follows is for the other files of the live log.

    /// A commit is done: `written` moves, and what rests on it.
    pub(super) fn note_written(self: &Rc<Self>, done: &Done, file: &File) {
        let Done { base_offset, end_offset, bytes, durable } = *done;
        if matches!(*self.state.borrow(), State::Poisoned { .. }) {
            return;
        }
        let records = end_offset.0 - self.offsets.marks().written.0;
        let moved = self.offsets.update(|marks| {
            marks.written = end_offset;
            if durable {
                marks.flushed = end_offset;
            }
        });
        self.written_waiters.borrow_mut().reached(end_offset);
        if durable {
            self.flushed_waiters.borrow_mut().reached(end_offset);
        } else if self.shard.options.flush_acks == FlushAcks::All {
            self.shard.flush_soon(self, base_offset, file, end_offset, bytes);
        } else if self.wants_flush(records) {
            self.flush_written();
        }
        if moved {
            self.notify_visible();
        }
    }

    /// Whether a commit of so many records is to be flushed under `log.flush.acks=none`.
    fn wants_flush(self: &Rc<Self>, records: i64) -> bool {
        let config = self.config();
        self.unflushed_records.set(self.unflushed_records.get() + records);
        if config.flush_ms < i64::MAX && !self.flush_timer.replace(true) {
            let log = Rc::clone(self);
            let wait = std::time::Duration::from_millis(config.flush_ms.max(0) as u64);
            drop(spawn(async move {
                sleep(wait).await;
                log.flush_timer.set(false);
                log.flush_written();
            }));
        }
        !self.flushed_waiters.borrow().is_empty() || self.unflushed_records.get() >= config.flush_messages
    }

    /// Flushes what is written and not flushed. While a segment is being sealed, that comes first: it calls again.
    pub(super) fn flush_written(self: &Rc<Self>) {
        let marks = self.offsets.marks();
        if marks.flushed >= marks.written || self.sealing.get() {
            return;
        }
        let front = self.live.borrow().front().map(|segment| segment.base_offset);
        if let Some(base_offset) = front.filter(|base_offset| *base_offset < marks.written) {
            match self.shard.descriptors.get((self.key, base_offset)) {
                Some(file) => {
                    let file = self.shard.file(file);
                    self.shard.flush_soon(self, base_offset, &file, marks.written, 0);
                }
                None => self.flush_reopened(base_offset),
            }
        }
    }

    /// A flush is done: it covers all below `end_offset`.
    pub(super) fn note_flushed(&self, end_offset: Offset) {
        let end_offset = self.flushed_and_named(end_offset);
        if matches!(*self.state.borrow(), State::Poisoned { .. }) || self.offsets.marks().flushed >= end_offset {
            return;
        }
        self.unflushed_records.set(0);
        let moved = self.offsets.update(|marks| marks.flushed = end_offset);
        self.flushed_waiters.borrow_mut().reached(end_offset);
        if moved {
            self.notify_visible();
        }
    }

    /// What is in the journal is durable, and is in the segments at the next start.
    pub(super) fn note_durable(&self, end_offset: Offset) {
        let moved = self.offsets.update(|marks| {
            marks.written = marks.written.max(end_offset);
            marks.flushed = marks.flushed.max(end_offset);
        });
        self.written_waiters.borrow_mut().reached(end_offset);
        self.flushed_waiters.borrow_mut().reached(end_offset);
        if moved {
            self.notify_visible();
        }
    }

    /// Takes back all batches that are neither written nor in the journal: the disk is full. The next append gets their
    /// offsets, once what a failed write may have left behind the written ones is cut off durably.
    pub(super) fn roll_back(&self, largest: Option<TimestampOffset>) {
        let journaled = self.live.borrow().front().and_then(LiveSegment::journaled_offset);
        let written = self.offsets.marks().written.max(journaled.unwrap_or_default());
        {
            let mut state = self.state.borrow_mut();
            if matches!(*state, State::Poisoned { .. }) {
                return;
            }
            if !matches!(*state, State::Full { .. }) {
                tracing::debug!("{}: the disk is full; appends are refused until there is room", self.topic_partition);
                self.shard.count(|stats| stats.disk_full += 1);
                self.shard.drop_spares();
            }
            if !matches!(*state, State::Closed) {
                *state = State::Full { tried_ms: wall_ms() };
            }
        }
        {
            let mut live = self.live.borrow_mut();
            live.truncate(1);
            if let Some(front) = live.front_mut() {
                front.roll_back(written, largest);
            }
        }
        self.epochs.borrow_mut().truncate_from_end(written);
        self.shard.tails.forget_from(self, written);
        if self.offsets.update(|marks| marks.log_end = written) {
            self.notify_visible();
        }
        let hook = self.roll_back_hook.borrow().clone();
        if let Some(hook) = hook {
            hook(written);
        }
        let shard = Rc::clone(&self.shard);
        drop(spawn(async move { shard.empty_graves().await }));
        self.written_waiters.borrow_mut().fail_above(written, &LogError::DiskFull);
        self.flushed_waiters.borrow_mut().fail_above(written, &LogError::DiskFull);
        self.note_progress();
    }

    /// A write or flush failed. What it covered may be on the device or not, so nothing is acknowledged from here on, and
    /// nothing is tried again.
    pub(super) fn poison(&self, reason: &str) {
        if matches!(*self.state.borrow(), State::Poisoned { .. }) {
            return;
        }
        self.note_poison(reason);
        self.shard.count(|stats| stats.poisoned += 1);
        let reason: Arc<str> = reason.into();
        *self.state.borrow_mut() = State::Poisoned { reason: Arc::clone(&reason) };
        let mut loses = false;
        for segment in self.live.borrow_mut().iter_mut() {
            loses |= segment.keep_journaled();
        }
        if loses {
            self.shard.journal.retire();
        }
        self.fail_waiters(&LogError::Poisoned { reason });
    }

    pub(super) fn fail_waiters(&self, error: &LogError) {
        self.written_waiters.borrow_mut().fail_above(Offset::UNKNOWN, error);
        self.flushed_waiters.borrow_mut().fail_above(Offset::UNKNOWN, error);
        self.notify_visible();
        self.note_progress();
    }

    pub(super) fn notify_visible(&self) {
        if let Some(event) = self.visible.get() {
            event.notify_all();
        }
    }

    pub(super) fn note_progress(&self) {
        if let Some(event) = self.progress.get() {
            event.notify_all();
        }
    }

    /// Notified whenever something that was in flight is over.
    pub(super) fn progress(&self) -> &Event {
        self.progress.get_or_init(Event::new)
    }
}
