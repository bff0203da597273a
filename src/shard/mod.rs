//! A shard: the partitions and coordinators of one core, and the requests that cross cores.
//!
//! Everything here is touched by one thread only. Another shard is reached by [`Shard::call`], which
//! takes the same request types whether the owner is this shard or another.

mod adopt;
mod checkpoints;
pub mod cluster_view;
mod compaction;
pub mod controller;
mod coordinators;
pub mod join;
pub mod message;
mod retention;
mod serve;
mod watches;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use crate::config::BrokerConfig;
use crate::log::{Claim, DirCheckpoints, LoadedLog, LogShard};
use crate::partition::Partition;
use crate::runtime;
use crate::runtime::mesh::Endpoint;
use crate::runtime::sync::oneshot;
use crate::types::{PartitionId, ProducerId, ShardId};

pub use adopt::log_config;
use cluster_view::ClusterView;
use controller::Controller;
use coordinators::Coordinators;
pub use coordinators::{MemberClient, OFFSETS_TOPIC, TRANSACTION_TOPIC};
use message::{ProducerIdBlock, ShardReply, ShardRequest};
use serve::Begun;
use watches::Watches;

/// What travels between shards. Replies have slots of their own in the mesh, so that two shards whose
/// queues of requests are both full never wait for each other.
pub enum Parcel {
    /// A request, with the slot of the asking shard that its reply goes to.
    Request(u32, ShardRequest),
    Reply(u32, ShardReply),
}

/// A request on its way, or begun here.
enum Sent {
    Here(Begun),
    There(oneshot::Receiver<ShardReply>, Option<Parcel>),
}

pub struct Shard {
    pub id: ShardId,
    /// As the start was given it; what can change while the broker runs is in the view's.
    pub config: Arc<BrokerConfig>,
    pub log_shard: Rc<LogShard>,
    view: RefCell<Arc<ClusterView>>,
    partitions: RefCell<HashMap<PartitionId, Rc<Partition>>>,
    /// Partitions that could not be opened, with the sentence that says why (DESIGN rule 6).
    offline: RefCell<HashMap<PartitionId, String>>,
    mesh: Endpoint<Parcel>,
    waiting: RefCell<Slab<oneshot::Sender<ShardReply>>>,
    watches: Watches,
    next_watch: Cell<u64>,
    producer_ids: Cell<Option<ProducerIdBlock>>,
    producer_ids_lock: runtime::sync::Semaphore,
    coordinators: Coordinators,
    controller: RefCell<Option<Rc<Controller>>>,
    pub checkpoints: Arc<DirCheckpoints>,
    /// Held by who has the checkpoints written.
    checkpoint_turn: runtime::sync::Semaphore,
}

/// What a shard starts with.
pub struct ShardStart {
    pub id: ShardId,
    pub config: Arc<BrokerConfig>,
    pub view: Arc<ClusterView>,
    pub mesh: Endpoint<Parcel>,
    pub checkpoints: Arc<DirCheckpoints>,
}

impl Shard {
    pub fn new(start: ShardStart, log_shard: Rc<LogShard>) -> Rc<Shard> {
        Rc::new(Shard {
            id: start.id,
            config: start.config,
            log_shard,
            view: RefCell::new(start.view),
            partitions: RefCell::new(HashMap::new()),
            offline: RefCell::new(HashMap::new()),
            mesh: start.mesh,
            waiting: RefCell::new(Slab::new()),
            watches: Watches::default(),
            next_watch: Cell::new(0),
            producer_ids: Cell::new(None),
            producer_ids_lock: runtime::sync::Semaphore::new(1),
            coordinators: Coordinators::new(),
            controller: RefCell::new(None),
            checkpoints: start.checkpoints,
            checkpoint_turn: runtime::sync::Semaphore::new(1),
        })
    }

