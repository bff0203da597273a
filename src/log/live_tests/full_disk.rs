use super::*;
use crate::log::fault::{FaultKind, FaultOp, FaultPlan};
use crate::log::{Claim, DiskLevel, DiskRoom};
use crate::runtime::sleep;

fn shard(io: IoMode, plan: &Arc<FaultPlan>, room: &Arc<DiskRoom>) -> Rc<LogShard> {
    LogShard::new(LogShardOptions { faults: Some(Arc::clone(plan)), room: Arc::clone(room), ..options(io) })
}

async fn appended(written: &Written, size: usize) -> Result<(), LogError> {
    let end = written.append(1, size)?;
    let reached = written.log.wait_flushed(end).await;
    if reached.is_err() {
        written.taken_back(written.log.log_end_offset());
    }
    reached
}

/// Appends until the log takes it, as a client does that retries.
async fn appended_in_the_end(written: &Written, size: usize) {
    loop {
        match appended(written, size).await {
            Ok(()) => return,
            Err(LogError::DiskFull) => sleep(SHORT).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn while_the_disk_is_full_producers_wait_and_the_broker_goes_on() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        let room = DiskRoom::guarded(Arc::default());
        run(async {
            let shard = shard(io, &plan, &room);
            let logs: Vec<_> =
                (0..4).map(|partition| Written::new(&shard, root.path(), partition, LogConfig::default())).collect();
            let [user, other, offsets, catalog] = &logs[..] else { unreachable!() };
            offsets.log.set_claim(Claim::Coordinator);
            catalog.log.set_claim(Claim::Core);
            for log in &logs {
                appended(log, 100).await.unwrap();
            }
            plan.set_full(true);
            assert!(matches!(appended(user, 1_500_000).await, Err(LogError::DiskFull)));
            assert!(
                matches!(appended(catalog, 1_500_000).await, Err(LogError::DiskFull)),
                "the reserve is not there yet"
            );
            assert_eq!(room.level(), DiskLevel::Full);
            assert!(matches!(other.append(1, 1), Err(LogError::DiskFull)), "what one log meets stands for all");

            // The keeper releases the first part.
            assert!(room.wait_for_news(Duration::ZERO).full);
            assert!(!room.has_user_writers());
            plan.set_full(false);
            room.note_released(DiskLevel::Full);
            appended_in_the_end(offsets, 1_500_000).await;
            appended_in_the_end(catalog, 1_500_000).await;
            for _ in 0..10 {
                assert!(matches!(user.append(1, 1), Err(LogError::DiskFull)), "it would take the reserve");
                assert!(matches!(other.append(1, 1), Err(LogError::DiskFull)));
                sleep(SHORT).await;
            }

            // The first part is used up.
            plan.set_full(true);
            assert!(matches!(appended(offsets, 3_000_000).await, Err(LogError::DiskFull)));
            assert!(room.wait_for_news(Duration::ZERO).short);
            plan.set_full(false);
            room.note_released(DiskLevel::Exhausted);
            assert!(matches!(offsets.append(1, 1), Err(LogError::DiskFull)));
            appended_in_the_end(catalog, 3_000_000).await;

            room.set_level(DiskLevel::Room);
            for log in &logs {
                appended_in_the_end(log, 200_000).await;
                log.check().await;
                log.log.close().await.unwrap();
                assert!(files_content(&log.log.dir()) == log.expected());
            }
        });
    }
}

/// What was accepted and is not written yet when the disk gets full takes nothing of what is released.
#[test]
fn batches_that_wait_for_their_write_are_given_back_too() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        let room = DiskRoom::guarded(Arc::default());
        run(async {
            let shard = shard(io, &plan, &room);
            let hit = Written::new(&shard, root.path(), 0, LogConfig::default());
            let waiting = Written::new(&shard, root.path(), 1, LogConfig::default());
            appended(&waiting, 100).await.unwrap();
            let end = waiting.append(1, 1_500_000).unwrap();
            let reached = waiting.log.wait_flushed(end);
            // Between the append and its write: another log meets the full disk, and the reserve is released at once.
            room.note_full(&room.begin_own());
            room.note_released(DiskLevel::Full);
            assert!(matches!(reached.await, Err(LogError::DiskFull)));
            waiting.taken_back(waiting.log.log_end_offset());
            room.set_level(DiskLevel::Room);
            for log in [&hit, &waiting] {
                appended_in_the_end(log, 1000).await;
                log.check().await;
            }
        });
    }
}

/// A batch that is refused as not stored is in no file by then: a crash right after must not bring it back.
#[test]
fn what_is_refused_is_cut_off_before_anybody_hears_of_it() {
    for io in MODES {
        let root = data_dir();
        let plan = Arc::new(FaultPlan::new());
        run(async {
            let shard = shard(io, &plan, &DiskRoom::guarded(Arc::default()));
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            appended(&written, 5000).await.unwrap();
            // Two batches in one write, of which the first is whole in the file when the disk is full.
            plan.fail(FaultOp::Write, 0, FaultKind::Short(16_384));
            plan.fail(FaultOp::Write, 0, FaultKind::NoSpace);
            written.append(1, 2000).unwrap();
            let end = written.append(1, 30_000).unwrap();
            assert!(matches!(written.log.wait_flushed(end).await, Err(LogError::DiskFull)));
            written.taken_back(written.log.log_end_offset());
            assert!(files_content(&written.log.dir()) == written.expected(), "{io:?}");
        });
    }
}

#[test]
fn a_lost_directory_takes_nothing_and_is_not_closed_cleanly() {
    for io in MODES {
        let root = data_dir();
        let room = DiskRoom::guarded(Arc::default());
        run(async {
            let shard = shard(io, &Arc::new(FaultPlan::new()), &room);
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            written.log.set_claim(Claim::Core);
            appended(&written, 100).await.unwrap();
            room.set_lost("it is gone");
            assert!(matches!(written.append(1, 1), Err(LogError::Poisoned { .. })));
            written.check().await;
            assert!(matches!(written.log.close().await, Err(LogError::Poisoned { .. })));
        });
    }
}
