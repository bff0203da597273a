//! Torn tails: whatever happens to the last batches, the log ends in front of the first that is not whole.

use super::*;
use crate::log::producers::ProducerTable;

/// Loads a log of which only the first bytes are sound, and checks that all batches before `hurt` are kept.
fn check(partition: &Partition, batches: &[Vec<u8>], hurt: usize, case: &str) {
    let written = partition.read(0);
    let loaded = partition.load();
    let kept = &batches[..hurt];
    assert_eq!(loaded.log_end_offset, end_of(kept), "{case}");
    assert_eq!(partition.batches(&loaded), kept, "{case}");
    assert_eq!(partition.read(0), kept.concat(), "{case}");
    assert!(written.starts_with(&partition.read(0)), "{case}: what is kept is as it was");
    assert_eq!(loaded.epochs, epochs(&[(4, 0)]), "{case}");
}

/// The batch that holds each byte of the last two batches, and that byte's position.
fn last_two(batches: &[Vec<u8>]) -> Vec<(usize, usize)> {
    let mut position = 0;
    let mut bytes = Vec::new();
    for (number, batch) in batches.iter().enumerate() {
        if number + 2 >= batches.len() {
            bytes.extend((position..position + batch.len()).map(|at| (number, at)));
        }
        position += batch.len();
    }
    bytes
}

#[test]
fn cut_at_every_byte_of_the_last_two_batches() {
    let batches = some_batches(12);
    let mut partition = Partition::new();
    partition.options.leader_epoch = LeaderEpoch(4);
    for (hurt, at) in last_two(&batches) {
        for room in [0, 5000] {
            let mut bytes = batches.concat();
            bytes.truncate(at);
            bytes.resize(at + room, 0);
            partition.write(0, &bytes);
            check(&partition, &batches, hurt_with_room(&batches, hurt, at, room), &format!("cut at {at}"));
        }
    }
}

/// Zeros behind the cut may complete the batch that it falls into.
fn hurt_with_room(batches: &[Vec<u8>], hurt: usize, at: usize, room: usize) -> usize {
    let start: usize = batches[..hurt].iter().map(Vec::len).sum();
    let completed = room > 0 && batches[hurt][at - start..].iter().all(|&byte| byte == 0) && at > start;
    hurt + usize::from(completed)
}

#[test]
fn zeroed_from_every_byte_of_the_last_two_batches() {
    let batches = some_batches(12);
    let mut partition = Partition::new();
    partition.options.leader_epoch = LeaderEpoch(4);
    for (hurt, at) in last_two(&batches) {
        let mut bytes = batches.concat();
        if bytes[at..].iter().all(|&byte| byte == 0) {
            continue;
        }
        bytes[at..].fill(0);
        partition.write(0, &bytes);
        check(&partition, &batches, hurt_with_room(&batches, hurt, at, 1), "zeroed");
    }
}

#[test]
fn garbled_at_every_byte_of_the_last_two_batches() {
    let batches = some_batches(12);
    let mut partition = Partition::new();
    partition.options.leader_epoch = LeaderEpoch(4);
    for (hurt, at) in last_two(&batches) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = batches.concat();
            bytes[at] ^= flip;
            partition.write(0, &bytes);
            check(&partition, &batches, hurt, &format!("byte {at} ^ {flip:#x}"));
        }
    }
}

#[test]
fn a_torn_tail_is_reported() {
    let batches = some_batches(5);
    let partition = Partition::new();
    let mut bytes = batches.concat();
    let whole = bytes.len() - batches[4].len();
    bytes.truncate(whole + 30);
    bytes.resize(8192, 0);
    partition.write(0, &bytes);
    let report = load(&partition.options).unwrap().report;
    let cut = report.cut.unwrap();
    assert_eq!((cut.position, cut.stale, cut.segments_removed), (whole as u64, false, 0));
    assert!((1..=30).contains(&cut.bytes), "{cut:?}");
    assert_eq!((report.segments_scanned, report.bytes_scanned), (1, whole as u64));
}

