use super::*;

use crate::log::Removed;
use crate::log::config::CleanupPolicy;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 20_000,
        index_interval_bytes: 1000,
        retention_ms: -1,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    }
}

/// Ten segments of 15 records each and an active one of 10, all on the device. The timestamps are 1,000,000 and the offset.
async fn ten_segments(shard: &Rc<LogShard>, root: &Path) -> Written {
    let written = Written::new(shard, root, 0, small());
    for _ in 0..32 {
        written.append(5, 1000).unwrap();
    }
    written.log.wait_flushed(Offset(160)).await.unwrap();
    assert_eq!((written.log.segment_count(), base(&written.log, 1)), (11, 15));
    written
}

fn base(log: &Log, at: usize) -> i64 {
    log.segment_views()[at].base_offset.0
}

fn configure(log: &Log, change: impl FnOnce(&mut LogConfig)) {
    let mut config = *log.config();
    change(&mut config);
    log.set_config(Rc::new(config));
}

impl Written {
    async fn removed(&self, now_ms: i64) -> (usize, i64) {
        let removed = self.log.apply_retention(now_ms).await.unwrap();
        let start = self.log.log_start_offset();
        self.batches.borrow_mut().retain(|(base, _)| *base >= start);
        (removed.segments, start.0)
    }
}

#[test]
fn what_is_older_than_retention_ms_goes_in_whole_segments() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = ten_segments(&shard, root.path()).await;
            assert_eq!(written.removed(i64::MAX).await, (0, 0), "-1 keeps everything");
            configure(&written.log, |config| config.retention_ms = 1000);
            assert_eq!(written.removed(1_001_010).await, (0, 0), "its last record is not older than that");
            assert_eq!(written.removed(1_001_011).await, (1, 15));
            assert_eq!(written.removed(1_001_060).await, (3, 60));
            written.check().await;
            let before = written.log.read(Offset(59), Offset(160), 1 << 20, true).await.unwrap_err();
            assert!(matches!(before, LogError::OffsetOutOfRange { log_start_offset: Offset(60), .. }), "{before}");
            assert_eq!(written.log.epochs().entries()[0].start_offset, Offset(60));
            // What another start finds in the time index files is as good as what is in memory.
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
            let shard = LogShard::new(options(io));
            let written = written.reopened(&shard, root.path(), small(), true);
            assert_eq!(written.log.log_start_offset(), Offset(60));
            configure(&written.log, |config| config.retention_ms = 1000);
            assert_eq!(written.removed(1_001_090).await, (2, 90));
            written.check().await;
        });
    }
}

#[test]
fn an_active_segment_that_is_too_old_is_rolled_and_goes_too() {
    for io in MODES {
        for flush_acks in ACKS {
            let root = data_dir();
            run(async {
                let shard = LogShard::new(LogShardOptions { flush_acks, ..options(io) });
                let written = ten_segments(&shard, root.path()).await;
                configure(&written.log, |config| config.retention_ms = 1000);
                assert_eq!(written.removed(1_000_000 + DAY_MS).await, (11, 160));
                assert_eq!((written.log.segment_count(), written.log.size_bytes()), (1, 0));
                assert_eq!(written.removed(1_000_000 + 2 * DAY_MS).await, (0, 160), "an empty one stays");
                written.append(5, 1000).unwrap();
                written.log.wait_flushed(Offset(165)).await.unwrap();
                written.check().await;
                written.log.close().await.unwrap();
                let shard = LogShard::new(options(io));
                let written = written.reopened(&shard, root.path(), small(), true);
                assert_eq!(written.log.log_start_offset(), Offset(160));
                written.check().await;
            });
        }
    }
}

#[test]
fn what_is_beyond_retention_bytes_goes_and_never_more() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = ten_segments(&shard, root.path()).await;
            let size = written.log.size_bytes();
            let first = written.log.segment_views()[0].size;
            configure(&written.log, |config| config.retention_bytes = (size - first + 1) as i64);
            assert_eq!(written.removed(0).await, (0, 0), "without it the log would be smaller than the limit");
            configure(&written.log, |config| config.retention_bytes = (size - first) as i64);
            assert_eq!(written.removed(0).await, (1, 15));
            // At each roll, without a check.
            for _ in 0..100 {
                let end = written.append(5, 1000).unwrap();
                written.log.wait_flushed(end).await.unwrap();
            }
            let bound = size + 2 * first;
            for _ in 0..100 {
                if written.log.size_bytes() < bound {
                    break;
                }
                crate::runtime::sleep(SHORT).await;
            }
            assert!(written.log.size_bytes() < bound);
            configure(&written.log, |config| config.retention_bytes = 0);
            let end = written.log.log_end_offset();
            assert_eq!(written.removed(0).await.1, end.0);
            assert_eq!(written.log.size_bytes(), 0);
        });
    }
}

#[test]
fn compaction_alone_removes_only_what_lies_below_the_log_start() {
    for cleanup_policy in
        [CleanupPolicy { delete: false, compact: true }, CleanupPolicy { delete: false, compact: false }]
    {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(IoMode::Direct));
            let written = ten_segments(&shard, root.path()).await;
            configure(&written.log, |config| {
                *config = LogConfig { cleanup_policy, retention_ms: 1, retention_bytes: 1, ..*config };
            });
            assert_eq!(written.removed(1_000_000 + DAY_MS).await, (0, 0));
            written.log.set_log_start(Offset(44)).unwrap();
            assert_eq!(written.removed(1_000_000).await, (2, 44));
            assert_eq!(base(&written.log, 0), 30);
            written.log.set_log_start(Offset(45)).unwrap();
            assert_eq!(written.removed(1_000_000).await, (1, 45));
            written.log.set_log_start(Offset(160)).unwrap();
            assert_eq!(written.removed(1_000_000).await, (7, 160), "the active one stays");
            assert_eq!(base(&written.log, 0), 150);
            assert!(written.log.set_log_start(Offset(161)).is_err(), "nothing is deleted beyond the high watermark");
            written.log.set_log_start(Offset(0)).unwrap();
            assert_eq!(written.log.log_start_offset(), Offset(160), "it never goes back");
        });
    }
}

