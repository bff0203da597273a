//! Retries, gaps, fences, and the file, compared with one that Apache Kafka 4.3.1 wrote.

use super::*;
use crate::record::{BatchBuilder, BatchOptions, Producer};
use crate::types::LeaderEpoch;
use proptest::prelude::*;

const ID: ProducerId = ProducerId(7);

fn batch(epoch: i16, base_sequence: i32, count: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ID,
        epoch,
        base_sequence,
        last_offset_delta: count - 1,
        max_timestamp: 1_000,
        transactional: false,
    }
}

fn code(table: &ProducerTable, batch: &ProducerBatch) -> ErrorCode {
    match table.check(batch) {
        Verdict::Refuse(error) => error.error_code(),
        _ => ErrorCode::None,
    }
}

fn append(table: &mut ProducerTable, batch: &ProducerBatch) {
    assert_eq!(table.check(batch), Verdict::Append);
    table.record_append(batch, table.end_offset(), 0);
}

#[test]
fn batches_without_a_producer_are_nobodys_business() {
    let mut table = ProducerTable::new(Offset(5));
    let nobody = ProducerBatch { producer_id: ProducerId::NONE, base_sequence: -1, epoch: -1, ..batch(0, 0, 3) };
    append(&mut table, &nobody);
    append(&mut table, &nobody);
    assert!(table.is_empty());
    assert_eq!(table.end_offset(), Offset(11));
}

