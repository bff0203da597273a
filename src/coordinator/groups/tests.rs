//! What a partition's groups are together: offsets with and without members, what goes with time, and what a log makes
//! of it.

use crate::config::{GroupsConfig, Settings, Sources};
use crate::coordinator::{
    CommitRequest, Effects, GroupContext, GroupLogRecord, GroupWorld, GroupsPartition, RequestedOffset, one_batch,
};
use crate::error_code::ErrorCode;
use crate::protocol::OffsetDeleteRequest;
use crate::protocol::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::types::{KafkaUuid, TopicId};

const NOW: i64 = 1_000_000;

struct Nothing;

impl GroupWorld for Nothing {
    fn topic(&self, _name: &str) -> Option<(TopicId, i32)> {
        None
    }

    fn topic_by_id(&self, _id: TopicId) -> Option<(&str, i32)> {
        None
    }

    fn topic_names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn group_config(&self, _group_id: &str, _key: &str) -> Option<String> {
        None
    }
}

/// Groups and the log that they have written.
struct Desk {
    groups: GroupsPartition,
    log: Vec<GroupLogRecord>,
    config: GroupsConfig,
    wall_ms: i64,
}

impl Desk {
    fn new() -> Desk {
        let settings = Settings::load(&Sources::default()).unwrap().0;
        let config = crate::config::groups_config(&settings);
        Desk { groups: GroupsPartition::new(4096), log: Vec::new(), config, wall_ms: NOW }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut GroupsPartition, i64, &mut GroupContext<'_>) -> R) -> R {
        let mut effects = Effects::default();
        let mut ctx = GroupContext {
            now_ms: self.wall_ms,
            wall_ms: self.wall_ms,
            config: &self.config,
            world: &Nothing,
            new_uuid: &mut || KafkaUuid([7; 16]),
            effects: &mut effects,
        };
        let returned = call(&mut self.groups, self.log.len() as i64, &mut ctx);
        self.log.extend(effects.records);
        returned
    }

    fn commit(&mut self, group_id: &str, generation_id: i32, offsets: &[(&str, i32, i64)]) -> Result<(), ErrorCode> {
        let offsets: Vec<RequestedOffset<'_>> = offsets
            .iter()
            .map(|&(topic, partition, offset)| RequestedOffset {
                topic,
                topic_id: TopicId::ZERO,
                partition,
                offset,
                leader_epoch: -1,
                metadata: None,
            })
            .collect();
        let request = CommitRequest {
            group_id,
            member_id: "",
            group_instance_id: None,
            generation_id,
            retention_time_ms: None,
            version: 9,
            offsets: &offsets,
        };
        let results = self.call(|groups, at, ctx| groups.commit(&request, at, ctx))?;
        assert!(results.iter().all(|code| *code == ErrorCode::None));
        Ok(())
    }

    fn expire(&mut self, after_ms: i64, retention_ms: i64) {
        self.wall_ms = NOW + after_ms;
        let ids: Vec<_> = self.groups.group_ids().cloned().collect();
        for id in ids {
            self.call(|groups, _, ctx| groups.expire(&id, retention_ms, ctx));
        }
    }

    fn offset(&self, group_id: &str, topic: &str, partition: i32) -> Option<i64> {
        self.groups.fetch(group_id, topic, TopicId::ZERO, partition, false).unwrap().map(|it| it.offset)
    }

    /// What another broker makes of the log.
    fn loaded(&self) -> GroupsPartition {
        let mut groups = GroupsPartition::new(4096);
        for record in &self.log {
            let batch = one_batch(std::slice::from_ref(record), NOW);
            groups.load_batch(&batch, |_, problem| panic!("{problem}")).unwrap();
        }
        groups
    }

