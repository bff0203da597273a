//! Classic groups, told by requests and time alone.

mod joining;
mod leaving;
mod on_disk;
mod random;
mod rules;
mod statics;
mod syncing;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::config::{ConsumerGroupsConfig, GroupsConfig, MigrationPolicy};
use crate::coordinator::{Caller, Effects, GroupAnswer, GroupLogRecord, GroupWorld, Ticket};
use crate::protocol::join_group::JoinGroupRequestProtocol;
use crate::protocol::leave_group::MemberIdentity;
use crate::protocol::sync_group::SyncGroupRequestAssignment;
use crate::protocol::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use crate::types::{KafkaUuid, TopicId};

const WALL_MS: i64 = 1_700_000_000_000;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 30_000;
const DELAY_MS: i64 = 3000;

struct NoTopics;

impl GroupWorld for NoTopics {
    fn topic(&self, _: &str) -> Option<(TopicId, i32)> {
        None
    }

    fn topic_by_id(&self, _: TopicId) -> Option<(&str, i32)> {
        None
    }

    fn topic_names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn group_config(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

fn config() -> GroupsConfig {
    GroupsConfig {
        initial_rebalance_delay_ms: DELAY_MS,
        min_session_timeout_ms: 6000,
        max_session_timeout_ms: 1_800_000,
        max_size: usize::MAX,
        offset_metadata_bytes_max: 4096,
        consumer_protocol: true,
        consumer: ConsumerGroupsConfig {
            session_timeout_ms: 45_000,
            min_session_timeout_ms: 45_000,
            max_session_timeout_ms: 60_000,
            heartbeat_interval_ms: 5000,
            min_heartbeat_interval_ms: 5000,
            max_heartbeat_interval_ms: 15_000,
            assignment_interval_ms: 0,
            min_assignment_interval_ms: 0,
            max_assignment_interval_ms: 15_000,
            max_size: usize::MAX,
            assignors: vec!["uniform".to_owned()],
            migration_policy: MigrationPolicy::Bidirectional,
            regex_refresh_interval_ms: 600_000,
        },
    }
}

/// A group with a clock, and all that it answered and wrote.
struct Rig {
    group: ClassicGroup,
    config: GroupsConfig,
    now_ms: i64,
    next_ticket: u64,
    next_uuid: u128,
    /// Of JoinGroup, Heartbeat, LeaveGroup and SyncGroup alike; all have the versions that the tests use.
    version: i16,
    answers: BTreeMap<Ticket, GroupAnswer>,
    records: Vec<GroupLogRecord>,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            group: ClassicGroup::new("group"),
            config: config(),
            now_ms: 1000,
            next_ticket: 0,
            next_uuid: 0,
            version: 9,
            answers: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// Calls the group, and keeps what comes of it.
    fn call(&mut self, call: impl FnOnce(&mut ClassicGroup, &mut GroupContext<'_>)) {
        let mut effects = Effects::default();
        let next_uuid = &mut self.next_uuid;
        let mut new_uuid = || {
            *next_uuid += 1;
            KafkaUuid(next_uuid.to_be_bytes())
        };
        let mut ctx = GroupContext {
            now_ms: self.now_ms,
            wall_ms: WALL_MS + self.now_ms,
            config: &self.config,
            world: &NoTopics,
            new_uuid: &mut new_uuid,
            effects: &mut effects,
        };
        call(&mut self.group, &mut ctx);
        for (ticket, answer) in effects.answers {
            assert!(ticket.0 < self.next_ticket, "nobody waits with {ticket:?}");
            assert_eq!(self.answers.insert(ticket, answer), None, "{ticket:?} was answered before");
        }
        self.records.extend(effects.records);
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    fn join_with(&mut self, request: &JoinGroupRequest) -> Ticket {
        let ticket = self.ticket();
        let caller = Caller { client_id: "client", client_host: "/127.0.0.1", api_version: self.version };
        self.call(|group, ctx| group.join(ticket, request, caller, ctx));
        ticket
    }

    fn join(&mut self, member_id: &str) -> Ticket {
        self.join_with(&join_request(member_id))
    }

    /// A new dynamic member's two requests: the id it got, and the ticket it waits with.
    fn join_new(&mut self) -> (Str, Ticket) {
        let ticket = self.join("");
        let response = self.joined(ticket);
        assert_eq!(response.error_code, ErrorCode::MemberIdRequired as i16);
        let ticket = self.join(&response.member_id);
        (response.member_id, ticket)
    }

    fn sync(&mut self, member_id: &str, generation_id: i32, assignments: &[(&str, &str)]) -> Ticket {
        self.sync_with(&sync_request(member_id, generation_id, assignments))
    }

    fn sync_with(&mut self, request: &SyncGroupRequest) -> Ticket {
        let ticket = self.ticket();
        self.call(|group, ctx| group.sync(ticket, request, ctx));
        ticket
    }

    fn heartbeat(&mut self, member_id: &str, generation_id: i32) -> ErrorCode {
        self.heartbeat_as(member_id, None, generation_id)
    }

    fn heartbeat_as(&mut self, member_id: &str, instance: Option<&str>, generation_id: i32) -> ErrorCode {
        let ticket = self.ticket();
        let request = HeartbeatRequest {
            group_id: "group".into(),
            generation_id,
            member_id: member_id.into(),
            group_instance_id: instance.map(Str::from),
        };
        self.call(|group, ctx| group.heartbeat(ticket, &request, ctx));
        match self.answers.get(&ticket) {
            Some(GroupAnswer::Heartbeat(response)) => error(response.error_code),
            other => panic!("no answer to a heartbeat: {other:?}"),
        }
    }

    /// LeaveGroup of the members and instance ids given, at the last version.
    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members
            .iter()
            .map(|(member_id, instance)| MemberIdentity {
                member_id: (*member_id).into(),
                group_instance_id: instance.map(Str::from),
                reason: None,
            })
            .collect();
        let request = LeaveGroupRequest { group_id: "group".into(), members, ..LeaveGroupRequest::default() };
        let response = self.leave_with(&request, 5);
        assert_eq!(response.error_code, 0);
        response.members.iter().map(|member| error(member.error_code)).collect()
    }

    fn leave_with(&mut self, request: &LeaveGroupRequest, api_version: i16) -> LeaveGroupResponse {
        let ticket = self.ticket();
        let caller = Caller { client_id: "client", client_host: "/127.0.0.1", api_version };
        self.call(|group, ctx| group.leave(ticket, request, caller, ctx));
        match self.answers.get(&ticket) {
            Some(GroupAnswer::Leave(response)) => response.clone(),
            other => panic!("no answer to a leave: {other:?}"),
        }
    }

    /// Lets time pass, as a shell does: a look at each deadline on the way.
    fn pass(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        let mut looks = 0;
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at);
            self.call(ClassicGroup::on_time);
            looks += 1;
            assert!(looks < 1000, "time does not pass");
        }
        self.now_ms = end;
    }

    /// Lets time pass until a request is answered.
    fn settle(&mut self, ticket: Ticket) {
        while self.waits(ticket) {
            let at = self.group.next_deadline().expect("somebody waits");
            self.pass(at - self.now_ms);
        }
    }

    fn waits(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    fn joined(&self, ticket: Ticket) -> JoinGroupResponse {
        match self.answers.get(&ticket) {
            Some(GroupAnswer::Join(response)) => response.clone(),
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    fn join_error(&self, ticket: Ticket) -> ErrorCode {
        error(self.joined(ticket).error_code)
    }

    fn synced(&self, ticket: Ticket) -> SyncGroupResponse {
        match self.answers.get(&ticket) {
            Some(GroupAnswer::Sync(response)) => response.clone(),
            other => panic!("no answer to a sync: {other:?}"),
        }
    }

    fn sync_error(&self, ticket: Ticket) -> ErrorCode {
        error(self.synced(ticket).error_code)
    }

    /// A stable group of so many dynamic members, in the order of their ids, the leader first.
    fn stable(&mut self, members: usize) -> Vec<Str> {
        let joins: Vec<(Str, Ticket)> = (0..members).map(|_| self.join_new()).collect();
        self.settle(joins[0].1);
        let leader = self.joined(joins[0].1).leader;
        let generation = self.joined(joins[0].1).generation_id;
        let assignments: Vec<(&str, &str)> = joins.iter().map(|(id, _)| (id.as_str(), id.as_str())).collect();
        for (id, _) in joins.iter().filter(|(id, _)| *id != leader) {
            self.sync(id, generation, &[]);
        }
        self.sync(&leader, generation, &assignments);
        assert_eq!(self.group.state(), ClassicState::Stable);
        let mut ids: Vec<Str> = joins.into_iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| (*id != leader, id.as_str().to_owned()));
        ids
    }
}

fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap()
}

fn protocol(name: &str, metadata: &[u8]) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol { name: name.into(), metadata: Bytes::copy_from_slice(metadata) }
}

/// A consumer's metadata, version 0: it reads these topics.
fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut out = vec![0, 0];
    out.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "group".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", &subscription(&["t"])), protocol("roundrobin", &subscription(&["t"]))],
        ..JoinGroupRequest::default()
    }
}

fn static_request(member_id: &str, instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join_request(member_id) }
}

fn sync_request(member_id: &str, generation_id: i32, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = assignments
        .iter()
        .map(|(member_id, assignment)| SyncGroupRequestAssignment {
            member_id: (*member_id).into(),
            assignment: Bytes::copy_from_slice(assignment.as_bytes()),
        })
        .collect();
    SyncGroupRequest {
        group_id: "group".into(),
        generation_id,
        member_id: member_id.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments,
        ..SyncGroupRequest::default()
    }
}
