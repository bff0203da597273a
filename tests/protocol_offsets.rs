//! ListOffsets with every special timestamp, and epochs over restarts (OffsetForLeaderEpoch).

use kafka_protocol::messages::{
    BrokerId, OffsetForLeaderEpochRequest, offset_for_leader_epoch_request as epoch_request,
};

use crate::harness::Broker;
use crate::harness::batch::Batch;
use crate::harness::client::create_topic;
use crate::harness::wire::{Wire, list_offset, metadata, produce, topic_name};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

#[test]
fn each_special_timestamp_means_what_it_means_in_apache_kafka() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    for version in 1..=11 {
        let latest = list_offset(&mut wire, "t", LATEST, version);
        assert_eq!((latest.error_code, latest.offset, latest.timestamp), (0, 0, -1), "an empty log");
        let none = list_offset(&mut wire, "t", 5, version);
        assert_eq!((none.error_code, none.offset, none.timestamp), (0, -1, -1), "no record is that late");
    }
    let base = 1_700_000_000_000;
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"0", b"1"]).at(base + 100).bytes()).0, 0);
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"2", b"3", b"4"]).at(base + 900).bytes()).0, 0);
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"5"]).at(base + 500).bytes()).0, 0);

    let epoch = metadata(&mut wire, "t").topics[0].partitions[0].leader_epoch;
    let mut ask = |timestamp, version| {
        let found = list_offset(&mut wire, "t", timestamp, version);
        assert_eq!(found.error_code, 0, "timestamp {timestamp} in version {version}");
        if version >= 4 && found.offset >= 0 {
            assert_eq!(found.leader_epoch, epoch, "timestamp {timestamp} in version {version}");
        }
        (found.offset, found.timestamp)
    };
    for version in 1..=11 {
        assert_eq!(ask(LATEST, version), (6, -1));
        assert_eq!(ask(EARLIEST, version), (0, -1));
        assert_eq!(ask(0, version), (0, base + 100));
        assert_eq!(ask(base + 100, version), (0, base + 100));
        assert_eq!(ask(base + 101, version), (1, base + 101));
        assert_eq!(ask(base + 102, version), (2, base + 900));
        assert_eq!(ask(base + 902, version), (4, base + 902));
        assert_eq!(ask(base + 903, version), (-1, -1));
        if version >= 7 {
            assert_eq!(ask(MAX_TIMESTAMP, version), (4, base + 902));
        }
        if version >= 8 {
            assert_eq!(ask(EARLIEST_LOCAL, version), (0, -1));
        }
        if version >= 9 {
            assert_eq!(ask(LATEST_TIERED, version), (-1, -1));
        }
        if version >= 11 {
            // Without tiered storage there is nothing to upload.
            assert_eq!(ask(EARLIEST_PENDING_UPLOAD, version).0, -1);
        }
    }
    // A version that has no such timestamp says so rather than searching for the year 1969.
    for (timestamp, version) in [(MAX_TIMESTAMP, 6), (EARLIEST_LOCAL, 7), (LATEST_TIERED, 8), (-6, 10), (-7, 11)] {
        let found = list_offset(&mut wire, "t", timestamp, version);
        assert_eq!(found.error_code, UNSUPPORTED_VERSION, "timestamp {timestamp} in version {version}");
    }
    assert_eq!(list_offset(&mut wire, "never", LATEST, 5).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn every_start_raises_the_leader_epoch_and_the_ends_of_the_old_ones_are_known() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut ends = Vec::new();
    let mut end = 0;
    for round in 0..3_i64 {
        let mut wire = Wire::connect(&broker);
        let epoch = metadata(&mut wire, "t").topics[0].partitions[0].leader_epoch;
        assert!(ends.last().is_none_or(|&(last, _)| last < epoch), "epoch {epoch} after {ends:?}");
        for _ in 0..=round {
            assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"a", b"b"]).bytes()), (0, end));
            end += 2;
        }
        ends.push((epoch, end));
        for version in 2..=4 {
            for &(asked, end) in &ends {
                assert_eq!(end_of(&mut wire, asked, -1, version), (0, asked, end), "epoch {asked} in round {round}");
            }
            assert_eq!(end_of(&mut wire, epoch + 5, -1, version), (0, -1, -1), "an epoch that has not begun");
            assert_eq!(end_of(&mut wire, epoch, epoch + 5, version).0, UNKNOWN_LEADER_EPOCH);
        }
        if round == 1 {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
    }

    fn end_of(wire: &mut Wire, epoch: i32, current: i32, version: i16) -> (i16, i32, i64) {
        let partition = epoch_request::OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic =
            epoch_request::OffsetForLeaderTopic::default().with_topic(topic_name("t")).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let response = wire.call(&request, version);
        let found = &response.topics[0].partitions[0];
        (found.error_code, found.leader_epoch, found.end_offset)
    }
}
