//! Commits there and back, and records that Apache Kafka 4.3.1 wrote.

use proptest::prelude::*;

use super::*;
use crate::error_code::ErrorCode;
use crate::record::control::{ControlRecordType, end_txn_marker};
use crate::record::{BatchBuilder, BatchHeader, BatchOptions, Producer, RecordIter};
use crate::types::{Offset, ProducerId, TopicId};

const NOW: i64 = 1_000_000;

fn requested(topic: &'static str, partition: i32, offset: i64) -> RequestedOffset<'static> {
    RequestedOffset { topic, topic_id: TopicId::ZERO, partition, offset, leader_epoch: 2, metadata: Some("words") }
}

fn request<'a>(group_id: &'a str, offsets: &'a [RequestedOffset<'a>]) -> CommitRequest<'a> {
    CommitRequest {
        group_id,
        member_id: "",
        group_instance_id: None,
        generation_id: -1,
        retention_time_ms: None,
        version: 9,
        offsets,
    }
}

fn commit(state: &mut OffsetsPartition, request: &CommitRequest<'_>, at: i64) {
    for change in state.commit(request, NOW).changes {
        state.apply(change, at);
    }
}

fn offset_of(state: &OffsetsPartition, group: &str, topic: &str, partition: i32) -> Option<i64> {
    state.fetch(group, topic, TopicId::ZERO, partition, false).unwrap().map(|it| it.offset)
}

fn loaded_offset(groups: &GroupsPartition, group: &str, topic: &str, partition: i32) -> Option<i64> {
    groups.fetch(group, topic, TopicId::ZERO, partition, false).unwrap().map(|it| it.offset)
}

#[test]
fn groups_lie_where_java_puts_them() {
    // `Math.abs(group.hashCode()) % 50` of Java.
    for (group, partition) in [("", 0), ("simple", 26), ("a", 47), ("console-consumer-1", 24), ("grüße", 23)] {
        assert_eq!(group_partition(group, 50), partition, "{group}");
    }
    // The hash of this one is -2^31, whose absolute value Kafka takes for 0; and one outside the basic plane.
    assert_eq!(group_partition("polygenelubricants", 50), 0);
    assert_eq!(group_partition("\u{1f980}", 1_000_000), 772_802);
    assert_eq!(group_partition("a", 0), 0);
}

#[test]
fn a_commit_counts_once_applied() {
    let mut state = OffsetsPartition::new(4096);
    let offsets = [requested("t", 0, 5), requested("t", 1, 6), requested("u", 0, 7)];
    let commit = state.commit(&request("g", &offsets), NOW);
    assert_eq!(commit.results, [ErrorCode::None; 3]);
    assert_eq!(offset_of(&state, "g", "t", 0), None);
    for (i, change) in commit.changes.into_iter().enumerate() {
        state.apply(change, i as i64);
    }
    let fetched = state.fetch("g", "t", TopicId::ZERO, 1, true).unwrap().unwrap();
    assert_eq!((fetched.offset, fetched.leader_epoch, &*fetched.metadata), (6, 2, "words"));
    assert_eq!(fetched.commit_timestamp, NOW);
    assert_eq!(offset_of(&state, "g", "t", 2), None);
    assert_eq!(offset_of(&state, "h", "t", 0), None);
    let all: Vec<(&str, i32, i64)> = state.fetch_all("g").map(|(t, p, it)| (t, p, it.offset)).collect();
    assert_eq!(all, [("t", 0, 5), ("t", 1, 6), ("u", 0, 7)]);
    assert_eq!(state.fetch_all("h").count(), 0);
    assert_eq!(state.groups().collect::<Vec<_>>(), ["g"]);
}

