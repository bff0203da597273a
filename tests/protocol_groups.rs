//! The classic group protocol over a plain socket: every version of JoinGroup, SyncGroup, Heartbeat and LeaveGroup, the
//! answers that only a broken member gets, and what administrators see.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    SyncGroupRequest, join_group_request::JoinGroupRequestProtocol, leave_group_request::MemberIdentity,
    offset_commit_request, offset_delete_request, offset_fetch_request, sync_group_request::SyncGroupRequestAssignment,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::Broker;
use crate::harness::client::{PATIENCE, create_topic, retry};
use crate::harness::wire::{Wire, topic_name};

const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

fn join_request(group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"wishes"));
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("test"))
        .with_protocols(vec![protocol])
}

/// Joins as a new member, the second time with the id that the first brought.
fn join(wire: &mut Wire, group: &str, version: i16) -> JoinGroupResponse {
    let joined = wire.call(&join_request(group, ""), version);
    if version < 4 {
        return joined;
    }
    assert_eq!(joined.error_code, MEMBER_ID_REQUIRED, "version {version}");
    wire.call(&join_request(group, &joined.member_id), version)
}

fn sync_request(group: &str, joined: &JoinGroupResponse, version: i16) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"all of it"));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![assignment]);
    if version < 5 {
        return request;
    }
    request.with_protocol_type(Some(text("test"))).with_protocol_name(Some(text("range")))
}

fn heartbeat(wire: &mut Wire, group: &str, member_id: &StrBytes, generation: i32, version: i16) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(member_id.clone());
    wire.call(&request, version).error_code
}

fn leave(wire: &mut Wire, group: &str, member_id: &StrBytes, version: i16) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(group_id(group));
    let request = if version < 3 {
        request.with_member_id(member_id.clone())
    } else {
        request.with_members(vec![MemberIdentity::default().with_member_id(member_id.clone())])
    };
    let response = wire.call(&request, version);
    response.members.first().map_or(response.error_code, |member| member.error_code)
}

