use super::retiring::{deleted_in, names_in, take_first, until};
use super::*;

use crate::log::recycle::spoilt_by_disarm;
use crate::runtime::{fs, reuse};

const BLOCK: usize = 4096;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 200_000, index_interval_bytes: 1000, file_delete_delay_ms: 50, ..LogConfig::default() }
}

fn recycling(io: IoMode) -> LogShardOptions {
    LogShardOptions { recycled_bytes_min: 10_000, ..options(io) }
}

/// Whether files can be used again where the tests' directories are.
fn is_possible(root: &Path) -> bool {
    let possible = reuse::writes_in_place(fs::fs_info(root).unwrap().kind);
    if !possible {
        eprintln!("skipped: {} is on neither ext4 nor XFS", root.display());
    }
    possible
}

impl Written {
    /// Appends until so many segments are sealed.
    async fn fill(&self, sealed: usize) {
        for at in 0.. {
            // Several sizes, so that headers lie anywhere.
            let end = self.append(3, 150 + at * 37 % 500).unwrap();
            if at % 3 == 0 {
                self.log.wait_flushed(end).await.unwrap();
            }
            if self.log.sealed.borrow().len() >= sealed {
                break;
            }
        }
        self.log.wait_flushed(self.log.log_end_offset()).await.unwrap();
        until("sealed", || self.log.seal_jobs.borrow().is_empty()).await;
    }

    /// Removes the first `count` segments, as retention does, and forgets their batches.
    async fn remove(&self, count: usize) {
        let gone = take_first(&self.log, count);
        self.log.retire(gone);
        until("removed", || !self.log.retiring.is_busy()).await;
        let start = self.log.log_start_offset();
        self.batches.borrow_mut().retain(|(base, _)| *base >= start);
    }

    fn live_path(&self) -> PathBuf {
        names::log_file(&self.log.dir(), self.log.live.borrow()[0].base_offset)
    }
}

fn spares(dir: &Path) -> usize {
    names_in(dir).iter().filter(|name| name.ends_with(".log.deleted")).count()
}