#[test]
fn room_behind_the_data_is_cut_off_without_a_word() {
    let batches = some_batches(5);
    let partition = Partition::new();
    let mut bytes = batches.concat();
    bytes.resize(1 << 20, 0);
    partition.write(0, &bytes);
    assert_eq!(load(&partition.options).unwrap().report.cut, None);
    assert_eq!(partition.read(0), batches.concat());
}

#[test]
fn stale_batches_of_a_recycled_file_are_not_taken_for_new_ones() {
    // All batches of the same size: the stale ones stand where the next would.
    let equal = |base_offset, epoch| batch(base_offset, 2, epoch, b"equal in size");
    let fresh: Vec<Vec<u8>> = (0..10).map(|number| equal(100 + 2 * number, 4)).collect();
    for stale in [
        // The segment's content when it was the log's first.
        (0..20).map(|number| equal(2 * number, 3)).collect::<Vec<_>>(),
        // Batches that an earlier recovery had cut off, at the very offsets.
        (0..20).map(|number| equal(100 + 2 * number, 3)).collect(),
    ] {
        let mut partition = Partition::new();
        partition.options.recovery_point = Offset(120);
        partition.options.log_start_offset = Offset(100);
        let mut bytes = fresh.concat();
        bytes.extend_from_slice(&stale[10..].concat());
        partition.write(100, &bytes);
        let loaded = load(&partition.options).unwrap();
        let cut = loaded.report.cut.as_ref().unwrap();
        assert!(cut.stale, "{cut:?}");
        assert_eq!(loaded.log_end_offset, Offset(120));
        assert_eq!(partition.batches(&loaded), fresh);
        partition.load();
    }
}

#[test]
fn a_new_batch_may_end_within_a_stale_one() {
    let stale: Vec<Vec<u8>> = (0..20).map(|number| batch(2 * number, 2, 3, b"equal in size")).collect();
    let mut partition = Partition::new();
    partition.options.log_start_offset = Offset(100);
    let fresh = [batch(100, 1, 4, b"short"), batch(101, 3, 4, b"another size")];
    let mut bytes = stale.concat();
    let new = fresh.concat();
    bytes[..new.len()].copy_from_slice(&new);
    partition.write(100, &bytes);
    let loaded = partition.load();
    assert_eq!(partition.batches(&loaded), fresh);
}

#[test]
fn a_sealed_segment_that_was_not_cut_to_its_data_is_whole() {
    let batches = some_batches(10);
    let partition = Partition::new();
    let (first, second) = batches.split_at(6);
    let mut bytes = first.concat();
    bytes.extend_from_slice(&some_batches(3).concat());
    bytes.resize(8192, 0);
    partition.write(0, &bytes);
    let base = end_of(first).0;
    partition.write(base, &second.concat());
    let loaded = partition.load();
    assert_eq!(partition.batches(&loaded), batches);
    assert_eq!(partition.read(0), first.concat());
    assert_eq!(loaded.sealed.len(), 1);
    assert_eq!(loaded.report.cut, None);
}

#[test]
fn segments_behind_the_cut_go() {
    let batches = some_batches(10);
    let partition = Partition::new();
    let (first, second) = batches.split_at(6);
    let mut bytes = first.concat();
    let kept = bytes.len() - first[5].len();
    bytes[kept + 70] ^= 1;
    partition.write(0, &bytes);
    let base = end_of(first).0;
    partition.write(base, &second.concat());
    std::fs::write(partition.path(&format!("{base:020}.snapshot")), b"of what is gone").unwrap();
    let loaded = partition.load();
    assert_eq!(partition.batches(&loaded), &first[..5]);
    assert!(loaded.sealed.is_empty());
    let names: Vec<String> = partition.content().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["00000000000000000000.log", "leader-epoch-checkpoint"]);

    // The tail of the first segment is missing altogether: a gap that only compaction may leave.
    for compact in [false, true] {
        let mut partition = Partition::new();
        partition.options.config.cleanup_policy.compact = compact;
        partition.write(0, &first[..5].concat());
        partition.write(base, &second.concat());
        if compact {
            // What is compacted was sealed before.
            let snapshot = ProducerTable::new(Offset(base)).encode_snapshot();
            std::fs::write(partition.path(&format!("{base:020}.snapshot")), snapshot).unwrap();
        }
        let loaded = partition.load();
        assert_eq!(loaded.log_end_offset, if compact { end_of(second) } else { end_of(&first[..5]) });
    }
}

