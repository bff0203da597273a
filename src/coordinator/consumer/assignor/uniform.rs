//! Equal shares, and as few moves as possible.
//!
//! While all members subscribe to the same topics, shares differ by one partition at most, and nobody loses a partition that
//! fits into its share (`UniformHomogeneousAssignmentBuilder`). Else a partition goes to whoever of its subscribers owns the
//! fewest, and is moved only where that makes the shares more equal (`UniformHeterogeneousAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};

use super::GroupSpec;
use crate::coordinator::consumer::member::Partitions;
use crate::types::TopicId;

pub(super) fn assign(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    if spec.is_homogeneous() { homogeneous(spec) } else { Heterogeneous::new(spec).assign() }
}

/// Whether a partition is there and a member may own it.
fn may_own(spec: &GroupSpec<'_>, topics: &BTreeSet<TopicId>, topic: TopicId, partition: i32) -> bool {
    topics.contains(&topic) && spec.topics.get(&topic).is_some_and(|count| (0..*count).contains(&partition))
}

fn homogeneous(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    let Some(topics) = spec.members.first().map(|member| &member.topics) else { return Vec::new() };
    let counts: Vec<(TopicId, i32)> =
        topics.iter().filter_map(|topic| Some((*topic, *spec.topics.get(topic)?))).collect();
    let total: usize = counts.iter().map(|(_, count)| *count as usize).sum();
    let quota = total / spec.members.len();
    // How many members may have one more than the quota.
    let mut extra = total % spec.members.len();

    let mut taken = Partitions::new();
    let mut assigned = Vec::with_capacity(spec.members.len());
    // Who had more than the quota first has the first right to one more.
    for member in &spec.members {
        let mut mine = Partitions::new();
        let mut share = 0;
        for (topic, partitions) in member.target.into_iter().flatten() {
            for partition in partitions {
                let full = share > quota || (share == quota && extra == 0);
                if full
                    || !may_own(spec, topics, *topic, *partition)
                    || !taken.entry(*topic).or_default().insert(*partition)
                {
                    continue;
                }
                if share == quota {
                    extra -= 1;
                }
                share += 1;
                mine.entry(*topic).or_default().insert(*partition);
            }
        }
        assigned.push((share, mine));
    }

    // Members with room, by turns: a topic is spread over members rather than filling one after the other.
    let mut room: Vec<(usize, usize)> = Vec::new();
    for (index, (share, _)) in assigned.iter().enumerate() {
        let mut free = quota.saturating_sub(*share);
        if *share <= quota && extra > 0 {
            extra -= 1;
            free += 1;
        }
        if free > 0 {
            room.push((index, free));
        }
    }
    let mut turn = 0;
    for (topic, count) in counts {
        let taken = taken.get(&topic);
        for partition in (0..count).filter(|partition| taken.is_none_or(|taken| !taken.contains(partition))) {
            if turn >= room.len() {
                turn = 0;
            }
            let Some((index, free)) = room.get_mut(turn) else { return into_partitions(assigned) };
            if let Some((_, mine)) = assigned.get_mut(*index) {
                mine.entry(topic).or_default().insert(partition);
            }
            *free -= 1;
            if *free == 0 {
                room.remove(turn);
            } else {
                turn += 1;
            }
        }
    }
    into_partitions(assigned)
}

fn into_partitions(assigned: Vec<(usize, Partitions)>) -> Vec<Partitions> {
    assigned.into_iter().map(|(_, partitions)| partitions).collect()
}

struct Heterogeneous<'a> {
    spec: &'a GroupSpec<'a>,
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    shares: Vec<usize>,
    /// Who owns each partition.
    owners: BTreeMap<TopicId, BTreeMap<i32, usize>>,
}

impl<'a> Heterogeneous<'a> {
    fn new(spec: &'a GroupSpec<'a>) -> Heterogeneous<'a> {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in spec.members.iter().enumerate() {
            for topic in &member.topics {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        Heterogeneous { spec, subscribers, shares: vec![0; spec.members.len()], owners: BTreeMap::new() }
    }

