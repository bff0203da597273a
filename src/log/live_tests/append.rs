use super::*;
use crate::runtime::{sleep, spawn};

#[test]
fn what_is_acknowledged_is_read_back_and_in_the_files() {
    for io in MODES {
        for flush_acks in ACKS {
            let root = data_dir();
            run(async {
                let shard = LogShard::new(LogShardOptions { flush_acks, ..options(io) });
                let written = Written::new(&shard, root.path(), 0, LogConfig::default());
                for size in [10, 0, 3900, 4096, 100_000, 1, 2_500_000] {
                    let end = written.append(3, size).unwrap();
                    written.log.wait_acknowledged(end).await.unwrap();
                    assert_eq!(written.log.high_watermark(), end);
                    written.check().await;
                }
                let end = written.log.log_end_offset();
                written.log.wait_flushed(end).await.unwrap();
                assert_eq!(written.log.flushed_offset(), end);
                assert_eq!(written.log.close().await.unwrap(), end);
                assert!(matches!(written.append(1, 1), Err(LogError::Closed)));
                assert!(files_content(&written.log.dir()) == written.expected());
                assert_eq!(shard.open_descriptors(), 0);
            });
        }
    }
}

#[test]
fn a_lone_append_is_one_operation_and_a_crowd_shares_commits() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = Rc::new(Written::new(&shard, root.path(), 0, LogConfig::default()));
            for _ in 0..10 {
                let end = written.append(1, 100).unwrap();
                written.log.wait_flushed(end).await.unwrap();
            }
            let lone = shard.stats();
            // The first one is flushed apart unless its file's name is durable by then.
            assert!(lone.commits == 10 && lone.durable_writes >= 9, "{lone:?}");
            assert_eq!(lone.durable_writes + lone.flushes, 10);
            let tasks: Vec<_> = (0..64)
                .map(|_| {
                    let written = Rc::clone(&written);
                    spawn(async move {
                        for _ in 0..10 {
                            let end = written.append(1, 100).unwrap();
                            written.log.wait_flushed(end).await.unwrap();
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            let crowd = shard.stats();
            assert_eq!(written.log.flushed_offset(), Offset(650));
            assert!(crowd.commits - lone.commits <= 40, "640 appends in {} commits", crowd.commits - lone.commits);
            written.check().await;
            written.log.close().await.unwrap();
        });
    }
}

#[test]
fn a_lone_append_costs_one_enter() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            let warm = written.append(1, 100).unwrap();
            written.log.wait_flushed(warm).await.unwrap();
            let before = crate::runtime::stats().enters;
            for _ in 0..20 {
                let end = written.append(1, 100).unwrap();
                written.log.wait_flushed(end).await.unwrap();
            }
            let enters = crate::runtime::stats().enters - before;
            // Receiving the request and sending its answer cost one each: three in all, and four may be.
            assert!(enters <= 22, "{enters} enters for 20 appends");
        });
    }
}

#[test]
fn many_partitions_share_flushes_and_a_few_descriptors() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(LogShardOptions {
                descriptors_max: 8,
                tail_bytes_max: 0,
                fdatasync_files_max: 4,
                ..options(io)
            });
            let all: Vec<_> = (0..100).map(|at| Written::new(&shard, root.path(), at, LogConfig::default())).collect();
            for round in 0..5 {
                let waits: Vec<_> = all
                    .iter()
                    .map(|written| {
                        let end = written.append(2, 500 * round).unwrap();
                        written.log.wait_flushed(end)
                    })
                    .collect();
                for wait in waits {
                    wait.await.unwrap();
                }
            }
            assert!(shard.stats().file_system_flushes > 0);
            assert!(shard.open_descriptors() <= 8, "{} are open", shard.open_descriptors());
            for written in &all {
                written.check().await;
                written.log.close().await.unwrap();
                assert!(files_content(&written.log.dir()) == written.expected());
            }
        });
    }
}

