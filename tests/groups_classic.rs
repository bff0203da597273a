//! Classic groups over the wire, in every version, with each error that members meet. The same holds of Apache Kafka
//! (`CORELANE_TEST_BROKER=kafka`).

use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, OffsetCommitRequest, SyncGroupRequest, SyncGroupResponse,
    describe_groups_response::DescribedGroup,
    join_group_request::JoinGroupRequestProtocol,
    leave_group_request::MemberIdentity,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    sync_group_request::SyncGroupRequestAssignment,
};
use kafka_protocol::protocol::StrBytes;

use crate::harness::Broker;
use crate::harness::client::{PATIENCE, create_topic};
use crate::harness::wire::{Wire, topic_name};

const UNKNOWN_SERVER_ERROR: i16 = -1;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const FENCED_INSTANCE_ID: i16 = 82;

pub const QUICK: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "500"),
    ("offsets.topic.num.partitions", "4"),
];

/// A connection of a member of the group `group`.
pub struct Member {
    pub wire: Wire,
    group: &'static str,
    instance: Option<&'static str>,
    pub id: String,
    generation: i32,
}

impl Member {
    pub fn new(broker: &Broker, group: &'static str) -> Member {
        let mut wire = Wire::connect(broker);
        find_coordinator(&mut wire, group);
        Member { wire, group, instance: None, id: String::new(), generation: -1 }
    }

    fn named(broker: &Broker, group: &'static str, instance: &'static str) -> Member {
        Member { instance: Some(instance), ..Member::new(broker, group) }
    }

    fn join_request(&self) -> JoinGroupRequest {
        let metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        let protocol = |name| {
            JoinGroupRequestProtocol::default()
                .with_name(StrBytes::from_static_str(name))
                .with_metadata(metadata.clone())
        };
        JoinGroupRequest::default()
            .with_group_id(group_id(self.group))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(StrBytes::from_static_str))
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol("range"), protocol("roundrobin")])
    }

    fn sync_request(&self, assignments: &[(&str, &'static [u8])]) -> SyncGroupRequest {
        let assignment = |(id, bytes): &(&str, &'static [u8])| {
            SyncGroupRequestAssignment::default().with_member_id(text(id)).with_assignment(Bytes::from_static(bytes))
        };
        SyncGroupRequest::default()
            .with_group_id(group_id(self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(StrBytes::from_static_str))
            .with_protocol_type(Some(StrBytes::from_static_str("consumer")))
            .with_protocol_name(Some(StrBytes::from_static_str("range")))
            .with_assignments(assignments.iter().map(assignment).collect())
    }

    pub fn sync(&mut self, assignments: &[(&str, &'static [u8])]) -> SyncGroupResponse {
        self.wire.call(&self.sync_request(assignments), 5)
    }

    pub fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(self.group))
            .with_generation_id(self.generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(StrBytes::from_static_str));
        self.wire.call(&request, 4).error_code
    }

    pub fn leave(&mut self) -> LeaveGroupResponse {
        let member = MemberIdentity::default()
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(StrBytes::from_static_str));
        let request = LeaveGroupRequest::default().with_group_id(group_id(self.group)).with_members(vec![member]);
        self.wire.call(&request, 5)
    }

    pub fn commit(&mut self, generation: i32) -> i16 {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(0);
        let topic = OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(self.group))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(&self.id))
            .with_group_instance_id(self.instance.map(StrBytes::from_static_str))
            .with_topics(vec![topic]);
        self.wire.call(&request, 9).topics[0].partitions[0].error_code
    }

    /// Sends a JoinGroup that is let in; the answer waits for the rebalance.
    pub fn start_join(&mut self, version: i16) -> i32 {
        if self.id.is_empty() && self.instance.is_none() && version >= 4 {
            let response: JoinGroupResponse = self.wire.call(&self.join_request(), version);
            assert_eq!(response.error_code, MEMBER_ID_REQUIRED);
            self.id = response.member_id.to_string();
            assert!(self.id.starts_with("tests-"), "{} begins with the client's id", self.id);
        }
        self.wire.send(&self.join_request(), version)
    }

    fn end_join(&mut self, correlation_id: i32, version: i16) -> JoinGroupResponse {
        let response: JoinGroupResponse = self.wire.receive(correlation_id, version);
        assert_eq!(response.error_code, 0);
        self.id = response.member_id.to_string();
        self.generation = response.generation_id;
        response
    }

    pub fn join(&mut self, version: i16) -> JoinGroupResponse {
        let correlation_id = self.start_join(version);
        self.end_join(correlation_id, version)
    }
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn group_id(group: &str) -> GroupId {
    GroupId(text(group))
}

