//! Consumer groups of real consumers: who has which partitions, what happens when members come, go and are lost, and
//! what a group knows after its broker was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::Broker;
use crate::harness::client::{PATIENCE, consumer, create_topic, produce, retry};

/// Rebalances as quick as a test wants them, and sessions that end while somebody watches.
const QUICK: [(&str, &str); 2] =
    [("group.initial.rebalance.delay.ms", "200"), ("group.min.session.timeout.ms", "1000")];

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|i| i.to_string().into_bytes()).collect()
}

/// A member that subscribes to the topic `t`, and what it has read.
struct Member {
    consumer: BaseConsumer,
    read: Vec<(i32, i64, Vec<u8>)>,
}

impl Member {
    fn join(broker: &Broker, group: &str, settings: &[(&str, &str)]) -> Member {
        let mut all = vec![
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "false"),
            ("session.timeout.ms", "3000"),
            ("heartbeat.interval.ms", "100"),
        ];
        all.extend_from_slice(settings);
        let consumer = consumer(broker, &all);
        consumer.subscribe(&["t"]).expect("a subscription");
        Member { consumer, read: Vec::new() }
    }

    /// Reads what comes within a moment.
    fn poll(&mut self) {
        let until = Instant::now() + Duration::from_millis(20);
        while let Some(polled) = self.consumer.poll(until.saturating_duration_since(Instant::now())) {
            match polled {
                Ok(message) => {
                    let value = message.payload().unwrap_or_default().to_vec();
                    self.read.push((message.partition(), message.offset(), value));
                }
                // What a consumer meets while its broker is away.
                Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::Resolve,
                )) => {}
                Err(error) => panic!("reading failed: {error}"),
            }
        }
    }

    fn partitions(&self) -> BTreeSet<i32> {
        let list = self.consumer.assignment().expect("an assignment");
        list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
    }

    fn commit(&self) {
        retry("the commit", || match self.consumer.commit_consumer_state(CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
            result => result,
        });
    }

    fn values(&self) -> BTreeSet<Vec<u8>> {
        self.read.iter().map(|(_, _, value)| value.clone()).collect()
    }
}

/// Polls all members until `done` says so.
fn poll_until(what: &str, members: &mut [Member], mut done: impl FnMut(&[Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(members) {
        assert!(
            Instant::now() < deadline,
            "{what}: {:?}",
            members.iter().map(|it| (it.partitions(), it.read.len())).collect::<Vec<_>>()
        );
        for member in &mut *members {
            member.poll();
        }
    }
}

/// Every partition has one owner, and each member has its share.
fn is_shared(members: &[Member], partitions: usize) -> bool {
    let owned: Vec<BTreeSet<i32>> = members.iter().map(Member::partitions).collect();
    let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
    let least = partitions / members.len();
    all.len() == partitions
        && owned.iter().map(BTreeSet::len).sum::<usize>() == partitions
        && owned.iter().all(|it| (least..=least + 1).contains(&it.len()))
}

fn committed(broker: &Broker, group: &str, partitions: i32) -> BTreeMap<i32, Offset> {
    let consumer = consumer(broker, &[("group.id", group)]);
    let mut list = TopicPartitionList::new();
    list.add_partition_range("t", 0, partitions - 1);
    let found = retry("committed offsets", || consumer.committed_offsets(list.clone(), PATIENCE));
    found.elements().iter().map(|it| (it.partition(), it.offset())).collect()
}

#[test]
fn members_share_partitions_and_hand_them_over() {
    for strategy in ["range,roundrobin", "cooperative-sticky"] {
        let broker = Broker::start(&QUICK);
        create_topic(&broker, "t", 4, &[]);
        for partition in 0..4 {
            produce(&broker, "t", partition, &numbered(0..100));
        }
        let settings = [("partition.assignment.strategy", strategy)];
        let mut members = vec![Member::join(&broker, "g", &settings)];
        poll_until("alone", &mut members, |members| members[0].partitions().len() == 4 && members[0].read.len() == 400);
        members[0].commit();
        members.push(Member::join(&broker, "g", &settings));
        poll_until("two", &mut members, |members| is_shared(members, 4));
        members.push(Member::join(&broker, "g", &settings));
        poll_until("three", &mut members, |members| is_shared(members, 4));
        // The first leaves, and says so.
        drop(members.remove(0));
        let began = Instant::now();
        poll_until("two again", &mut members, |members| is_shared(members, 4));
        assert!(began.elapsed() < Duration::from_secs(2) + PATIENCE / 4, "a session's end was waited for");
        for partition in 0..4 {
            produce(&broker, "t", partition, &numbered(100..150));
        }
        let wanted: BTreeSet<Vec<u8>> = numbered(100..150).into_iter().collect();
        poll_until("the rest", &mut members, |members| {
            members.iter().map(|member| member.read.len()).sum::<usize>() >= 200
        });
        let seen: BTreeSet<Vec<u8>> = members.iter().flat_map(Member::values).collect();
        assert_eq!(seen, wanted, "what was committed is not read again, and nothing is left out");
        for member in &members {
            member.commit();
        }
        assert!(committed(&broker, "g", 4).values().all(|offset| *offset == Offset::Offset(150)));
    }
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let broker = Broker::start(&QUICK);
    create_topic(&broker, "t", 4, &[]);
    let join = |name: &str| Member::join(&broker, "g", &[("group.instance.id", name), ("session.timeout.ms", "30000")]);
    let mut members = vec![join("a"), join("b")];
    poll_until("both", &mut members, |members| is_shared(members, 4));
    let had = members[0].partitions();
    // A static member does not leave when it closes.
    drop(members.remove(0));
    members.insert(0, join("a"));
    let other = members[1].partitions();
    poll_until("again", &mut members, |members| !members[0].partitions().is_empty());
    assert_eq!(members[0].partitions(), had);
    assert_eq!(members[1].partitions(), other, "the other was not disturbed");
}

#[test]
fn a_group_outlives_its_broker() {
    let mut broker = Broker::start(&QUICK);
    create_topic(&broker, "t", 4, &[]);
    let settings = [("session.timeout.ms", "20000")];
    let mut members = vec![Member::join(&broker, "g", &settings), Member::join(&broker, "g", &settings)];
    poll_until("shared", &mut members, |members| is_shared(members, 4));
    // Not before: what is not committed is read again by whom it is given to.
    for partition in 0..4 {
        produce(&broker, "t", partition, &numbered(0..50));
    }
    let read = |members: &[Member]| members.iter().map(|member| member.read.len()).sum::<usize>();
    poll_until("read", &mut members, |members| read(members) >= 200);
    for round in 1..4_usize {
        for member in &members {
            member.commit();
        }
        let had: Vec<_> = members.iter().map(Member::partitions).collect();
        if round == 2 {
            broker.restart();
        } else {
            broker.kill();
            broker.launch();
        }
        let found = committed(&broker, "g", 4);
        assert!(
            found.values().all(|offset| *offset == Offset::Offset(50 * round as i64)),
            "what was committed before the broker went is there: {found:?} in round {round}"
        );
        for partition in 0..4 {
            produce(&broker, "t", partition, &numbered(50 * round..50 * (round + 1)));
        }
        poll_until("read on", &mut members, |members| read(members) >= 200 * (round + 1));
        let have: Vec<_> = members.iter().map(Member::partitions).collect();
        assert_eq!(had, have, "members go on without a rebalance");
        assert_eq!(read(&members), 200 * (round + 1), "no record was read twice");
    }
}
