use super::*;
use crate::log::fault::{FaultKind, FaultOp, FaultPlan};
use crate::runtime::sleep;

fn shard(io: IoMode, plan: &Arc<FaultPlan>) -> Rc<LogShard> {
    LogShard::new(LogShardOptions { faults: Some(Arc::clone(plan)), ..options(io) })
}

#[test]
fn short_writes_are_continued() {
    for io in MODES {
        for seed in 1..4 {
            let root = data_dir();
            let plan = Arc::new(FaultPlan::new());
            plan.set_short_writes(seed);
            run(async {
                let shard = shard(io, &plan);
                let written = Written::new(&shard, root.path(), 0, LogConfig::default());
                for at in 0..100 {
                    let end = written.append(2, at * 400).unwrap();
                    if at % 7 == 0 {
                        written.log.wait_flushed(end).await.unwrap();
                    }
                }
                written.log.close().await.unwrap();
                assert!(files_content(&written.log.dir()) == written.expected(), "seed {seed}");
            });
        }
    }
}

#[test]
fn a_failed_write_or_flush_poisons_what_it_covered_and_nothing_else() {
    for io in MODES {
        for op in [FaultOp::Write, FaultOp::Flush] {
            let root = data_dir();
            let plan = Arc::new(FaultPlan::new());
            run(async {
                let shard = shard(io, &plan);
                let hit = Written::new(&shard, root.path(), 0, LogConfig::default());
                let other = Written::new(&shard, root.path(), 1, LogConfig::default());
                let kept = hit.append(1, 100).unwrap();
                hit.log.wait_flushed(kept).await.unwrap();
                let also = other.append(1, 100).unwrap();
                other.log.wait_flushed(also).await.unwrap();
                plan.fail(op, 0, FaultKind::Io);
                // Two writes, so that the flush is one of its own.
                let end = hit.append(1, 1_200_000).unwrap();
                let error = hit.log.wait_flushed(end).await.unwrap_err();
                assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
                assert!(matches!(hit.append(1, 1), Err(LogError::Poisoned { .. })));
                assert!(matches!(hit.log.wait_flushed(end).await, Err(LogError::Poisoned { .. })));
                assert_eq!(hit.log.high_watermark(), kept);
                hit.taken_back(kept);
                hit.check().await;
                assert!(matches!(hit.log.close().await, Err(LogError::Poisoned { .. })));
                let end = other.append(1, 100).unwrap();
                other.log.wait_flushed(end).await.unwrap();
                other.log.close().await.unwrap();
            });
        }
    }
}

/// Appends until the log takes appends again, and waits until that one is durable.
async fn resumed(written: &Written) -> Offset {
    loop {
        match written.append(1, 50_000) {
            Ok(end) => {
                if written.log.wait_flushed(end).await.is_ok() {
                    return end;
                }
                written.taken_back(written.log.log_end_offset());
            }
            Err(LogError::DiskFull) => sleep(SHORT).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_full_disk_refuses_appends_and_lets_them_in_again() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        run(async {
            let shard = shard(io, &plan);
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            let told = Rc::new(RefCell::new(Vec::new()));
            let hook = Rc::clone(&told);
            written.log.set_roll_back_hook(Rc::new(move |end| hook.borrow_mut().push(end)));
            let kept = written.append(1, 100).unwrap();
            written.log.wait_flushed(kept).await.unwrap();
            plan.set_full(true);
            // More than is preallocated.
            let ends: Vec<_> = (0..3).map(|_| written.append(1, 1_500_000).unwrap()).collect();
            let waits: Vec<_> = ends.iter().map(|end| written.log.wait_flushed(*end)).collect();
            for wait in waits {
                assert!(matches!(wait.await, Err(LogError::DiskFull)));
            }
            assert_eq!(*told.borrow(), [kept]);
            written.taken_back(kept);
            assert_eq!((written.log.log_end_offset(), written.log.high_watermark()), (kept, kept));
            for _ in 0..10 {
                assert!(matches!(written.append(1, 10), Err(LogError::DiskFull)));
                sleep(SHORT).await;
            }
            written.check().await;
            plan.set_full(false);
            let end = resumed(&written).await;
            assert_eq!(end, kept.plus(1), "the offsets were not used up");
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
        });
    }
}

#[test]
fn a_write_that_meets_a_full_disk_leaves_nothing_behind() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        run(async {
            let shard = shard(io, &plan);
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            let kept = written.append(1, 5000).unwrap();
            written.log.wait_flushed(kept).await.unwrap();
            // The first part is written, its continuation meets the full disk.
            plan.fail(FaultOp::Write, 0, FaultKind::Short(8192));
            plan.fail(FaultOp::Write, 0, FaultKind::NoSpace);
            let end = written.append(1, 20_000).unwrap();
            assert!(matches!(written.log.wait_flushed(end).await, Err(LogError::DiskFull)));
            written.taken_back(kept);
            resumed(&written).await;
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
        });
    }
}

#[test]
fn a_roll_onto_a_full_disk_waits_for_room() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        run(async {
            let shard = shard(io, &plan);
            let config = LogConfig { segment_bytes: 60_000, ..LogConfig::default() };
            let written = Written::new(&shard, root.path(), 0, config);
            let kept = written.append(1, 40_000).unwrap();
            written.log.wait_flushed(kept).await.unwrap();
            plan.set_full(true);
            let end = written.append(1, 40_000).unwrap();
            assert!(matches!(written.log.wait_flushed(end).await, Err(LogError::DiskFull)));
            written.taken_back(kept);
            plan.set_full(false);
            resumed(&written).await;
            written.check().await;
            assert_eq!(written.log.segment_count(), 2);
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
        });
    }
}

#[test]
fn a_damaged_log_takes_nothing_and_does_not_stop_cleanly() {
    use crate::log::loaded::{Damage, DamageKind};
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Buffered));
        let mut found = loaded(root.path(), 0, LogConfig::default(), true);
        let segment = names::log_file(&found.dir, Offset(0));
        let kind = DamageKind::BelowFlushed { flushed: Offset(9) };
        found.damage = Some(Damage { segment, position: 5, offset: Offset(0), kind });
        let written = Written { log: Log::open(found, &shard, LeaderEpoch(0)), batches: std::cell::RefCell::default() };
        let refused = written.append(1, 10).expect_err("a damaged log took a batch");
        let LogError::Poisoned { reason } = &refused else { panic!("{refused}") };
        assert!(reason.contains("is damaged at byte 5, offset 0"), "{reason}");
        assert!(matches!(written.log.close().await, Err(LogError::Poisoned { .. })));
    });
}
