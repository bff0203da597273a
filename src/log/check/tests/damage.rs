//! Bytes flipped, cut and missing in the batches.

use super::*;

#[test]
fn every_flipped_byte_is_found_where_it_is() {
    for crashed in [false, true] {
        for segment in if crashed { 2..3 } else { 0..3 } {
            let mut partition = Partition::new();
            if crashed {
                partition = partition.crashed();
                partition.options.flushed_offset = Offset(21);
            }
            let batches = partition.segments[segment].1.clone();
            for at in 0..batches.len() {
                let (position, offset) = place(&batches, at);
                // A whole batch is some 100 bytes; of each every one, of the bits two.
                for byte in 0..batches[at].len() {
                    {
                        let bits = 1 << (byte % 8);
                        partition.flip(segment, position as usize + byte, bits);
                        let found = partition.wrong();
                        let here = found.iter().any(|found| {
                            found.file == partition.log(segment)
                                && found.position == Some(position)
                                && found.offset == Some(offset)
                                && found.severity == Severity::Error
                        });
                        // An epoch that no successor contradicts is found by its checkpoint.
                        let by_epoch = (12..16).contains(&byte)
                            && (crashed && segment == 2
                                || found.iter().any(|found| {
                                    found.kind == FindingKind::LeaderEpochs || found.severity == Severity::Error
                                }));
                        assert!(here || by_epoch, "{crashed} {segment} batch {at} byte {byte}^{bits}: {found:?}");
                        partition.flip(segment, position as usize + byte, bits);
                    }
                }
            }
            assert_eq!(partition.wrong(), []);
        }
    }
}

#[test]
fn a_repair_keeps_every_valid_batch_at_its_offset() {
    for crashed in [false, true] {
        for segment in 0..3 {
            for at in 0..4 {
                // The length, and a record.
                for byte in [9, 70] {
                    let mut partition = Partition::new();
                    if crashed {
                        partition = partition.crashed();
                        partition.options.flushed_offset = Offset(21);
                    }
                    let (position, offset) = place(&partition.segments[segment].1, at);
                    partition.flip(segment, position as usize + byte, 0x40);
                    let before = partition.content();
                    let left = partition.repair(false);
                    assert!(left.left.is_some() && left.offsets.is_none() && left.dropped.is_empty());
                    assert_eq!(partition.content(), before, "nothing is changed without the operator's word");

                    let repaired = partition.repaired(true);
                    let mut expected = partition.all_batches();
                    let lost = expected.remove(4 * segment + at);
                    assert_eq!(partition.batches(), expected, "{crashed} {segment} {at} {byte}");
                    let end = BatchHeader::parse(&lost).unwrap().next_offset();
                    assert_eq!(repaired.dropped, [(offset, end)]);
                    assert_eq!(partition.options.recovery_point, Offset(21), "no offset is given again");
                    let digits = names::offset_digits(Offset(partition.segments[segment].0));
                    let saved = partition.dir().with_file_name("saved").join(format!("{digits}-{position}.dropped"));
                    let mut damaged = lost.clone();
                    damaged[byte] ^= 0x40;
                    assert_eq!(std::fs::read(saved).unwrap(), damaged);

                    let again = partition.repair(true);
                    assert_eq!((again.actions, again.dropped), (vec![], vec![]), "a second time nothing is to be done");
                }
            }
        }
    }
}

#[test]
fn a_repair_that_is_cut_off_and_run_again_comes_to_the_same() {
    for segment in [1, 2] {
        let hurt = |partition: &Partition| {
            let (position, _) = place(&partition.segments[segment].1, 1);
            partition.flip(segment, position as usize + 70, 1);
        };
        let mut partition = Partition::new();
        hurt(&partition);
        partition.repaired(true);
        let whole = partition.content();
        // Cut off behind the new segment; within the copy; before the load.
        for step in 0..3 {
            let mut partition = Partition::new();
            hurt(&partition);
            let end = names::log_file(partition.dir(), Offset(21));
            if segment == 2 {
                std::fs::write(end, b"").unwrap();
            }
            if step > 0 {
                let mut cleaned = partition.log(segment).into_os_string();
                cleaned.push(".cleaned");
                std::fs::write(&cleaned, &partition.segments[segment].1[0]).unwrap();
                let base = Offset(partition.segments[segment].0);
                std::fs::remove_file(names::offset_index_file(partition.dir(), base)).unwrap();
                std::fs::remove_file(names::time_index_file(partition.dir(), base)).unwrap();
                if step > 1 {
                    let mut batches = partition.segments[segment].1.clone();
                    batches.remove(1);
                    std::fs::write(&cleaned, batches.concat()).unwrap();
                    std::fs::rename(&cleaned, partition.log(segment)).unwrap();
                }
            }
            // The directory is marked as in use while it is repaired.
            partition.options.clean = false;
            partition.options.commit_reach_bytes = 0;
            let repaired = partition.repair(true);
            assert_eq!(repaired.left, None, "step {step}");
            assert_eq!(partition.content(), whole, "step {step}");
        }
    }
}

