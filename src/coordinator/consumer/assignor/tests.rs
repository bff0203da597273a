use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::types::KafkaUuid;

fn topic(id: u8) -> TopicId {
    KafkaUuid([id; 16])
}

struct Group {
    topics: BTreeMap<TopicId, i32>,
    members: BTreeMap<String, (BTreeSet<TopicId>, Partitions)>,
}

impl Group {
    fn assign(&mut self, assignor: Assignor) {
        let members = self
            .members
            .iter()
            .map(|(id, (topics, target))| MemberSpec {
                id,
                instance_id: None,
                topics: topics.clone(),
                target: Some(target),
            })
            .collect();
        let assigned = assignor.assign(&GroupSpec { members, topics: self.topics.clone() });
        assert_eq!(assigned.len(), self.members.len());
        for ((_, target), new) in self.members.values_mut().zip(assigned) {
            *target = new;
        }
    }

    fn owners(&self) -> BTreeMap<(TopicId, i32), &str> {
        let mut owners = BTreeMap::new();
        for (id, (topics, target)) in &self.members {
            for (topic, partitions) in target {
                assert!(topics.contains(topic), "{id} got a topic it does not subscribe to");
                for partition in partitions {
                    let other = owners.insert((*topic, *partition), id.as_str());
                    assert!(other.is_none(), "{topic} {partition} went to {id} and {other:?}");
                }
            }
        }
        owners
    }

    /// Every partition that has a subscriber has an owner.
    fn check(&self) {
        let owners: BTreeSet<_> = self.owners().into_keys().collect();
        let subscribed: BTreeSet<_> = self.members.values().flat_map(|(topics, _)| topics).collect();
        let all: BTreeSet<_> = self
            .topics
            .iter()
            .filter(|(topic, _)| subscribed.contains(topic))
            .flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition)))
            .collect();
        assert_eq!(owners, all);
    }

    fn shares(&self) -> Vec<usize> {
        self.members.values().map(|(_, target)| target.values().map(BTreeSet::len).sum()).collect()
    }
}

fn spread(shares: &[usize]) -> usize {
    shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0)
}

#[test]
fn uniform_moves_as_little_as_balance_allows() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let topics: BTreeMap<_, _> = (0..rng.random_range(1..5)).map(|i| (topic(i), rng.random_range(1..12))).collect();
        let all: BTreeSet<_> = topics.keys().copied().collect();
        let mut group = Group { topics, members: BTreeMap::new() };
        for step in 0..20 {
            let before: BTreeMap<_, String> =
                group.owners().into_iter().map(|(partition, id)| (partition, id.to_owned())).collect();
            let leaves = group.members.len() > 1 && rng.random_bool(0.4);
            if leaves {
                let index = rng.random_range(0..group.members.len());
                let id = group.members.keys().nth(index).cloned().unwrap();
                group.members.remove(&id);
            } else {
                group
                    .members
                    .insert(format!("m{:02}-{step}", rng.random_range(0..100)), (all.clone(), Partitions::new()));
            }
            group.assign(Assignor::Uniform);
            group.check();
            assert!(spread(&group.shares()) <= 1);
            let total: usize = group.shares().iter().sum();
            let owners = group.owners();
            let moved = before
                .iter()
                .filter(|(partition, id)| {
                    group.members.contains_key(*id) && owners.get(*partition) != Some(&id.as_str())
                })
                .count();
            // Who stays loses nothing when another leaves; a newcomer takes its share and no more moves.
            let most = if leaves || before.is_empty() { 0 } else { total.div_ceil(group.members.len()) };
            assert!(moved <= most, "{moved} moved, at most {most} had to");
        }
    }
}

#[test]
fn uniform_is_balanced_as_far_as_subscriptions_allow() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let topics: BTreeMap<_, _> = (0..5).map(|i| (topic(i), rng.random_range(1..12))).collect();
        let mut group = Group { topics, members: BTreeMap::new() };
        for step in 0..12 {
            let subscribed = (0..5).map(topic).filter(|_| rng.random_bool(0.5)).collect();
            group.members.insert(format!("m{step:02}"), (subscribed, Partitions::new()));
            if group.members.len() > 3 && rng.random_bool(0.4) {
                group.members.pop_first();
            }
            group.assign(Assignor::Uniform);
            group.check();
            // Nobody could give one to somebody with two fewer.
            let shares: BTreeMap<_, _> = group.members.keys().cloned().zip(group.shares()).collect();
            for ((topic, partition), owner) in group.owners() {
                for (id, (topics, _)) in &group.members {
                    assert!(
                        !topics.contains(&topic) || shares[owner] < shares[id] + 2,
                        "{topic} {partition} of {owner} ({}) would be better with {id} ({})",
                        shares[owner],
                        shares[id]
                    );
                }
            }
            let before = group.members.clone();
            group.assign(Assignor::Uniform);
            assert_eq!(before, group.members, "what is balanced stays");
        }
    }
}

#[test]
fn range_gives_consecutive_partitions_in_order_of_the_members() {
    let topics = BTreeMap::from([(topic(1), 7), (topic(2), 7), (topic(3), 2)]);
    let both: BTreeSet<_> = [topic(1), topic(2)].into();
    let members = vec![
        MemberSpec { id: "b", instance_id: None, topics: both.clone(), target: None },
        MemberSpec { id: "a", instance_id: None, topics: both.clone(), target: None },
        MemberSpec { id: "z", instance_id: Some("i"), topics: [topic(1), topic(2), topic(3)].into(), target: None },
    ];
    let assigned = Assignor::Range.assign(&GroupSpec { members, topics });
    let set = |range: std::ops::Range<i32>| range.collect::<BTreeSet<i32>>();
    let b = BTreeMap::from([(topic(1), set(5..7)), (topic(2), set(5..7))]);
    let a = BTreeMap::from([(topic(1), set(3..5)), (topic(2), set(3..5))]);
    let z = BTreeMap::from([(topic(1), set(0..3)), (topic(2), set(0..3)), (topic(3), set(0..2))]);
    assert_eq!(assigned, [b, a, z]);
}

#[test]
fn groups_of_thousands_of_partitions_are_no_trouble() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        let topics: BTreeMap<_, _> = (0..100).map(|i| (topic(i), 100)).collect();
        let all: BTreeSet<_> = topics.keys().copied().collect();
        let mut group = Group { topics, members: BTreeMap::new() };
        for i in 0..200 {
            let mut subscribed = all.clone();
            subscribed.remove(&topic(i % 100));
            group.members.insert(format!("m{i:03}"), (subscribed, Partitions::new()));
        }
        group.assign(assignor);
        group.check();
        if assignor == Assignor::Uniform {
            assert!(spread(&group.shares()) <= 1);
        }
    }
}
