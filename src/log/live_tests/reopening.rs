use super::*;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 200_000, index_interval_bytes: 2000, ..LogConfig::default() }
}

async fn fill(written: &Written, batches: usize) {
    for at in 0..batches {
        let end = written.append(3, (at * 131) % 3000).unwrap();
        if at % 5 == 0 {
            written.log.wait_flushed(end).await.unwrap();
        }
    }
    written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
}

#[test]
fn a_closed_log_is_reopened_and_continued_in_either_mode() {
    for first in MODES {
        for second in MODES {
            let root = data_dir();
            run(async {
                let written = Written::new(&LogShard::new(options(first)), root.path(), 0, small());
                fill(&written, 100).await;
                written.log.close().await.unwrap();
                let shard = LogShard::new(options(second));
                let written = written.reopened(&shard, root.path(), small(), true);
                assert!(written.log.segment_count() > 2);
                assert_eq!(written.log.high_watermark(), Offset(300));
                written.check().await;
                fill(&written, 50).await;
                written.check().await;
                written.log.close().await.unwrap();
                assert!(files_content(&written.log.dir()) == written.expected());
                let times = written.log.topic_partition().partition;
                let found = loaded(root.path(), times, small(), true);
                assert_eq!(found.report.indexes_rebuilt, 0, "{first:?}, {second:?}: {:?}", found.report);
            });
        }
    }
}

#[test]
fn what_was_flushed_is_there_after_a_crash() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let written = Written::new(&LogShard::new(options(io)), root.path(), 0, small());
            fill(&written, 100).await;
            // Not closed: preallocated room and no index files, as a kill leaves it. Seals may be under way.
            while written.log.recovery_point() < written.log.segment_views().last().unwrap().base_offset {
                crate::runtime::sleep(SHORT).await;
            }
            let shard = LogShard::new(options(io));
            let written = written.reopened(&shard, root.path(), small(), false);
            written.check().await;
            fill(&written, 20).await;
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&written.log.dir()) == written.expected());
        });
    }
}

#[test]
fn a_segment_that_nothing_was_added_to_is_sealed_before_the_next_has_a_name() {
    for io in MODES {
        for clean in [true, false] {
            let root = data_dir();
            run(async {
                let written = Written::new(&LogShard::new(options(io)), root.path(), 0, small());
                let end = written.append(3, 1000).unwrap();
                written.log.wait_flushed(end).await.unwrap();
                if clean {
                    written.log.close().await.unwrap();
                }
                let written = written.reopened(&LogShard::new(options(io)), root.path(), small(), clean);
                assert_eq!(written.log.recovery_point(), end);
                // Too large for the segment that is there.
                written.append(1, 199_500).unwrap();
                let next = names::log_file(&written.log.dir(), end);
                while !next.exists() {
                    crate::runtime::yield_now().await;
                }
                assert!(
                    written.log.seal_jobs.borrow().is_empty(),
                    "{io:?}: a recovery point at {end:?} speaks too early"
                );
                written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
                written.check().await;
            });
        }
    }
}

#[test]
fn a_log_nothing_was_appended_to_stays_small_and_closes() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let written = Written::new(&shard, root.path(), 0, LogConfig::default());
        assert_eq!(shard.open_descriptors(), 0);
        assert!(size_of::<Log>() < 1024, "{} bytes", size_of::<Log>());
        assert_eq!(written.log.close().await.unwrap(), Offset(0));
        let written = written.reopened(&shard, root.path(), LogConfig::default(), true);
        assert_eq!(written.log.close().await.unwrap(), Offset(0));
    });
}

/// A copy of a partition's directory, to be loaded in another way.
fn copied(from: &Path) -> TempDir {
    let root = data_dir();
    let to = root.path().join("t-0");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    root
}

fn crashed(root: &Path, config: LogConfig, recovery_point: Offset) -> LoadedLog {
    let topic_partition = TopicPartition { topic: Arc::from("t"), partition: 0 };
    let options = LoadOptions {
        dir: names::partition_dir(root, &topic_partition),
        topic_partition,
        topic_id: KafkaUuid([7; 16]),
        config,
        clean: false,
        recovery_point,
        flushed_offset: Offset(0),
        log_start_offset: Offset(0),
        leader_epoch: LeaderEpoch(i32::MAX),
        adopted: false,
        commit_reach_bytes: COMMIT_REACH_BYTES,
        accept_damage: false,
        now_ms: 1_000_000,
    };
    load(&options).unwrap()
}

