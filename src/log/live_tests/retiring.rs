use super::*;

use crate::log::segment::SealedSegment;

fn small() -> LogConfig {
    LogConfig { segment_bytes: 20_000, index_interval_bytes: 1000, file_delete_delay_ms: 200, ..LogConfig::default() }
}

pub(super) fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(super) fn deleted_in(dir: &Path) -> usize {
    let new_spare = |name: &str| name.starts_with("0922337203685477");
    names_in(dir).iter().filter(|name| name.ends_with(names::DELETED_SUFFIX) && !new_spare(name)).count()
}

pub(super) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is() {
            return;
        }
        crate::runtime::sleep(SHORT / 2).await;
    }
    panic!("{what}");
}

/// Takes the first `count` segments out of the log, as retention does.
pub(super) fn take_first(log: &Log, count: usize) -> Vec<SealedSegment> {
    let gone: Vec<SealedSegment> = log.sealed.borrow_mut().drain(..count).collect();
    let start = log.segment_views()[0].base_offset;
    log.set_log_start(start).unwrap();
    gone
}

#[test]
fn removed_segments_are_renamed_and_unlinked_after_the_delay() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = Written::new(&shard, root.path(), 0, small());
            written.log.set_snapshot_source(Rc::new(|| Bytes::from_static(b"state")));
            for _ in 0..50 {
                written.append(5, 1000).unwrap();
            }
            written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
            until("sealed", || written.log.seal_jobs.borrow().is_empty()).await;
            let dir = written.log.dir();
            std::fs::write(names::txn_index_file(&dir, Offset(0)), b"").unwrap();
            let view = written.log.segment_view(Offset(0)).unwrap();
            let open = written.log.open_segment(view).await.unwrap();
            let before = written.expected();
            let gone = take_first(&written.log, 2);
            written.log.retire(gone.clone());
            until("renamed", || deleted_in(&dir) == 2 * 3 + 1 + 1).await;
            assert!(names_in(&dir).iter().all(
                |name| !name.starts_with(&names::offset_digits(Offset(0))) || name.ends_with(names::DELETED_SUFFIX)
            ));
            until("unlinked", || deleted_in(&dir) == 0).await;
            // Whoever holds the file reads on; another reader is told where the log begins.
            let content = shard.file(open).read_at(0, 4096).await.unwrap();
            assert!(content[..] == before[..4096]);
            let refused = written.log.read(Offset(0), Offset(10), 1 << 20, true).await.unwrap_err();
            assert!(matches!(refused, LogError::OffsetOutOfRange { .. }), "{refused}");
            let start = written.log.log_start_offset();
            written.batches.borrow_mut().retain(|(base, _)| *base >= start);
            written.check().await;
            written.log.close().await.unwrap();
            assert!(files_content(&dir) == written.expected());
        });
    }
}

#[test]
fn a_clean_stop_does_not_wait_for_the_delay() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let config = LogConfig { file_delete_delay_ms: 1_000_000, ..small() };
        let written = Written::new(&shard, root.path(), 0, config);
        for _ in 0..50 {
            written.append(5, 1000).unwrap();
        }
        written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
        until("rolled", || written.log.sealed.borrow().len() > 3).await;
        let gone = take_first(&written.log, 1);
        written.log.retire(gone);
        let dir = written.log.dir();
        until("renamed", || deleted_in(&dir) > 0).await;
        let gone = take_first(&written.log, 2);
        written.log.retire(gone);
        written.log.close().await.unwrap();
        assert_eq!(deleted_in(&dir), 0);
        assert_eq!(
            names_in(&dir).iter().filter(|name| name.ends_with(names::LOG_SUFFIX)).count(),
            written.log.segment_count()
        );
    });
}

#[test]
fn a_segment_whose_seal_is_not_done_waits_for_it_and_the_log_never_stands_without_a_file() {
    for io in MODES {
        let root = data_dir();
        run(async {
            let shard = LogShard::new(options(io));
            let written = Written::new(&shard, root.path(), 0, small());
            for round in 1..20 {
                let end = written.append(5, 1000).unwrap();
                written.log.wait_flushed(end).await.unwrap();
                // All of it is in one segment, which is rolled; the next one has no file yet.
                written.log.roll(end, &written.log.config(), 0);
                until("rolled", || {
                    written.log.seal_finished();
                    written.log.sealed.borrow().len() == 1
                })
                .await;
                let gone = take_first(&written.log, 1);
                assert_eq!(written.log.log_start_offset(), end);
                written.log.retire(gone);
                let dir = written.log.dir();
                loop {
                    let names = names_in(&dir);
                    assert!(names.iter().any(|name| name.ends_with(names::LOG_SUFFIX)), "round {round}: {names:?}");
                    if !written.log.retiring.is_busy() {
                        break;
                    }
                    crate::runtime::sleep(SHORT / 20).await;
                }
                assert!(names_in(&dir).contains(&format!("{}.log", names::offset_digits(end))));
                assert_eq!(written.log.recovery_point(), end);
            }
            let end = written.log.log_end_offset();
            drop(written);
            let found = loaded(root.path(), 0, small(), false);
            assert_eq!((found.log_start_offset, found.log_end_offset), (end, end));
        });
    }
}

#[test]
fn a_deleted_log_keeps_its_files_for_the_delay_under_another_name() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(options(IoMode::Direct));
        let config = LogConfig { file_delete_delay_ms: 1_000_000, ..small() };
        let written = Written::new(&shard, root.path(), 0, config);
        for _ in 0..50 {
            written.append(5, 1000).unwrap();
        }
        written.log.wait_flushed(written.log.log_end_offset()).await.unwrap();
        until("rolled", || written.log.sealed.borrow().len() > 3).await;
        let gone = take_first(&written.log, 2);
        written.log.retire(gone);
        let dir = written.log.dir();
        written.log.delete().await.unwrap();
        assert!(!dir.exists());
        let waiting = names_in(root.path());
        assert!(waiting.len() == 1 && waiting[0].ends_with(names::DELETE_DIR_SUFFIX), "{waiting:?}");
        let again = Written::new(&shard, root.path(), 0, small());
        again.append(1, 10).unwrap();
        again.log.wait_flushed(Offset(1)).await.unwrap();
        again.check().await;
        shard.empty_graves().await;
        assert_eq!(names_in(root.path()), ["t-0"]);
        again.log.close().await.unwrap();
    });
}
