//! New partitions, and logs that were stopped cleanly.

use super::super::super::error::LoadError;
use super::super::super::index::SegmentIndexes;
use super::super::super::producers::ProducerTable;
use super::super::super::recovery::write_indexes;
use super::super::load_all;
use super::*;
use crate::record::{BatchBuilder, BatchHeader, BatchOptions, Producer};
use crate::types::ProducerId;

#[test]
fn a_new_partition_is_made() {
    let mut partition = Partition::new();
    std::fs::remove_dir(partition.dir()).unwrap();
    for clean in [true, false] {
        partition.options.clean = clean;
        partition.options.adopted = clean;
        let loaded = load(&partition.options).unwrap();
        assert_eq!(loaded.report.created, clean);
        assert_eq!((loaded.log_start_offset, loaded.log_end_offset), (Offset(0), Offset(0)));
        assert!(loaded.sealed.is_empty() && loaded.epochs.entries().is_empty() && loaded.producers.is_empty());
        assert_eq!(loaded.active.base_offset, Offset(0));
        let metadata = std::fs::read_to_string(partition.path("partition.metadata")).unwrap();
        assert_eq!(metadata, format!("version: 0\ntopic_id: {TOPIC_ID}"));
        assert_eq!(partition.read(0), b"");
    }
}

#[test]
fn a_creation_that_was_interrupted_is_completed() {
    let partition = Partition::new();
    std::fs::write(partition.path("partition.metadata"), b"").unwrap();
    load(&partition.options).unwrap();
    assert_eq!(super::super::super::partition_metadata::read(partition.dir()).unwrap(), Some(TOPIC_ID));
    // A power cut can keep the names of both files, and the content of neither.
    std::fs::write(partition.path("partition.metadata"), b"").unwrap();
    load(&partition.options).unwrap();
    assert_eq!(super::super::super::partition_metadata::read(partition.dir()).unwrap(), Some(TOPIC_ID));
    // With data there it is another matter.
    std::fs::write(partition.path("partition.metadata"), b"").unwrap();
    std::fs::write(partition.path("00000000000000000000.log"), b"data").unwrap();
    assert!(matches!(load(&partition.options), Err(LoadError::Malformed { .. })));
}

#[test]
fn the_directory_of_another_topic_is_refused() {
    let mut partition = Partition::new();
    load(&partition.options).unwrap();
    partition.options.topic_id = KafkaUuid([8; 16]);
    let refused = load(&partition.options).unwrap_err();
    assert!(matches!(refused, LoadError::TopicIdMismatch { .. }), "{refused}");
}

/// Writes a cleanly stopped log of two segments with their indexes, and returns those of the active one.
fn stopped(partition: &Partition, batches: &[Vec<u8>]) -> SegmentIndexes {
    let (first, second) = batches.split_at(batches.len() / 2);
    let base = end_of(first).0;
    partition.write(0, &first.concat());
    partition.write(base, &second.concat());
    let mut sealed = index(partition, 0, first);
    sealed.seal();
    let active = index(partition, base, second);
    write_indexes(partition.dir(), Offset(0), &sealed, false).unwrap();
    write_indexes(partition.dir(), Offset(base), &active, false).unwrap();
    epochs(&[(4, 0)]).write(partition.dir()).unwrap();
    active
}

fn index(partition: &Partition, base_offset: i64, batches: &[Vec<u8>]) -> SegmentIndexes {
    let config = partition.options.config;
    let mut indexes = SegmentIndexes::new(Offset(base_offset), &config);
    let mut position = 0;
    for bytes in batches {
        let header = BatchHeader::parse(bytes).unwrap();
        let noted = super::super::super::index::IndexedBatch {
            position,
            size: bytes.len() as u32,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        };
        indexes.note(noted, config.index_interval_bytes);
        position += bytes.len() as u32;
    }
    indexes
}

#[test]
fn a_clean_log_is_loaded_from_its_indexes() {
    let mut partition = Partition::new();
    let batches = some_batches(40);
    let active = stopped(&partition, &batches);
    assert!(active.offsets.len() > 3 && active.times.len() > 3);
    partition.options.clean = true;
    partition.options.recovery_point = end_of(&batches);
    let loaded = partition.load();
    assert_eq!(loaded.log_end_offset, end_of(&batches));
    assert_eq!(loaded.active.indexes, active);
    assert_eq!(loaded.active.first_timestamp, Some(1_000_000 + loaded.active.base_offset.0));
    assert_eq!(loaded.report, RecoveryReport::default());
    assert_eq!(partition.batches(&loaded), batches);
}

