//! What is written before its commit: whole blocks of batches that wait.

use super::retiring::until;
use super::*;
use crate::log::appender::CommitSizes;

fn sizes() -> CommitSizes {
    CommitSizes { ahead_bytes_min: 8192, durable_write_bytes_max: 0, ..CommitSizes::default() }
}

#[test]
fn what_waits_for_a_flush_is_written_ahead_and_counts_when_its_commit_is_done() {
    let root = data_dir();
    run(async {
        let shard = LogShard::new(LogShardOptions { commit: sizes(), ..options(IoMode::Direct) });
        let written = Written::new(&shard, root.path(), 0, LogConfig::default());
        let log = &written.log;
        // Room for all that follows.
        written.append(1, 200_000).unwrap();
        let first = written.append(1, 100).unwrap();
        log.wait_flushed(first).await.unwrap();
        until("quiet", || log.is_quiet()).await;
        let end = written.expected().len() as u64;

        log.flushing.set(Some(Offset(0)));
        let mut last = first;
        for size in [5_000, 3_000, 30_000] {
            last = written.append(1, size).unwrap();
            until("settled", || !log.is_ahead() && !log.is_queued().get()).await;
        }
        assert_eq!((log.written_offset(), log.flushed_offset()), (first, first), "no commit has begun");
        let blocks = end.next_multiple_of(4096)..written.expected().len() as u64 / 4096 * 4096;
        let path = names::log_file(&log.dir(), Offset(0));
        let file = std::fs::read(&path).unwrap();
        let range = blocks.start as usize..blocks.end as usize;
        assert!(file[range.clone()] == written.expected()[range], "whole blocks are there");
        let tail = blocks.end as usize;
        assert!(file[tail..tail + 4096].iter().all(|byte| *byte == 0), "the last, partial one is not");
        let before = end as usize..blocks.start as usize;
        assert!(file[before].iter().all(|byte| *byte == 0), "nor is the one that is being flushed");

        let writes = shard.stats().writes;
        log.flushing.set(None);
        log.next_commit();
        log.wait_flushed(last).await.unwrap();
        assert_eq!(shard.stats().writes - writes, 2, "what was written is not written again");
        written.check().await;
        log.close().await.unwrap();
        assert!(files_content(&log.dir()) == written.expected());
    });
}
