//! The coordinators of one shard: one for each partition of `__consumer_offsets` that lives here.

mod coordinator;
mod load;
mod members;
mod offsets;
mod queries;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::coordinator::{GroupAnswer, GroupsPartition, group_partition};
use crate::error_code::ErrorCode;
use crate::partition::Partition;
use crate::runtime;
use crate::runtime::sync::{Semaphore, oneshot};
use crate::types::{PartitionId, TopicId};

use super::Shard;
use coordinator::{Coordinator, Together};
pub use members::MemberClient;

/// The topic that holds committed offsets (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic that holds transactions (`Topic.TRANSACTION_STATE_TOPIC_NAME`).
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

/// How long a request waits for a coordinator that is loading before it is told to come again, as every client then
/// does after 100 ms or so.
const LOADING_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a stop waits for what groups have appended.
const STOP_WAIT_MAX: Duration = Duration::from_secs(1);
/// Coordinators of one shard that load at a time: helper threads have other things to do too.
const LOADS_MAX: usize = 2;
/// Groups whose offsets are looked at in one turn of the loop.
const GROUPS_PER_TURN: usize = 16;

pub(super) struct Coordinators {
    by_partition: RefCell<HashMap<i32, Rc<Coordinator>>>,
    /// What groups count time from.
    epoch: Instant,
    /// Requests of members that this shard has asked, and where their answers go.
    asked: RefCell<HashMap<u64, oneshot::Sender<GroupAnswer>>>,
    next_token: Cell<u64>,
    load_turns: Semaphore,
}

impl Coordinators {
    pub fn new() -> Coordinators {
        Coordinators {
            by_partition: RefCell::default(),
            epoch: runtime::now(),
            asked: RefCell::default(),
            next_token: Cell::new(0),
            load_turns: Semaphore::new(LOADS_MAX),
        }
    }

    /// Milliseconds of a clock that only goes forward.
    fn now_ms(&self) -> i64 {
        runtime::now().saturating_duration_since(self.epoch).as_millis() as i64
    }

    fn all(&self) -> Vec<Rc<Coordinator>> {
        self.by_partition.borrow().values().map(Rc::clone).collect()
    }
}

impl Shard {
    /// A partition of `__consumer_offsets` was opened: its groups are loaded and coordinated here.
    pub(super) fn add_coordinator(self: &Rc<Self>, partition: &Rc<Partition>) {
        let coordinator = Coordinator::new(Rc::clone(partition));
        let before =
            self.coordinators.by_partition.borrow_mut().insert(partition.id.partition, Rc::clone(&coordinator));
        if let Some(before) = before {
            before.end(self, ErrorCode::NotCoordinator);
        }
        if partition.log.log_end_offset() == partition.log.log_start_offset() {
            coordinator.activate(self, GroupsPartition::new(self.config.offsets.metadata_bytes_max));
        } else {
            let shard = Rc::clone(self);
            drop(runtime::spawn(async move { shard.load_coordinator(coordinator).await }));
        }
    }

    pub(super) fn drop_coordinator(self: &Rc<Self>, partition: i32) {
        let coordinator = self.coordinators.by_partition.borrow_mut().remove(&partition);
        if let Some(coordinator) = coordinator {
            coordinator.end(self, ErrorCode::NotCoordinator);
        }
    }

    /// The broker stops: who waits for others is told, and nothing is coordinated any more.
    pub async fn end_coordinators(self: &Rc<Self>) {
        for coordinator in self.coordinators.all() {
            // What only waits for the disk is let finish.
            let _ = runtime::timeout(STOP_WAIT_MAX, coordinator.when_durable().wait()).await;
            coordinator.end(self, ErrorCode::NotCoordinator);
        }
    }

    /// The coordinator of a group, whether it answers yet or not.
    fn coordinator_of(&self, group_id: &str) -> Result<Rc<Coordinator>, ErrorCode> {
        let view = self.view();
        let topic = view.topic(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let partition = group_partition(group_id, topic.partition_count());
        let id = PartitionId { topic_id: topic.id, partition };
        if view.shard_of(id) != Some(self.id) {
            return Err(ErrorCode::NotCoordinator);
        }
        let coordinator = self.coordinators.by_partition.borrow().get(&partition).map(Rc::clone);
        coordinator.filter(|it| it.partition.id == id).ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// As [`coordinator_of`](Self::coordinator_of), when it answers.
    async fn loaded_coordinator_of(&self, group_id: &str) -> Result<Rc<Coordinator>, ErrorCode> {
        let coordinator = self.coordinator_of(group_id)?;
        match coordinator.wait_loaded(LOADING_WAIT_MAX).await {
            None => Ok(coordinator),
            Some(code) => Err(code),
        }
    }

    /// Removes what groups have committed for a topic that is deleted (`OffsetMetadataManager.onPartitionsDeleted`).
    pub(super) fn forget_offsets_of(self: &Rc<Self>, topic: &str, topic_id: TopicId) {
        for coordinator in self.coordinators.all() {
            // One that is loading keeps them until they expire: they are of a topic id that is gone, so nobody is given
            // them.
            let _ = coordinator.call(self, Together::No, |groups, _, ctx| groups.topic_deleted(topic, topic_id, ctx));
        }
    }

    /// Ends offsets and groups that have outlived `offsets.retention.minutes`, every
    /// `offsets.retention.check.interval.ms`. Never ends.
    pub async fn keep_offsets_retention(self: Rc<Self>) {
        let retention_ms = self.config.offsets.retention.as_millis() as i64;
        loop {
            runtime::sleep(self.config.offsets.retention_check_interval).await;
            for coordinator in self.coordinators.all() {
                let Ok(ids) = coordinator.look(|groups| groups.group_ids().cloned().collect::<Vec<_>>()) else {
                    continue;
                };
                for (at, id) in ids.iter().enumerate() {
                    if at % GROUPS_PER_TURN == 0 {
                        runtime::yield_now().await;
                    }
                    let _ =
                        coordinator.call(&self, Together::No, |groups, _, ctx| groups.expire(id, retention_ms, ctx));
                }
            }
        }
    }
}