#[test]
fn metadata_has_a_bound() {
    let state = OffsetsPartition::new(10);
    let with = |metadata| RequestedOffset { metadata, ..requested("t", 0, 5) };
    // The last is ten UTF-16 units in twenty bytes.
    let offsets = [with(None), with(Some("0123456789")), with(Some("0123456789x")), with(Some("üüüüüüüüüü"))];
    let commit = state.commit(&request("g", &offsets), NOW);
    let (none, large) = (ErrorCode::None, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(commit.results, [none, none, large, none]);
    assert_eq!(commit.changes.len(), 3, "the others are committed");
    let long = "x".repeat(40_000);
    let offsets = [RequestedOffset { metadata: Some(&long), ..requested("t", 0, 5) }];
    let commit = OffsetsPartition::new(1 << 20).commit(&request("g", &offsets), NOW);
    assert_eq!(commit.results, [large], "no string of Kafka's holds it");
}

#[test]
fn a_topic_made_anew_has_no_commits() {
    let mut state = OffsetsPartition::new(4096);
    let (old, new) = (TopicId::random(), TopicId::random());
    commit(&mut state, &request("g", &[RequestedOffset { topic_id: old, ..requested("t", 0, 5) }]), 0);
    let fetch = |id| state.fetch("g", "t", id, 0, false).unwrap().is_some();
    assert!(fetch(old) && fetch(TopicId::ZERO) && !fetch(new));
    assert_eq!(state.topic_deleted("t", new), []);
    assert_eq!(state.topic_deleted("u", old), []);
    assert_eq!(state.topic_deleted("t", old).len(), 1);
}

#[test]
fn tombstones_end_offsets_and_groups() {
    let mut state = OffsetsPartition::new(4096);
    commit(&mut state, &request("g", &[requested("t", 0, 5), requested("t", 1, 5)]), 0);
    commit(&mut state, &request("h", &[requested("t", 0, 9)]), 1);
    let gone = state.tombstones("g", |_, partition, committed| partition == 1 && committed.offset == 5);
    assert_eq!(gone.iter().map(|c| (&*c.group, c.partition)).collect::<Vec<_>>(), [("g", 1)]);
    for change in gone.into_iter().chain(state.group_deleted("h")) {
        assert!(change.committed.is_none());
        state.apply(change, 2);
    }
    assert_eq!(state.groups().collect::<Vec<_>>(), ["g"]);
    assert!(state.has_any("g") && !state.has_any("h"));
}

/// Two commits of a librdkafka consumer that assigned partitions itself; the first has words, ending with a 0 byte.
const KAFKAS_COMMITS: &[u8] = include_bytes!("golden/offset_commits.batch");

#[test]
fn records_of_kafka_are_read_and_written() {
    let mut state = GroupsPartition::new(4096);
    state.load_batch(KAFKAS_COMMITS, |at, problem| panic!("{at}: {problem}")).unwrap();
    let idem = state.fetch("simple", "idem", TopicId::ZERO, 0, true).unwrap().unwrap().clone();
    assert_eq!(
        idem,
        CommittedOffset {
            offset: 5,
            leader_epoch: -1,
            metadata: "some metadata\0".into(),
            commit_timestamp: 1_795_241_463_558,
            expire_timestamp: None,
            topic_id: TopicId::parse("6_JM3BSWQtiHxVeyOCZMNA").unwrap(),
        }
    );
    assert_eq!(loaded_offset(&state, "simple", "txn", 0), Some(1));
    assert_eq!(group_partition("simple", 50), 26, "where Kafka had put them");

    let mut records = RecordIter::new(KAFKAS_COMMITS).unwrap();
    while let Some(record) = records.next_record().unwrap() {
        let (key, value) = (record.key.unwrap(), record.value.unwrap());
        let Ok(GroupRecord::Offset(change)) = read_record(key, Some(value)) else { panic!("no offset") };
        assert_eq!(change.encode_key(), key);
        assert_eq!(change.encode_value().unwrap(), value);
    }
}

#[test]
fn older_values_are_read() {
    let v0 = [&[0, 0][..], &5i64.to_be_bytes(), &[0, 1, b'm'], &7i64.to_be_bytes()].concat();
    let v1 = [&[0, 1][..], &v0[2..], &9i64.to_be_bytes()].concat();
    let v2 = [&[0, 2][..], &v0[2..]].concat();
    let v3 = [&[0, 3][..], &5i64.to_be_bytes(), &4i32.to_be_bytes(), &v0[10..]].concat();
    for (value, leader_epoch, expire_timestamp) in
        [(&v0, -1, None), (&v1, -1, Some(9)), (&v2, -1, None), (&v3, 4, None)]
    {
        let read = CommittedOffset::decode(value).unwrap();
        assert_eq!((read.offset, &*read.metadata, read.commit_timestamp), (5, "m", 7));
        assert_eq!((read.leader_epoch, read.expire_timestamp), (leader_epoch, expire_timestamp));
        for cut in 0..value.len() {
            assert_eq!(CommittedOffset::decode(&value[..cut]), Err(RecordProblem::Malformed));
        }
    }
    assert_eq!(CommittedOffset::decode(&v1).unwrap().encode(), v1, "with a time of its own it stays version 1");
    assert_eq!(CommittedOffset::decode(&[0, 5]), Err(RecordProblem::UnknownVersion { version: 5 }));
    assert_eq!(CommittedOffset::decode(&[255, 255]), Err(RecordProblem::UnknownVersion { version: -1 }));
}

fn change(partition: i32, offset: i64) -> OffsetChange {
    let request = [requested("t", partition, offset)];
    OffsetsPartition::new(4096).commit(&self::request("g", &request), NOW).changes.remove(0)
}

fn batch_of(options: BatchOptions, changes: &[OffsetChange]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for change in changes {
        builder.append(NOW, Some(&change.encode_key()), change.encode_value().as_deref(), &[]);
    }
    builder.build().to_vec()
}

#[test]
fn offsets_in_a_transaction_wait_for_its_marker() {
    for commit in [true, false] {
        let mut state = GroupsPartition::new(4096);
        let load = |state: &mut GroupsPartition, batch: &[u8]| state.load_batch(batch, |_, _| panic!()).unwrap();
        let producer = Producer { id: ProducerId(3), epoch: 0, base_sequence: -1 };
        let within = BatchOptions { producer, transactional: true, ..BatchOptions::default() };
        load(&mut state, &batch_of(BatchOptions::default(), &[change(0, 1), change(1, 1)]));
        load(&mut state, &batch_of(BatchOptions { base_offset: Offset(2), ..within }, &[change(0, 2), change(1, 2)]));
        load(
            &mut state,
            &batch_of(BatchOptions { base_offset: Offset(4), ..BatchOptions::default() }, &[change(1, 3)]),
        );
        assert_eq!(loaded_offset(&state, "g", "t", 0), Some(1));
        assert_eq!(state.fetch("g", "t", TopicId::ZERO, 0, true), Err(ErrorCode::UnstableOffsetCommit));
        assert!(state.fetch("g", "t", TopicId::ZERO, 2, true).unwrap().is_none());

        let mut marker = BatchBuilder::new(BatchOptions { control: true, base_offset: Offset(5), ..within });
        let kind = if commit { ControlRecordType::Commit } else { ControlRecordType::Abort };
        marker.append_control(NOW, kind, &end_txn_marker(0));
        load(&mut state, &marker.build());
        assert_eq!(loaded_offset(&state, "g", "t", 0), Some(if commit { 2 } else { 1 }));
        assert_eq!(loaded_offset(&state, "g", "t", 1), Some(3), "committed later, outside of the transaction");
        assert!(state.fetch("g", "t", TopicId::ZERO, 0, true).is_ok());
    }
}

#[test]
fn a_tombstone_takes_back_what_a_transaction_would_commit() {
    let mut state = OffsetsPartition::new(4096);
    state.apply_pending(ProducerId(3), change(0, 2), 0);
    assert!(state.is_pending("g", "t", 0) && state.has_any("g"));
    state.apply(OffsetChange { committed: None, ..change(0, 0) }, 1);
    assert!(!state.is_pending("g", "t", 0));
    state.end_transaction(ProducerId(3), true);
    assert_eq!(state.groups().count(), 0);
}

#[test]
fn unreadable_records_are_passed_over() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let good = change(0, 8);
    builder.append(0, None, Some(b"x"), &[]).append(0, Some(&[0]), None, &[]);
    builder.append(0, Some(&good.encode_key()), Some(&[0, 9]), &[]);
    builder.append(0, Some(&good.encode_key()), good.encode_value().as_deref(), &[]);
    let mut state = GroupsPartition::new(4096);
    let mut seen = Vec::new();
    state.load_batch(&builder.build(), |at, _| seen.push(at)).unwrap();
    assert_eq!(seen, [0, 1, 2]);
    assert_eq!(loaded_offset(&state, "g", "t", 0), Some(8));
}

