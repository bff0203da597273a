use super::*;
use std::cell::Cell;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 100_000, index_interval_bytes: 1000, ..LogConfig::default() }
}

#[test]
fn segments_roll_by_size_and_are_complete_when_the_recovery_point_passes() {
    for io in MODES {
        for flush_acks in ACKS {
            let root = data_dir();
            run(async {
                let shard = LogShard::new(LogShardOptions { flush_acks, ..options(io) });
                let written = Written::new(&shard, root.path(), 0, small());
                let asked = Rc::new(Cell::new(0));
                let source = (Rc::clone(&asked), Rc::downgrade(&written.log));
                written.log.set_snapshot_source(Rc::new(move || {
                    source.0.set(source.0.get() + 1);
                    let end = source.1.upgrade().unwrap().log_end_offset();
                    Bytes::from(end.to_string())
                }));
                // Faster than files are made: several segments are in memory at once.
                for at in 0..100 {
                    let end = written.append(5, 900).unwrap();
                    if at % 40 == 39 {
                        written.log.wait_acknowledged(end).await.unwrap();
                        written.check().await;
                    }
                }
                let end = written.log.log_end_offset();
                written.log.wait_flushed(end).await.unwrap();
                assert_eq!(written.log.segment_count(), 5);
                assert_eq!(asked.get(), 4);
                while written.log.recovery_point() < Offset(400) {
                    crate::runtime::sleep(SHORT).await;
                }
                let dir = written.log.dir();
                let bases: Vec<i64> = written.log.segment_views().iter().map(|view| view.base_offset.0).collect();
                for base in &bases[1..] {
                    let snapshot = std::fs::read(names::snapshot_file(&dir, Offset(*base))).unwrap();
                    assert_eq!(snapshot, base.to_string().as_bytes(), "the state is that of the roll");
                }
                written.log.close().await.unwrap();
                assert!(files_content(&dir) == written.expected());
                for base in bases {
                    let index = std::fs::read(names::offset_index_file(&dir, Offset(base))).unwrap();
                    assert!(!index.is_empty() && index.len().is_multiple_of(8));
                    let times = std::fs::read(names::time_index_file(&dir, Offset(base))).unwrap();
                    assert!(!times.is_empty() && times.len().is_multiple_of(12));
                }
                assert!(dir.join(names::LEADER_EPOCH_CHECKPOINT).exists());
            });
        }
    }
}

#[test]
fn segments_roll_by_time() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let config = LogConfig { segment_ms: 9, ..LogConfig::default() };
        let written = Written::new(&shard, root.path(), 0, config);
        for _ in 0..10 {
            // Timestamps follow the offsets: each segment holds two batches.
            written.append(5, 10).unwrap();
        }
        assert_eq!(written.log.segment_count(), 5);
        written.log.wait_flushed(Offset(50)).await.unwrap();
        written.check().await;
    });
}