#[test]
fn records_without_timestamps_are_as_old_as_their_file_and_future_ones_are_told_of() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Buffered));
        let config = LogConfig { retention_ms: DAY_MS, ..small() };
        let written = Written::new(&shard, root.path(), 0, config);
        for at in 0..8 {
            let base = Offset(at);
            let bytes = Bytes::from(batch_at(at, 1, 0, -1, &[7; 9000]));
            let batch = AppendBatch {
                bytes,
                base_offset: base,
                last_offset: base,
                leader_epoch: LeaderEpoch(0),
                max_timestamp: -1,
            };
            written.log.append(batch).unwrap();
        }
        written.log.wait_flushed(Offset(8)).await.unwrap();
        let now_ms = crate::runtime::wall_ms();
        assert_eq!(written.removed(now_ms).await, (0, 0));
        let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let first = std::fs::File::open(names::log_file(&written.log.dir(), Offset(0))).unwrap();
        first.set_modified(old).unwrap();
        assert_eq!(written.removed(now_ms).await, (1, 2));
        assert_eq!(written.removed(now_ms - 2 * DAY_MS).await, (0, 2));
        let found = written.log.apply_retention(now_ms - DAY_MS).await.unwrap();
        assert_eq!(found, Removed { future_timestamps: true, ..Removed::default() });
    });
}

#[test]
fn nothing_above_the_high_watermark_goes() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, LogConfig { retention_ms: 1, ..small() });
        for _ in 0..32 {
            written.append(5, 1000).unwrap();
        }
        // Nothing is written yet: all this happens in one turn of the loop.
        assert_eq!(written.log.high_watermark(), Offset(0));
        assert_eq!(written.removed(1_000_000 + DAY_MS).await, (0, 0));
        written.log.wait_flushed(Offset(160)).await.unwrap();
        assert_eq!(written.removed(1_000_000 + DAY_MS).await, (11, 160));
    });
}

#[test]
fn readers_are_served_or_told_where_the_log_begins_while_segments_go() {
    for io in MODES {
        let root = data_dir();
        run(async {
            // No tail: every read goes to the files.
            let shard = LogShard::new(LogShardOptions { tail_bytes_max: 0, descriptors_max: 2, ..options(io) });
            let config = LogConfig { retention_bytes: 60_000, ..small() };
            let written = Rc::new(Written::new(&shard, root.path(), 0, config));
            let done = Rc::new(std::cell::Cell::new(false));
            let readers: Vec<_> = (0..4)
                .map(|number| {
                    let (written, done) = (Rc::clone(&written), Rc::clone(&done));
                    crate::runtime::spawn(async move {
                        let (mut from, mut served, mut late) = (Offset(0), 0, 0);
                        while !done.get() {
                            let end = written.log.high_watermark();
                            match written.log.read(from, end, 8000, true).await {
                                Ok(read) if read.bytes == 0 => crate::runtime::sleep(SHORT / 20).await,
                                Ok(read) => {
                                    let bytes = bytes_of(&read.chunks[0]);
                                    let header = crate::record::BatchHeader::parse(&bytes).unwrap();
                                    assert!(header.base_offset <= from && header.next_offset() > from);
                                    from = header.next_offset();
                                    served += 1;
                                }
                                Err(LogError::OffsetOutOfRange { log_start_offset, .. }) => {
                                    assert!(from < log_start_offset, "{from} is in the log");
                                    from = log_start_offset;
                                    late += 1;
                                }
                                Err(error) => panic!("reader {number} at {from}: {error}"),
                            }
                            let found = written.log.offset_for_timestamp(1_000_000).await.unwrap();
                            assert!(found.is_none_or(|found| found.offset.0 >= 0));
                            written.log.offset_of_max_timestamp().await.unwrap();
                            if number == 3 {
                                // A slow one, which falls behind.
                                crate::runtime::sleep(SHORT).await;
                            }
                        }
                        (served, late)
                    })
                })
                .collect();
            for _ in 0..400 {
                let end = written.append(5, 1000).unwrap();
                written.log.wait_flushed(end).await.unwrap();
            }
            done.set(true);
            let (mut served, mut late) = (0, 0);
            for reader in readers {
                let counts = reader.await;
                served += counts.0;
                late += counts.1;
            }
            assert!(served > 0 && late > 0, "{served} served, {late} late: the test shows nothing");
            written.log.close().await.unwrap();
            assert!(written.log.log_start_offset() > Offset(1000), "{:?}", written.log);
        });
    }
}

fn bytes_of(chunk: &Chunk) -> Bytes {
    match chunk {
        Chunk::Mem(bytes) => bytes.clone(),
        Chunk::File(range) => {
            let mut bytes = vec![0; range.len as usize];
            crate::runtime::fs::pread(&range.file, &mut bytes, range.position).unwrap();
            bytes.into()
        }
    }
}
