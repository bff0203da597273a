//! A group, its clients and the rest of the broker, in memory.

mod classic;
mod group;
mod property;
mod static_members;

use std::collections::BTreeMap;

use super::{ConsumerGroup, RecordKey};
use crate::config::{ConsumerGroupsConfig, GroupsConfig, MigrationPolicy};
use crate::coordinator::{Caller, Effects, GroupAnswer, GroupContext, GroupLogRecord, GroupWorld, Ticket};
use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_heartbeat::HeartbeatTopicPartitions;
use crate::protocol::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, Str};
use crate::types::{KafkaUuid, TopicId};

#[derive(Default)]
pub struct World {
    pub topics: BTreeMap<String, (TopicId, i32)>,
    pub configs: BTreeMap<String, String>,
}

impl World {
    pub fn put(&mut self, name: &str, id: u8, partitions: i32) {
        self.topics.insert(name.to_owned(), (KafkaUuid([id; 16]), partitions));
    }
}

impl GroupWorld for World {
    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.topics.get(name).copied()
    }

    fn topic_by_id(&self, id: TopicId) -> Option<(&str, i32)> {
        self.topics.iter().find(|(_, topic)| topic.0 == id).map(|(name, topic)| (name.as_str(), topic.1))
    }

    fn topic_names(&self) -> Vec<&str> {
        self.topics.keys().map(String::as_str).collect()
    }

    fn group_config(&self, _: &str, key: &str) -> Option<String> {
        self.configs.get(key).cloned()
    }
}

pub fn config() -> GroupsConfig {
    GroupsConfig {
        initial_rebalance_delay_ms: 0,
        min_session_timeout_ms: 1,
        max_session_timeout_ms: 60_000,
        max_size: 100,
        offset_metadata_bytes_max: 4096,
        consumer_protocol: true,
        consumer: ConsumerGroupsConfig {
            session_timeout_ms: 45_000,
            min_session_timeout_ms: 1_000,
            max_session_timeout_ms: 60_000,
            heartbeat_interval_ms: 5_000,
            min_heartbeat_interval_ms: 1_000,
            max_heartbeat_interval_ms: 15_000,
            assignment_interval_ms: 0,
            min_assignment_interval_ms: 0,
            max_assignment_interval_ms: 15_000,
            max_size: 100,
            assignors: vec!["uniform".to_owned(), "range".to_owned()],
            migration_policy: MigrationPolicy::Bidirectional,
            regex_refresh_interval_ms: 600_000,
        },
    }
}

/// A group and what is round it.
pub struct Bench {
    pub group: ConsumerGroup,
    pub world: World,
    pub config: GroupsConfig,
    pub now: i64,
    pub log: Vec<GroupLogRecord>,
    uuids: u8,
    pub version: i16,
    pub client_id: &'static str,
}

impl Bench {
    pub fn new() -> Bench {
        let mut world = World::default();
        world.put("a", 1, 6);
        Bench {
            group: ConsumerGroup::new("g"),
            world,
            config: config(),
            now: 1_000_000,
            log: Vec::new(),
            uuids: 0,
            version: 1,
            client_id: "client",
        }
    }

    /// Calls the group; its records go to the log.
    pub fn call<T>(&mut self, call: impl FnOnce(&mut ConsumerGroup, &mut GroupContext<'_>) -> T) -> (T, Effects) {
        let mut effects = Effects::default();
        let mut new_uuid = || {
            self.uuids += 1;
            KafkaUuid([self.uuids; 16])
        };
        let mut ctx = GroupContext {
            now_ms: self.now,
            wall_ms: self.now,
            config: &self.config,
            world: &self.world,
            new_uuid: &mut new_uuid,
            effects: &mut effects,
        };
        let result = call(&mut self.group, &mut ctx);
        self.log.extend(effects.records.iter().cloned());
        (result, effects)
    }

    pub fn heartbeat(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let caller = Caller { client_id: self.client_id, client_host: "/127.0.0.1", api_version: self.version };
        let ((), effects) = self.call(|group, ctx| group.heartbeat(Ticket(7), request, caller, ctx));
        let mut answers = effects.answers;
        assert_eq!(answers.len(), 1, "every heartbeat is answered at once");
        match answers.pop() {
            Some((Ticket(7), GroupAnswer::ConsumerHeartbeat(answer))) => answer,
            other => panic!("not the answer to a heartbeat: {other:?}"),
        }
    }

    pub fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let before = self.log.len();
        let answer = self.heartbeat(request);
        assert_eq!(self.log.len(), before, "a refused heartbeat writes nothing");
        assert!(answer.error_code == 0 || answer.error_message.is_some());
        ErrorCode::from_code(answer.error_code).unwrap()
    }

    pub fn on_time(&mut self) {
        self.call(ConsumerGroup::on_time);
    }

    /// The group as the log alone gives it.
    pub fn reload(&mut self) -> ConsumerGroup {
        let mut group = ConsumerGroup::new("g");
        for record in &self.log {
            let key = RecordKey::read(&record.key).unwrap().unwrap();
            assert_eq!(key.group, "g");
            group.replay(key, record.value.as_deref()).unwrap();
        }
        std::mem::swap(&mut self.group, &mut group);
        self.call(|group, ctx| group.loaded(ctx));
        std::mem::swap(&mut self.group, &mut group);
        group
    }

    /// What the log gives is what the group is, but for what no log holds.
    pub fn check_log(&mut self) {
        let loaded = self.reload();
        let group = &self.group;
        assert_eq!(loaded.epoch, group.epoch);
        assert_eq!(loaded.metadata_hash, group.metadata_hash);
        assert_eq!(loaded.assignment_epoch, group.assignment_epoch);
        assert_eq!(loaded.assignment_timestamp, group.assignment_timestamp);
        assert_eq!(loaded.targets, group.targets);
        assert_eq!(loaded.regexes, group.regexes);
        assert_eq!(loaded.held, group.held);
        assert_eq!(loaded.static_members, group.static_members);
        let facts = |group: &ConsumerGroup| {
            let members = group.members.iter();
            members.map(|(id, m)| (id.clone(), m.subscription.clone(), m.owned.clone())).collect::<Vec<_>>()
        };
        assert_eq!(facts(&loaded), facts(group));
        assert!(group.held.values().all(|holders| *holders == 1), "one holder each: {:?}", group.held);
    }
}

/// A first heartbeat.
pub fn join(id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: Str::from_static("g"),
        member_id: Str::from(id),
        member_epoch: 0,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(topics.iter().map(|topic| Str::from(*topic)).collect()),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// A heartbeat that says nothing new.
pub fn beat(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: Str::from_static("g"),
        member_id: Str::from(id),
        member_epoch: epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// Likewise, but for what the member owns.
pub fn beat_owning(id: &str, epoch: i32, owned: &[(u8, &[i32])]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(partitions(owned)), ..beat(id, epoch) }
}

pub fn partitions(owned: &[(u8, &[i32])]) -> Vec<HeartbeatTopicPartitions> {
    owned
        .iter()
        .map(|(topic, partitions)| HeartbeatTopicPartitions {
            topic_id: KafkaUuid([*topic; 16]),
            partitions: partitions.to_vec(),
        })
        .collect()
}

/// The partitions of topic 1 that an answer assigns.
pub fn assigned(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.assignment.as_ref().map(|assignment| {
        let of = assignment.topic_partitions.iter().filter(|topic| topic.topic_id == KafkaUuid([1; 16]));
        of.flat_map(|topic| topic.partitions.iter().copied()).collect()
    })
}