#[test]
fn a_removed_segment_is_written_over_and_nothing_of_it_shows() {
    let root = data_dir();
    if !is_possible(root.path()) {
        return;
    }
    run(async {
        let shard = LogShard::new(recycling(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, small());
        let dir = written.log.dir();
        written.fill(3).await;
        for round in 0..6 {
            written.remove(1).await;
            let before = shard.stats();
            assert!(!written.log.spares.is_empty(), "round {round}");
            written.fill(3).await;
            let after = shard.stats();
            assert_eq!(after.recycled_segments, before.recycled_segments + 1, "round {round}");
            written.check().await;
            // The active segment lies over old batches: a block of zeros ends it for whoever reads the file.
            let (end, stale_end) = {
                let live = written.log.live.borrow();
                (live[0].written_end as usize, live[0].room.stale_end as usize)
            };
            let content = std::fs::read(written.live_path()).unwrap();
            assert!(stale_end > end + 2 * BLOCK, "{end} of {stale_end}");
            let zeros_end = end.next_multiple_of(BLOCK) + BLOCK;
            assert!(content[end..zeros_end].iter().all(|byte| *byte == 0), "round {round}");
            assert!(content[zeros_end..stale_end].iter().any(|byte| *byte != 0), "it was used before");
        }
        // Killed: the next start finds the end, in front of the old batches.
        let shard = LogShard::new(recycling(IoMode::Direct));
        let start = written.log.log_start_offset();
        let written = written.reopened(&shard, root.path(), small(), false);
        assert_eq!(written.log.log_start_offset(), start);
        written.check().await;
        written.fill(4).await;
        written.log.close().await.unwrap();
        assert_eq!(spares(&dir), 0, "{:?}", names_in(&dir));
        assert!(files_content(&dir) == written.expected());
    });
}

#[test]
fn spares_are_few_and_spoilt_where_a_torn_write_could_revive_a_batch() {
    let root = data_dir();
    if !is_possible(root.path()) {
        return;
    }
    run(async {
        let shard = LogShard::new(recycling(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, small());
        let dir = written.log.dir();
        written.fill(5).await;
        let removed: Vec<(Offset, u64)> =
            written.log.sealed.borrow()[..4].iter().map(|segment| (segment.base_offset, segment.size_bytes)).collect();
        written.remove(4).await;
        until("unlinked", || spares(&dir) == 2).await;
        let mut spoilt = 0;
        for (base_offset, bytes) in &removed[2..] {
            let content = std::fs::read(names::spare_file(&dir, base_offset.0)).unwrap();
            let mut at = 0;
            while at < *bytes as usize {
                let header = crate::record::BatchHeader::parse_prefix(&content[at..]).unwrap();
                let in_first_sector = 512 - at % 512;
                assert_eq!(spoilt_by_disarm(header.attributes.0), in_first_sector < 21, "at {at}");
                spoilt += u32::from(in_first_sector < 21);
                at += header.size();
            }
        }
        assert!(spoilt > 0, "{removed:?}");
        written.log.close().await.unwrap();
        assert_eq!(spares(&dir), 0);
    });
}

#[test]
fn a_segment_that_somebody_holds_is_unlinked_and_read_on() {
    let root = data_dir();
    if !is_possible(root.path()) {
        return;
    }
    run(async {
        let shard = LogShard::new(recycling(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, small());
        let dir = written.log.dir();
        written.fill(4).await;
        let view = written.log.segment_view(Offset(0)).unwrap();
        let range = written.log.open_segment(view).await.unwrap();
        let second = written.log.segment_view(view.end_offset).unwrap();
        let path = names::log_file(&dir, second.base_offset);
        let other_process = std::fs::File::open(&path).unwrap();
        let third = names::log_file(&dir, second.end_offset);
        std::fs::hard_link(&third, root.path().join("backup")).unwrap();
        let before = std::fs::read(&third).unwrap();
        let expected = written.expected();
        written.remove(3).await;
        assert_eq!(written.log.spares.recycled(), 0);
        until("unlinked", || deleted_in(&dir) == 0).await;
        written.fill(4).await;
        assert_eq!(shard.stats().recycled_segments, 0);
        let read = shard.file(range).read_at(0, 8192).await.unwrap();
        assert!(read[..] == expected[..8192]);
        let mut read = vec![0; 100];
        std::os::unix::fs::FileExt::read_exact_at(&other_process, &mut read, 0).unwrap();
        assert!(read[..] == expected[view.size as usize..view.size as usize + 100]);
        assert!(std::fs::read(root.path().join("backup")).unwrap() == before);
        written.check().await;
    });
}

#[test]
fn buffered_slow_or_unknown_segments_are_not_used_again() {
    for case in ["buffered", "off", "slow", "loaded", "small"] {
        let root = data_dir();
        run(async {
            let io = if case == "buffered" { IoMode::Buffered } else { IoMode::Direct };
            let mut options = recycling(io);
            options.recycled_segments_max = if case == "off" { 0 } else { 2 };
            if case == "small" {
                options.recycled_bytes_min = 1 << 20;
            }
            let mut shard = LogShard::new(options.clone());
            let mut written = Written::new(&shard, root.path(), 0, small());
            let dir = written.log.dir();
            written.fill(3).await;
            match case {
                "slow" => written.log.pace.take(),
                "loaded" => {
                    written.log.close().await.unwrap();
                    shard = LogShard::new(options);
                    written = written.reopened(&shard, root.path(), small(), true);
                    // The segment that was the active one is the fourth.
                    written.fill(4).await;
                    written.remove(2).await;
                    written.log.pace.get()
                }
                _ => written.log.pace.get(),
            };
            written.remove(2).await;
            assert_eq!(written.log.spares.recycled(), 0, "{case}");
            written.fill(3).await;
            assert_eq!(shard.stats().recycled_segments, 0, "{case}");
            written.check().await;
            until("unlinked", || names_in(&dir).iter().filter(|name| name.ends_with("index.deleted")).count() == 0)
                .await;
            written.log.close().await.unwrap();
            assert_eq!(spares(&dir), 0, "{case}");
        });
    }
}

#[test]
fn a_segment_of_another_size_is_brought_to_size() {
    let root = data_dir();
    if !is_possible(root.path()) {
        return;
    }
    for segment_bytes in [30_000, 90_000, 1_000_000] {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(recycling(IoMode::Direct));
            let written = Written::new(&shard, root.path(), 0, small());
            written.fill(3).await;
            written.log.set_config(Rc::new(LogConfig { segment_bytes, ..small() }));
            written.remove(2).await;
            let bytes = written.log.spares.take().map(|spare| {
                let bytes = std::fs::metadata(&spare.path).unwrap().len();
                assert_eq!(bytes, spare.bytes, "{spare:?}");
                written.log.add_spares(vec![spare]);
                bytes
            });
            assert!(
                bytes.unwrap() <= u64::from(segment_bytes).next_multiple_of(BLOCK as u64).max(204_800),
                "{bytes:?}"
            );
            written.fill(4).await;
            assert!(shard.stats().recycled_segments > 0);
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
        });
    }
}

#[test]
fn a_fast_partition_has_its_next_segment_at_hand_and_an_idle_one_gives_it_back() {
    let root = data_dir();
    run(async {
        let idle_truncate_after = Duration::from_millis(400);
        let shard = LogShard::new(LogShardOptions { idle_truncate_after, ..recycling(IoMode::Direct) });
        let written = Written::new(&shard, root.path(), 0, small());
        let dir = written.log.dir();
        for round in 0..3 {
            written.fill(5 * (round + 1)).await;
            let stats = shard.stats();
            assert!(stats.spares_used > 0, "{stats:?}");
            assert!(spares(&dir) <= 1);
            until("given back", || spares(&dir) == 0).await;
        }
        written.check().await;
        written.log.close().await.unwrap();
        assert!(files_content(&dir) == written.expected());
    });
}

#[test]
fn a_full_disk_gets_the_spares_back_and_a_deleted_log_leaves_none() {
    let root = data_dir();
    if !is_possible(root.path()) {
        return;
    }
    let plan = Arc::new(FaultPlan::new());
    run(async {
        let shard = LogShard::new(LogShardOptions { faults: Some(Arc::clone(&plan)), ..recycling(IoMode::Direct) });
        let written = Written::new(&shard, root.path(), 0, small());
        let other = Written::new(&shard, root.path(), 1, small());
        written.fill(3).await;
        written.remove(2).await;
        other.fill(2).await;
        other.remove(1).await;
        assert!(!written.log.spares.is_empty() && !other.log.spares.is_empty());
        plan.set_full(true);
        let kept = other.log.log_end_offset();
        let end = other.append(1, 10).unwrap();
        assert!(matches!(other.log.wait_flushed(end).await, Err(LogError::DiskFull)));
        other.taken_back(kept);
        until("given back", || spares(&written.log.dir()) + spares(&other.log.dir()) == 0).await;
        plan.set_full(false);
        written.fill(3).await;
        written.check().await;
        written.remove(2).await;
        assert!(spares(&written.log.dir()) > 0);
        other.log.delete().await.unwrap();
        written.log.delete().await.unwrap();
        shard.empty_graves().await;
        assert_eq!(names_in(root.path()), Vec::<String>::new());
    });
}

#[test]
fn nothing_counts_as_flushed_before_the_segments_name_is_durable() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(recycling(io));
            let written = Written::new(&shard, root.path(), 0, small());
            let kept = written.append(1, 10).unwrap();
            written.log.wait_flushed(kept).await.unwrap();
            until("quiet", || written.log.is_quiet()).await;
            // As if the directory's sync were still under way.
            written.log.unnamed.set(Some(crate::log::naming::Unnamed { base_offset: kept, flushed: kept }));
            let end = written.append(1, 10).unwrap();
            written.log.wait_written(end).await.unwrap();
            until("flushed but for the name", || {
                written.log.flushing.get().is_none() && written.log.unnamed.get().unwrap().flushed == end
            })
            .await;
            assert_eq!((written.log.flushed_offset(), written.log.high_watermark()), (kept, kept));
            written.log.unnamed.take();
            written.log.make_name_durable(kept);
            written.log.note_flushed(end);
            written.log.wait_flushed(end).await.unwrap();
            assert_eq!(written.log.high_watermark(), end);
        });
    }
}

#[test]
fn short_writes_over_old_batches_are_continued_and_a_kill_leaves_what_was_flushed() {
    for seed in 1..4 {
        let root = data_dir();
        if !is_possible(root.path()) {
            return;
        }
        let plan = Arc::new(FaultPlan::new());
        plan.set_short_writes(seed);
        run(async {
            let options = LogShardOptions { faults: Some(Arc::clone(&plan)), ..recycling(IoMode::Direct) };
            let mut shard = LogShard::new(options.clone());
            let mut written = Written::new(&shard, root.path(), 0, small());
            for round in 0..3 {
                // The first ones are of the run before: unknown, and unlinked.
                for _ in 0..6 {
                    written.fill(3).await;
                    written.remove(1).await;
                }
                written.fill(3).await;
                assert!(shard.stats().recycled_segments > 1, "seed {seed}, round {round}: {:?}", shard.stats());
                written.check().await;
                shard = LogShard::new(options.clone());
                written = written.reopened(&shard, root.path(), small(), false);
                written.check().await;
            }
        });
    }
}
