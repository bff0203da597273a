//! Consecutive partitions of each topic for each member, in a fixed order of the members: static ones first, by instance id,
//! then the others by member id. Members that subscribe to the same topics get the same partition numbers of topics with
//! equally many partitions.

use std::collections::BTreeMap;

use super::{GroupSpec, MemberSpec};
use crate::coordinator::consumer::member::Partitions;

/// What is left of a topic.
struct Range {
    next: i32,
    end: i32,
    /// What each subscriber gets at least.
    quota: i32,
    /// How many more subscribers get one more.
    extra: i32,
}

pub(super) fn assign(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    let mut subscribers: BTreeMap<_, i32> = BTreeMap::new();
    for topic in spec.members.iter().flat_map(|member| &member.topics) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    let mut ranges: BTreeMap<_, Range> = subscribers
        .into_iter()
        .filter_map(|(topic, members)| {
            let end = *spec.topics.get(&topic)?;
            Some((topic, Range { next: 0, end, quota: end / members, extra: end % members }))
        })
        .collect();
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by_key(|&index| spec.members.get(index).map(order_of));
    let mut assigned = vec![Partitions::new(); spec.members.len()];
    for index in order {
        let (Some(member), Some(assigned)) = (spec.members.get(index), assigned.get_mut(index)) else { continue };
        for topic in &member.topics {
            let Some(range) = ranges.get_mut(topic) else { continue };
            let mut end = range.next + range.quota;
            if range.extra > 0 {
                range.extra -= 1;
                end += 1;
            }
            let end = end.min(range.end);
            if range.next < end {
                assigned.insert(*topic, (range.next..end).collect());
                range.next = end;
            }
        }
    }
    assigned
}

fn order_of<'a>(member: &MemberSpec<'a>) -> (bool, &'a str) {
    match member.instance_id {
        Some(instance_id) => (false, instance_id),
        None => (true, member.id),
    }
}
