//! What stands beside the batches: indexes, epochs, snapshots, topic ids, leftovers.

use super::*;

/// The one finding there is, which a repair puts right.
fn only(partition: &mut Partition, kind: FindingKind, file: &Path) -> Finding {
    let found = partition.findings();
    assert_eq!(found.len(), 1, "{found:?}");
    let one = found.into_iter().next().unwrap();
    assert_eq!((one.kind, one.file.as_path()), (kind, file), "{one}");
    assert!(partition.repaired(false).dropped.is_empty());
    assert_eq!(partition.batches(), partition.all_batches());
    assert_eq!(partition.findings(), []);
    one
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

type Change = fn(&mut Vec<u8>);

#[test]
fn wrong_offset_indexes_are_found_and_made_anew() {
    let changes: [(Change, Option<u64>); 6] = [
        (|bytes| bytes[7] ^= 1, Some(0)),
        (|bytes| bytes[3] ^= 1, Some(0)),
        (|bytes| bytes.truncate(bytes.len() - 3), Some(13)),
        (|bytes| bytes.extend([0, 0, 0, 100, 0, 0, 100, 0]), Some(16)),
        (|bytes| bytes.extend_from_within(0..8), Some(16)),
        (|bytes| bytes.extend([0xff; 8]), Some(16)),
    ];
    for segment in 0..3 {
        for (at, (with, position)) in changes.iter().enumerate() {
            let mut partition = Partition::new();
            let path = names::offset_index_file(partition.dir(), Offset(partition.segments[segment].0));
            assert_eq!(std::fs::read(&path).unwrap().len(), 16, "two entries");
            change(&path, with);
            let found = only(&mut partition, FindingKind::OffsetIndex, &path);
            assert_eq!((found.severity, found.position), (Severity::Warning, *position), "change {at}");
        }
        let mut partition = Partition::new();
        let path = names::offset_index_file(partition.dir(), Offset(partition.segments[segment].0));
        std::fs::remove_file(&path).unwrap();
        only(&mut partition, FindingKind::OffsetIndex, &path);
    }
}

#[test]
fn wrong_time_indexes_are_found_and_made_anew() {
    let changes: [Change; 5] = [
        |bytes| bytes[7] ^= 1,
        |bytes| bytes[11] ^= 4,
        |bytes| bytes.truncate(12),
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
    ];
    for segment in 0..3 {
        for with in changes {
            let mut partition = Partition::new();
            let path = names::time_index_file(partition.dir(), Offset(partition.segments[segment].0));
            change(&path, with);
            assert_eq!(only(&mut partition, FindingKind::TimeIndex, &path).severity, Severity::Warning);
        }
    }
}

#[test]
fn wrong_epochs_are_found_and_read_anew() {
    for text in ["0\n2\n2 0\n4 8\n", "0\n1\n2 0\n", "0\n1\n4 7\n", "0\n3\n2 0\n4 7\n5 30\n", "x"] {
        let mut partition = Partition::new();
        let path = partition.dir().join(names::LEADER_EPOCH_CHECKPOINT);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n2\n2 0\n4 7\n");
        std::fs::write(&path, text).unwrap();
        only(&mut partition, FindingKind::LeaderEpochs, &path);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n2\n2 0\n4 7\n");
    }
    // An epoch without a batch is as it should be.
    let partition = Partition::new();
    std::fs::write(partition.dir().join(names::LEADER_EPOCH_CHECKPOINT), "0\n3\n2 0\n4 7\n6 21\n").unwrap();
    assert_eq!(partition.findings(), []);
}

#[test]
fn wrong_snapshots_are_found_and_removed() {
    let mut partition = Partition::new();
    let path = names::snapshot_file(partition.dir(), Offset(21));
    change(&path, |bytes| bytes[3] ^= 1);
    only(&mut partition, FindingKind::ProducerSnapshot, &path);
    let early = names::snapshot_file(partition.dir(), Offset(22));
    std::fs::copy(&path, &early).unwrap();
    only(&mut partition, FindingKind::ProducerSnapshot, &early);
    assert!(path.exists() && !early.exists());
}

#[test]
fn transaction_indexes_are_looked_at() {
    let partition = Partition::new();
    let path = names::txn_index_file(partition.dir(), Offset(7));
    let mut entry = vec![0, 0];
    for number in [5i64, 8, 10, 11] {
        entry.extend(number.to_be_bytes());
    }
    std::fs::write(&path, &entry).unwrap();
    assert_eq!(partition.findings(), []);
    for with in
        [|bytes: &mut Vec<u8>| bytes.push(0), |bytes: &mut Vec<u8>| bytes[1] = 3, |bytes: &mut Vec<u8>| bytes[25] = 90]
    {
        std::fs::write(&path, &entry).unwrap();
        change(&path, with);
        let found = partition.findings();
        assert_eq!((found.len(), found[0].kind), (1, FindingKind::TransactionIndex), "{found:?}");
    }
}

#[test]
fn topic_ids_are_held_against_the_catalog() {
    let mut partition = Partition::new();
    let path = partition.dir().join(names::PARTITION_METADATA);
    std::fs::remove_file(&path).unwrap();
    only(&mut partition, FindingKind::TopicId, &path);
    partition.options.topic_id = KafkaUuid([8; 16]);
    let found = partition.findings();
    assert_eq!((found.len(), found[0].severity), (1, Severity::Error), "{found:?}");
    assert!(partition.repair(true).left.is_some(), "whose it is the operator has to say");
}

#[test]
fn leftovers_are_told_and_removed() {
    for name in [
        "00000000000000000000.log.deleted",
        "00000000000000000007.log.cleaned",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000099.index",
    ] {
        let mut partition = Partition::new();
        let path = partition.dir().join(name);
        std::fs::write(&path, b"x").unwrap();
        assert_eq!(only(&mut partition, FindingKind::Leftover, &path).severity, Severity::Note);
        assert!(!path.exists());
    }
}

#[test]
fn room_behind_the_batches_is_cut_away_after_a_clean_stop() {
    for segment in 0..3 {
        for tail in [vec![0; 5000], [batch(0, 1, 2, b"stale"), vec![0; 10]].concat(), vec![9; 70]] {
            let mut partition = Partition::new();
            let path = partition.log(segment);
            change(&path, |bytes| bytes.extend_from_slice(&tail));
            let found = only(&mut partition, FindingKind::SegmentTail, &path);
            let size = partition.segments[segment].1.concat().len() as u64;
            assert_eq!((found.severity, found.position), (Severity::Warning, Some(size)));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size);
        }
    }
}