#[test]
fn an_empty_segment_behind_the_last_batch_is_the_active_one() {
    let batches = some_batches(6);
    let partition = Partition::new();
    partition.write(0, &batches.concat());
    partition.write(end_of(&batches).0, &[0; 4096]);
    let loaded = partition.load();
    assert_eq!(loaded.active.base_offset, end_of(&batches));
    assert_eq!((loaded.active.size_bytes, loaded.sealed.len()), (0, 1));
}

#[test]
fn epochs_that_were_not_written_are_found_in_the_batches() {
    let partition = Partition::new();
    let batches = [batch(0, 1, 1, b"a"), batch(1, 1, 1, b"b"), batch(2, 1, 3, b"c"), batch(3, 1, 7, b"torn")];
    let mut bytes = batches.concat();
    bytes.truncate(bytes.len() - 1);
    partition.write(0, &bytes);
    for known in ["", "0\n1\n1 0\n", "0\n3\n1 0\n3 2\n7 3\n", "nonsense"] {
        std::fs::write(partition.path("leader-epoch-checkpoint"), known).unwrap();
        let loaded = partition.load();
        assert_eq!(loaded.epochs, epochs(&[(1, 0), (3, 2)]), "{known:?}");
        assert_eq!(std::fs::read_to_string(partition.path("leader-epoch-checkpoint")).unwrap(), "0\n2\n1 0\n3 2\n");
    }
}

/// Compaction takes batches out of sealed segments; appends leave no gap, so one in the active segment is a lost batch.
#[test]
fn gaps_between_offsets_are_legal_in_sealed_segments_alone() {
    let gap = |base: i64| [batch(base, 2, 4, b"a"), batch(base + 5, 2, 4, b"b"), batch(base + 7, 1, 4, b"c")];
    let mut partition = Partition::new();
    partition.options.config.cleanup_policy.compact = true;
    partition.write(0, &gap(0).concat());
    partition.write(8, &gap(8).concat());
    let loaded = partition.load();
    let kept = [&gap(0)[..], &gap(8)[..1]].concat();
    assert_eq!(partition.batches(&loaded), kept);
    assert_eq!((loaded.sealed.len(), loaded.log_end_offset), (1, Offset(10)));
}

/// Two segments were rolled and none is sealed: that the first one's batches are lost and the second one's are not leaves a
/// gap that no compaction made.
#[test]
fn what_an_unsealed_segment_lost_is_no_gap_of_compaction() {
    let mut partition = Partition::new();
    partition.options.config.cleanup_policy.compact = true;
    partition.write(0, &batch(0, 2, 4, b"a"));
    partition.write(2, b"");
    partition.write(4, &batch(4, 2, 4, b"c"));
    let snapshot = partition.path("00000000000000000004.snapshot");
    std::fs::write(&snapshot, ProducerTable::new(Offset(4)).encode_snapshot()).unwrap();
    let sealed = partition.load();
    assert_eq!(
        (sealed.sealed.len(), sealed.log_end_offset),
        (2, Offset(6)),
        "compaction left nothing of the second one"
    );
    std::fs::remove_file(&snapshot).unwrap();
    let loaded = partition.load();
    assert_eq!((loaded.sealed.len(), loaded.log_end_offset), (1, Offset(2)));
}