#[test]
fn many_changes_make_several_batches() {
    let changes: Vec<OffsetChange> = (0..1000).map(|i| change(i, i64::from(i))).collect();
    let records = records(&changes);
    let batches = several_batches(&records, NOW, 10_000);
    assert!(batches.len() > 4 && batches.iter().all(|(batch, _)| batch.len() <= 10_000));
    let mut state = GroupsPartition::new(4096);
    for (batch, count) in &batches {
        assert_eq!(BatchHeader::parse(batch).unwrap().count, *count as i32);
        state.load_batch(batch, |_, _| panic!()).unwrap();
    }
    assert_eq!(state.fetch_all("g").count(), 1000);
    assert_eq!(batches.iter().map(|(_, count)| count).sum::<usize>(), 1000);
    assert!(several_batches(&[], NOW, 100).is_empty());
    assert_eq!(several_batches(&records[..2], NOW, 1).len(), 2);
    assert_eq!(BatchHeader::parse(&one_batch(&records, NOW)).unwrap().count, 1000);
}

fn records(changes: &[OffsetChange]) -> Vec<GroupLogRecord> {
    changes.iter().map(|it| GroupLogRecord { key: it.encode_key(), value: it.encode_value() }).collect()
}

prop_compose! {
    fn any_change()(group in ".{0,20}", topic in "[a-z.]{1,20}", partition: i32, offset: i64, leader_epoch in -1i32..100,
        metadata in ".{0,200}", commit_timestamp: i64, expire in prop::option::of(0..i64::MAX), id: [u8; 16],
        there: bool) -> OffsetChange {
        OffsetChange { group: group.into(), topic: topic.into(), partition, committed: there.then(|| CommittedOffset {
            offset,
            // Version 1 has neither.
            leader_epoch: if expire.is_some() { -1 } else { leader_epoch },
            topic_id: crate::types::KafkaUuid(if expire.is_some() { [0; 16] } else { id }),
            metadata: metadata.into(),
            commit_timestamp,
            expire_timestamp: expire,
        }) }
    }
}