#[test]
fn index_files_that_are_missing_or_wrong_are_made_anew() {
    let batches = some_batches(40);
    let base = end_of(&batches[..20]).0;
    let index_files = [
        format!("{base:020}.index"),
        format!("{base:020}.timeindex"),
        format!("{:020}.index", 0),
        format!("{:020}.timeindex", 0),
    ];
    for name in &index_files {
        for content in [None, Some(&b"no whole entry"[..]), Some(&[9; 24])] {
            let mut partition = Partition::new();
            let active = stopped(&partition, &batches);
            let right = partition.content();
            match content {
                None => std::fs::remove_file(partition.path(name)).unwrap(),
                // The index of a sealed segment is looked at only when it is used.
                Some(_) if name.starts_with("00000000000000000000") => continue,
                Some(wrong) => std::fs::write(partition.path(name), wrong).unwrap(),
            }
            partition.options.clean = true;
            partition.options.recovery_point = end_of(&batches);
            let loaded = load_unsynced(&partition.options);
            assert_eq!(loaded.report.indexes_rebuilt, 1);
            assert_eq!(loaded.active.indexes, active, "{name} {content:?}");
            if name.starts_with("00000000000000000000") {
                assert_eq!(partition.content(), right);
            }
        }
    }
}

#[test]
fn an_index_of_other_batches_is_not_believed() {
    let mut partition = Partition::new();
    let batches = some_batches(40);
    let active = stopped(&partition, &batches);
    let base = active.offsets.base_offset();
    // Sound in itself, but its last entry is in the middle of a batch, or has the offset of another one.
    for (offset, position) in [(1, 3), (1000, 10)] {
        let mut wrong = SegmentIndexes::new(base, &partition.options.config);
        wrong.offsets.append(base.plus(offset), position);
        write_indexes(partition.dir(), base, &wrong, false).unwrap();
        partition.options.clean = true;
        let loaded = load_unsynced(&partition.options);
        assert_eq!(loaded.active.indexes, active);
        assert_eq!(loaded.log_end_offset, end_of(&batches));
    }
}

#[test]
fn a_clean_stop_that_was_none_ends_in_recovery() {
    let mut partition = Partition::new();
    let batches = some_batches(40);
    stopped(&partition, &batches);
    let base = end_of(&batches[..20]).0;
    let mut bytes = partition.read(base);
    bytes.truncate(bytes.len() - 10);
    partition.write(base, &bytes);
    partition.options.clean = true;
    let loaded = load(&partition.options).unwrap();
    assert_eq!(loaded.log_end_offset, end_of(&batches[..39]));
    assert!(loaded.report.cut.is_some());
}

#[test]
fn many_are_loaded_and_made_in_parallel() {
    let log_dir = tempfile::tempdir().unwrap();
    let model = Partition::new();
    let options: Vec<LoadOptions> = (0..40)
        .map(|partition| LoadOptions {
            dir: log_dir.path().join(format!("t-{partition}")),
            topic_partition: TopicPartition { topic: Arc::from("t"), partition },
            ..model.options.clone()
        })
        .collect();
    let most = std::sync::atomic::AtomicUsize::new(0);
    let count = |done| {
        most.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
    };
    for made in load_all(&options, 3, count) {
        assert!(made.unwrap().report.created);
    }
    assert_eq!(most.into_inner(), 40);
    for (number, options) in options.iter().enumerate() {
        let bytes = some_batches(number as i64).concat();
        std::fs::write(options.dir.join("00000000000000000000.log"), bytes).unwrap();
    }
    let loaded = load_all(&options, 3, |_| {});
    for (number, loaded) in loaded.into_iter().enumerate() {
        let loaded = loaded.unwrap();
        assert_eq!(loaded.topic_partition.partition, number as i32);
        assert_eq!(loaded.log_end_offset, end_of(&some_batches(number as i64)));
    }
}

/// A batch of a producer.
fn produced(base_offset: i64, sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(base_offset),
        leader_epoch: LeaderEpoch(4),
        producer: Producer { id: ProducerId(77), epoch: 0, base_sequence: sequence },
        ..BatchOptions::default()
    });
    builder.append(NOW_MS, None, Some(b"value"), &[]);
    builder.build().to_vec()
}