    /// Starts taking requests of other shards, and their replies.
    pub fn start(self: &Rc<Self>) {
        drop(runtime::spawn(Rc::clone(self).serve()));
    }

    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view.borrow())
    }

    pub fn partition(&self, id: PartitionId) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&id).map(Rc::clone)
    }

    /// Every partition of this shard, in no order.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().map(Rc::clone).collect()
    }

    pub fn is_offline(&self, id: PartitionId) -> bool {
        self.offline.borrow().contains_key(&id)
    }

    /// A partition that could not be loaded, and why.
    pub fn set_offline(&self, id: PartitionId, why: String) {
        self.log_shard.options().room.metrics().add_offline_replicas(1);
        self.offline.borrow_mut().insert(id, why);
    }

    /// A partition that was open turned out to be damaged. Its bytes are kept.
    async fn take_offline(&self, partition: &Rc<Partition>, why: String) {
        if self.partitions.borrow_mut().remove(&partition.id).is_some() {
            self.set_offline(partition.id, why);
            if let Err(error) = partition.log.close().await {
                tracing::error!(partition = %partition.name, "the log could not be closed cleanly: {error}");
            }
        }
    }

    pub fn set_controller(&self, controller: Rc<Controller>) {
        *self.controller.borrow_mut() = Some(controller);
    }

    pub fn controller(&self) -> Option<Rc<Controller>> {
        self.controller.borrow().as_ref().map(Rc::clone)
    }

    /// A number for a new watch of this shard.
    pub fn next_watch_id(&self) -> u64 {
        let id = self.next_watch.get();
        self.next_watch.set(id + 1);
        id
    }

    /// Asks a shard, this one or another. Appends of a request to this shard are made, and a request to another is
    /// in its queue if there is room, when this returns: requests enter the logs in the order of the calls.
    pub fn call(self: &Rc<Self>, to: ShardId, request: ShardRequest) -> impl Future<Output = ShardReply> + use<> {
        let shard = Rc::clone(self);
        let sent = if to == self.id {
            Sent::Here(self.begin(self.id, request))
        } else {
            let (sender, receiver) = oneshot::channel();
            let slot = self.waiting.borrow_mut().insert(sender) as u32;
            let refused = self.mesh.try_request(to, Parcel::Request(slot, request)).err();
            Sent::There(receiver, refused)
        };
        async move {
            match sent {
                Sent::Here(begun) => begun.finish(&shard).await,
                Sent::There(receiver, refused) => {
                    if let Some(parcel) = refused {
                        shard.mesh.request(to, parcel).await;
                    }
                    receiver.await.expect("the sender stays in its slot until the reply comes")
                }
            }
        }
    }

    /// Opens a loaded log as a partition of this shard, or notes why it stays offline.
    pub fn open(self: &Rc<Self>, loaded: LoadedLog) {
        let id = PartitionId { topic_id: loaded.topic_id, partition: loaded.topic_partition.partition };
        if let Some(damage) = &loaded.damage {
            tracing::error!(partition = %loaded.topic_partition, "{damage}; the partition stays offline");
            self.set_offline(id, damage.to_string());
            return;
        }
        let view = self.view();
        let Some(image) = view.image.partition(id.topic_id, id.partition) else { return };
        let config = Rc::new(view.topic_config(&loaded.topic_partition.topic));
        let compacted_to = self.checkpoints.get(&loaded.topic_partition).compacted_to;
        let partition = Partition::open(loaded, &self.log_shard, image.leader_epoch, config);
        partition.log.set_compacted_to(compacted_to);
        if [OFFSETS_TOPIC, TRANSACTION_TOPIC].contains(&&*partition.name.topic) {
            partition.log.set_claim(Claim::Coordinator);
        }
        self.partitions.borrow_mut().insert(id, Rc::clone(&partition));
        if &*partition.name.topic == OFFSETS_TOPIC {
            self.add_coordinator(&partition);
        }
    }

    /// A producer id that no other producer of this cluster has (KIP-730): from this shard's block,
    /// which the controller renews.
    pub async fn next_producer_id(self: &Rc<Self>) -> Result<ProducerId, crate::error_code::ErrorCode> {
        let _one_at_a_time = self.producer_ids_lock.acquire(1).await;
        let block = match self.producer_ids.get() {
            Some(block) if block.count > 0 => block,
            _ => self.new_producer_ids().await?,
        };
        self.producer_ids.set(Some(ProducerIdBlock { first: ProducerId(block.first.0 + 1), count: block.count - 1 }));
        Ok(block.first)
    }

    async fn new_producer_ids(self: &Rc<Self>) -> Result<ProducerIdBlock, crate::error_code::ErrorCode> {
        let request = ShardRequest::Control(controller::Command::AllocateProducerIds);
        match self.call(ShardId(0), request).await {
            ShardReply::Controlled(controller::CommandOutcome::ProducerIds(block)) => Ok(block),
            _ => Err(crate::error_code::ErrorCode::CoordinatorNotAvailable),
        }
    }
}
