//! What differs from seed to seed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::log::{
    CleanupPolicy, CommitSizes, FaultOp, FlushAcks, IoMode, JournalOptions, LogConfig, LogShardOptions, names,
};

/// How a run is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub io: IoMode,
    pub flush_acks: FlushAcks,
    pub partitions: usize,
    pub log: LogConfig,
    pub commit: CommitSizes,
    pub fdatasync_files_max: usize,
    pub descriptors_max: usize,
    pub tail_bytes_max: usize,
    pub recycled_segments_max: usize,
    /// Every batch has so many bytes of values, in one record: what a file held before lines up with what comes.
    pub equal_bytes: Option<usize>,
    pub value_bytes_max: usize,
    pub fault: Fault,
    /// How much is done in one run.
    pub steps: usize,
    pub checkpoint_after_bytes: u64,
    /// Records have keys, and logs are compacted all the while.
    pub compact: bool,
    /// Small appends go into a journal; where its files are is not said yet.
    pub journal: Option<JournalOptions>,
}

/// What else goes wrong during a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    None,
    ShortWrites,
    /// The disk is full for a while.
    Full,
    /// EIO from one operation of the appender, the flusher or a reader.
    Operation(FaultOp),
    /// EIO from one of the calls that make, complete and remove files.
    Call,
}

impl Setup {
    pub fn random(seed: u64, random: &mut StdRng) -> Setup {
        let mut setup = Setup::without_compaction(random);
        // By numbers of its own, so that a seed without it stays what it was.
        let mut random = StdRng::seed_from_u64(seed ^ 0xC0_4AC7);
        if random.random_bool(0.3) && !super::FOUND_OUT.contains(&seed) {
            setup.compact = true;
            setup.log.cleanup_policy = CleanupPolicy { delete: random.random_bool(0.3), compact: true };
            setup.log.delete_retention_ms = *pick(&mut random, &[0, 200, i64::MAX / 2]);
            setup.log.min_cleanable_dirty_ratio = 0.0;
            setup.log.segment_bytes = *pick(&mut random, &[2_000, 5_000, 20_000]);
            // What a full disk takes back has no part in what a compacted log means.
            if matches!(setup.fault, Fault::Full | Fault::Operation(_)) {
                setup.fault = Fault::None;
            }
        }
        let mut random = StdRng::seed_from_u64(seed ^ 0x10_04A1);
        if random.random_bool(0.5) && !super::FOUND_OUT.contains(&seed) {
            let file_bytes_min = *pick(&mut random, &[16 << 10, 64 << 10]);
            setup.journal = Some(JournalOptions {
                file_bytes_min,
                logs_min: *pick(&mut random, &[1, 1, 2, 4]),
                log_bytes_max: *pick(&mut random, &[2_000, 16_000]),
                record_bytes_max: *pick(&mut random, &[4_000, 60_000]),
                ..JournalOptions::new(PathBuf::new(), 0, file_bytes_min * *pick(&mut random, &[1, 2, 8]))
            });
        }
        setup
    }

    fn without_compaction(random: &mut StdRng) -> Setup {
        let partitions = match random.random_range(0..20) {
            0..=11 => 1,
            12..=16 => random.random_range(2..=4),
            17..=18 => random.random_range(5..=16),
            _ => random.random_range(17..=50),
        };
        let value_bytes_max = *pick(random, &[10, 300, 3000, 9000, 40_000]);
        let commit_bytes_max = *pick(random, &[4 << 10, 32 << 10, 256 << 10]);
        Setup {
            io: *pick(random, &[IoMode::Direct, IoMode::Direct, IoMode::Buffered]),
            flush_acks: if random.random_bool(0.9) { FlushAcks::All } else { FlushAcks::None },
            partitions,
            log: LogConfig {
                segment_bytes: *pick(random, &[5_000, 20_000, 100_000, 1 << 30]),
                index_interval_bytes: *pick(random, &[0, 200, 4096]),
                flush_messages: *pick(random, &[i64::MAX, 1, 7]),
                retention_bytes: *pick(random, &[-1, 10_000, 60_000]),
                file_delete_delay_ms: *pick(random, &[0, 100, 60_000]),
                ..LogConfig::default()
            },
            commit: CommitSizes {
                commit_bytes_max,
                write_bytes_max: *pick(random, &[4096, 8192, 1 << 20]),
                durable_write_bytes_max: *pick(random, &[0, 4096, 128 << 10]),
                ahead_bytes_min: *pick(random, &[1, 1, 20_000, u64::MAX]),
            },
            fdatasync_files_max: *pick(random, &[1, 4, 100]),
            descriptors_max: *pick(random, &[2, 20, 4096]),
            tail_bytes_max: *pick(random, &[0, 20_000, 1 << 20]),
            recycled_segments_max: *pick(random, &[0, 2, 2]),
            equal_bytes: random.random_bool(0.4).then(|| random.random_range(1..=value_bytes_max)),
            value_bytes_max,
            fault: match random.random_range(0..20) {
                0..=1 => Fault::ShortWrites,
                2..=3 => Fault::Full,
                4..=5 => Fault::Operation(*pick(random, &[FaultOp::Write, FaultOp::Flush, FaultOp::Read])),
                6 => Fault::Call,
                _ => Fault::None,
            },
            steps: random.random_range(5..80),
            checkpoint_after_bytes: *pick(random, &[2_000, 15_000, 128 << 20]),
            compact: false,
            journal: None,
        }
    }

    pub fn shard_options(&self, root: &Path) -> LogShardOptions {
        let dir = root.join(names::UNCLEAN_DIR);
        LogShardOptions {
            journal: self.journal.clone().map(|journal| JournalOptions { dir, ..journal }),
            io: self.io,
            flush_acks: self.flush_acks,
            tail_bytes_max: self.tail_bytes_max,
            descriptors_max: self.descriptors_max,
            fdatasync_files_max: self.fdatasync_files_max,
            commit: self.commit,
            recycled_segments_max: self.recycled_segments_max,
            recycled_bytes_min: 4096,
            checkpoint_after_bytes: self.checkpoint_after_bytes,
            // Real time has no part in this.
            idle_truncate_after: Duration::from_secs(1_000_000),
            ..LogShardOptions::default()
        }
    }

    /// How far behind its flushed end a partition can have been written: as a start reckons it.
    pub fn commit_reach_bytes(&self) -> u64 {
        match self.flush_acks {
            FlushAcks::All => self.commit.reach_bytes() + 4 * self.value_bytes_max as u64 + 1000,
            FlushAcks::None => u64::MAX,
        }
    }
}

pub fn pick<'a, T>(random: &mut StdRng, from: &'a [T]) -> &'a T {
    &from[random.random_range(0..from.len())]
}
