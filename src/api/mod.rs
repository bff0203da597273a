//! One file per Kafka API: decode, ask the shards, encode; [`table`] lists them all.

pub mod table;

mod alter_configs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod group_member;
mod group_query;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod scatter;
mod sessions;
mod sync_group;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::features::GROUP_VERSION;
use crate::config::BrokerConfig;
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::shard::cluster_view::ClusterView;
use crate::shard::controller::{Command, CommandOutcome};
use crate::shard::message::{ShardReply, ShardRequest};
use crate::shard::{OFFSETS_TOPIC, Shard, TRANSACTION_TOPIC};
use crate::types::{PartitionId, ShardId};

use crate::shard::join::{first_of, join_all};
use sessions::Sessions;

/// What every handler of one shard shares.
pub struct Api {
    pub shard: Rc<Shard>,
    sessions: RefCell<Sessions>,
    addresses: Arc<Addresses>,
}

/// Where clients are told to go, for each listener.
#[derive(Debug, Default)]
pub struct Addresses {
    pub listeners: Vec<ListenerAddresses>,
    /// `shard.listeners=per-core`: every shard is a broker of its own to clients.
    pub per_core: bool,
}

#[derive(Debug, Clone)]
pub struct ListenerAddresses {
    pub name: String,
    pub host: String,
    /// The port of the shared form.
    pub port: u16,
    /// The port of each shard in the per-core form, in their order.
    pub shard_ports: Vec<u16>,
}

/// The connection a request came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// The listener's place in [`Addresses::listeners`].
    pub listener: usize,
    /// The shard whose own port it was; `None` for the shared port.
    pub shard: Option<ShardId>,
}

/// A broker as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    pub node_id: i32,
    pub host: String,
    pub port: u16,
}

/// One request's surroundings.
pub struct Context {
    pub api: Rc<Api>,
    pub door: Door,
    pub version: i16,
    pub client_id: Option<Str>,
    pub client_address: IpAddr,
}

/// Everything that can be done with a group, a bit each by the codes of `AclOperation`: READ, DELETE, DESCRIBE,
/// DESCRIBE_CONFIGS and ALTER_CONFIGS. Nobody is kept from anything.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// What a handler makes of a request.
#[derive(Debug)]
pub enum Outcome<T> {
    Answer(T),
    /// Nothing is answered (a produce with acks=0).
    Silent,
    /// The connection is closed, for the reason given.
    Close(String),
}

impl Api {
    pub fn new(shard: Rc<Shard>, addresses: Arc<Addresses>) -> Rc<Api> {
        let slots = shard.config.network.fetch_sessions_max / shard.config.shards.max(1);
        let sessions = RefCell::new(Sessions::new(shard.id, slots));
        Rc::new(Api { shard, sessions, addresses })
    }

    pub fn config(&self) -> &BrokerConfig {
        &self.shard.config
    }
}

impl Context {
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }

    fn listener(&self) -> Option<&ListenerAddresses> {
        self.api.addresses.listeners.get(self.door.listener)
    }

    /// The brokers of this cluster as this client is to see them: one, or one for each shard.
    pub fn brokers(&self) -> Vec<BrokerAddress> {
        let Some(listener) = self.listener() else { return Vec::new() };
        let node_id = self.api.config().node_id;
        if !self.api.addresses.per_core {
            return vec![BrokerAddress { node_id, host: listener.host.clone(), port: listener.port }];
        }
        (node_id..)
            .zip(&listener.shard_ports)
            .map(|(node_id, port)| BrokerAddress { node_id, host: listener.host.clone(), port: *port })
            .collect()
    }

    /// The node that clients are to know a shard by.
    pub fn node_of(&self, shard: ShardId) -> i32 {
        let node_id = self.api.config().node_id;
        if self.api.addresses.per_core { node_id + i32::from(shard.0) } else { node_id }
    }

    /// The node that the catalog knows a shard's node by: `node.id` for any of ours.
    pub fn stored_node(&self, node: i32) -> i32 {
        let node_id = self.api.config().node_id;
        let ours =
            self.api.addresses.per_core && (node_id..node_id + i32::from(self.api.shard.view().shards)).contains(&node);
        if ours { node_id } else { node }
    }

    /// The broker address of a shard.
    pub fn broker_of(&self, shard: ShardId) -> Option<BrokerAddress> {
        let node_id = self.node_of(shard);
        self.brokers().into_iter().find(|broker| broker.node_id == node_id)
    }

    pub fn leader_of(&self, view: &ClusterView, partition: PartitionId) -> i32 {
        view.shard_of(partition).map_or(-1, |shard| self.node_of(shard))
    }

    /// On a shard's own port, that shard; on the shared port all.
    pub fn shards_answered_for(&self) -> Vec<ShardId> {
        match self.door.shard {
            Some(shard) => vec![shard],
            None => (0..self.api.shard.view().shards).map(ShardId).collect(),
        }
    }

    /// Whether groups may have the protocol of KIP-848 (`KafkaApis.isConsumerGroupProtocolEnabled`): by
    /// `group.coordinator.rebalance.protocols`, and by `group.version`, without which an adopted directory's other
    /// brokers do not know it.
    pub fn offers_consumer_protocol(&self) -> bool {
        let view = self.api.shard.view();
        view.config().groups.consumer_protocol && view.image.feature(GROUP_VERSION) > 0
    }

    /// Has the controller carry out a command.
    pub async fn control(&self, command: Command) -> CommandOutcome {
        match self.api.shard.call(ShardId(0), ShardRequest::Control(command)).await {
            ShardReply::Controlled(outcome) => outcome,
            _ => CommandOutcome::Failed(ErrorCode::UnknownServerError),
        }
    }
}

/// Topics that brokers keep their own state in (`Topic.isInternal`).
pub fn is_internal_topic(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTION_TOPIC
}

/// What a client that names topics by id is told of a partition that its owner does not know: the owner
/// may have dropped a deleted topic before this shard heard of it, or after. Only an index that the
/// topic never had is the partition's fault.
fn code_by_id(view: &ClusterView, id: PartitionId, names_by_id: bool, code: ErrorCode) -> ErrorCode {
    let topic_has_it =
        view.topic_by_id(id.topic_id).is_none_or(|topic| (0..topic.partition_count()).contains(&id.partition));
    if names_by_id && code == ErrorCode::UnknownTopicOrPartition && topic_has_it {
        ErrorCode::UnknownTopicId
    } else {
        code
    }
}

/// Creates a topic that a client named, with the broker's defaults
/// (`DefaultAutoTopicCreationManager`); that it exists by now is success.
async fn auto_create(context: &Context, name: &str) -> Result<(), ErrorCode> {
    match context.control(Command::AutoCreateTopic(name.to_owned())).await {
        CommandOutcome::Done | CommandOutcome::Failed(ErrorCode::TopicAlreadyExists) => Ok(()),
        CommandOutcome::Failed(code) => Err(code),
        _ => Err(ErrorCode::UnknownServerError),
    }
}