#[test]
fn behind_a_checkpoint_a_crash_leaves_little_to_scan() {
    let config = LogConfig { segment_bytes: 10 << 20, index_interval_bytes: 2000, ..LogConfig::default() };
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(LogShardOptions { checkpoint_after_bytes: 60_000, ..options(io) });
            let written = Written::new(&shard, root.path(), 0, config);
            let empty = crate::log::producers::ProducerTable::new(Offset(0)).encode_snapshot();
            written.log.set_snapshot_source(Rc::new(move || Bytes::from(empty.clone())));
            let mut points = std::collections::BTreeSet::new();
            for _ in 0..4 {
                let before = written.log.recovery_point();
                fill(&written, 100).await;
                while written.log.recovery_point() == before || written.log.sealing.get() {
                    crate::runtime::sleep(SHORT).await;
                }
                points.insert(written.log.recovery_point());
            }
            assert_eq!(written.log.segment_count(), 1);
            assert!(points.len() > 2, "{points:?}");
            let dir = written.log.dir();
            let point = written.log.recovery_point();
            // The snapshots of earlier checkpoints are gone.
            let snapshots = |dir: &Path| {
                let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
                names.filter(|name| name.to_str().unwrap().ends_with("snapshot")).count()
            };
            assert_eq!(snapshots(&dir), 1);
            let whole = copied(&dir);
            let expected = crashed(whole.path(), config, Offset(0));
            assert!(expected.report.bytes_scanned > 300_000 && expected.log_end_offset == written.log.log_end_offset());
            let same = |found: LoadedLog, scanned_max: u64, why: &str| {
                assert!(found.report.bytes_scanned <= scanned_max, "{why}: {:?}", found.report);
                assert_eq!(found.damage, None, "{why}");
                assert_eq!(found.log_end_offset, expected.log_end_offset, "{why}");
                assert!(found.active.indexes.offsets == expected.active.indexes.offsets, "{why}: the offset index");
                assert!(found.active.indexes.times == expected.active.indexes.times, "{why}: the time index");
                assert!(found.active.indexes.largest == expected.active.indexes.largest, "{why}");
                assert_eq!(
                    (found.active.size_bytes, &found.epochs),
                    (expected.active.size_bytes, &expected.epochs),
                    "{why}"
                );
                assert_eq!(found.producers.end_offset(), expected.producers.end_offset(), "{why}");
            };
            let all = expected.report.bytes_scanned;
            // How far the last checkpoint got is a matter of time; what is behind it is all there is to scan.
            let end = expected.log_end_offset;
            let behind = all * (end.0 - point.0) as u64 / end.0 as u64;
            same(crashed(copied(&dir).path(), config, point), behind + 50_000, "from the checkpoint");
            // What is not as the checkpoint left it is not relied on.
            for damage in ["index", "timeindex", "snapshot", "leader-epoch-checkpoint"] {
                let copy = copied(&dir);
                for entry in std::fs::read_dir(copy.path().join("t-0")).unwrap() {
                    let path = entry.unwrap().path();
                    if path.to_str().unwrap().ends_with(damage) {
                        std::fs::remove_file(path).unwrap();
                    }
                }
                let found = crashed(copy.path(), config, point);
                assert_eq!(found.report.bytes_scanned, all, "without {damage}");
                same(found, all, damage);
            }
            let copy = copied(&dir);
            let index = names::offset_index_file(&copy.path().join("t-0"), Offset(0));
            let mut bytes = std::fs::read(&index).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&index, bytes).unwrap();
            same(crashed(copy.path(), config, Offset(points.last().unwrap().0)), all, "a garbled entry");
            // The live log goes on, is sealed and closed as ever.
            let written = Written { log: Rc::clone(&written.log), ..written };
            fill(&written, 20).await;
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&dir) == written.expected());
            assert_eq!(loaded(root.path(), 0, config, true).report.indexes_rebuilt, 0);
        });
    }
}

#[test]
fn a_large_active_segment_is_scanned_once() {
    let root = data_dir();
    let config = LogConfig { segment_bytes: 100 << 20, ..LogConfig::default() };
    run(async {
        let written = Written::new(&LogShard::new(options(IoMode::Direct)), root.path(), 0, config);
        for _ in 0..20 {
            written.append(1, 1 << 20).unwrap();
        }
        written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
        assert_eq!(written.log.recovery_point(), Offset(0), "no checkpoint yet");
        let first = crashed(root.path(), config, Offset(0));
        assert!(first.report.bytes_scanned > 20 << 20);
        let second = crashed(root.path(), config, first.recovery_point);
        assert!(second.report.bytes_scanned < 2 << 20, "{:?}", second.report);
        assert_eq!(second.log_end_offset, first.log_end_offset);
    });
}
