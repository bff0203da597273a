//! Logs that share a journal, on real files: what is in it outlives a crash, is read, and goes to the segments.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::log::dir_checkpoints::DirCheckpoints;
use crate::log::fault::{FaultKind, FaultOp, FaultPlan};
use crate::log::live_tests::{Written, data_dir, files_content, loaded, options, run};
use crate::log::{FlushAcks, IoMode, LogConfig, LogShard, LogShardOptions, names, partition_metadata};
use crate::runtime::{end_of_turn, sleep};
use crate::types::{KafkaUuid, Offset, TopicPartition};

use super::{JournalOptions, Phase, redo};

const LOGS: usize = 10;

fn journal(root: &Path, file_bytes: u64) -> JournalOptions {
    JournalOptions { logs_min: 2, ..JournalOptions::new(root.join(names::UNCLEAN_DIR), 0, file_bytes) }
}

fn shard(root: &Path, file_bytes: u64) -> Rc<LogShard> {
    shard_with(LogShardOptions { journal: Some(journal(root, file_bytes)), ..options(IoMode::Direct) })
}

fn shard_with(options: LogShardOptions) -> Rc<LogShard> {
    assert_eq!(options.flush_acks, FlushAcks::All);
    LogShard::new(options)
}

fn logs(shard: &Rc<LogShard>, root: &Path, config: LogConfig) -> Vec<Written> {
    (0..LOGS).map(|at| Written::new(shard, root, at as i32, config)).collect()
}

/// A batch to each log, until all of them are durable.
async fn round(logs: &[Written], bytes: usize) {
    let ends: Vec<Offset> = logs.iter().map(|log| log.append(1, bytes).unwrap()).collect();
    for (log, end) in logs.iter().zip(ends) {
        log.log.wait_flushed(end).await.unwrap();
    }
}

/// Rounds until the journal takes part.
async fn until_journaled(shard: &Rc<LogShard>, logs: &[Written]) {
    while shard.stats().journal_records == 0 {
        round(logs, 100).await;
        end_of_turn().await;
    }
}

fn content_on_disk(root: &Path) -> Vec<Vec<u8>> {
    (0..LOGS).map(|at| files_content(&dir_of(root, at))).collect()
}

fn dir_of(root: &Path, at: usize) -> std::path::PathBuf {
    names::partition_dir(root, &name_of(at))
}

fn name_of(at: usize) -> TopicPartition {
    TopicPartition { topic: Arc::from("t"), partition: at as i32 }
}

/// Logs with acknowledged batches that are in the journal alone, as a killed process leaves them.
fn killed(root: &Path) -> Vec<Vec<u8>> {
    let shard = shard(root, 1 << 20);
    run(async {
        let logs = logs(&shard, root, LogConfig::default());
        until_journaled(&shard, &logs).await;
        let before = shard.stats();
        for bytes in [10, 500, 3000] {
            round(&logs, bytes).await;
        }
        let after = shard.stats();
        assert!(after.journal_records > before.journal_records);
        assert_eq!((after.flushes, after.writes), (before.flushes, before.writes), "nothing else was written");
        shard.abandon();
        logs.iter().map(Written::expected).collect()
    })
}

#[test]
fn what_the_journal_alone_had_is_in_the_segments_after_a_crash() {
    let root = data_dir();
    let expected = killed(root.path());
    let found = content_on_disk(root.path());
    assert!(found.iter().zip(&expected).all(|(found, expected)| !found.starts_with(expected)));
    assert_eq!(super::awaiting(root.path()).unwrap().len(), LOGS);
    for _ in 0..2 {
        redo(root.path()).unwrap();
        let found = content_on_disk(root.path());
        assert!(found.iter().zip(&expected).all(|(found, expected)| found.starts_with(expected)));
        let left = std::fs::read_dir(root.path().join(names::UNCLEAN_DIR)).unwrap().count();
        assert_eq!(left, 0, "the journal is still there");
    }
    for (at, expected) in expected.iter().enumerate() {
        let found = loaded(root.path(), at as i32, LogConfig::default(), false);
        assert!(found.damage.is_none() && found.active.size_bytes as usize == expected.len(), "{at}");
    }
}

#[test]
fn a_segment_of_another_topic_or_one_that_was_completed_is_left_alone() {
    let root = data_dir();
    killed(root.path());
    let before = content_on_disk(root.path());
    partition_metadata::write(&dir_of(root.path(), 1), KafkaUuid([9; 16])).unwrap();
    let next = |at: usize, path: fn(&Path, Offset) -> std::path::PathBuf| {
        std::fs::write(path(&dir_of(root.path(), at), Offset(50)), b"").unwrap();
    };
    next(2, names::log_file);
    next(2, names::snapshot_file);
    // Begun behind one that was not completed: that one is not known to have all that it was given.
    next(3, names::log_file);
    std::fs::remove_dir_all(dir_of(root.path(), 4)).unwrap();
    redo(root.path()).unwrap();
    let after: Vec<_> = (0..LOGS)
        .map(|at| std::fs::read(names::log_file(&dir_of(root.path(), at), Offset(0))).unwrap_or_default())
        .collect();
    let same: Vec<_> = (0..LOGS).filter(|&at| after[at] == before[at]).collect();
    assert_eq!(same, [1, 2], "of the others only 4 is gone");
    assert!(after[4].is_empty());
}