fn commit(wire: &mut Wire, group: &str, member_id: &StrBytes, generation: i32, offset: i64) -> i16 {
    let partition = offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(member_id.clone())
        .with_generation_id_or_member_epoch(generation)
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

fn prepare(settings: &[(&str, &str)]) -> Broker {
    let mut all = vec![("group.initial.rebalance.delay.ms", "0"), ("group.min.session.timeout.ms", "100")];
    all.extend_from_slice(settings);
    let broker = Broker::start(&all);
    create_topic(&broker, "t", 1, &[]);
    // The first to look for a coordinator makes __consumer_offsets.
    let consumer = crate::harness::client::consumer(&broker, &[]);
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition("t", 0);
    retry("a coordinator", || rdkafka::consumer::Consumer::committed_offsets(&consumer, list.clone(), PATIENCE));
    // Every shard has its part of it in its own time.
    let mut wire = Wire::connect(&broker);
    for name in 0..100 {
        let deadline = Instant::now() + PATIENCE;
        while heartbeat(&mut wire, &name.to_string(), &text(""), 1, 4) != UNKNOWN_MEMBER_ID {
            assert!(Instant::now() < deadline, "no coordinator for group {name}");
        }
    }
    broker
}

#[test]
fn every_version_joins_syncs_beats_and_leaves() {
    let broker = prepare(&[]);
    let mut wire = Wire::connect(&broker);
    for version in 0..=9_i16 {
        let group = format!("g{version}");
        let (sync_version, beat_version, leave_version) = (version.min(5), version.min(4), version.min(5));
        // Versions 0 and 1 are not known to the oracle any more.
        if version < 2 {
            continue;
        }
        let joined = join(&mut wire, &group, version);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1), "version {version}");
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert!(joined.member_id.starts_with("tests-"), "{}", joined.member_id);
        assert_eq!(joined.members.len(), 1);
        assert_eq!(&*joined.members[0].metadata, b"wishes");
        let synced = wire.call(&sync_request(&group, &joined, sync_version), sync_version);
        assert_eq!((synced.error_code, &*synced.assignment), (0, &b"all of it"[..]), "version {version}");
        assert_eq!(heartbeat(&mut wire, &group, &joined.member_id, 1, beat_version), 0);
        assert_eq!(heartbeat(&mut wire, &group, &joined.member_id, 0, beat_version), ILLEGAL_GENERATION);
        assert_eq!(heartbeat(&mut wire, &group, &text("nobody"), 1, beat_version), UNKNOWN_MEMBER_ID);
        assert_eq!(commit(&mut wire, &group, &joined.member_id, 1, 7), 0);
        assert_eq!(commit(&mut wire, &group, &joined.member_id, 2, 8), ILLEGAL_GENERATION);
        assert_eq!(commit(&mut wire, &group, &text(""), -1, 8), UNKNOWN_MEMBER_ID);
        assert_eq!(committed(&mut wire, &group), 7);
        assert_eq!(leave(&mut wire, &group, &text("nobody"), leave_version), UNKNOWN_MEMBER_ID);
        assert_eq!(leave(&mut wire, &group, &joined.member_id, leave_version), 0);
        assert_eq!(heartbeat(&mut wire, &group, &joined.member_id, 1, beat_version), UNKNOWN_MEMBER_ID);
        assert_eq!(commit(&mut wire, &group, &text(""), -1, 9), 0, "without members anybody may");
        assert_eq!(committed(&mut wire, &group), 9);
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let broker = prepare(&[]);
    let mut wire = Wire::connect(&broker);
    let refused = |wire: &mut Wire, request: JoinGroupRequest| wire.call(&request, 5).error_code;
    assert_eq!(refused(&mut wire, join_request("", "")), INVALID_GROUP_ID);
    for timeout in [99, 1_800_001, -1] {
        assert_eq!(refused(&mut wire, join_request("g", "").with_session_timeout_ms(timeout)), INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(refused(&mut wire, join_request("g", "who")), UNKNOWN_MEMBER_ID);
    let joined = join(&mut wire, "g", 5);
    assert_eq!(joined.error_code, 0);
    assert_eq!(
        refused(&mut wire, join_request("g", "").with_protocol_type(text("other"))),
        INCONSISTENT_GROUP_PROTOCOL
    );
    assert_eq!(refused(&mut wire, join_request("g", "").with_protocols(vec![])), INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(wire.call(&sync_request("g", &joined, 4), 5).error_code, INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(wire.call(&sync_request("nowhere", &joined, 4), 4).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut wire, "nowhere", &joined.member_id, 1, 4), UNKNOWN_MEMBER_ID);
    assert_eq!(heartbeat(&mut wire, "", &joined.member_id, 1, 4), INVALID_GROUP_ID);
    assert_eq!(leave(&mut wire, "nowhere", &joined.member_id, 5), UNKNOWN_MEMBER_ID);
}

#[test]
fn a_member_that_is_silent_is_out_after_its_session() {
    let broker = prepare(&[]);
    let mut wire = Wire::connect(&broker);
    let request = |member_id: &str| join_request("g", member_id).with_session_timeout_ms(2000);
    let id = wire.call(&request(""), 5).member_id;
    let joined = wire.call(&request(&id), 5);
    assert_eq!(joined.error_code, 0);
    assert_eq!(wire.call(&sync_request("g", &joined, 4), 4).error_code, 0);
    assert_eq!(heartbeat(&mut wire, "g", &id, 1, 4), 0);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(heartbeat(&mut wire, "g", &id, 1, 4), 0);
    let mut state = String::new();
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(50));
        state = describe(&mut wire, "g", 5).group_state.to_string();
        if state == "Empty" {
            break;
        }
    }
    assert_eq!(state, "Empty");
    assert_eq!(heartbeat(&mut wire, "g", &id, 1, 4), UNKNOWN_MEMBER_ID);
}

/// The connection of a member that waits is cut; the others go on when its time is over, and the broker stops at once
/// while somebody waits.
#[test]
fn members_that_wait_hold_nobody_up() {
    let mut broker = prepare(&[]);
    let mut wire = Wire::connect(&broker);
    let joined = join(&mut wire, "g", 5);
    assert_eq!(wire.call(&sync_request("g", &joined, 4), 4).error_code, 0);
    let mut second = Wire::connect(&broker);
    let id = second.call(&join_request("g", ""), 5).member_id;
    let waits = second.send(&join_request("g", &id), 5);
    assert!(second.is_silent_for(Duration::from_millis(300)), "the first has not joined again");
    let began = Instant::now();
    assert!(broker.stop().is_some_and(|status| status.success()));
    assert!(began.elapsed() < Duration::from_secs(4), "the stop took {:?}", began.elapsed());
    let answer: JoinGroupResponse = second.receive(waits, 5);
    assert_eq!(answer.error_code, NOT_COORDINATOR);
}

fn describe(
    wire: &mut Wire,
    group: &str,
    version: i16,
) -> kafka_protocol::messages::describe_groups_response::DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    wire.call(&request, version).groups.remove(0)
}

