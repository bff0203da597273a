//! What administrators see of groups and may delete of them, over a plain socket; offsets of groups without members; and a
//! broker that stops while members wait.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    DeleteGroupsRequest, JoinGroupResponse, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, offset_commit_request, offset_delete_request, offset_fetch_request,
};

use crate::groups_classic::{Member, QUICK, describe, find_coordinator, group_id, text};
use crate::harness::Broker;
use crate::harness::broker::is_kafka;
use crate::harness::client::create_topic;
use crate::harness::wire::{Wire, topic_name};

const NOT_COORDINATOR: i16 = 16;
const UNKNOWN_MEMBER_ID: i16 = 25;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

/// Commits as nobody in particular.
fn commit(wire: &mut Wire, group: &str, offset: i64) -> i16 {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    wire.call(&request, 8).topics[0].partitions[0].error_code
}

fn committed(wire: &mut Wire, group: &str) -> i64 {
    let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(Some(vec![topic]));
    wire.call(&request, 6).topics[0].partitions[0].committed_offset
}

/// The only member of a stable group.
fn alone(broker: &Broker, group: &'static str) -> Member {
    let mut member = Member::new(broker, group);
    member.join(9);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"all of it")]).error_code, 0);
    member
}

/// A member waits for one that does not come; the broker stops at once all the same.
#[test]
fn members_that_wait_hold_nobody_up() {
    if is_kafka() {
        return; // Its stop takes longer.
    }
    let mut broker = Broker::start(QUICK);
    let _first = alone(&broker, "g");
    let mut second = Member::new(&broker, "g");
    let waits = second.start_join(9);
    assert!(second.wire.is_silent_for(Duration::from_millis(300)), "the first has not joined again");
    let began = Instant::now();
    assert!(broker.stop().is_some_and(|status| status.success()));
    assert!(began.elapsed() < Duration::from_secs(4), "the stop took {:?}", began.elapsed());
    let answer: JoinGroupResponse = second.wire.receive(waits, 9);
    assert_eq!(answer.error_code, NOT_COORDINATOR);
}

#[test]
fn groups_and_offsets_are_deleted_when_nobody_uses_them() {
    let mut broker = Broker::start(QUICK);
    create_topic(&broker, "t", 1, &[]);
    let mut member = alone(&broker, "g");
    assert_eq!(member.commit(1), 0);
    let mut wire = Wire::connect(&broker);
    find_coordinator(&mut wire, "simple");
    assert_eq!(commit(&mut wire, "simple", 6), 0);
    assert_eq!(commit(&mut wire, "g", 6), UNKNOWN_MEMBER_ID);
    for restarted in [false, true] {
        if restarted {
            broker.kill();
            broker.launch();
            wire = Wire::connect(&broker);
            member.wire = Wire::connect(&broker);
            find_coordinator(&mut wire, "g");
            find_coordinator(&mut wire, "simple");
        }
        let group = describe(&mut wire, "g", 6);
        assert_eq!((group.error_code, &*group.group_state, &*group.protocol_type), (0, "Stable", "consumer"));
        assert_eq!(group.members.iter().map(|it| &*it.member_id).collect::<Vec<_>>(), [&member.id]);
        for version in 0..=5_i16 {
            let mut listed = wire.call(&ListGroupsRequest::default(), version).groups;
            listed.sort_by(|one, other| one.group_id.cmp(&other.group_id));
            let names: Vec<_> = listed.iter().map(|group| (&**group.group_id, &*group.protocol_type)).collect();
            assert_eq!(names, [("g", "consumer"), ("simple", "")], "version {version}");
            assert!(version < 5 || listed.iter().all(|group| &*group.group_type == "classic"));
        }
        for (states, types, found) in
            [(&["stable"][..], &[][..], 1), (&["Empty"], &["CLASSIC"], 1), (&[], &["consumer"], 0), (&["Dead"], &[], 0)]
        {
            let all = |names: &[&str]| names.iter().map(|name| text(name)).collect();
            let request = ListGroupsRequest::default().with_states_filter(all(states)).with_types_filter(all(types));
            assert_eq!(wire.call(&request, 5).groups.len(), found, "{states:?} {types:?}");
        }
    }
    let delete = |wire: &mut Wire, group: &str| {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
        wire.call(&request, 2).results[0].error_code
    };
    let delete_offset = |wire: &mut Wire, group: &str| {
        let partition = offset_delete_request::OffsetDeleteRequestPartition::default();
        let topic = offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
        let response = wire.call(&request, 0);
        (response.error_code, response.topics.first().map(|topic| topic.partitions[0].error_code))
    };
    assert_eq!(delete(&mut wire, "none"), GROUP_ID_NOT_FOUND);
    assert_eq!(delete(&mut wire, "g"), NON_EMPTY_GROUP);
    assert_eq!(delete_offset(&mut wire, "none").0, GROUP_ID_NOT_FOUND);
    assert_eq!(delete_offset(&mut wire, "g"), (0, Some(GROUP_SUBSCRIBED_TO_TOPIC)));
    assert_eq!(committed(&mut wire, "simple"), 6);
    assert_eq!(delete_offset(&mut wire, "simple"), (0, Some(0)));
    assert_eq!(committed(&mut wire, "simple"), -1);
    assert_eq!(member.leave().members[0].error_code, 0);
    assert_eq!(committed(&mut wire, "g"), 0);
    assert_eq!(commit(&mut wire, "g", 9), 0, "without members anybody may");
    assert_eq!(committed(&mut wire, "g"), 9);
    assert_eq!(delete(&mut wire, "g"), 0);
    assert_eq!(delete(&mut wire, "g"), GROUP_ID_NOT_FOUND);
    broker.restart();
    let mut wire = Wire::connect(&broker);
    find_coordinator(&mut wire, "g");
    assert_eq!(committed(&mut wire, "g"), -1);
    assert_eq!(describe(&mut wire, "g", 5).group_state.as_str(), "Dead");
}
