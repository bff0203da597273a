//! Reading: the long poll, seeking, several partitions in one fetch session, limits of a fetch.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::Broker;
use crate::harness::client::{
    PATIENCE, Producer, assign, consumer, create_topic, produce, read_all, read_assigned, values,
};

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|i| i.to_string().into_bytes()).collect()
}

#[test]
fn a_waiting_consumer_is_woken_by_a_record_and_not_by_its_timeout() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    // Were the fetch answered at its timeout only, each record would take up to 20 seconds.
    let consumer = consumer(
        &broker,
        &[("fetch.wait.max.ms", "20000"), ("socket.timeout.ms", "30000"), ("enable.partition.eof", "false")],
    );
    assign(&consumer, "t", 0, Offset::Beginning);
    let started = Instant::now();
    for round in 0..10 {
        assert!(consumer.poll(Duration::from_millis(50)).is_none(), "nothing is there yet");
        produce(&broker, "t", 0, &numbered(round..round + 1));
        let record = consumer.poll(PATIENCE).expect("the record arrives").expect("without an error");
        assert_eq!(record.offset(), round as i64);
    }
    assert!(started.elapsed() < Duration::from_secs(15), "ten records took {:?}", started.elapsed());
}

#[test]
fn a_consumer_seeks_to_any_offset() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[("segment.bytes", "1048576"), ("index.interval.bytes", "1024")]);
    let mut all = numbered(0..20_000);
    for value in &mut all {
        value.resize(200, b' ');
    }
    let producer = Producer::new(&broker, &[("linger.ms", "5"), ("batch.num.messages", "37")]);
    for (tag, value) in all.iter().enumerate() {
        producer.send_value(tag, "t", 0, value);
    }
    producer.finish_ok();
    let consumer = consumer(&broker, &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    consumer.poll(PATIENCE).expect("a first record").expect("without an error");
    for target in [19_999_i64, 0, 12_345, 36, 37, 38, 5_000, 4_999, 18_000] {
        consumer.seek("t", 0, Offset::Offset(target), PATIENCE).expect("the seek is taken");
        for expected in target..(target + 20).min(20_000) {
            let record = next(&consumer);
            assert_eq!(record, (0, expected), "after a seek to {target}");
        }
    }
    consumer.seek("t", 0, Offset::OffsetTail(5), PATIENCE).expect("the seek is taken");
    assert_eq!(next(&consumer), (0, 19_995));

    fn next(consumer: &rdkafka::consumer::BaseConsumer) -> (i32, i64) {
        loop {
            match consumer.poll(PATIENCE).expect("a record in time") {
                Ok(record) => return (record.partition(), record.offset()),
                Err(rdkafka::error::KafkaError::PartitionEOF(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn many_partitions_are_read_in_one_session_while_they_are_written() {
    const PARTITIONS: i32 = 20;
    const RECORDS: usize = 6_000;
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", PARTITIONS, &[]);
    let consumer = consumer(&broker, &[("enable.partition.eof", "false"), ("fetch.wait.max.ms", "500")]);
    let mut list = TopicPartitionList::new();
    list.add_partition_range("t", 0, PARTITIONS - 1);
    list.set_all_offsets(Offset::Beginning).expect("offsets");
    consumer.assign(&list).expect("an assignment");
    thread::scope(|scope| {
        scope.spawn(|| {
            let producer = Producer::new(&broker, &[("linger.ms", "2")]);
            for tag in 0..RECORDS {
                // Bursts to few partitions, so that sessions have partitions with and without news.
                let partition = ((tag / 100) * 7 + tag % 3) as i32 % PARTITIONS;
                producer.send_value(tag, "t", partition, tag.to_string().as_bytes());
            }
            producer.finish_ok();
        });
        let mut next: HashMap<i32, i64> = HashMap::new();
        for _ in 0..RECORDS {
            let record = consumer.poll(PATIENCE).expect("a record in time").expect("without an error");
            let expected = next.entry(record.partition()).or_default();
            assert_eq!(record.offset(), *expected, "partition {} has no gap", record.partition());
            *expected += 1;
        }
        assert!(consumer.poll(Duration::from_millis(300)).is_none(), "and nothing twice");
    });
}

#[test]
fn a_partition_is_read_through_small_fetches_as_through_large_ones() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let all: Vec<Vec<u8>> = (0..3_000_usize).map(|i| vec![i as u8; i % 700]).collect();
    produce(&broker, "t", 0, &all);
    for limit in ["1", "1000", "100000"] {
        let consumer = consumer(
            &broker,
            &[("fetch.message.max.bytes", limit), ("fetch.max.bytes", "200000"), ("message.max.bytes", "100000")],
        );
        assign(&consumer, "t", 0, Offset::Beginning);
        assert!(values(&read_assigned(&consumer)) == all, "with fetch.message.max.bytes={limit}");
    }
}

#[test]
fn an_offset_outside_the_log_resets_as_the_consumer_asked() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &numbered(0..10));
    for (reset, count) in [("earliest", 10), ("latest", 0)] {
        let consumer = consumer(&broker, &[("auto.offset.reset", reset)]);
        assign(&consumer, "t", 0, Offset::Offset(5_000));
        assert_eq!(read_assigned(&consumer).len(), count, "auto.offset.reset={reset}");
    }
}

#[test]
fn a_consumer_lives_through_a_restart() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let first = produce(&broker, "t", 0, &numbered(0..100));
    let consumer = consumer(&broker, &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    assert_eq!(read_assigned(&consumer).len(), first.len());
    for round in 1..4 {
        if round % 2 == 0 {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
        produce(&broker, "t", 0, &numbered(round * 100..(round + 1) * 100));
        let mut got = 0;
        let deadline = Instant::now() + PATIENCE;
        while got < 100 {
            assert!(Instant::now() < deadline, "{got} of 100 after restart {round}");
            if let Some(Ok(record)) = consumer.poll(Duration::from_millis(200)) {
                assert_eq!(record.offset(), (round * 100 + got) as i64);
                got += 1;
            }
        }
    }
    assert_eq!(values(&read_all(&broker, "t", 0)), numbered(0..400));
}