#[test]
fn administrators_see_groups_and_delete_them() {
    let mut broker = prepare(&[]);
    let mut wire = Wire::connect(&broker);
    let joined = join(&mut wire, "g", 5);
    assert_eq!(wire.call(&sync_request("g", &joined, 4), 4).error_code, 0);
    assert_eq!(commit(&mut wire, "g", &joined.member_id, 1, 5), 0);
    assert_eq!(commit(&mut wire, "simple", &text(""), -1, 6), 0);
    for restarted in [false, true] {
        if restarted {
            broker.kill();
            broker.launch();
            wire = Wire::connect(&broker);
        }
        for version in 0..=6_i16 {
            let group = describe(&mut wire, "g", version);
            assert_eq!((group.error_code, &*group.group_state, &*group.protocol_type), (0, "Stable", "test"));
            assert_eq!((&*group.protocol_data, group.members.len()), ("range", 1));
            let member = &group.members[0];
            assert_eq!(member.member_id, joined.member_id);
            assert_eq!((&*member.client_id, &*member.client_host), ("tests", "/127.0.0.1"));
            assert_eq!((&*member.member_metadata, &*member.member_assignment), (&b"wishes"[..], &b"all of it"[..]));
            let none = describe(&mut wire, "none", version);
            let code = if version < 6 { 0 } else { GROUP_ID_NOT_FOUND };
            assert_eq!((none.error_code, &*none.group_state), (code, "Dead"));
        }
        for version in 0..=5_i16 {
            let mut listed = wire.call(&ListGroupsRequest::default(), version).groups;
            listed.sort_by(|one, other| one.group_id.cmp(&other.group_id));
            let names: Vec<(&str, &str)> =
                listed.iter().map(|group| (group.group_id.as_str(), group.protocol_type.as_str())).collect();
            assert_eq!(names, [("g", "test"), ("simple", "")], "version {version}");
            if version >= 5 {
                assert!(listed.iter().all(|group| &*group.group_type == "classic"));
            }
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
    assert_eq!(delete_offset(&mut wire, "g").0, NON_EMPTY_GROUP);
    assert_eq!(committed(&mut wire, "simple"), 6);
    assert_eq!(delete_offset(&mut wire, "simple"), (0, Some(0)));
    assert_eq!(committed(&mut wire, "simple"), -1);
    assert_eq!(leave(&mut wire, "g", &joined.member_id, 5), 0);
    assert_eq!(committed(&mut wire, "g"), 5);
    assert_eq!(delete(&mut wire, "g"), 0);
    assert_eq!(delete(&mut wire, "g"), GROUP_ID_NOT_FOUND);
    broker.restart();
    let mut wire = Wire::connect(&broker);
    assert_eq!(committed(&mut wire, "g"), -1);
    assert_eq!(describe(&mut wire, "g", 5).group_state.as_str(), "Dead");
}
