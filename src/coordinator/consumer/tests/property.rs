//! Random members over random networks: nobody ever owns what another owns, everything settles, and the log holds it all.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::coordinator::consumer::ConsumerGroupState;

/// A client as Kafka's: it consumes what it was given, and gives up what is taken before it says so.
struct Client {
    id: String,
    epoch: i32,
    owned: BTreeSet<(TopicId, i32)>,
    /// The last assignment it got, where it has not been brought about yet.
    wanted: Option<BTreeSet<(TopicId, i32)>>,
    /// What it subscribes to, and whether it has said so.
    topics: Vec<&'static str>,
    regex: Option<&'static str>,
    /// Its next heartbeat says everything, as after a lost answer.
    full: bool,
    said: Option<BTreeSet<(TopicId, i32)>>,
}

const TOPICS: [&str; 4] = ["a", "b", "ab", "c"];
const REGEXES: [&str; 3] = ["a.*", "[bc]", ".*b"];

struct Fleet {
    bench: Bench,
    rng: StdRng,
    clients: Vec<Client>,
    next_id: u32,
    mixed: bool,
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new();
        bench.config.consumer.assignment_interval_ms = *[0, 1_000].choose(&mut rng).unwrap();
        let mixed = rng.random_bool(0.5);
        for (i, topic) in TOPICS.iter().enumerate().take(if mixed { 4 } else { 2 }) {
            bench.world.put(topic, i as u8 + 1, rng.random_range(1..9));
        }
        Fleet { bench, rng, clients: Vec::new(), next_id: 0, mixed }
    }

    fn subscription(&mut self) -> (Vec<&'static str>, Option<&'static str>) {
        if !self.mixed {
            return (vec!["a", "b"], None);
        }
        if self.rng.random_bool(0.3) {
            return (Vec::new(), REGEXES.choose(&mut self.rng).copied());
        }
        (TOPICS.iter().copied().filter(|_| self.rng.random_bool(0.6)).collect(), None)
    }

    fn step(&mut self) {
        self.bench.now += self.rng.random_range(0..3_000);
        match self.rng.random_range(0..100) {
            0..8 if self.clients.len() < 8 => {
                let (topics, regex) = self.subscription();
                self.next_id += 1;
                let id = format!("m{}", self.next_id);
                let (epoch, owned) = (0, BTreeSet::new());
                self.clients.push(Client { id, epoch, owned, wanted: None, topics, regex, full: true, said: None });
            }
            8..11 if !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                let client = self.clients.swap_remove(index);
                // Some say goodbye, some do not.
                if client.epoch > 0 && self.rng.random_bool(0.5) {
                    self.bench.heartbeat(&beat(&client.id, -1));
                }
            }
            11..14 if self.mixed && !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                let (topics, regex) = self.subscription();
                let client = &mut self.clients[index];
                (client.topics, client.regex, client.full) = (topics, regex, true);
            }
            14..16 => {
                let topic = *TOPICS.choose(&mut self.rng).unwrap();
                if let Some(known) = self.bench.world.topics.get_mut(topic) {
                    known.1 += 1;
                    self.bench.group.world_changed();
                }
            }
            16..18 => self.bench.on_time(),
            18..20 => self.bench.check_log(),
            20..22 => {
                // The broker starts anew: the same state, out of the log.
                self.bench.group = self.bench.reload();
            }
            _ if !self.clients.is_empty() => {
                let index = self.rng.random_range(0..self.clients.len());
                let lost = self.rng.random_bool(0.1);
                self.beat(index, lost);
            }
            _ => {}
        }
        self.check();
    }

    fn beat(&mut self, index: usize, answer_lost: bool) {
        let finishes = self.rng.random_bool(0.7);
        let client = &mut self.clients[index];
        // First it may bring about what it was told.
        if finishes && let Some(wanted) = client.wanted.take() {
            client.owned = wanted;
        }
        let mut request = beat(&client.id, client.epoch);
        let full = client.full || client.epoch == 0;
        if full {
            request.rebalance_timeout_ms = 30_000;
            request.subscribed_topic_names = Some(client.topics.iter().map(|topic| Str::from_static(topic)).collect());
            request.subscribed_topic_regex = Some(Str::from_static(client.regex.unwrap_or("")));
        }
        if client.epoch == 0 {
            client.owned.clear();
            client.wanted = None;
        }
        if full || client.said.as_ref() != Some(&client.owned) {
            let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in &client.owned {
                topics.entry(*topic).or_default().push(*partition);
            }
            let topics = topics.into_iter();
            request.topic_partitions =
                Some(topics.map(|(topic_id, partitions)| HeartbeatTopicPartitions { topic_id, partitions }).collect());
        }
        let owned = client.owned.clone();
        let answer = self.bench.heartbeat(&request);
        let client = &mut self.clients[index];
        if answer_lost {
            client.full = true;
            return;
        }
        match ErrorCode::from_code(answer.error_code).unwrap() {
            ErrorCode::None => {
                client.full = false;
                client.said = Some(owned);
                client.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    let topics = assignment.topic_partitions.iter();
                    let wanted: BTreeSet<_> =
                        topics.flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id, *p))).collect();
                    // What it gets it consumes at once; what it loses takes until it is done with it.
                    client.owned.extend(wanted.iter().copied());
                    client.wanted = Some(wanted);
                }
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                client.owned.clear();
                client.wanted = None;
                client.epoch = 0;
            }
            other => panic!("{other:?}: {:?}", answer.error_message),
        }
    }

    /// No partition is consumed by two clients that the group knows, and none without the group knowing.
    fn check(&self) {
        let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
        for client in &self.clients {
            let Some(member) = self.bench.group.members.get(client.id.as_str()) else { continue };
            if client.epoch == 0 {
                continue;
            }
            let known: BTreeSet<_> = member.owned.all().collect();
            for partition in &client.owned {
                assert!(known.contains(partition), "{} consumes {partition:?} unknown to its group", client.id);
                if let Some(other) = owners.insert(*partition, &client.id) {
                    panic!("{} and {other} both consume {partition:?}", client.id);
                }
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            // Time enough for sessions of the dead, and for the assignment interval.
            self.bench.now += 5_000;
            for index in 0..self.clients.len() {
                self.beat(index, false);
                self.check();
            }
            self.bench.on_time();
        }
        let group = &self.bench.group;
        assert_eq!(group.member_count(), self.clients.len());
        if self.clients.is_empty() {
            return;
        }
        assert_eq!(group.state(), ConsumerGroupState::Stable);
        // Every partition of a topic that somebody subscribes to is consumed.
        let consumed: BTreeSet<_> = self.clients.iter().flat_map(|client| client.owned.iter().copied()).collect();
        let subscribed = self.bench.world.topics.iter().filter(|(name, _)| group.is_subscribed_to(name));
        let all: BTreeSet<_> =
            subscribed.flat_map(|(_, (id, count))| (0..*count).map(|partition| (*id, partition))).collect();
        assert_eq!(consumed, all);
        if !self.mixed {
            let shares: Vec<usize> = self.clients.iter().map(|client| client.owned.len()).collect();
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
    }
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut fleet = Fleet::new(seed);
    for round in 0..3 {
        for _ in 0..150 {
            fleet.step();
        }
        fleet.settle();
        fleet.bench.check_log();
        assert!(round < 3);
    }
}

#[test]
fn nobody_owns_what_another_owns_and_everything_settles() {
    let count = std::env::var("CORELANE_GROUP_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    for seed in 0..count {
        run(seed);
    }
}