#[test]
fn producers_come_from_the_newest_valid_snapshot_and_the_batches_behind_it() {
    let batches: Vec<Vec<u8>> = (0..10).map(|number| produced(number, number as i32)).collect();
    let mut whole = ProducerTable::new(Offset(0));
    let mut early = ProducerTable::new(Offset(0));
    for (number, bytes) in batches.iter().enumerate() {
        whole.replay(bytes, NOW_MS).unwrap();
        if number < 4 {
            early.replay(bytes, NOW_MS).unwrap();
        }
    }
    for clean in [true, false] {
        for snapshots in [
            vec![],
            vec![(4, early.encode_snapshot())],
            vec![(4, early.encode_snapshot()), (7, b"garbled".to_vec())],
            vec![(4, early.encode_snapshot()), (10, whole.encode_snapshot())],
            vec![(4, early.encode_snapshot()), (11, early.encode_snapshot())],
        ] {
            let mut partition = Partition::new();
            partition.write(0, &batches[..5].concat());
            partition.write(5, &batches[5..].concat());
            for (offset, bytes) in &snapshots {
                std::fs::write(partition.path(&format!("{offset:020}.snapshot")), bytes).unwrap();
            }
            partition.options.clean = clean;
            partition.options.recovery_point = Offset(8);
            let loaded = partition.load();
            assert_eq!(producers(&loaded), whole.encode_snapshot());
            let names: Vec<String> = partition.content().into_iter().map(|(name, _)| name).collect();
            let kept = names.iter().filter(|name| name.ends_with(".snapshot")).count();
            assert_eq!(kept, usize::from(!snapshots.is_empty()), "{names:?}");
        }
    }
}

#[test]
fn a_snapshot_behind_the_recovery_point_is_not_relied_on() {
    // It knows a batch that the cut takes away: its retry must not be taken for a duplicate.
    let batches: Vec<Vec<u8>> = (0..4).map(|number| produced(number, number as i32)).collect();
    let mut lost = ProducerTable::new(Offset(0));
    for bytes in &batches {
        lost.replay(bytes, NOW_MS).unwrap();
    }
    let mut partition = Partition::new();
    let mut bytes = batches.concat();
    bytes.truncate(bytes.len() - 1);
    partition.write(0, &bytes);
    std::fs::write(partition.path("00000000000000000004.snapshot"), lost.encode_snapshot()).unwrap();
    partition.options.recovery_point = Offset(2);
    let loaded = partition.load();
    assert_eq!(loaded.producers.get(ProducerId(77)).unwrap().batches().last().unwrap().last_offset, Offset(2));
}

#[test]
fn a_snapshot_that_a_roll_left_half_written_is_removed() {
    let batches: Vec<Vec<u8>> = (0..6).map(|number| produced(number, number as i32)).collect();
    let mut rolled = ProducerTable::new(Offset(0));
    for bytes in &batches[..3] {
        rolled.replay(bytes, NOW_MS).unwrap();
    }
    let whole = rolled.encode_snapshot();
    let torn = whole[..whole.len() - 1].to_vec();
    let unwritten = vec![0; whole.len()];
    for (content, stays) in [(whole, true), (torn, false), (unwritten, false), (Vec::new(), false)] {
        let mut partition = Partition::new();
        partition.write(0, &batches[..3].concat());
        partition.write(3, &batches[3..].concat());
        partition.options.recovery_point = Offset(1);
        let path = partition.path("00000000000000000003.snapshot");
        std::fs::write(&path, content).unwrap();
        let loaded = partition.load();
        assert_eq!(loaded.log_end_offset, Offset(6));
        assert_eq!(path.exists(), stays);
    }
}

#[test]
fn segments_below_the_log_start_are_removed_and_a_part_of_one_stays() {
    let batches = some_batches(40);
    let base = end_of(&batches[..20]);
    let end = end_of(&batches);
    for clean in [true, false] {
        for (start, is_gone) in [(base.plus(-1), false), (base, true), (base.plus(3), true), (end, true)] {
            let mut partition = Partition::new();
            stopped(&partition, &batches);
            for offset in [0, base.0] {
                std::fs::write(names::txn_index_file(partition.dir(), Offset(offset)), b"").unwrap();
            }
            partition.options.clean = clean;
            partition.options.recovery_point = end;
            partition.options.log_start_offset = start;
            let loaded = load(&partition.options).unwrap();
            assert_eq!((loaded.log_start_offset, loaded.log_end_offset), (start, end));
            let first = &partition.path("00000000000000000000");
            for suffix in ["log", "index", "timeindex", "txnindex"] {
                assert_eq!(first.with_extension(suffix).exists(), !is_gone, "{suffix} from {start}");
            }
            assert!(names::txn_index_file(partition.dir(), base).exists());
            assert_eq!(loaded.sealed.len(), usize::from(!is_gone));
            assert_eq!(loaded.epochs.entries()[0].start_offset, start);
        }
    }
}
