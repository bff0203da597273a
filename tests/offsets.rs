//! Watermarks, offsets by time, and committed offsets of consumers that assign their partitions themselves.

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::Broker;
use crate::harness::client::{
    PATIENCE, Producer, assign, consumer, create_topic, produce, read_assigned, retry, values, watermarks,
};

fn numbered(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| i.to_string().into_bytes()).collect()
}

#[test]
fn watermarks_follow_what_was_produced_and_outlive_a_restart() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 2, &[]);
    assert_eq!(watermarks(&broker, "t", 0), (0, 0));
    produce(&broker, "t", 0, &numbered(123));
    assert_eq!(watermarks(&broker, "t", 0), (0, 123));
    assert_eq!(watermarks(&broker, "t", 1), (0, 0));
    broker.restart();
    assert_eq!(watermarks(&broker, "t", 0), (0, 123));
}

#[test]
fn an_offset_is_found_by_time() {
    let mut broker = Broker::start(&[]);
    // Many small batches and dense indexes, so that the search goes through the time index.
    create_topic(&broker, "t", 1, &[("index.interval.bytes", "256"), ("segment.bytes", "1048576")]);
    let producer = Producer::new(&broker, &[("batch.num.messages", "10")]);
    let base = 1_700_000_000_000;
    for i in 0..5_000_usize {
        let value = [b'v'; 400];
        producer.send(i, BaseRecord::to("t").partition(0).payload(value.as_slice()).timestamp(base + 10 * i as i64));
    }
    producer.finish_ok();
    for restarted in [false, true] {
        if restarted {
            broker.restart();
        }
        let consumer = consumer(&broker, &[]);
        let by_time = |timestamp: i64| {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset("t", 0, Offset::Offset(timestamp)).expect("a timestamp");
            let found = retry("offsets by time", || consumer.offsets_for_times(list.clone(), PATIENCE));
            found.elements()[0].offset()
        };
        for i in [0, 1, 7, 9, 10, 11, 999, 2_500, 4_321, 4_999] {
            assert_eq!(by_time(base + 10 * i), Offset::Offset(i), "exactly record {i}");
            if i > 0 {
                assert_eq!(by_time(base + 10 * i - 5), Offset::Offset(i), "the first record after");
            }
        }
        assert_eq!(by_time(0), Offset::Offset(0));
        assert_eq!(by_time(base + 50_000), Offset::End, "none is that late");
    }
}

#[test]
fn committed_offsets_are_kept_over_restarts() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 3, &[]);
    for partition in 0..3 {
        produce(&broker, "t", partition, &numbered(100));
    }
    let commit = |broker: &Broker, group: &str, offsets: &[i64]| {
        let consumer = consumer(broker, &[("group.id", group)]);
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets.iter().enumerate() {
            list.add_partition_offset("t", partition as i32, Offset::Offset(*offset)).expect("an offset");
        }
        let mut element = list.find_partition("t", 0).expect("partition 0");
        element.set_metadata(format!("note of {group}"));
        consumer.assign(&list).expect("an assignment");
        retry("the commit", || consumer.commit(&list, CommitMode::Sync));
    };
    let committed = |broker: &Broker, group: &str| -> Vec<(Offset, String)> {
        let consumer = consumer(broker, &[("group.id", group)]);
        let mut list = TopicPartitionList::new();
        list.add_partition_range("t", 0, 2);
        let found = retry("committed offsets", || consumer.committed_offsets(list.clone(), PATIENCE));
        found.elements().iter().map(|e| (e.offset(), e.metadata().to_owned())).collect()
    };
    commit(&broker, "first", &[10, 20, 30]);
    commit(&broker, "second", &[1, 2]);
    commit(&broker, "first", &[11, 21, 31]);
    for restarts in 0..3 {
        match restarts {
            1 => broker.restart(),
            2 => {
                broker.kill();
                broker.launch();
            }
            _ => {}
        }
        let first = committed(&broker, "first");
        assert_eq!(first.iter().map(|e| e.0).collect::<Vec<_>>(), [11, 21, 31].map(Offset::Offset));
        assert_eq!(first[0].1, "note of first");
        let second = committed(&broker, "second");
        assert_eq!(
            second.iter().map(|e| e.0).collect::<Vec<_>>(),
            [Offset::Offset(1), Offset::Offset(2), Offset::Invalid]
        );
        let never = committed(&broker, "never");
        assert!(never.iter().all(|e| e.0 == Offset::Invalid));
    }
    // A consumer goes on where its group left off.
    let consumer = consumer(&broker, &[("group.id", "first")]);
    assign(&consumer, "t", 2, Offset::Stored);
    assert_eq!(values(&read_assigned(&consumer)), numbered(100)[31..]);
}