#[test]
fn an_idle_partition_gives_its_room_and_descriptor_back() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(LogShardOptions { idle_truncate_after: SHORT * 20, ..options(IoMode::Direct) });
        let written = Written::new(&shard, root.path(), 0, LogConfig::default());
        let path = names::log_file(&written.log.dir(), Offset(0));
        for round in 1..4 {
            let end = written.append(1, 1000).unwrap();
            written.log.wait_flushed(end).await.unwrap();
            let data = written.expected().len() as u64;
            assert!(std::fs::metadata(&path).unwrap().len() > data);
            while shard.open_descriptors() > 0 || std::fs::metadata(&path).unwrap().len() > data {
                sleep(SHORT).await;
            }
            written.check().await;
            assert_eq!(std::fs::metadata(&path).unwrap().len(), data, "round {round}");
        }
        written.log.close().await.unwrap();
        assert!(files_content(&written.log.dir()) == written.expected());
    });
}

#[test]
fn flush_messages_and_flush_ms_act_where_commits_are_not_flushed() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(LogShardOptions { flush_acks: FlushAcks::None, ..options(IoMode::Direct) });
        let by_count = Written::new(&shard, root.path(), 0, LogConfig { flush_messages: 10, ..LogConfig::default() });
        let end = by_count.append(9, 10).unwrap();
        by_count.log.wait_written(end).await.unwrap();
        sleep(SHORT).await;
        assert_eq!(by_count.log.flushed_offset(), Offset(0));
        by_count.append(1, 10).unwrap();
        while by_count.log.flushed_offset() < Offset(10) {
            sleep(SHORT).await;
        }
        let by_time = Written::new(&shard, root.path(), 1, LogConfig { flush_ms: 5, ..LogConfig::default() });
        by_time.append(1, 10).unwrap();
        while by_time.log.flushed_offset() < Offset(1) {
            sleep(SHORT).await;
        }
        assert_eq!(by_time.log.high_watermark(), Offset(1));
    });
}

#[test]
fn a_deleted_log_leaves_nothing_and_takes_nothing() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let config = LogConfig { file_delete_delay_ms: 0, ..LogConfig::default() };
            let written = Written::new(&shard, root.path(), 0, config);
            let end = written.append(1, 100).unwrap();
            written.log.wait_flushed(end).await.unwrap();
            let open = written.append(1, 100).unwrap();
            let waiting = written.log.wait_flushed(open);
            written.log.delete().await.unwrap();
            assert!(matches!(waiting.await, Err(LogError::Closed)));
            assert!(matches!(written.append(1, 1), Err(LogError::Closed)));
            while std::fs::read_dir(root.path()).unwrap().count() > 0 {
                sleep(SHORT).await;
            }
            assert_eq!((shard.open_descriptors(), shard.tail_bytes()), (0, 0));
        });
    }
}

/// A write that begins in a block which is being flushed could tear what the flush makes durable. Over blocks used before
/// that is also the block of zeros with which the last write ended, though it held no data.
#[test]
fn no_write_begins_in_a_block_that_is_being_flushed() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, LogConfig::default());
        for (flushing, written_end, stale_end, holds) in [
            (Some(0), 100, 0, true),
            (Some(0), 4096, 0, false),
            (Some(0), 4096, 8192, true),
            (Some(0), 8192, 8192, false),
            (Some(0), 8292, 8192, true),
            (Some(5), 100, 8192, false),
            (None, 100, 8192, false),
        ] {
            written.log.flushing.set(flushing.map(Offset));
            let mut live = written.log.live.borrow_mut();
            let segment = live.front_mut().unwrap();
            (segment.written_end, segment.room.stale_end) = (written_end, stale_end);
            let found = written.log.flush_holds_block(segment);
            assert_eq!(found, holds, "flush of {flushing:?}, written to {written_end}, used before to {stale_end}");
        }
        written.log.flushing.set(None);
    });
}