    fn assign(mut self) -> Vec<Partitions> {
        self.keep();
        // Topics with few subscribers first: who has no choice does not come too late.
        let mut topics: Vec<TopicId> = self.subscribers.keys().copied().collect();
        topics.sort_by_key(|topic| self.subscribers.get(topic).map(Vec::len));
        for topic in &topics {
            self.hand_out(*topic);
        }
        // Each move makes the sum of the shares' squares smaller, so this ends; it takes few rounds.
        loop {
            let mut moved = false;
            for topic in &topics {
                moved |= self.balance(*topic);
            }
            if !moved {
                break;
            }
        }
        let mut assigned = vec![Partitions::new(); self.shares.len()];
        for (topic, owners) in &self.owners {
            for (partition, owner) in owners {
                if let Some(mine) = assigned.get_mut(*owner) {
                    mine.entry(*topic).or_default().insert(*partition);
                }
            }
        }
        assigned
    }

    /// Leaves each member what it was to own and still may.
    fn keep(&mut self) {
        for (index, member) in self.spec.members.iter().enumerate() {
            for (topic, partitions) in member.target.into_iter().flatten() {
                for partition in partitions {
                    if !may_own(self.spec, &member.topics, *topic, *partition) {
                        continue;
                    }
                    let owners = self.owners.entry(*topic).or_default();
                    if !owners.contains_key(partition) {
                        owners.insert(*partition, index);
                        self.count(index, 1);
                    }
                }
            }
        }
    }

    fn count(&mut self, member: usize, change: isize) {
        if let Some(share) = self.shares.get_mut(member) {
            *share = share.saturating_add_signed(change);
        }
    }

    fn by_share(&self, topic: TopicId) -> BTreeSet<(usize, usize)> {
        let subscribers = self.subscribers.get(&topic).map_or(&[][..], Vec::as_slice);
        subscribers.iter().filter_map(|&member| Some((*self.shares.get(member)?, member))).collect()
    }

    /// Gives partitions that nobody owns to whoever owns the fewest.
    fn hand_out(&mut self, topic: TopicId) {
        let Some(&count) = self.spec.topics.get(&topic) else { return };
        let mut by_share = self.by_share(topic);
        for partition in 0..count {
            if self.owners.get(&topic).is_some_and(|owners| owners.contains_key(&partition)) {
                continue;
            }
            let Some((share, member)) = by_share.pop_first() else { return };
            by_share.insert((share + 1, member));
            self.owners.entry(topic).or_default().insert(partition, member);
            self.count(member, 1);
        }
    }

    /// Moves partitions of a topic from who owns most to who owns fewest, while they differ by two or more.
    fn balance(&mut self, topic: TopicId) -> bool {
        let mut by_share = self.by_share(topic);
        let mut held: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
        for (partition, owner) in self.owners.get(&topic).into_iter().flatten() {
            held.entry(*owner).or_default().push(*partition);
        }
        let mut givers: BTreeSet<(usize, usize)> =
            by_share.iter().filter(|(_, member)| held.contains_key(member)).copied().collect();
        let mut moved = false;
        while let (Some(&(most, giver)), Some(&(fewest, taker))) = (givers.last(), by_share.first()) {
            if most < fewest + 2 {
                break;
            }
            let Some(partition) = held.get_mut(&giver).and_then(Vec::pop) else {
                givers.remove(&(most, giver));
                continue;
            };
            by_share.remove(&(most, giver));
            givers.remove(&(most, giver));
            by_share.remove(&(fewest, taker));
            givers.remove(&(fewest, taker));
            by_share.insert((most - 1, giver));
            givers.insert((most - 1, giver));
            by_share.insert((fewest + 1, taker));
            // What it has just got it does not give away again.
            if held.contains_key(&taker) {
                givers.insert((fewest + 1, taker));
            }
            self.owners.entry(topic).or_default().insert(partition, taker);
            self.count(giver, -1);
            self.count(taker, 1);
            moved = true;
        }
        moved
    }
}