#[test]
fn the_last_five_batches_are_known_again() {
    let mut table = ProducerTable::new(Offset(100));
    for i in 0..8 {
        append(&mut table, &batch(0, 10 * i, 10));
    }
    for i in 0..8 {
        let verdict = table.check(&batch(0, 10 * i, 10));
        if i < 3 {
            assert!(matches!(verdict, Verdict::Refuse(ProducerError::OutOfOrderSequence { .. })), "{i} {verdict:?}");
        } else {
            let first_offset = Offset(100 + 10 * i64::from(i));
            let last_offset = first_offset.plus(9);
            assert_eq!(verdict, Verdict::Duplicate { first_offset, last_offset, timestamp: 1_000 });
        }
    }
    // The same sequences in other batches are no repetition.
    assert_eq!(code(&table, &batch(0, 70, 5)), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(code(&table, &batch(0, 75, 5)), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(code(&table, &batch(0, 81, 1)), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(code(&table, &batch(0, 80, 1)), ErrorCode::None);
}

#[test]
fn a_producer_without_state_begins_anywhere() {
    let mut table = ProducerTable::new(Offset(0));
    append(&mut table, &batch(3, 555, 5));
    assert_eq!(code(&table, &batch(3, 560, 1)), ErrorCode::None);
    assert_eq!(code(&table, &batch(3, 0, 1)), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn epochs_only_rise_and_begin_at_zero() {
    let mut table = ProducerTable::new(Offset(0));
    append(&mut table, &batch(2, 0, 5));
    assert_eq!(code(&table, &batch(1, 5, 1)), ErrorCode::InvalidProducerEpoch);
    assert_eq!(code(&table, &batch(1, 0, 5)), ErrorCode::InvalidProducerEpoch, "no duplicate either");
    assert_eq!(code(&table, &batch(3, 5, 1)), ErrorCode::OutOfOrderSequenceNumber);
    append(&mut table, &batch(3, 0, 5));
    assert_eq!(table.get(ID).unwrap().batches().len(), 1);
    assert_eq!(code(&table, &batch(3, 5, 1)), ErrorCode::None);
}

#[test]
fn sequences_wrap() {
    let mut table = ProducerTable::new(Offset(0));
    append(&mut table, &batch(0, i32::MAX - 9, 10));
    append(&mut table, &batch(0, 0, 4));
    assert!(matches!(table.check(&batch(0, i32::MAX - 9, 10)), Verdict::Duplicate { .. }));
    // A batch over the wrap.
    let mut table = ProducerTable::new(Offset(0));
    append(&mut table, &batch(0, i32::MAX - 1, 5));
    let entry = table.get(ID).unwrap();
    assert_eq!((entry.batches()[0].first_sequence(), entry.last_sequence()), (i32::MAX - 1, 2));
    assert!(matches!(table.check(&batch(0, i32::MAX - 1, 5)), Verdict::Duplicate { .. }));
    append(&mut table, &batch(0, 3, 1));
}

#[test]
fn idle_producers_expire_unless_in_a_transaction() {
    let mut table = ProducerTable::new(Offset(0));
    table.record_append(&batch(0, 0, 1), Offset(0), 5_000);
    let other = ProducerBatch { producer_id: ProducerId(8), transactional: true, ..batch(0, 0, 1) };
    table.record_append(&other, Offset(1), 5_000);
    assert_eq!(table.remove_expired(5_099, 100), 0, "the time of the append counts, not the record's");
    assert_eq!(table.remove_expired(5_100, 100), 1);
    assert!(table.get(ID).is_none() && table.get(ProducerId(8)).is_some());
    assert_eq!(code(&table, &batch(0, 44, 1)), ErrorCode::None);
    assert_eq!(table.remove_expired(i64::MAX, 1), 0);
}

#[test]
fn transactions_open_and_end() {
    let mut table = ProducerTable::new(Offset(10));
    let within = |base_sequence| ProducerBatch { transactional: true, ..batch(0, base_sequence, 2) };
    append(&mut table, &within(0));
    append(&mut table, &within(2));
    assert_eq!(table.first_undecided_offset(), Some(Offset(10)));
    assert_eq!(code(&table, &batch(0, 4, 1)), ErrorCode::InvalidTxnState);
    let marker = TransactionMarker { producer_id: ID, epoch: 1, coordinator_epoch: 3, commit: false, timestamp: 2_000 };
    let completed = table.record_marker(&marker, Offset(14), 0);
    let expected =
        CompletedTransaction { producer_id: ID, first_offset: Offset(10), last_offset: Offset(14), aborted: true };
    assert_eq!(completed, Some(expected));
    assert_eq!(table.first_undecided_offset(), None);
    let entry = table.get(ID).unwrap();
    assert_eq!((entry.epoch, entry.coordinator_epoch, entry.last_timestamp), (1, 3, 2_000));
    assert_eq!(entry.batches(), [], "the marker has raised the epoch");
    assert_eq!(code(&table, &ProducerBatch { epoch: 1, ..within(4) }), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(code(&table, &ProducerBatch { epoch: 1, ..within(0) }), ErrorCode::None);
    assert_eq!(table.record_marker(&marker, Offset(15), 0), None, "nothing was written since");
    assert_eq!(table.end_offset(), Offset(16));
}

#[test]
fn truncation_takes_back_what_it_knows() {
    let mut table = ProducerTable::new(Offset(0));
    for i in 0..7 {
        append(&mut table, &batch(0, 10 * i, 10));
    }
    assert!(table.truncate_to(Offset(70)));
    assert!(table.truncate_to(Offset(50)));
    assert_eq!(table.end_offset(), Offset(50));
    assert_eq!(table.get(ID).unwrap().last_sequence(), 49);
    append(&mut table, &batch(0, 50, 10));
    let behind = ProducerBatch { producer_id: ProducerId(8), ..batch(0, 500, 1) };
    append(&mut table, &behind);
    append(&mut table, &ProducerBatch { base_sequence: 501, ..behind });
    assert!(table.truncate_to(Offset(20)));
    assert_eq!(table.end_offset(), Offset(20));
    assert_eq!(table.get(ID).unwrap().last_sequence(), 19, "what was before those taken back");
    for (next, others) in [(batch(0, 20, 10), [30, 0, 11]), (behind, [501, 499, 0])] {
        for base_sequence in others {
            let other = ProducerBatch { base_sequence, ..next };
            assert_eq!(code(&table, &other), ErrorCode::OutOfOrderSequenceNumber, "{other:?} is not what was lost");
        }
        assert_eq!(table.check(&next), Verdict::Append);
    }
    let file = table.encode_snapshot();
    let told = ProducerTable::decode_snapshot(&file, Offset(20), 0).unwrap();
    assert_eq!(told.get(ID).unwrap().last_sequence(), 19);
    assert!(told.get(ProducerId(8)).is_none(), "the file has no word for where one without a batch goes on");
    append(&mut table, &batch(0, 20, 10));
    append(&mut table, &batch(0, 30, 10));
    append(&mut table, &ProducerBatch { epoch: 1, ..batch(0, 0, 10) });
    assert!(table.truncate_to(Offset(40)));
    assert_eq!(code(&table, &batch(0, 40, 10)), ErrorCode::InvalidProducerEpoch, "the later instance is there");
    append(&mut table, &ProducerBatch { epoch: 1, ..batch(0, 0, 10) });

    // More in flight than a producer may have: what was before them is not known any more.
    let mut table = ProducerTable::new(Offset(0));
    for i in 0..7 {
        append(&mut table, &batch(0, 10 * i, 10));
    }
    append(&mut table, &behind);
    assert!(table.truncate_to(Offset(10)));
    assert!(table.get(ID).is_none(), "forgotten");
    assert!(table.get(ProducerId(8)).is_some(), "and nobody else");

    let mut table = ProducerTable::new(Offset(0));
    append(&mut table, &ProducerBatch { transactional: true, ..batch(0, 0, 1) });
    let mut ended = table.clone();
    assert!(table.truncate_to(Offset(1)));
    assert_eq!(table.first_undecided_offset(), Some(Offset(0)));
    let marker = TransactionMarker { producer_id: ID, epoch: 0, coordinator_epoch: 3, commit: true, timestamp: 2_000 };
    ended.record_marker(&marker, Offset(1), 0);
    assert!(!ended.truncate_to(Offset(1)), "the marker cannot be taken back");

    let mut table = ProducerTable::new(Offset(30));
    assert!(!table.truncate_to(Offset(10)));
    assert_eq!(table.end_offset(), Offset(10));
}

/// Three transactional producers of librdkafka: one committed, one committed and aborted, one left open.
const KAFKAS_BATCHES: &[u8] = include_bytes!("golden/transactions.batches");
/// What Kafka made of them at a clean stop.
const KAFKAS_SNAPSHOT: &[u8] = include_bytes!("golden/transactions.snapshot");

#[test]
fn the_file_is_kafkas_byte_for_byte() {
    let mut table = ProducerTable::new(Offset(0));
    let mut completed = Vec::new();
    let mut rest = KAFKAS_BATCHES;
    while !rest.is_empty() {
        completed.extend(table.replay(rest, 0).unwrap());
        rest = &rest[BatchHeader::parse(rest).unwrap().size()..];
    }
    assert_eq!(table.end_offset(), Offset(8));
    assert_eq!(table.encode_snapshot(), KAFKAS_SNAPSHOT);
    assert_eq!(
        completed.iter().map(|c| (c.producer_id.0, c.first_offset.0, c.last_offset.0, c.aborted)).collect::<Vec<_>>(),
        [(1, 0, 1, false), (2, 2, 3, false), (2, 4, 6, true)]
    );
    assert_eq!(table.first_undecided_offset(), Some(Offset(7)));

    let read = ProducerTable::decode_snapshot(KAFKAS_SNAPSHOT, Offset(8), 0).unwrap();
    assert_eq!(read.encode_snapshot(), KAFKAS_SNAPSHOT);
    assert_eq!(read.first_undecided_offset(), Some(Offset(7)));
    assert_eq!(read.end_offset(), Offset(8));
    let entry = read.get(ProducerId(2)).unwrap();
    assert_eq!((entry.last_sequence(), entry.coordinator_epoch, entry.transaction_first_offset), (2, 0, None));
    assert_eq!(entry.batches()[0].first_sequence(), 1);
}

#[test]
fn a_damaged_file_is_refused() {
    for cut in 0..KAFKAS_SNAPSHOT.len() {
        assert!(ProducerTable::decode_snapshot(&KAFKAS_SNAPSHOT[..cut], Offset(8), 0).is_err());
        let mut bad = KAFKAS_SNAPSHOT.to_vec();
        bad[cut] ^= 0x40;
        assert!(ProducerTable::decode_snapshot(&bad, Offset(8), 0).is_err());
    }
    for count in [-1i32, 2, 4, i32::MAX] {
        let mut bad = KAFKAS_SNAPSHOT.to_vec();
        bad[6..10].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bad[6..]);
        bad[2..6].copy_from_slice(&crc.to_be_bytes());
        let error = ProducerTable::decode_snapshot(&bad, Offset(8), 0).unwrap_err();
        assert_eq!(error, SnapshotError::Count { claimed: count, bytes: 3 * 46 });
    }
    let empty = ProducerTable::new(Offset(3)).encode_snapshot();
    assert_eq!(empty, [0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0]);
    assert!(ProducerTable::decode_snapshot(&empty, Offset(3), 0).unwrap().is_empty());
}

#[test]
fn batches_of_raft_are_no_producers() {
    let options = BatchOptions { control: true, base_offset: Offset(4), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append_control(0, ControlRecordType::LeaderChange, &control::leader_change(1, &[1], &[1]));
    let mut table = ProducerTable::new(Offset(0));
    assert_eq!(table.replay(&builder.build(), 0), Ok(None));
    assert!(table.is_empty());
    assert_eq!(table.end_offset(), Offset(5));
}

proptest! {
    #![proptest_config(crate::record::tests::seeded(256))]

    /// A producer that sends batches in order, each as often as it likes within the window, gets each appended once.
    #[test]
    fn each_batch_is_appended_once(
        start in prop_oneof![Just(0), Just(i32::MAX - 20), any::<i32>().prop_map(|s| s & i32::MAX)],
        steps in prop::collection::vec((1i32..30, 0usize..6), 1..40),
    ) {
        let mut table = ProducerTable::new(Offset(0));
        let mut sent: Vec<(ProducerBatch, Offset)> = Vec::new();
        let mut sequence = start;
        for (count, back) in steps {
            let next = batch(0, sequence, count);
            let base = table.end_offset();
            append(&mut table, &next);
            sent.push((next, base));
            sequence = increment_sequence(sequence, count);
            if let Some((old, first_offset)) = sent.len().checked_sub(1 + back).map(|i| sent[i]) {
                let verdict = table.check(&old);
                if back < 5 {
                    let last_offset = first_offset.plus(i64::from(old.last_offset_delta));
                    prop_assert_eq!(verdict, Verdict::Duplicate { first_offset, last_offset, timestamp: 1_000 });
                } else {
                    prop_assert!(matches!(verdict, Verdict::Refuse(_)));
                }
            }
        }
        let bytes = table.encode_snapshot();
        let read = ProducerTable::decode_snapshot(&bytes, table.end_offset(), 0).unwrap();
        prop_assert_eq!(read.encode_snapshot(), bytes);
        prop_assert_eq!(read.check(&batch(0, sequence, 1)), Verdict::Append);
        let (last, first_offset) = *sent.last().unwrap();
        let last_offset = first_offset.plus(i64::from(last.last_offset_delta));
        prop_assert_eq!(read.check(&last), Verdict::Duplicate { first_offset, last_offset, timestamp: 1_000 });
    }

    #[test]
    fn any_file_is_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProducerTable::decode_snapshot(&bytes, Offset(0), 0);
        if bytes.len() >= 6 {
            bytes[..2].copy_from_slice(&[0, 1]);
            let crc = crc32c::crc32c(&bytes[6..]);
            bytes[2..6].copy_from_slice(&crc.to_be_bytes());
            let _ = ProducerTable::decode_snapshot(&bytes, Offset(0), 0);
        }
    }
}

#[test]
fn replaying_batches_gives_what_appending_them_gave() {
    let mut live = ProducerTable::new(Offset(0));
    let mut replayed = ProducerTable::new(Offset(0));
    for i in 0..9 {
        let producer = Producer { id: ProducerId(i % 2), epoch: 0, base_sequence: (i / 2 * 2) as i32 };
        let options = BatchOptions {
            producer,
            base_offset: live.end_offset(),
            leader_epoch: LeaderEpoch(1),
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        builder.append(i, None, None, &[]).append(i, None, None, &[]);
        let bytes = builder.build();
        let header = BatchHeader::parse(&bytes).unwrap();
        append(&mut live, &ProducerBatch::from(&header));
        replayed.replay(&bytes, 0).unwrap();
    }
    assert_eq!(live.encode_snapshot(), replayed.encode_snapshot());
    assert_eq!(live.end_offset(), replayed.end_offset());
}
