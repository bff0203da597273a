//! Topics and partitions of an image.

use std::sync::Arc;

use crate::types::{KafkaUuid, LeaderEpoch, TopicId};

use super::records::{PartitionChangeRecord, PartitionRecord};
use super::topic_name;

/// A partition without a leader (`LeaderConstants.NO_LEADER`).
pub const NO_LEADER: i32 = -1;
/// In a PartitionChangeRecord: the leader is as it was (`LeaderConstants.NO_LEADER_CHANGE`).
pub const NO_LEADER_CHANGE: i32 = -2;
/// A replica whose directory is not known (`DirectoryId.MIGRATING`): of catalogs before directories.
pub const DIRECTORY_MIGRATING: KafkaUuid = KafkaUuid([0; 16]);

/// More partitions of a topic than Kafka can manage in all; bounds what a damaged record can ask for.
pub(super) const PARTITIONS_PER_TOPIC_MAX: usize = 1_000_000;

#[derive(Clone, PartialEq, Debug)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: TopicId,
    /// By index.
    pub partitions: Vec<PartitionImage>,
}

impl TopicImage {
    pub fn partition(&self, index: i32) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    /// Of the first partition, as Kafka's tools show it.
    pub fn replication_factor(&self) -> i16 {
        self.partitions.first().map_or(0, |partition| partition.replicas.len() as i16)
    }

    pub fn is_internal(&self) -> bool {
        topic_name::is_internal(&self.name)
    }
}

/// A partition (`PartitionRegistration`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionImage {
    /// In the order of preference.
    pub replicas: Vec<i32>,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Vec<KafkaUuid>,
    pub isr: Vec<i32>,
    /// Replicas that may lead although they are not in the ISR (KIP-966).
    pub elr: Vec<i32>,
    pub last_known_elr: Vec<i32>,
    pub removing_replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    /// [`NO_LEADER`] where none is.
    pub leader: i32,
    /// 1 after an unclean election, until the leader has recovered.
    pub leader_recovery_state: i8,
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change of the partition.
    pub partition_epoch: i32,
}

impl PartitionImage {
    /// Stands where a record is still to come: Kafka's snapshots list the partitions of a topic in no order.
    pub(super) fn hole() -> PartitionImage {
        PartitionImage::of_record(&PartitionRecord::default())
    }

    pub(super) fn is_hole(&self) -> bool {
        self.partition_epoch < 0
    }

    pub fn of_record(record: &PartitionRecord) -> PartitionImage {
        PartitionImage {
            replicas: record.replicas.clone(),
            directories: if record.directories.is_empty() {
                vec![DIRECTORY_MIGRATING; record.replicas.len()]
            } else {
                record.directories.clone()
            },
            isr: record.isr.clone(),
            elr: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: record.partition_epoch,
        }
    }

    /// The record that says all there is to say of the partition.
    pub fn to_record(&self, topic_id: TopicId, index: i32) -> PartitionRecord {
        let unless_empty = |list: &Vec<i32>| (!list.is_empty()).then(|| list.clone());
        PartitionRecord {
            partition_id: index,
            topic_id,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: unless_empty(&self.elr),
            last_known_elr: unless_empty(&self.last_known_elr),
        }
    }

    /// Takes a change over, as `PartitionRegistration.merge` does.
    pub(super) fn change(&mut self, record: &PartitionChangeRecord) {
        let take = |list: &mut Vec<i32>, change: &Option<Vec<i32>>| {
            if let Some(change) = change {
                list.clone_from(change);
            }
        };
        if let Some(replicas) = &record.replicas {
            // A change of replicas without directories: each replica stays where it was.
            let directory_of = |replica: &i32| {
                let at = self.replicas.iter().position(|known| known == replica);
                at.and_then(|at| self.directories.get(at)).copied().unwrap_or(DIRECTORY_MIGRATING)
            };
            self.directories = replicas.iter().map(directory_of).collect();
            self.replicas.clone_from(replicas);
        }
        if let Some(directories) = &record.directories {
            self.directories.clone_from(directories);
        }
        take(&mut self.isr, &record.isr);
        take(&mut self.removing_replicas, &record.removing_replicas);
        take(&mut self.adding_replicas, &record.adding_replicas);
        take(&mut self.elr, &record.eligible_leader_replicas);
        take(&mut self.last_known_elr, &record.last_known_elr);
        if record.leader != NO_LEADER_CHANGE {
            self.leader = record.leader;
            self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        }
        if record.leader_recovery_state >= 0 {
            self.leader_recovery_state = record.leader_recovery_state;
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
    }

    /// The change that makes this node the leader with a new epoch, whatever the partition's state was; `None` if it
    /// holds no replica here.
    pub(super) fn lead(
        &self,
        node_id: i32,
        directory_id: KafkaUuid,
        topic_id: TopicId,
        index: i32,
    ) -> Option<PartitionChangeRecord> {
        let at = self.replicas.iter().position(|&replica| replica == node_id)?;
        let empty_unless_so = |list: &Vec<i32>| (!list.is_empty()).then(Vec::new);
        let mut directories = self.directories.clone();
        directories.resize(self.replicas.len(), DIRECTORY_MIGRATING);
        if let Some(directory) = directories.get_mut(at) {
            *directory = directory_id;
        }
        Some(PartitionChangeRecord {
            partition_id: index,
            topic_id,
            isr: (self.isr != [node_id]).then(|| vec![node_id]),
            leader: node_id,
            eligible_leader_replicas: empty_unless_so(&self.elr),
            last_known_elr: empty_unless_so(&self.last_known_elr),
            leader_recovery_state: if self.leader_recovery_state == 0 { -1 } else { 0 },
            directories: (directories != self.directories).then_some(directories),
            ..PartitionChangeRecord::default()
        })
    }

    /// The change that ends this node's lead; `None` if it leads nothing here. With eligible leader replicas (KIP-966)
    /// it leaves the ISR, as under Kafka, and stays eligible; without, the last replica stays in the ISR.
    pub(super) fn resign(
        &self,
        node_id: i32,
        elr: bool,
        topic_id: TopicId,
        index: i32,
    ) -> Option<PartitionChangeRecord> {
        let leaves_isr = elr && self.isr == [node_id];
        (self.leader == node_id).then(|| PartitionChangeRecord {
            partition_id: index,
            topic_id,
            leader: NO_LEADER,
            isr: leaves_isr.then(Vec::new),
            eligible_leader_replicas: leaves_isr.then(|| vec![node_id]),
            ..PartitionChangeRecord::default()
        })
    }
}