#[test]
fn a_partition_without_its_directory_is_told_by_what_was_flushed() {
    let mut partition = Partition::new();
    std::fs::remove_dir_all(partition.dir()).unwrap();
    let report = check_partition(&partition.check_options(), |_| {}).unwrap();
    assert!(report.is_damaged());
    assert_eq!(
        (report.findings[0].kind, report.findings[0].severity),
        (FindingKind::MissingDirectory, Severity::Error)
    );
    partition.options.recovery_point = Offset(0);
    let report = check_partition(&partition.check_options(), |_| {}).unwrap();
    assert_eq!(report.findings[0].severity, Severity::Note);
    assert!(partition.repair(false).offsets.is_some());
    assert!(partition.dir().exists());
}

#[test]
fn records_that_are_none_are_found_although_their_crc_holds() {
    let mut segments = some_segments();
    let hurt = &mut segments[1].1[2];
    // The count of records, and the CRC with it.
    hurt[60] += 1;
    let crc = crc32c::crc32c(&hurt[21..]);
    hurt[17..21].copy_from_slice(&crc.to_be_bytes());
    let partition = Partition::of(segments);
    let (position, offset) = place(&partition.segments[1].1, 2);
    let found = partition.findings();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].kind, found[0].position, found[0].offset),
        (FindingKind::BadRecord, Some(position), Some(offset))
    );
    let mut shallow = partition.check_options();
    shallow.deep = false;
    assert_eq!(check_partition(&shallow, |_| {}).unwrap().findings, []);
}
