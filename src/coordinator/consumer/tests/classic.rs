//! Members of the classic protocol, and groups that change over.

use bytes::{BufMut, Bytes, BytesMut};

use super::*;
use crate::coordinator::consumer::ConsumerGroupState;
use crate::coordinator::{ClassicGroup, ClassicState};
use crate::protocol::join_group::JoinGroupRequestProtocol;
use crate::protocol::leave_group::MemberIdentity;
use crate::protocol::sync_group::SyncGroupRequestAssignment;
use crate::protocol::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

/// A subscription at version 1, by hand.
fn subscription(topics: &[&str], owned: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        put_string(&mut out, topic);
    }
    out.put_i32(-1);
    out.put_i32(1);
    put_string(&mut out, "a");
    out.put_i32(owned.len() as i32);
    for partition in owned {
        out.put_i32(*partition);
    }
    out.freeze()
}

/// An assignment of partitions of topic a at version 1, by hand.
fn assignment(partitions: &[i32]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(i32::from(!partitions.is_empty()));
    if !partitions.is_empty() {
        put_string(&mut out, "a");
        out.put_i32(partitions.len() as i32);
        for partition in partitions {
            out.put_i32(*partition);
        }
    }
    out.put_i32(-1);
    out.freeze()
}

fn join_request(id: &str, owned: &[i32]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: Str::from_static("g"),
        member_id: Str::from(id),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: Str::from_static("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: Str::from_static("cooperative-sticky"),
            metadata: subscription(&["a"], owned),
        }],
        ..JoinGroupRequest::default()
    }
}

fn sync_request(id: &str, generation_id: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: Str::from_static("g"),
        member_id: Str::from(id),
        generation_id,
        protocol_type: Some(Str::from_static("consumer")),
        protocol_name: Some(Str::from_static("cooperative-sticky")),
        ..SyncGroupRequest::default()
    }
}

const CALLER: Caller<'static> = Caller { client_id: "client", client_host: "/127.0.0.1", api_version: 5 };