#[test]
fn a_damaged_batch_is_noted_and_a_torn_record_is_not() {
    for is_last in [false, true] {
        let root = data_dir();
        killed(root.path());
        let path = root.path().join(names::UNCLEAN_DIR).join("journal-0-0");
        let mut bytes = std::fs::read(&path).unwrap();
        let records: Vec<usize> =
            (0..bytes.len()).step_by(4096).filter(|&at| super::record::Header::parse(&bytes[at..]).is_some()).collect();
        // The last entry's batches end where a record does, but for what fills its block.
        let record = if is_last { records[records.len() - 1] } else { records[records.len() - 2] };
        let size = super::record::Header::parse(&bytes[record..]).unwrap().bytes as usize;
        let end = (record..record + size).rev().find(|&at| bytes[at] != 0).unwrap();
        bytes[end] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        redo(root.path()).unwrap();
        let (checkpoints, _) = DirCheckpoints::open(root.path()).unwrap();
        let noted: Vec<_> = (0..LOGS).filter(|&at| checkpoints.get(&name_of(at)).high_watermark > Offset(0)).collect();
        assert_eq!(noted.len(), usize::from(!is_last));
    }
}

#[test]
fn what_is_in_the_journal_is_read_and_goes_to_the_segments_in_the_end() {
    let root = data_dir();
    // So small that it is used over and over.
    let shard = shard_with(LogShardOptions {
        journal: Some(journal(root.path(), 256 << 10)),
        tail_bytes_max: 0,
        ..options(IoMode::Direct)
    });
    let expected = run(async {
        let config = LogConfig { segment_bytes: 20_000, ..LogConfig::default() };
        let logs = logs(&shard, root.path(), config);
        until_journaled(&shard, &logs).await;
        for at in 0..100 {
            round(&logs, 10 + at % 7 * 300).await;
            logs[at % LOGS].check().await;
        }
        assert!(shard.stats().journal_bytes > 4 * (256 << 10), "{:?}", shard.stats());
        assert!(shard.stats().tail_reads > 0, "nothing was read out of the journal");
        // A batch too large for it takes along what is in there.
        for log in &logs {
            let end = log.append(1, 50_000).unwrap();
            log.log.wait_flushed(end).await.unwrap();
            log.check().await;
            log.log.close().await.unwrap();
        }
        logs.iter().map(Written::expected).collect::<Vec<_>>()
    });
    assert!(content_on_disk(root.path()) == expected);
    // What the journal still holds is of no consequence.
    redo(root.path()).unwrap();
    assert!(content_on_disk(root.path()) == expected);
}

#[test]
fn it_is_drained_when_nobody_writes() {
    let root = data_dir();
    let shard = shard(root.path(), 1 << 20);
    run(async {
        let logs = logs(&shard, root.path(), LogConfig::default());
        until_journaled(&shard, &logs).await;
        while shard.journal.is_in_use() || shard.journal.draining.get() {
            sleep(std::time::Duration::from_millis(10)).await;
        }
        for (at, log) in logs.iter().enumerate() {
            assert!(files_content(&dir_of(root.path(), at)).starts_with(&log.expected()));
        }
        shard.abandon();
    });
}

#[test]
fn a_write_that_fails_poisons_whoever_it_was_for_and_ends_the_use_of_the_journal() {
    let root = data_dir();
    let faults = Arc::new(FaultPlan::new());
    let shard = shard_with(LogShardOptions {
        journal: Some(journal(root.path(), 1 << 20)),
        faults: Some(Arc::clone(&faults)),
        ..options(IoMode::Direct)
    });
    let acknowledged = run(async {
        let logs = logs(&shard, root.path(), LogConfig::default());
        until_journaled(&shard, &logs).await;
        let acknowledged: Vec<_> = logs.iter().map(Written::expected).collect();
        faults.fail(FaultOp::Write, 0, FaultKind::Io);
        let end = logs[0].append(1, 100).unwrap();
        logs[0].log.wait_flushed(end).await.unwrap_err();
        assert_eq!(shard.journal.phase.get(), Phase::Retired);
        // The others go their own way.
        round(&logs[1..], 100).await;
        shard.abandon();
        acknowledged
    });
    redo(root.path()).unwrap();
    let found = loaded(root.path(), 0, LogConfig::default(), false);
    assert!(found.damage.is_none() && found.active.size_bytes as usize >= acknowledged[0].len());
}

#[test]
fn a_full_disk_takes_nothing_back_that_is_in_the_journal() {
    let root = data_dir();
    let faults = Arc::new(FaultPlan::new());
    let shard = shard_with(LogShardOptions {
        journal: Some(journal(root.path(), 1 << 20)),
        faults: Some(Arc::clone(&faults)),
        tail_bytes_max: 0,
        ..options(IoMode::Direct)
    });
    run(async {
        let logs = logs(&shard, root.path(), LogConfig::default());
        until_journaled(&shard, &logs).await;
        faults.set_full(true);
        let log = &logs[3];
        let acknowledged = log.log.flushed_offset();
        let end = log.append(1, 100_000).unwrap();
        log.log.wait_flushed(end).await.unwrap_err();
        log.taken_back(acknowledged);
        assert_eq!((log.log.log_end_offset(), log.log.flushed_offset()), (acknowledged, acknowledged));
        log.check().await;
        faults.set_full(false);
        while log.append(1, 100).is_err() {
            sleep(std::time::Duration::from_millis(10)).await;
        }
        log.log.wait_flushed(log.log.log_end_offset()).await.unwrap();
        for log in &logs {
            log.check().await;
            log.log.close().await.unwrap();
        }
    });
}
