//! What a power cut cannot have done: the files are kept as they are.

use super::super::super::loaded::DamageKind;
use super::*;

#[test]
fn a_cut_below_the_recovery_point_is_damage() {
    let batches = some_batches(8);
    let mut partition = Partition::new();
    let mut bytes = batches.concat();
    let position: usize = batches[..5].iter().map(Vec::len).sum();
    bytes[position + 65] ^= 1;
    partition.write(0, &bytes);
    let flushed = end_of(&batches[..6]);
    partition.options.recovery_point = flushed;
    let damage = partition.load_damaged();
    assert_eq!(damage.position, position as u64);
    assert_eq!(damage.offset, end_of(&batches[..5]));
    assert_eq!(damage.kind, DamageKind::BelowFlushed { flushed });
    assert!(damage.to_string().contains("00000000000000000000.log is damaged at byte"), "{damage}");
    assert!(damage.to_string().contains("`corelane check DIR` shows"), "it names no tool: {damage}");

    partition.options.recovery_point = end_of(&batches[..5]);
    assert_eq!(load(&partition.options).unwrap().log_end_offset, end_of(&batches[..5]), "at it is a torn tail");
}

#[test]
fn the_operator_may_accept_the_loss() {
    let batches = some_batches(8);
    let mut partition = Partition::new();
    let mut bytes = batches.concat();
    bytes[70] ^= 1;
    partition.write(0, &bytes);
    partition.options.recovery_point = Offset(5);
    partition.load_damaged();
    partition.options.accept_damage = true;
    let loaded = load(&partition.options).unwrap();
    assert_eq!((loaded.damage, loaded.log_end_offset), (None, Offset(0)));
    assert_eq!(partition.read(0), b"");
}

#[test]
fn missing_files_are_damage() {
    let batches = some_batches(8);
    let mut partition = Partition::new();
    partition.options.recovery_point = Offset(3);
    let damage = partition.load_damaged();
    assert_eq!(damage.offset, Offset(0), "no segment at all");

    let base = end_of(&batches).0;
    partition.write(0, &batches.concat());
    partition.options.recovery_point = Offset(base + 1);
    for clean in [false, true] {
        partition.options.clean = clean;
        assert_eq!(partition.load_damaged().offset, Offset(base), "the last segment");
    }
}

/// A log whose `hurt`th batch is garbled, with enough valid ones behind it to reach `behind` bytes.
fn hurt_in_the_middle(hurt: usize, behind: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = 0;
    let mut hurt_at = None;
    while hurt_at.is_none_or(|at| bytes.len() - at <= behind) {
        if offset == hurt as i64 {
            hurt_at = Some(bytes.len());
        }
        let mut next = batch(offset, 1, 4, &[b'v'; 100]);
        if offset == hurt as i64 {
            next[80] ^= 1;
        }
        bytes.extend_from_slice(&next);
        offset += 1;
    }
    bytes
}

#[test]
fn a_valid_batch_further_behind_than_a_commit_reaches_is_damage() {
    let mut partition = Partition::new();
    partition.write(0, &hurt_in_the_middle(10, REACH as usize - 400));
    assert_eq!(load(&partition.options).unwrap().log_end_offset, Offset(10), "near ones are of the same commit");

    partition.write(0, &hurt_in_the_middle(10, REACH as usize + 400));
    let damage = partition.load_damaged();
    assert_eq!(damage.offset, Offset(10));
    assert!(matches!(damage.kind, DamageKind::ValidBatchBehind { .. }), "{damage}");

    partition.options.commit_reach_bytes = u64::MAX;
    assert_eq!(load(&partition.options).unwrap().log_end_offset, Offset(10), "flushed in no order");
}

#[test]
fn later_segments_count_too() {
    let small = |offset| batch(offset, 1, 4, &[b'v'; 100]);
    let first: Vec<u8> = (0..10).flat_map(small).collect();
    let batch_bytes = small(0).len() as u64;
    for (second_batches, damaged) in [(20, false), (REACH as i64 / 100 + 20, true)] {
        let partition = Partition::new();
        let mut torn = first.clone();
        let end = torn.len();
        torn[end - 20] ^= 1;
        partition.write(0, &torn);
        let second: Vec<u8> = (10..10 + second_batches).flat_map(small).collect();
        partition.write(10, &second);
        if damaged {
            let damage = partition.load_damaged();
            assert_eq!((damage.offset, damage.position), (Offset(9), 9 * batch_bytes));
        } else {
            assert_eq!(partition.load().log_end_offset, Offset(9));
        }
    }
}

#[test]
fn the_log_may_end_below_its_start() {
    // Records were deleted up to offset 50, and the file lost its end: nothing of it is needed.
    let mut partition = Partition::new();
    partition.write(0, &some_batches(5).concat());
    std::fs::write(partition.path("leader-epoch-checkpoint"), "0\n1\n4 0\n").unwrap();
    partition.options.log_start_offset = Offset(50);
    let loaded = partition.load();
    assert_eq!((loaded.log_start_offset, loaded.log_end_offset), (Offset(50), Offset(50)));
    assert_eq!(loaded.active.base_offset, Offset(50));
    assert_eq!(loaded.epochs, LeaderEpochCache::new());
    let names: Vec<String> = partition.content().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["00000000000000000050.log", "leader-epoch-checkpoint"]);

    let mut partition = Partition::new();
    partition.write(0, &some_batches(5).concat());
    partition.options.log_start_offset = Offset(50);
    partition.options.recovery_point = Offset(51);
    partition.load_damaged();
}