proptest! {
    #![proptest_config(crate::record::tests::seeded(256))]

    #[test]
    fn records_read_back(change in any_change()) {
        let (key, value) = (change.encode_key(), change.encode_value());
        prop_assert_eq!(read_record(&key, value.as_deref()), Ok(GroupRecord::Offset(change)));
        for cut in 0..key.len() {
            prop_assert!(read_record(&key[..cut], value.as_deref()).is_err());
        }
        if let Some(value) = value {
            for cut in 0..value.len() {
                prop_assert!(read_record(&key, Some(&value[..cut])).is_err());
            }
        }
    }

    #[test]
    fn any_record_is_read_or_refused(key in prop::collection::vec(any::<u8>(), 0..60), value in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = read_record(&key, Some(&value));
        let _ = CommittedOffset::decode(&value);
        let version = [&[0, 4][..], &value].concat();
        let _ = CommittedOffset::decode(&version);
    }

    #[test]
    fn loading_gives_what_applying_gave(changes in prop::collection::vec((0..3i32, any::<i64>(), any::<bool>()), 0..30)) {
        let mut live = OffsetsPartition::new(4096);
        let changes: Vec<OffsetChange> = changes.into_iter().map(|(partition, offset, there)| {
            let mut it = change(partition, offset);
            it.committed = it.committed.filter(|_| there);
            it
        }).collect();
        for (i, change) in changes.iter().enumerate() {
            live.apply(change.clone(), i as i64);
        }
        let mut loaded = GroupsPartition::new(4096);
        for (batch, _) in several_batches(&records(&changes), NOW, 400) {
            loaded.load_batch(&batch, |_, _| panic!()).unwrap();
        }
        prop_assert!(live.fetch_all("g").eq(loaded.fetch_all("g")));
    }
}
