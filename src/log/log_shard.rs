//! What the logs of one shard share: the appender, the flusher, open files, the memory of hot tails and indexes.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::file::RawFile;
use crate::runtime::sync::Event;
use crate::runtime::{offload, spawn, wall_ms};

use super::appender::{Appender, CommitSizes};
use super::descriptors::Descriptors;
use super::disk_room::{DiskRoom, ShardRoom};
use super::fault::FaultPlan;
use super::file::{File, IoMode};
use super::flusher::Flusher;
use super::journal::{Journal, JournalOptions};
use super::log::Log;
use super::read_cursor::ReadAhead;
use super::read_index::IndexCache;
use super::retire::Graves;
use super::space::STEP_BYTES_MIN;
use super::tail::TailBudget;

/// `log.flush.acks`: whether every commit ends in a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushAcks {
    /// Acknowledged and visible means flushed to the device.
    All,
    /// Acknowledged and visible means written; `flush.messages` and `flush.ms` act as they do in Kafka.
    None,
}

/// How the logs of a shard work.
#[derive(Clone, Debug)]
pub struct LogShardOptions {
    pub io: IoMode,
    pub flush_acks: FlushAcks,
    /// Memory for the hot tails of all partitions of the shard.
    pub tail_bytes_max: usize,
    /// Segments held open at once.
    pub descriptors_max: usize,
    /// Unit of direct I/O: max(4096, physical block, STATX_DIOALIGN).
    pub block_bytes: u64,
    /// Up to so many files are flushed one by one, more by one `syncfs`.
    pub fdatasync_files_max: usize,
    /// How large commits get; only tests have others than the default.
    pub commit: CommitSizes,
    /// A partition not written to for so long is truncated to its data.
    pub idle_truncate_after: Duration,
    /// Memory for the indexes of sealed segments.
    pub index_cache_bytes_max: usize,
    /// Memory for what is read ahead for cold readers.
    pub read_ahead_bytes_max: usize,
    /// Whether there is room on the disk.
    pub room: Arc<DiskRoom>,
    /// When an active segment has grown by so much its indexes are stored, and a crash leaves no more to be scanned.
    pub checkpoint_after_bytes: u64,
    /// How many removed segments a partition keeps at most, to use their files again; 0 for none.
    pub recycled_segments_max: usize,
    /// Removed segments smaller than this are not used again.
    pub recycled_bytes_min: u64,
    /// A journal for small appends to many partitions, with direct I/O and `log.flush.acks=all`; none without.
    pub journal: Option<JournalOptions>,
    /// The double for a failing device: tests only.
    pub faults: Option<Arc<FaultPlan>>,
}

impl Default for LogShardOptions {
    fn default() -> LogShardOptions {
        LogShardOptions {
            io: IoMode::Direct,
            flush_acks: FlushAcks::All,
            tail_bytes_max: 256 << 20,
            descriptors_max: 4096,
            block_bytes: 4096,
            // benches/log_append.rs on ext4, two busy cores, in three runs: up to 8 files an fdatasync each, side by side,
            // took a third of the time of one syncfs; at 16 about the same; at 64 now one, now the other was faster.
            fdatasync_files_max: 16,
            commit: CommitSizes::default(),
            idle_truncate_after: Duration::from_secs(60),
            index_cache_bytes_max: 32 << 20,
            read_ahead_bytes_max: 64 << 20,
            room: DiskRoom::unguarded(),
            // A handful of syncs for each, which at the full rate of a device is a few in a second.
            checkpoint_after_bytes: 128 << 20,
            recycled_segments_max: 2,
            recycled_bytes_min: STEP_BYTES_MIN,
            journal: None,
            faults: None,
        }
    }
}

/// Counters of a shard's logs, for metrics.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LogShardStats {
    pub appended_bytes: u64,
    pub commits: u64,
    pub writes: u64,
    pub flushes: u64,
    /// Of the flushes, those by `syncfs`.
    pub file_system_flushes: u64,
    /// Of the flushes, those by a write with RWF_DSYNC.
    pub durable_writes: u64,
    /// Writes to the journal, each a flush of all that it holds.
    pub journal_records: u64,
    pub journal_bytes: u64,
    pub tail_reads: u64,
    pub cold_reads: u64,
    /// Reads that met damage.
    pub damaged_reads: u64,
    pub read_ahead_hits: u64,
    pub rolls: u64,
    /// Of the rolled segments, those that took over a file that was at hand, new or used before.
    pub spares_used: u64,
    /// Of those, the ones used before.
    pub recycled_segments: u64,
    /// Segments that retention removed.
    pub retired_segments: u64,
    /// Segments that compaction put others in the place of.
    pub compacted_segments: u64,
    pub poisoned: u64,
    pub disk_full: u64,
}

