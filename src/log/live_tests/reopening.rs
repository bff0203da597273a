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