    fn assert_log_says_the_same(&self) {
        let loaded = self.loaded();
        let names = |groups: &GroupsPartition| {
            let mut rows = groups.list(&[], &[]);
            rows.sort_by(|one, other| one.group_id.cmp(&other.group_id));
            rows
        };
        assert_eq!(names(&loaded), names(&self.groups));
        for id in loaded.group_ids() {
            assert!(loaded.fetch_all(id).eq(self.groups.fetch_all(id)), "{id}");
        }
    }
}

#[test]
fn members_of_groups_that_are_not_there_are_refused() {
    let mut desk = Desk::new();
    assert_eq!(desk.commit("g", 3, &[("t", 0, 5)]), Err(ErrorCode::GroupIdNotFound));
    let long = "x".repeat(40_000);
    assert_eq!(desk.commit(&long, -1, &[("t", 0, 5)]), Err(ErrorCode::InvalidGroupId));
    assert!(desk.groups.is_empty() && desk.log.is_empty());
    assert_eq!(desk.commit("g", -1, &[("t", 0, 5)]), Ok(()));
    assert_eq!(desk.groups.len(), 1);
    assert_eq!(desk.commit("g", 3, &[("t", 0, 6)]), Err(ErrorCode::UnknownMemberId));
    assert_eq!(desk.offset("g", "t", 0), Some(5));
    desk.assert_log_says_the_same();
}

#[test]
fn offsets_expire_and_their_group_with_them() {
    let mut desk = Desk::new();
    desk.commit("g", -1, &[("t", 0, 5), ("t", 1, 6)]).unwrap();
    desk.wall_ms = NOW + 500;
    desk.commit("g", -1, &[("t", 1, 7)]).unwrap();
    desk.expire(999, 1000);
    assert_eq!((desk.offset("g", "t", 0), desk.offset("g", "t", 1)), (Some(5), Some(7)));
    desk.expire(1000, 1000);
    assert_eq!((desk.offset("g", "t", 0), desk.offset("g", "t", 1)), (None, Some(7)));
    assert_eq!(desk.groups.len(), 1);
    desk.assert_log_says_the_same();
    desk.expire(1500, 1000);
    assert!(desk.groups.is_empty());
    desk.assert_log_says_the_same();
}

#[test]
fn a_deleted_group_leaves_nothing() {
    let mut desk = Desk::new();
    desk.commit("g", -1, &[("t", 0, 5), ("u", 1, 6)]).unwrap();
    desk.commit("h", -1, &[("t", 0, 5)]).unwrap();
    assert_eq!(desk.call(|groups, _, ctx| groups.delete("none", ctx)), ErrorCode::GroupIdNotFound);
    assert_eq!(desk.call(|groups, _, ctx| groups.delete("g", ctx)), ErrorCode::None);
    assert_eq!(desk.offset("g", "t", 0), None);
    desk.assert_log_says_the_same();
    let request = OffsetDeleteRequest {
        group_id: "h".into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: [0, 3].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).to_vec(),
        }],
    };
    let log_len = desk.log.len();
    let response = desk.call(|groups, _, ctx| groups.delete_offsets(&request, ctx)).unwrap();
    assert!(response.topics[0].partitions.iter().all(|row| row.error_code == 0));
    assert_eq!(desk.log.len(), log_len + 1, "nothing is said of what was not there");
    assert_eq!(desk.offset("h", "t", 0), None);
    desk.expire(0, 1000);
    assert!(desk.groups.is_empty(), "a group without members and offsets goes");
    desk.assert_log_says_the_same();
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it() {
    let mut desk = Desk::new();
    desk.commit("g", -1, &[("t", 0, 5), ("u", 0, 6)]).unwrap();
    desk.commit("h", -1, &[("t", 3, 5)]).unwrap();
    desk.call(|groups, _, ctx| groups.topic_deleted("t", TopicId::random(), ctx));
    assert_eq!((desk.offset("g", "t", 0), desk.offset("g", "u", 0), desk.offset("h", "t", 3)), (None, Some(6), None));
    desk.assert_log_says_the_same();
}