#[test]
fn a_batch_whose_place_is_garbled_gets_it_again() {
    for segment in 0..3 {
        for bits in [1, 2, 4] {
            let mut partition = Partition::new();
            let (position, offset) = place(&partition.segments[segment].1, 1);
            partition.flip(segment, position as usize + 7, bits);
            let found = partition.check();
            assert_eq!((found.damage[0].from, found.damage[0].offset), (position, offset));
            assert!(found.damage[0].restamp.is_some(), "{:?}", found.findings);
            let repaired = partition.repaired(false);
            assert_eq!(repaired.dropped, []);
            assert_eq!(partition.batches(), partition.all_batches());
        }
    }
}

#[test]
fn a_log_that_ends_too_early_goes_on_behind_what_is_lost() {
    for (segment, keep) in [(2, 2), (2, 0), (1, 0)] {
        let mut partition = Partition::new();
        let (base, batches) = partition.segments[segment].clone();
        let (_, offset) = place(&batches, keep);
        if keep == 0 {
            for later in segment..3 {
                std::fs::remove_file(partition.log(later)).unwrap();
            }
        } else {
            std::fs::write(partition.log(segment), batches[..keep].concat()).unwrap();
        }
        let wrong = partition.wrong();
        let early =
            wrong.iter().find(|found| found.kind == FindingKind::MissingRecords && found.severity == Severity::Error);
        assert_eq!(early.map(|found| found.offset), Some(Some(offset)), "{base} {wrong:?}");
        assert!(partition.repair(false).left.is_some());
        let repaired = partition.repaired(true);
        assert_eq!(repaired.dropped, [(offset, Offset(21))]);
        assert_eq!(partition.batches(), partition.all_batches()[..4 * segment + keep]);
        assert_eq!(partition.options.recovery_point, Offset(21));
    }
}

#[test]
fn a_missing_segment_is_a_gap_until_a_repair_knows_of_it() {
    let partition = Partition::new();
    for path in [
        partition.log(1),
        names::offset_index_file(partition.dir(), Offset(7)),
        names::time_index_file(partition.dir(), Offset(7)),
    ] {
        std::fs::remove_file(path).unwrap();
    }
    let wrong = partition.wrong();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!((wrong[0].kind, wrong[0].offset), (FindingKind::MissingRecords, Some(Offset(7))));
    let mut check = partition.check_options();
    check.dropped = vec![(Offset(7), Offset(14))];
    let known = check_partition(&check, |_| {}).unwrap().findings;
    assert_eq!(known.iter().map(|found| found.severity).collect::<Vec<_>>(), [Severity::Note]);
    let mut compacted = partition.check_options();
    compacted.load.config.cleanup_policy.compact = true;
    assert_eq!(check_partition(&compacted, |_| {}).unwrap().findings, []);
    // Of a topic that is not compacted any more the checkpoint tells.
    let mut once = partition.check_options();
    once.compacted_to = Offset(13);
    assert_eq!(check_partition(&once, |_| {}).unwrap().findings.len(), 1);
    once.compacted_to = Offset(14);
    assert_eq!(check_partition(&once, |_| {}).unwrap().findings, []);
}

#[test]
fn damage_of_deleted_records_is_no_loss() {
    let mut partition = Partition::new();
    partition.flip(0, 70, 1);
    partition.options.log_start_offset = Offset(3);
    assert_eq!(partition.wrong().iter().map(|found| found.severity).collect::<Vec<_>>(), [Severity::Warning]);
}

/// Recovery knows no bound for a crash of Kafka: it cuts at the first damage, and says nothing of what lies behind.
#[test]
fn valid_batches_behind_a_cut_are_told_where_nothing_says_that_they_were_not_acknowledged() {
    let mut partition = Partition::new().crashed();
    partition.options.adopted = true;
    partition.options.commit_reach_bytes = u64::MAX;
    let (position, _) = place(&partition.segments[2].1, 1);
    partition.flip(2, position as usize + 70, 1);
    let report = partition.check();
    assert!(report.valid_batches_torn && report.is_damaged());
    assert!(partition.repair(false).left.is_some());
    partition.repaired(true);
    let mut expected = partition.all_batches();
    expected.remove(9);
    assert_eq!(partition.batches(), expected);
}

#[test]
fn random_damage_never_panics_and_never_loses_what_is_whole() {
    use rand::{Rng, SeedableRng};
    let seed = std::env::var("CORELANE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("CORELANE_TEST_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    for round in 0..60 {
        let mut partition = Partition::new();
        let mut touched = std::collections::BTreeSet::new();
        for _ in 0..random.random_range(1..4) {
            let segment = random.random_range(0..3);
            let size = std::fs::metadata(partition.log(segment)).unwrap().len() as usize;
            let (from, len) = (random.random_range(0..size), random.random_range(1..200));
            let mut bytes = std::fs::read(partition.log(segment)).unwrap();
            for (at, byte) in bytes.iter_mut().enumerate().skip(from).take(len) {
                *byte = random.random();
                touched.insert((segment, at as u64));
            }
            std::fs::write(partition.log(segment), bytes).unwrap();
        }
        let repaired = partition.repair(true);
        assert_eq!(repaired.left, None, "round {round}");
        partition.options.recovery_point = repaired.offsets.unwrap().recovery_point;
        let kept = partition.batches();
        for (segment, (_, batches)) in partition.segments.iter().enumerate() {
            for (at, batch) in batches.iter().enumerate() {
                let (position, _) = place(batches, at);
                let hit = touched.range((segment, position)..(segment, position + batch.len() as u64)).next().is_some();
                assert!(hit || kept.contains(batch), "round {round}: batch {at} of segment {segment} is gone");
            }
        }
    }
}
