//! One partition: its log, its producers' states, and the rules by which batches enter and leave.
//!
//! A partition belongs to one shard, and only that shard's thread touches it. Appending is synchronous
//! up to the point where the batch has its offsets and stands in the appender's queue, so that the
//! requests of a connection enter the log in the order in which they came; waiting for the disk is a
//! separate step.

mod append;
mod offsets;
mod read;

#[cfg(test)]
mod power_cut_tests;

pub use append::{AppendError, Appended, Origin};
pub use offsets::{FoundOffset, timestamp};
pub use read::{PartitionRead, ReadError};

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use crate::config::TopicConfig;
use crate::log::producers::ProducerTable;
use crate::log::{LoadedLog, Log, LogShard};
use crate::types::{LeaderEpoch, PartitionId, TopicPartition};

pub struct Partition {
    pub id: PartitionId,
    pub name: TopicPartition,
    pub log: Rc<Log>,
    leader_epoch: Cell<LeaderEpoch>,
    config: RefCell<Rc<TopicConfig>>,
    producers: Rc<RefCell<ProducerTable>>,
}

impl Partition {
    /// Opens a partition over its loaded log, under the leader epoch that was stored for this start.
    pub fn open(
        mut loaded: LoadedLog,
        shard: &Rc<LogShard>,
        leader_epoch: LeaderEpoch,
        config: Rc<TopicConfig>,
    ) -> Rc<Partition> {
        let id = PartitionId { topic_id: loaded.topic_id, partition: loaded.topic_partition.partition };
        let name = loaded.topic_partition.clone();
        let producers = Rc::new(RefCell::new(std::mem::take(&mut loaded.producers)));
        let log = Log::open(loaded, shard, leader_epoch);
        let for_snapshots = Rc::clone(&producers);
        log.set_snapshot_source(Rc::new(move || Bytes::from(for_snapshots.borrow().encode_snapshot())));
        let for_roll_back = Rc::clone(&producers);
        let name_of_log = name.clone();
        log.set_roll_back_hook(Rc::new(move |end_offset| {
            if !for_roll_back.borrow_mut().truncate_to(end_offset) {
                tracing::warn!(partition = %name_of_log, "producers' states before offset {end_offset} are forgotten");
            }
        }));
        Rc::new(Partition {
            id,
            name,
            log,
            leader_epoch: Cell::new(leader_epoch),
            config: RefCell::new(config),
            producers,
        })
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    pub fn config(&self) -> Rc<TopicConfig> {
        Rc::clone(&self.config.borrow())
    }

    /// Forgets producers that have been idle for so long (`producer.id.expiration.ms`).
    pub fn forget_idle_producers(&self, now_ms: i64, expiration_ms: i64) {
        self.producers.borrow_mut().remove_expired(now_ms, expiration_ms);
    }

    pub fn set_config(&self, config: Rc<TopicConfig>) {
        *self.config.borrow_mut() = config;
    }
}