impl Bench {
    fn join(&mut self, request: &JoinGroupRequest) -> JoinGroupResponse {
        let ((), mut effects) = self.call(|group, ctx| group.join(Ticket(1), request, CALLER, ctx));
        match effects.answers.pop() {
            Some((Ticket(1), GroupAnswer::Join(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, request: &SyncGroupRequest) -> SyncGroupResponse {
        let ((), mut effects) = self.call(|group, ctx| group.sync(Ticket(1), request, ctx));
        match effects.answers.pop() {
            Some((Ticket(1), GroupAnswer::Sync(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn classic_beat(&mut self, id: &str, generation_id: i32) -> ErrorCode {
        let request = HeartbeatRequest { member_id: Str::from(id), generation_id, ..HeartbeatRequest::default() };
        let ((), mut effects) = self.call(|group, ctx| group.classic_heartbeat(Ticket(1), &request, ctx));
        match effects.answers.pop() {
            Some((Ticket(1), GroupAnswer::Heartbeat(answer))) => ErrorCode::from_code(answer.error_code).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, members: Vec<MemberIdentity>) -> LeaveGroupResponse {
        let request = LeaveGroupRequest { members, ..LeaveGroupRequest::default() };
        let ((), mut effects) = self.call(|group, ctx| group.leave(Ticket(1), &request, CALLER, ctx));
        match effects.answers.pop() {
            Some((Ticket(1), GroupAnswer::Leave(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// Calls a classic group; its records go nowhere.
    fn classic<T>(&mut self, call: impl FnOnce(&mut GroupContext<'_>) -> T) -> (T, Effects) {
        let logged = self.log.len();
        let result = self.call(|_, ctx| call(ctx));
        self.log.truncate(logged);
        result
    }

    /// A stable classic group of two members, `l` and `m`, with partitions 0 to 2 and 3 to 5.
    fn classic_group(&mut self) -> ClassicGroup {
        let caller = Caller { api_version: 3, ..CALLER };
        let mut group = ClassicGroup::new("g");
        let (l, m) = (join_request("", &[]), join_request("", &[]));
        self.config.initial_rebalance_delay_ms = 3_000;
        let mut answers = Vec::new();
        for (ticket, request) in [(1, &l), (2, &m)] {
            let ((), effects) = self.classic(|ctx| group.join(Ticket(ticket), request, caller, ctx));
            answers.extend(effects.answers);
        }
        // The initial delay, which a second member makes longer; not so far that a session ends.
        for _ in 0..5 {
            self.now = group.next_deadline().filter(|at| *at <= self.now + 5_000).unwrap_or(self.now);
            let ((), effects) = self.classic(|ctx| group.on_time(ctx));
            answers.extend(effects.answers);
        }
        let mut leader = None;
        let mut ids = Vec::new();
        for (_, answer) in answers {
            let GroupAnswer::Join(answer) = answer else { panic!("{answer:?}") };
            assert_eq!(answer.error_code, 0);
            if answer.leader == answer.member_id {
                leader = Some(answer.member_id.clone());
            }
            ids.push((answer.member_id, answer.generation_id));
        }
        assert_eq!(ids.len(), 2);
        ids.sort_by_key(|(id, _)| Some(id) != leader.as_ref());
        for (i, (id, generation)) in ids.iter().enumerate() {
            let mut request = sync_request(id, *generation);
            if i == 0 {
                request.assignments = ids
                    .iter()
                    .zip([assignment(&[0, 1, 2]), assignment(&[3, 4, 5])])
                    .map(|((id, _), assignment)| SyncGroupRequestAssignment { member_id: id.clone(), assignment })
                    .collect();
            }
            self.classic(|ctx| group.sync(Ticket(3), &request, ctx));
        }
        assert_eq!(group.state(), ClassicState::Stable);
        group
    }

    fn upgrade(
        &mut self,
        classic: &mut ClassicGroup,
        heartbeat: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let (upgraded, effects) = self.call(|_, ctx| ConsumerGroup::upgrade(classic, heartbeat, ctx));
        match upgraded {
            Ok(group) => {
                self.group = group;
                // The first record is the classic group's end.
                let end = self.log.len() - effects.records.len();
                let record = self.log.remove(end);
                assert_eq!((record.key[1], record.value), (2, None));
                Ok(())
            }
            Err(refusal) => {
                assert!(effects.records.is_empty() && effects.answers.is_empty(), "refused, nothing has changed");
                Err(refusal.code)
            }
        }
    }
}

#[test]
fn a_classic_member_lives_among_the_others() {
    let mut bench = Bench::new();
    bench.heartbeat(&super::join("m1", &["a"]));
    // It gets an id first.
    let answer = bench.join(&join_request("", &[]));
    assert_eq!(answer.error_code, ErrorCode::MemberIdRequired.code());
    let id = answer.member_id.to_string();
    let answer = bench.join(&join_request(&id, &[]));
    assert_eq!((answer.error_code, answer.generation_id, answer.members.len()), (0, 2, 0));
    assert_eq!(answer.protocol_name.as_deref(), Some("cooperative-sticky"));
    assert_ne!(answer.leader, answer.member_id, "it assigns nothing");
    let answer = bench.sync(&sync_request(&id, 2));
    assert_eq!((answer.error_code, answer.assignment), (0, assignment(&[])));
    assert_eq!(bench.classic_beat(&id, 2), ErrorCode::None, "what it waits for is another's");
    bench.heartbeat(&beat("m1", 1));
    bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1, 2])]));
    assert_eq!(bench.classic_beat(&id, 2), ErrorCode::RebalanceInProgress, "now it is free");
    assert_eq!(bench.join(&join_request(&id, &[])).generation_id, 2);
    assert_eq!(bench.sync(&sync_request(&id, 2)).assignment, assignment(&[3, 4, 5]));
    assert_eq!(bench.classic_beat(&id, 2), ErrorCode::None);
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
    bench.check_log();

    // A third one comes: it is told so, and gives up what is not its own any more.
    bench.heartbeat(&super::join("m3", &["a"]));
    assert_eq!(bench.sync(&sync_request(&id, 2)).error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(bench.classic_beat(&id, 2), ErrorCode::RebalanceInProgress);
    let answer = bench.join(&join_request(&id, &[3, 4, 5]));
    assert_eq!((answer.error_code, answer.generation_id), (0, 2), "it has something to give up first");
    assert_eq!(bench.sync(&sync_request(&id, 2)).assignment, assignment(&[3, 4]));
    assert_eq!(bench.classic_beat(&id, 2), ErrorCode::RebalanceInProgress);
    let answer = bench.join(&join_request(&id, &[3, 4]));
    assert_eq!((answer.error_code, answer.generation_id), (0, 3));
    assert_eq!(bench.sync(&sync_request(&id, 3)).assignment, assignment(&[3, 4]));
    bench.check_log();
    let row = bench.group.describe(&bench.world, &bench.config.consumer.assignors);
    let types: Vec<i8> = row.members.iter().map(|member| member.member_type).collect();
    assert_eq!(types.iter().filter(|kind| **kind == 0).count(), 1);
}

#[test]
fn classic_members_are_refused_what_is_wrong() {
    let mut bench = Bench::new();
    bench.heartbeat(&super::join("m1", &["a"]));
    let id = bench.join(&join_request("", &[])).member_id.to_string();
    let refused = |bench: &mut Bench, change: fn(&mut JoinGroupRequest)| {
        let mut request = join_request(&id, &[]);
        change(&mut request);
        ErrorCode::from_code(bench.join(&request).error_code).unwrap()
    };
    let b = &mut bench;
    assert_eq!(refused(b, |r| r.protocol_type = Str::from_static("connect")), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(refused(b, |r| r.protocols.clear()), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(refused(b, |r| r.protocols[0].metadata = Bytes::from_static(&[0, 1, 0])), ErrorCode::UnknownServerError);
    assert_eq!(refused(b, |r| r.group_instance_id = Some(Str::from_static("i"))), ErrorCode::UnknownMemberId);
    assert_eq!(bench.join(&join_request(&id, &[])).error_code, 0);
    let other = |r: &mut JoinGroupRequest| {
        r.member_id = Str::from_static("other");
        r.protocols[0].name = Str::from_static("range");
    };
    assert_eq!(refused(&mut bench, other), ErrorCode::InconsistentGroupProtocol, "nothing that all classic ones offer");
    let sync = |bench: &mut Bench, change: fn(&mut SyncGroupRequest)| {
        let mut request = sync_request(&id, 2);
        change(&mut request);
        ErrorCode::from_code(bench.sync(&request).error_code).unwrap()
    };
    let b = &mut bench;
    assert_eq!(sync(b, |r| r.member_id = Str::from_static("x")), ErrorCode::UnknownMemberId);
    assert_eq!(sync(b, |r| r.member_id = Str::from_static("m1")), ErrorCode::UnknownMemberId);
    assert_eq!(sync(b, |r| r.generation_id = 1), ErrorCode::IllegalGeneration);
    assert_eq!(sync(b, |r| r.protocol_name = Some(Str::from_static("range"))), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(bench.classic_beat(&id, 1), ErrorCode::IllegalGeneration);
    assert_eq!(bench.classic_beat("m1", 2), ErrorCode::UnknownMemberId);
    bench.config.consumer.migration_policy = MigrationPolicy::Disabled;
    assert_eq!(refused(&mut bench, |_| {}), ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn classic_members_that_do_not_come_are_fenced() {
    let mut bench = Bench::new();
    bench.heartbeat(&super::join("m1", &["a"]));
    let id = bench.join(&join_request("", &[])).member_id.to_string();
    bench.join(&join_request(&id, &[]));
    // It never asks for its assignment, however often it says that it is there.
    for _ in 0..3 {
        bench.now += 20_000;
        bench.heartbeat(&beat("m1", 1));
        bench.classic_beat(&id, 2);
        assert_eq!(bench.group.member_count(), 2);
        bench.on_time();
    }
    assert_eq!(bench.group.member_count(), 1);
    // Told to join again, it does not.
    bench.join(&join_request(&id, &[]));
    bench.sync(&sync_request(&id, bench.group.epoch));
    bench.heartbeat(&super::join("m3", &["a"]));
    for _ in 0..4 {
        bench.classic_beat(&id, bench.group.epoch - 1);
        bench.on_time();
        assert!(bench.group.members.contains_key(id.as_str()));
        bench.now += 15_001;
        bench.heartbeat(&beat_owning("m1", 1, &[]));
        bench.heartbeat(&super::join("m3", &["a"]));
    }
    bench.on_time();
    assert!(!bench.group.members.contains_key(id.as_str()));
    bench.check_log();
}

#[test]
fn a_classic_group_changes_over_and_back() {
    let mut bench = Bench::new();
    let mut classic = bench.classic_group();
    let ids: Vec<String> = classic.members().map(|member| member.member_id.to_string()).collect();
    let generation = classic.generation_id();
    let newcomer = super::join("n", &["a"]);
    bench.upgrade(&mut classic, &newcomer).unwrap();
    bench.check_log();
    assert_eq!((bench.group.epoch, bench.group.assignment_epoch), (generation, generation));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
    let answer = bench.heartbeat(&newcomer);
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![]), generation + 1));
    bench.check_log();
    // The classic ones are told, and give up one each.
    for id in &ids {
        let held: Vec<i32> = bench.group.members[id.as_str()].owned.all().map(|(_, partition)| partition).collect();
        assert_eq!(held.len(), 3);
        assert_eq!(bench.classic_beat(id, generation), ErrorCode::RebalanceInProgress);
        bench.join(&join_request(id, &held));
        bench.sync(&sync_request(id, generation));
        let kept = &held[..2];
        assert_eq!(bench.join(&join_request(id, kept)).generation_id, generation + 1);
        assert_eq!(bench.sync(&sync_request(id, generation + 1)).assignment, assignment(kept));
    }
    let answer = bench.heartbeat(&beat("n", generation + 1));
    assert_eq!(assigned(&answer).map(|partitions| partitions.len()), Some(2));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
    assert!(bench.group.take_downgraded().is_none());

    // The newcomer goes: a classic group again, which rebalances.
    let logged = bench.log.len();
    bench.heartbeat(&beat("n", -1));
    let group = bench.group.take_downgraded().expect("none but classic members are left");
    assert_eq!((group.state(), group.member_count()), (ClassicState::PreparingRebalance, 2));
    assert_eq!(group.generation_id(), generation + 2);
    // The log ends with the consumer group's tombstones and the classic group's record.
    let last = bench.log.pop().unwrap();
    assert_eq!((last.key[1], last.value.is_some()), (2, true));
    assert!(bench.log.len() > logged);
    assert!(bench.reload().is_gone());
    let targets: Vec<Bytes> = group.members().map(|member| member.assignment.clone()).collect();
    assert_eq!(targets.len(), 2);
    assert!(targets.iter().all(|target| target.len() > assignment(&[]).len()), "what they were to own");
}

#[test]
fn a_group_changes_over_only_if_it_may() {
    let mut bench = Bench::new();
    let newcomer = super::join("n", &["a"]);
    let mut classic = bench.classic_group();
    bench.config.consumer.migration_policy = MigrationPolicy::Downgrade;
    assert_eq!(bench.upgrade(&mut classic, &newcomer), Err(ErrorCode::GroupIdNotFound));
    bench.config.consumer.migration_policy = MigrationPolicy::Upgrade;
    bench.config.consumer.max_size = 1;
    assert_eq!(bench.upgrade(&mut classic, &newcomer), Err(ErrorCode::GroupIdNotFound));
    bench.config.consumer.max_size = 2;
    assert_eq!(bench.upgrade(&mut classic, &newcomer), Err(ErrorCode::GroupMaxSizeReached));
    bench.config.consumer.max_size = 100;
    let bad = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(Str::from_static("(")), ..newcomer.clone() };
    assert_eq!(bench.upgrade(&mut classic, &bad), Err(ErrorCode::InvalidRegularExpression));
    assert_eq!(classic.state(), ClassicState::Stable);
    bench.upgrade(&mut classic, &newcomer).unwrap();
    bench.heartbeat(&newcomer);
    // Back it may not.
    bench.heartbeat(&beat("n", -1));
    assert!(bench.group.take_downgraded().is_none());
    assert_eq!(bench.group.member_count(), 2);
    bench.check_log();
    // An empty one is no obstacle, whatever the policy.
    bench.config.consumer.migration_policy = MigrationPolicy::Disabled;
    bench.upgrade(&mut ClassicGroup::new("g"), &newcomer).unwrap();
}

#[test]
fn a_static_member_may_come_back_by_the_other_protocol() {
    let mut bench = Bench::new();
    let with_instance = |mut request: JoinGroupRequest| {
        request.group_instance_id = Some(Str::from_static("i"));
        request
    };
    let newcomer =
        ConsumerGroupHeartbeatRequest { instance_id: Some(Str::from_static("i")), ..super::join("n", &["a"]) };
    bench.heartbeat(&newcomer);
    let id = bench.join(&join_request("", &[])).member_id.to_string();
    bench.join(&join_request(&id, &[]));
    // The last member of the new protocol is replaced, though it never said goodbye.
    let answer = bench.join(&with_instance(join_request("", &[])));
    assert_eq!(answer.error_code, 0);
    let group = bench.group.take_downgraded().expect("none but classic members are left");
    assert_eq!(group.member_count(), 2);
    assert_eq!(group.static_member_id("i"), Some(answer.member_id.as_str()));

    // And the other way round.
    let mut bench = Bench::new();
    bench.heartbeat(&super::join("m1", &["a"]));
    let old = bench.join(&with_instance(join_request("", &[]))).member_id.to_string();
    let answer = bench.heartbeat(&newcomer);
    assert_eq!((answer.error_code, answer.member_epoch), (0, 2));
    assert!(!bench.group.members.contains_key(old.as_str()));
    assert!(bench.group.members.values().all(|member| !member.uses_classic()));
    bench.check_log();
}

#[test]
fn administrators_remove_classic_members_by_instance_id() {
    let mut bench = Bench::new();
    bench.heartbeat(&super::join("m1", &["a"]));
    let mut request = join_request("", &[]);
    request.group_instance_id = Some(Str::from_static("i"));
    let id = bench.join(&request).member_id;
    let identity = |id: &str, instance: Option<&'static str>| MemberIdentity {
        member_id: Str::from(id),
        group_instance_id: instance.map(Str::from_static),
        reason: None,
    };
    let answer = bench.leave(vec![
        identity("m1", None),
        identity("x", None),
        identity("x", Some("i")),
        identity("", Some("i")),
        identity("", Some("i")),
    ]);
    let codes: Vec<_> = answer.members.iter().map(|m| ErrorCode::from_code(m.error_code).unwrap()).collect();
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(codes, [unknown, unknown, ErrorCode::FencedInstanceId, ErrorCode::None, unknown]);
    assert_eq!(answer.members[3].member_id, id);
    assert_eq!(bench.group.member_count(), 1);
    bench.check_log();
}