/// Repeats a call until its error is none of those of a coordinator that is still coming up.
fn settled<T>(mut call: impl FnMut() -> (i16, T)) -> (i16, T) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (error, value) = call();
        let coming = [COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR].contains(&error);
        if !coming || Instant::now() > deadline {
            return (error, value);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

pub fn find_coordinator(wire: &mut Wire, group: &str) {
    let request = FindCoordinatorRequest::default().with_key(text(group));
    assert_eq!(settled(|| (wire.call(&request, 3).error_code, ())).0, 0);
    // It may be named before it has loaded.
    let describe = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let error = settled(|| (wire.call(&describe, 5).groups[0].error_code, ())).0;
    assert_eq!(error, 0);
}

pub fn describe(wire: &mut Wire, group: &str, version: i16) -> DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    wire.call(&request, version).groups.remove(0)
}

/// Waits until a group is in a state, told from outside.
fn wait_for_state(wire: &mut Wire, group: &str, state: &str) {
    let deadline = Instant::now() + PATIENCE;
    while describe(wire, group, 5).group_state.as_str() != state {
        assert!(Instant::now() < deadline, "{group} never became {state}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Two members in a stable group, the leader first.
fn pair(broker: &Broker, group: &'static str) -> (Member, Member) {
    let mut first = Member::new(broker, group);
    first.join(9);
    let own = first.id.clone();
    assert_eq!(first.sync(&[(&own, b"first")]).error_code, 0);
    let mut second = Member::new(broker, group);
    let joining = second.start_join(9);
    wait_for_state(&mut first.wire, group, "PreparingRebalance");
    let joined = first.join(9);
    assert_eq!((joined.leader.as_str(), joined.members.len()), (first.id.as_str(), 2));
    assert_eq!(second.end_join(joining, 9).members.len(), 0);
    let waiting = second.wire.send(&second.sync_request(&[]), 5);
    let (a, b) = (first.id.clone(), second.id.clone());
    let own = first.sync(&[(&a, b"first"), (&b, b"second")]);
    assert_eq!((own.error_code, &own.assignment[..]), (0, &b"first"[..]));
    let response: SyncGroupResponse = second.wire.receive(waiting, 5);
    assert_eq!((response.error_code, &response.assignment[..]), (0, &b"second"[..]));
    assert_eq!((first.generation, second.generation), (2, 2));
    (first, second)
}

#[test]
fn each_version_goes_through_a_members_life() {
    let broker = Broker::start(QUICK);
    let groups = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"];
    for (version, group) in (0i16..).zip(groups) {
        let mut member = Member::new(&broker, group);
        let joined = member.join(version);
        assert_eq!((joined.generation_id, &joined.leader, joined.members.len()), (1, &joined.member_id, 1));
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert!(!joined.skip_assignment);
        assert_eq!(&joined.members[0].metadata[..], b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");

        let sync_version = version.min(5);
        let id = member.id.clone();
        let mut sync = member.sync_request(&[(&id, b"all of it")]);
        if sync_version < 5 {
            sync = sync.with_protocol_type(None).with_protocol_name(None);
        }
        let synced = member.wire.call(&sync, sync_version);
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all of it"[..]), "version {sync_version}");
        assert_eq!(synced.protocol_name.as_deref(), (sync_version >= 5).then_some("range"));

        let heartbeat = HeartbeatRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id(1)
            .with_member_id(text(&member.id));
        assert_eq!(member.wire.call(&heartbeat, version.min(4)).error_code, 0);

        let leave_version = version.min(5);
        let mut leave = LeaveGroupRequest::default().with_group_id(group_id(group));
        if leave_version < 3 {
            leave.member_id = text(&member.id);
        } else {
            leave.members = vec![MemberIdentity::default().with_member_id(text(&member.id))];
        }
        assert_eq!(member.wire.call(&leave, leave_version).error_code, 0);
        let again = member.wire.call(&leave, leave_version);
        if leave_version < 3 {
            assert_eq!(again.error_code, UNKNOWN_MEMBER_ID);
        } else {
            assert_eq!((again.error_code, again.members[0].error_code), (0, UNKNOWN_MEMBER_ID));
        }
        assert_eq!(describe(&mut member.wire, group, version.min(5)).group_state.as_str(), "Empty");
    }
}

#[test]
fn requests_that_no_group_accepts() {
    let broker = Broker::start(&[QUICK, &[("group.max.session.timeout.ms", "60000")]].concat());
    let mut member = Member::new(&broker, "g");
    let mut refused = |request: &JoinGroupRequest| member.wire.call(request, 9).error_code;
    let request = Member::new(&broker, "g").join_request();
    assert_eq!(refused(&request.clone().with_group_id(group_id(""))), INVALID_GROUP_ID);
    for timeout in [499, 60_001, -1] {
        assert_eq!(refused(&request.clone().with_session_timeout_ms(timeout)), INVALID_SESSION_TIMEOUT);
    }
    assert_eq!(refused(&request.clone().with_member_id(text("stranger"))), UNKNOWN_MEMBER_ID);
    assert_eq!(refused(&request.clone().with_protocols(vec![])), INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(refused(&request.clone().with_protocol_type(text(""))), INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(refused(&request), MEMBER_ID_REQUIRED);
    // No protocol is null from version 7 on.
    for (version, name) in [(6, Some("")), (7, None)] {
        let stranger = request.clone().with_member_id(text("stranger"));
        assert_eq!(member.wire.call(&stranger, version).protocol_name.as_deref(), name);
    }

    // Nobody of these is known, in a group that is not there either.
    for group in ["g", "never"] {
        member.group = group;
        (member.id, member.generation) = ("stranger".to_owned(), 0);
        assert_eq!(member.heartbeat(), UNKNOWN_MEMBER_ID);
        assert_eq!(member.sync(&[]).error_code, UNKNOWN_MEMBER_ID);
        assert_eq!(member.leave().members[0].error_code, UNKNOWN_MEMBER_ID);
    }
    member.group = "";
    assert_eq!(member.heartbeat(), INVALID_GROUP_ID);
    assert_eq!(member.sync(&[]).error_code, INVALID_GROUP_ID);
    assert_eq!(member.leave().error_code, INVALID_GROUP_ID);
    let unnamed = member.sync_request(&[]).with_protocol_type(None);
    assert_eq!(member.wire.call(&unnamed, 5).error_code, INCONSISTENT_GROUP_PROTOCOL);
    assert_eq!(describe(&mut member.wire, "never", 6).error_code, GROUP_ID_NOT_FOUND);
    let dead = describe(&mut member.wire, "never", 5);
    assert_eq!((dead.error_code, dead.group_state.as_str()), (0, "Dead"));
}

#[test]
fn what_does_not_fit_the_generation_is_refused() {
    let broker = Broker::start(QUICK);
    create_topic(&broker, "t", 1, &[]);
    let (mut leader, mut follower) = pair(&broker, "g");
    assert_eq!(follower.heartbeat(), 0);
    assert_eq!(follower.commit(2), 0);
    assert_eq!(follower.commit(1), ILLEGAL_GENERATION);
    assert_eq!(Member::new(&broker, "g").commit(-1), UNKNOWN_MEMBER_ID);
    follower.generation = 1;
    assert_eq!(follower.heartbeat(), ILLEGAL_GENERATION);
    assert_eq!(follower.sync(&[]).error_code, ILLEGAL_GENERATION);
    follower.generation = 2;
    let other = follower.sync_request(&[]).with_protocol_name(Some(text("roundrobin")));
    assert_eq!(follower.wire.call(&other, 5).error_code, INCONSISTENT_GROUP_PROTOCOL);

    // The protocol type and what all offer is for the group to say.
    let mut other = Member::new(&broker, "g");
    let connect = other.join_request().with_protocol_type(text("connect"));
    assert_eq!(other.wire.call(&connect, 9).error_code, INCONSISTENT_GROUP_PROTOCOL);
    let mut sticky = other.join_request();
    sticky.protocols.truncate(1);
    sticky.protocols[0].name = text("sticky");
    assert_eq!(other.wire.call(&sticky, 9).error_code, INCONSISTENT_GROUP_PROTOCOL);

    // While members are waited for, the rest hears of it, and commits what it has done.
    let rejoining = leader.start_join(9);
    wait_for_state(&mut follower.wire, "g", "PreparingRebalance");
    assert_eq!(follower.heartbeat(), REBALANCE_IN_PROGRESS);
    assert_eq!(follower.sync(&[]).error_code, REBALANCE_IN_PROGRESS);
    assert_eq!(follower.commit(2), 0);
    assert_eq!(follower.leave().members[0].error_code, 0);
    assert_eq!(leader.end_join(rejoining, 9).members.len(), 1);
    // It knows the generation now, but not what it has in it.
    assert_eq!(leader.commit(3), REBALANCE_IN_PROGRESS);
    assert_eq!(leader.heartbeat(), 0);
    assert_eq!(follower.heartbeat(), UNKNOWN_MEMBER_ID);
}

#[test]
fn a_group_has_room_for_so_many() {
    let broker = Broker::start(&[QUICK, &[("group.max.size", "2")]].concat());
    let _members = pair(&broker, "g");
    let mut third = Member::new(&broker, "g");
    let request = third.join_request();
    assert_eq!(third.wire.call(&request, 9).error_code, GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_static_member_that_restarts_fences_its_former_life() {
    let broker = Broker::start(QUICK);
    create_topic(&broker, "t", 1, &[]);
    let mut old = Member::named(&broker, "g", "worker");
    old.join(9);
    assert!(old.id.starts_with("worker-"), "{}", old.id);
    let own = old.id.clone();
    old.sync(&[(&own, b"part")]);
    let mut new = Member::named(&broker, "g", "worker");
    let joined = new.join(9);
    // It leads, need not assign anew, and is in the same generation.
    assert_eq!((joined.generation_id, joined.skip_assignment, &joined.leader), (1, true, &joined.member_id));
    assert_ne!(new.id, old.id);
    assert_eq!(&new.sync(&[]).assignment[..], b"part");
    assert_eq!(old.heartbeat(), FENCED_INSTANCE_ID);
    assert_eq!(old.sync(&[]).error_code, FENCED_INSTANCE_ID);
    assert_eq!(old.commit(1), FENCED_INSTANCE_ID);
    assert_eq!(old.leave().members[0].error_code, FENCED_INSTANCE_ID);
    let rejoin = old.join_request();
    assert_eq!(old.wire.call(&rejoin, 9).error_code, FENCED_INSTANCE_ID);
    // An administrator removes it by its name.
    new.id.clear();
    assert_eq!(new.leave().members[0].error_code, 0);
    assert_eq!(describe(&mut new.wire, "g", 5).group_state.as_str(), "Empty");
}

#[test]
fn a_member_that_falls_silent_is_out() {
    let broker = Broker::start(QUICK);
    let mut member = Member::new(&broker, "h");
    member.join(9);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"x")]).error_code, 0);
    // One of a short session, in a group of its own.
    let mut short = Member::new(&broker, "short");
    let request = short.join_request().with_session_timeout_ms(500);
    let response: JoinGroupResponse = short.wire.call(&request, 3);
    assert_eq!(response.error_code, 0);
    wait_for_state(&mut member.wire, "short", "Empty");
    assert_eq!(member.heartbeat(), 0);
}

#[test]
fn what_is_waited_for_does_not_hold_up_others() {
    let broker = Broker::start(QUICK);
    let (mut leader, mut follower) = pair(&broker, "g");
    let rejoining = leader.start_join(9);
    wait_for_state(&mut follower.wire, "g", "PreparingRebalance");
    // On another connection a group of the same coordinator goes on.
    let mut other = Member::new(&broker, "g2");
    other.join(9);
    let rejoined = follower.join(9);
    assert_eq!(rejoined.generation_id, 3);
    assert_eq!(leader.end_join(rejoining, 9).generation_id, 3);
}

#[test]
fn a_stable_group_survives_a_crash() {
    let mut broker = Broker::start(QUICK);
    create_topic(&broker, "t", 1, &[]);
    let (mut leader, mut follower) = pair(&broker, "g");
    broker.kill();
    broker.launch();
    for member in [&mut leader, &mut follower] {
        member.wire = Wire::connect(&broker);
        find_coordinator(&mut member.wire, "g");
        assert_eq!(member.heartbeat(), 0);
        assert_eq!(member.commit(2), 0);
    }
    assert_eq!(&leader.sync(&[]).assignment[..], b"first");
    assert_eq!(&follower.sync(&[]).assignment[..], b"second");
    // And it goes on from there.
    let rejoining = leader.start_join(9);
    assert_eq!(follower.leave().members[0].error_code, 0);
    assert_eq!(leader.end_join(rejoining, 9).generation_id, 3);
}

#[test]
fn administrators_see_members_and_what_they_said() {
    let broker = Broker::start(QUICK);
    let (leader, follower) = pair(&broker, "g");
    let mut wire = Wire::connect(&broker);
    for version in 0..=6 {
        let group = describe(&mut wire, "g", version);
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", "range"));
        let mut members = group.members;
        members.sort_by_key(|member| member.member_assignment.clone());
        let ids: Vec<&str> = members.iter().map(|member| member.member_id.as_str()).collect();
        assert_eq!(ids, [&leader.id, &follower.id]);
        assert_eq!(&members[1].member_assignment[..], b"second");
        assert_eq!(&members[1].member_metadata[..], b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        assert_eq!((members[1].client_id.as_str(), members[1].client_host.as_str()), ("tests", "/127.0.0.1"));
    }
    let mut listed = |version, states: &[&'static str], types: &[&'static str]| {
        let names = |names: &[&'static str]| names.iter().map(|name| StrBytes::from_static_str(name)).collect();
        let request = ListGroupsRequest::default().with_states_filter(names(states)).with_types_filter(names(types));
        let response = wire.call(&request, version);
        assert_eq!(response.error_code, 0);
        response
            .groups
            .into_iter()
            .map(|it| (it.group_id.to_string(), it.group_state, it.group_type))
            .collect::<Vec<_>>()
    };
    for version in 0..=3 {
        assert_eq!(listed(version, &[], &[]).len(), 1);
    }
    assert_eq!(listed(4, &["stable"], &[]).len(), 1);
    assert_eq!(listed(4, &["Empty"], &[]).len(), 0);
    assert_eq!(listed(5, &[], &["classic"]), [("g".to_owned(), text("Stable"), text("classic"))]);
    assert_eq!(listed(5, &["Stable"], &["consumer"]).len(), 0);
}

/// A group is one record, and `max.message.bytes` of `__consumer_offsets` bounds it: what does not fit is refused, and the
/// group, and those beside it, go on with what they had.
#[test]
fn what_no_record_can_hold_is_refused() {
    let one = [("group.initial.rebalance.delay.ms", "0"), ("offsets.topic.num.partitions", "1")];
    let broker = Broker::start(&one);
    let mut beside = Member::new(&broker, "beside");
    beside.join(9);
    let own = beside.id.clone();
    assert_eq!(beside.sync(&[(&own, b"part")]).error_code, 0);
    let mut member = Member::new(&broker, "g");
    for _ in 0..2 {
        member.join(9);
        let own = member.id.clone();
        let large: &'static [u8] = Box::leak(vec![7; 1_100_000].into_boxed_slice());
        assert_eq!(member.sync(&[(&own, large)]).error_code, UNKNOWN_SERVER_ERROR);
        assert_eq!(beside.heartbeat(), 0);
        assert_eq!(&beside.sync(&[]).assignment[..], b"part");
        // Kafka's group still knows it, ours has what its log says. It begins anew.
        member.leave();
        member.id.clear();
    }
    member.join(9);
    let own = member.id.clone();
    assert_eq!(member.sync(&[(&own, b"all")]).error_code, 0);
    assert_eq!(member.heartbeat(), 0);
}
