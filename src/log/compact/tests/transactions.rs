//! Transactions in a log that is compacted.

use super::*;
use crate::record::control::{ControlRecordType, end_txn_marker};

fn marker(options: BatchOptions, base_offset: i64, kind: ControlRecordType) -> BytesMut {
    let mut marker = BatchBuilder::new(BatchOptions { control: true, base_offset: Offset(base_offset), ..options });
    marker.append_control(NOW, kind, &end_txn_marker(0));
    marker.build()
}

/// A segment with transactions, then what is left of it after each of several rounds.
fn rounds(batches: &[BytesMut], index: &[u8], times: &[i64]) -> Vec<Vec<(i64, Vec<i64>)>> {
    let dir = data_dir();
    let end = BatchHeader::parse(batches.last().unwrap()).unwrap().next_offset();
    write_segment(dir.path(), 0, &batches.concat());
    std::fs::write(names::txn_index_file(dir.path(), Offset(0)), index).unwrap();
    let mut left = Vec::new();
    for (round, now_ms) in times.iter().enumerate() {
        let size_bytes = std::fs::metadata(names::log_file(dir.path(), Offset(0))).unwrap().len();
        let source = Source { base_offset: Offset(0), size_bytes, end_offset: end };
        let first_dirty = if round == 0 { Offset(0) } else { end };
        // Something new is behind it, or there would be nothing to do.
        let next = batch(BatchOptions::default(), end.0 + round as i64, &[(Some("new"), Some("1"))]);
        write_segment(dir.path(), end.0 + round as i64, &next);
        let new = Source {
            base_offset: end.plus(round as i64),
            size_bytes: next.len() as u64,
            end_offset: end.plus(round as i64 + 1),
        };
        let first_dirty = first_dirty.plus(if round == 0 { 0 } else { round as i64 });
        let config = LogConfig { segment_bytes: 1, ..config() };
        let mut job = Job::new(
            dir.path().into(),
            config,
            rules(*now_ms),
            (vec![source, new], Vec::new()),
            first_dirty,
            KEYS_BYTES_MAX,
        );
        loop {
            match job.step().unwrap() {
                Progress::More => {}
                Progress::Done => break,
                Progress::Ready(output) => {
                    swap::swap_names(dir.path(), output.base_offset(), &[output.base_offset()]).unwrap();
                }
            }
        }
        let mut scanner = LogScanner::open(dir.path(), Offset(0), end).unwrap();
        let mut batches = Vec::new();
        while let Some((header, batch)) = scanner.next_batch().unwrap() {
            batches.push((header.base_offset.0, rows(batch).iter().map(|row| row.0).collect()));
        }
        left.push(batches);
        let index = std::fs::read(names::txn_index_file(dir.path(), Offset(0))).unwrap_or_default();
        assert_eq!(
            index.is_empty(),
            round > 0,
            "when nothing of what was aborted is left, the next round drops its entry"
        );
    }
    left
}

#[test]
fn what_was_aborted_goes_and_markers_outlive_their_transactions() {
    let producer = |id: i64| BatchOptions {
        producer: Producer { id: ProducerId(id), epoch: 0, base_sequence: 7 },
        transactional: true,
        ..BatchOptions::default()
    };
    let (one, two) = (producer(3), producer(4));
    let batches = [
        batch(BatchOptions::default(), 0, &[(Some("a"), Some("1")), (Some("b"), Some("1")), (Some("c"), Some("1"))]),
        batch(one, 3, &[(Some("a"), Some("2"))]),
        batch(two, 4, &[(Some("b"), Some("2"))]),
        batch(one, 5, &[(Some("c"), Some("2"))]),
        marker(one, 6, ControlRecordType::Abort),
        marker(two, 7, ControlRecordType::Commit),
        // The same producer's next one is committed.
        batch(one, 8, &[(Some("c"), Some("3"))]),
        marker(one, 9, ControlRecordType::Commit),
        batch(BatchOptions::default(), 10, &[(Some("b"), Some("4"))]),
    ];
    let mut entry = vec![0; 34];
    entry[9] = 3;
    entry[17] = 3;
    entry[25] = 6;
    let left = rounds(&batches, &entry, &[NOW, NOW, NOW + 99, NOW + 100]);
    // Of the aborted transaction nothing is left, so that its marker begins to wait with the second round.
    let stays = [(0, vec![0]), (6, vec![6]), (7, vec![7]), (8, vec![8]), (9, vec![9]), (10, vec![10])];
    assert_eq!(left[0], stays, "a is as before the aborted transaction, b and c as committed");
    assert_eq!(left[1], stays);
    assert_eq!(left[2], stays);
    let gone = [(0, vec![0]), (8, vec![8]), (9, vec![9]), (10, vec![10])];
    assert_eq!(left[3], gone, "the markers of transactions without a record are gone, that of c stays");
}

#[test]
fn a_transaction_that_is_not_decided_is_not_passed() {
    let producer = BatchOptions {
        producer: Producer { id: ProducerId(3), epoch: 0, base_sequence: 7 },
        transactional: true,
        ..BatchOptions::default()
    };
    let segments = [
        batch(BatchOptions::default(), 0, &[(Some("a"), Some("1"))]),
        batch(BatchOptions::default(), 1, &[(Some("a"), Some("2"))]),
        batch(producer, 2, &[(Some("a"), Some("3"))]),
        // Behind what is compacted.
        marker(producer, 3, ControlRecordType::Abort),
    ];
    for is_decided in [true, false] {
        let dir = data_dir();
        let mut sources = Vec::new();
        for (base, bytes) in segments.iter().enumerate() {
            write_segment(dir.path(), base as i64, bytes);
            let (base_offset, end_offset) = (Offset(base as i64), Offset(base as i64 + 1));
            sources.push(Source { base_offset, size_bytes: bytes.len() as u64, end_offset });
        }
        let behind = sources.split_off(3);
        let behind = if is_decided { behind } else { Vec::new() };
        let mut job = Job::new(dir.path().into(), config(), rules(NOW), (sources, behind), Offset(0), KEYS_BYTES_MAX);
        let mut outputs = Vec::new();
        loop {
            match job.step().unwrap() {
                Progress::More => {}
                Progress::Done => break,
                Progress::Ready(output) => outputs.push(output),
            }
        }
        assert_eq!(job.end(), Offset(if is_decided { 3 } else { 2 }));
        let cleaned = std::fs::read(names::cleaned(&names::log_file(dir.path(), Offset(0)))).unwrap();
        assert_eq!(rows(&cleaned).iter().map(|row| row.0).collect::<Vec<_>>(), [1], "the aborted one does not count");
    }
}
