//! What the machines of groups are given and what they give back.

use crate::config::GroupsConfig;
use crate::protocol::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, SyncGroupResponse,
};
use crate::types::{KafkaUuid, TopicId};

/// Who waits for an answer: the caller's own number, handed back with it. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The answer to a request of a member.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupAnswer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
}

/// A record to append to the group's partition of `__consumer_offsets`; without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLogRecord {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What came of a request, or of time passing. The machine's own state has changed already: the caller appends the
/// records in one batch, and hands out the answers when that is as durable as `acks=all`. If it cannot be appended the
/// partition's state is loaded from its log anew, and all who wait are told NOT_COORDINATOR.
#[derive(Debug, Default)]
pub struct Effects {
    pub records: Vec<GroupLogRecord>,
    pub answers: Vec<(Ticket, GroupAnswer)>,
}

/// What groups need to know of the rest of the broker.
pub trait GroupWorld {
    /// A topic's id and its count of partitions.
    fn topic(&self, name: &str) -> Option<(TopicId, i32)>;
    /// A topic's name and its count of partitions.
    fn topic_by_id(&self, id: TopicId) -> Option<(&str, i32)>;
    /// The names of all topics, in order.
    fn topic_names(&self) -> Vec<&str>;
    /// Values that a group has of its own (`ConfigResource.Type.GROUP`), by key.
    fn group_config(&self, group_id: &str, key: &str) -> Option<String>;
}

/// What every call of a machine is given.
pub struct GroupContext<'a> {
    /// Milliseconds of a clock that only goes forward: what timeouts count by.
    pub now_ms: i64,
    /// Milliseconds since 1970: what records say.
    pub wall_ms: i64,
    pub config: &'a GroupsConfig,
    pub world: &'a dyn GroupWorld,
    /// New ids for members.
    pub new_uuid: &'a mut dyn FnMut() -> KafkaUuid,
    pub effects: &'a mut Effects,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Of the request's header; empty if it has none.
    pub client_id: &'a str,
    /// As Kafka prints an address: `/127.0.0.1`.
    pub client_host: &'a str,
    /// Of the request.
    pub api_version: i16,
}

impl GroupContext<'_> {
    pub fn answer(&mut self, ticket: Ticket, answer: GroupAnswer) {
        self.effects.answers.push((ticket, answer));
    }

    pub fn append(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.effects.records.push(GroupLogRecord { key, value });
    }
}
