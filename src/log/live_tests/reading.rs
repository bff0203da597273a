use super::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 300_000, index_interval_bytes: 4096, ..LogConfig::default() }
}

async fn filled(io: IoMode, root: &Path, tail_bytes_max: usize) -> (Rc<LogShard>, Written) {
    let shard = LogShard::new(LogShardOptions { tail_bytes_max, ..options(io) });
    let written = Written::new(&shard, root, 0, small());
    for at in 0..200 {
        written.append(10, (at * 37) % 800).unwrap();
        if at % 10 == 9 {
            written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
        }
    }
    (shard, written)
}

#[test]
fn the_tail_serves_what_it_holds_and_files_the_rest() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let (shard, written) = filled(io, root.path(), 200_000).await;
            assert!(written.log.segment_count() > 2);
            assert!(shard.tail_bytes() <= 200_000);
            assert_eq!(shard.stats().cold_reads, 0);
            for bytes_max in [1, 5_000, 70_000, 1 << 20] {
                assert!(written.read_all(bytes_max).await == written.expected(), "{bytes_max}");
            }
            let stats = shard.stats();
            assert!(stats.cold_reads > 0 && stats.tail_reads > 0);
            if io == IoMode::Direct {
                assert!(stats.read_ahead_hits > 0);
            }
        });
    }
}

#[test]
fn every_offset_finds_its_batch_hot_and_cold() {
    for io in MODES {
        for tail_bytes_max in [0, 150_000, 100 << 20] {
            let root = data_dir();
            run(async {
                let (_shard, written) = filled(io, root.path(), tail_bytes_max).await;
                let log = &written.log;
                let end = log.high_watermark();
                let batches = written.batches.borrow().clone();
                for (base, bytes) in &batches {
                    for delta in [0, 3, 9] {
                        let got = content(log, base.plus(delta), end, 1, true).await;
                        assert!(got == bytes.as_ref(), "offset {}", base.plus(delta));
                    }
                }
                let (base, bytes) = &batches[100];
                assert!(content(log, *base, end, bytes.len() - 1, false).await.is_empty());
                assert!(content(log, *base, end, bytes.len(), false).await == bytes.as_ref());
                assert!(content(log, *base, base.plus(9), 1 << 20, true).await.is_empty(), "not visible in whole");
                assert!(content(log, *base, base.plus(10), 1 << 20, true).await == bytes.as_ref());
                assert!(content(log, end, end, 1 << 20, true).await.is_empty());
                for outside in [Offset(-1), end.plus(1)] {
                    let result = log.read(outside, end, 1, true).await;
                    assert!(matches!(result, Err(LogError::OffsetOutOfRange { .. })));
                }
                log.set_log_start(Offset(500)).unwrap();
                assert!(matches!(log.read(Offset(499), end, 1, true).await, Err(LogError::OffsetOutOfRange { .. })));
                assert!(log.set_log_start(end.plus(1)).is_err());
            });
        }
    }
}

#[test]
fn records_are_found_by_time() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let (_shard, written) = filled(io, root.path(), 0).await;
            let log = &written.log;
            // All records of a batch have the time 1,000,000 and the base offset.
            for offset in [0, 10, 500, 1010, 1990] {
                for earlier in [0, 9] {
                    let found = log.offset_for_timestamp(1_000_000 + offset - earlier).await.unwrap().unwrap();
                    assert_eq!((found.offset, found.timestamp), (Offset(offset), 1_000_000 + offset));
                }
            }
            assert_eq!(log.offset_for_timestamp(1_001_991).await.unwrap(), None);
            assert_eq!(log.offset_for_timestamp(0).await.unwrap().unwrap().offset, Offset(0));
            log.set_log_start(Offset(55)).unwrap();
            assert_eq!(log.offset_for_timestamp(0).await.unwrap().unwrap().offset, Offset(55));
            let latest = log.offset_of_max_timestamp().await.unwrap().unwrap();
            assert_eq!((latest.offset, latest.timestamp), (Offset(1990), 1_001_990));
            written.append(1, 10).unwrap();
            let latest = log.offset_of_max_timestamp().await.unwrap().unwrap();
            assert_eq!(latest.offset, Offset(2000), "in flight when it was asked for");
        });
    }
}

#[test]
fn a_batch_larger_than_a_read_comes_whole() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(LogShardOptions { tail_bytes_max: 0, ..options(io) });
            let written = Written::new(&shard, root.path(), 0, LogConfig::default());
            for size in [3_000_000, 100, 2_000_000] {
                written.append(1, size).unwrap();
            }
            written.log.wait_flushed(Offset(3)).await.unwrap();
            assert!(written.read_all(1000).await == written.expected());
        });
    }
}

/// Somebody cut the file: an error, not a search without an end.
#[test]
fn a_segment_that_lost_its_end_is_damage() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let (_shard, written) = filled(io, root.path(), 0).await;
            let last = written.batches.borrow().last().unwrap().0;
            let base = written.log.segment_views().last().unwrap().base_offset;
            let path = names::log_file(&written.log.dir(), base);
            std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
            assert!(written.log.read(last, written.log.high_watermark(), 1 << 20, true).await.is_err());
        });
    }
}

#[test]
fn what_is_read_ahead_for_who_never_comes_back_makes_room_for_others() {
    let root = data_dir();
    run(async {
        let read_ahead_bytes_max = 256 << 10;
        let options = LogShardOptions { tail_bytes_max: 0, read_ahead_bytes_max, ..options(IoMode::Direct) };
        let shard = LogShard::new(options);
        let written = Written::new(&shard, root.path(), 0, LogConfig::default());
        for _ in 0..300 {
            written.append(10, 800).unwrap();
        }
        let log = &written.log;
        log.wait_flushed(log.log_end_offset()).await.unwrap();
        let (batches, end) = (written.batches.borrow().clone(), log.high_watermark());
        // Each goes on once, so that the next bytes are read for it, and is not seen again.
        for pair in batches[..160].chunks(20) {
            for (base, bytes) in &pair[..2] {
                assert!(content(log, *base, end, bytes.len(), true).await == bytes.as_ref());
            }
        }
        let before = shard.stats().read_ahead_hits;
        assert!(written.read_all(9_000).await == written.expected());
        let hits = shard.stats().read_ahead_hits - before;
        assert!(hits > 100, "{hits} reads found what was read ahead");
    });
}