/// The context of all logs of one shard. Used inside that shard's runtime only.
pub struct LogShard {
    pub(super) options: LogShardOptions,
    pub(super) appender: Appender,
    pub(super) flusher: Flusher,
    pub(super) journal: Journal,
    pub(super) descriptors: Descriptors,
    pub(super) tails: TailBudget,
    pub(super) indexes: IndexCache,
    pub(super) room: ShardRoom,
    pub(super) graves: Graves,
    pub(super) recovery_points: Event,
    /// Logs that hold preallocated room.
    pub(super) roomy: RefCell<Vec<Weak<Log>>>,
    pub(super) read_ahead: ReadAhead,
    next_key: Cell<u64>,
    /// The release of the disk's reserve after which an append was refused.
    pub(super) refused_after: Cell<Option<u32>>,
    /// When the current ten seconds of lines about failures began, and how many there were.
    told: Cell<(i64, u32)>,
    stats: Cell<LogShardStats>,
}

impl fmt::Debug for LogShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogShard")
            .field("options", &self.options)
            .field("stats", &self.stats.get())
            .finish_non_exhaustive()
    }
}

impl LogShard {
    /// # Panics
    /// When the block size is no multiple of 4096, the alignment of our buffers.
    pub fn new(options: LogShardOptions) -> Rc<LogShard> {
        assert!(options.block_bytes > 0 && options.block_bytes.is_multiple_of(4096), "blocks are multiples of 4096");
        Rc::new(LogShard {
            appender: Appender::default(),
            flusher: Flusher::default(),
            journal: Journal::new(
                options
                    .journal
                    .clone()
                    .filter(|_| options.io == IoMode::Direct && options.flush_acks == FlushAcks::All),
            ),
            descriptors: Descriptors::new(options.descriptors_max),
            tails: TailBudget::new(options.tail_bytes_max),
            indexes: IndexCache::new(options.index_cache_bytes_max),
            room: options.room.of_shard(),
            graves: Graves::default(),
            recovery_points: Event::new(),
            roomy: RefCell::new(Vec::new()),
            read_ahead: ReadAhead::default(),
            next_key: Cell::new(0),
            refused_after: Cell::new(None),
            told: Cell::new((0, 0)),
            stats: Cell::new(LogShardStats::default()),
            options,
        })
    }

    /// Notified when the recovery point of a log has moved inside its active segment: the directory's checkpoint is
    /// worth writing.
    pub fn on_recovery_point(&self) -> &Event {
        &self.recovery_points
    }

    pub fn options(&self) -> &LogShardOptions {
        &self.options
    }

    /// Whether one more line may be logged about an operation that a client can repeat at will and that fails each time.
    pub fn may_tell(&self) -> bool {
        const LINES_MAX: u32 = 5;
        const PERIOD_MS: i64 = 10_000;
        let now_ms = wall_ms();
        let (since_ms, lines) = self.told.get();
        let (since_ms, lines) =
            if (0..PERIOD_MS).contains(&(now_ms - since_ms)) { (since_ms, lines) } else { (now_ms, 0) };
        if lines == LINES_MAX {
            tracing::error!("further failures like this are not told for some seconds");
        }
        self.told.set((since_ms, lines.saturating_add(1)));
        lines < LINES_MAX
    }

    pub fn stats(&self) -> LogShardStats {
        self.stats.get()
    }

    /// Memory held by hot tails.
    pub fn tail_bytes(&self) -> usize {
        self.tails.bytes()
    }

    /// Segments open just now.
    pub fn open_descriptors(&self) -> usize {
        self.descriptors.len()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut LogShardStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// The number by which a log's files are known here.
    pub(super) fn new_key(&self) -> u64 {
        self.next_key.set(self.next_key.get() + 1);
        self.next_key.get()
    }

    pub(super) fn file(&self, file: Arc<RawFile>) -> File {
        File::new(file, self.options.io, self.options.faults.as_ref())
    }

    pub(super) fn is_direct(&self) -> bool {
        self.options.io == IoMode::Direct
    }

    /// Closes what is open beyond the budget, now that an operation is over.
    pub(super) fn trim_descriptors(&self) {
        if self.descriptors.is_over_budget() {
            LogShard::close_files(self.descriptors.trim());
        }
    }

    /// Closes files on a helper thread: the last close of a large removed file frees its blocks and takes its time.
    pub(super) fn close_files(files: Vec<Arc<RawFile>>) {
        if !files.is_empty() {
            drop(spawn(offload(move || drop(files))));
        }
    }
}
