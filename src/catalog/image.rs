//! An image of the catalog: what all its records up to one offset add up to (Kafka's `MetadataImage`).
//!
//! Images are immutable and shared by the shards. The maps are persistent ones: a change copies the path to what
//! changed, so that tens of thousands of topics cost a change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicId};

use super::features::{METADATA_VERSION, METADATA_VERSION_MIN, MetadataVersion};
use super::metadata_record::MetadataRecord;
use super::quorum::QuorumImage;
use super::records::RegisterBrokerRecord;
use super::topic::{PartitionImage, TopicImage};
use super::topic_name;

/// The keys and values set for one resource.
pub type ConfigMap = BTreeMap<Arc<str>, Arc<str>>;

/// What a configuration belongs to (`ConfigResource.Type`), by its number in records and requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceType(pub i8);

impl ResourceType {
    pub const TOPIC: ResourceType = ResourceType(2);
    /// A broker by its id in decimal, or with an empty name all brokers.
    pub const BROKER: ResourceType = ResourceType(4);
    pub const BROKER_LOGGER: ResourceType = ResourceType(8);
    pub const CLIENT_METRICS: ResourceType = ResourceType(16);
    pub const GROUP: ResourceType = ResourceType(32);
}

/// Up to where an image goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImagePosition {
    /// One past the last record.
    pub end_offset: Offset,
    /// Of the last batch.
    pub leader_epoch: LeaderEpoch,
    /// Of the last batch.
    pub timestamp_ms: i64,
}

impl ImagePosition {
    pub const EMPTY: ImagePosition =
        ImagePosition { end_offset: Offset::ZERO, leader_epoch: LeaderEpoch(0), timestamp_ms: 0 };
}

/// Whose catalog it is, from `meta.properties`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub cluster_id: Arc<str>,
    pub node_id: i32,
    /// Of the data directory.
    pub directory_id: KafkaUuid,
}

/// State that has no meaning here yet, or none that a map of its own would serve: the record that makes it, by what
/// it is about. Snapshots carry it on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum CarriedKey {
    Controller(i32),
    /// Type and name of each part of the entity, and the quota's key.
    ClientQuota(Vec<(String, Option<String>)>, String),
    AccessControlEntry(KafkaUuid),
    UserScramCredential(String, i8),
    DelegationToken(String),
    ZkMigrationState,
}

#[derive(Clone, Debug)]
pub struct CatalogImage {
    pub(super) identity: Identity,
    pub(super) position: ImagePosition,
    pub(super) topics: OrdMap<Arc<str>, Arc<TopicImage>>,
    pub(super) topic_names: HashMap<TopicId, Arc<str>>,
    /// Names by what they share with names that they collide with. Kafka keeps them apart from the start, so that
    /// there is more than one only in a catalog that was made otherwise.
    pub(super) colliding: HashMap<Arc<str>, Vec<Arc<str>>>,
    pub(super) partition_count: usize,
    pub(super) topic_configs: OrdMap<Arc<str>, Arc<ConfigMap>>,
    pub(super) configs: OrdMap<(ResourceType, Arc<str>), Arc<ConfigMap>>,
    pub(super) features: Arc<BTreeMap<Arc<str>, i16>>,
    pub(super) brokers: OrdMap<i32, Arc<RegisterBrokerRecord>>,
    pub(super) next_producer_id: i64,
    pub(super) carried: OrdMap<CarriedKey, Arc<MetadataRecord>>,
    /// Records of unknown types were applied: a snapshot would lose them.
    pub(super) has_unknown: bool,
    /// What the log's control batches say. Beside the catalog's records, but snapshots carry it with them.
    pub(super) quorum: Arc<QuorumImage>,
}

impl CatalogImage {
    pub fn empty(identity: Identity) -> CatalogImage {
        CatalogImage {
            identity,
            position: ImagePosition::EMPTY,
            topics: OrdMap::new(),
            topic_names: HashMap::new(),
            colliding: HashMap::new(),
            partition_count: 0,
            topic_configs: OrdMap::new(),
            configs: OrdMap::new(),
            features: Arc::default(),
            brokers: OrdMap::new(),
            next_producer_id: 0,
            carried: OrdMap::new(),
            has_unknown: false,
            quorum: Arc::default(),
        }
    }

    pub fn cluster_id(&self) -> &Arc<str> {
        &self.identity.cluster_id
    }

    pub fn node_id(&self) -> i32 {
        self.identity.node_id
    }

    pub fn directory_id(&self) -> KafkaUuid {
        self.identity.directory_id
    }

    pub fn position(&self) -> ImagePosition {
        self.position
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&**self.topic_names.get(&id)?)
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The topics from `name` on, in the order of their names.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> + use<'a> {
        let from: Arc<str> = Arc::from(name);
        self.topics.range(from..).map(|(_, topic)| topic)
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub fn partition(&self, topic_id: TopicId, index: i32) -> Option<&PartitionImage> {
        self.topic_by_id(topic_id)?.partition(index)
    }

    /// A topic that `name` cannot stand beside, since metrics would mix them up.
    pub fn collision(&self, name: &str) -> Option<&Arc<str>> {
        let key = topic_name::collision_key(name)?;
        self.colliding.get(&*key)?.iter().find(|known| ***known != *name)
    }

    /// What is set for a resource; `None` is nothing.
    pub fn config(&self, resource_type: ResourceType, name: &str) -> Option<&Arc<ConfigMap>> {
        if resource_type == ResourceType::TOPIC {
            self.topic_configs.get(name)
        } else {
            self.configs.get(&(resource_type, Arc::from(name)))
        }
    }

    /// What is set for all brokers, and for this one.
    pub fn broker_configs(&self) -> [Option<&Arc<ConfigMap>>; 2] {
        ["", &self.node_id().to_string()].map(|name| self.config(ResourceType::BROKER, name))
    }

    /// The names of topics that have other values of their own than in an older image. Takes time by what is
    /// different, not by what there is.
    pub fn configured_otherwise<'a>(&'a self, older: &'a CatalogImage) -> impl Iterator<Item = &'a Arc<str>> {
        use imbl::ordmap::DiffItem;
        older.topic_configs.diff(&self.topic_configs).map(|item| {
            let (DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. }) = item;
            name
        })
    }

    /// A topic's own values, for `TopicConfig::resolve`.
    pub fn topic_overrides(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.topic_configs.get(name).into_iter().flat_map(|map| map.iter().map(|(key, value)| (&**key, &**value)))
    }

    /// The names of all resources of a type that have something set.
    pub fn configured(&self, resource_type: ResourceType) -> impl Iterator<Item = &Arc<str>> {
        let topics = (resource_type == ResourceType::TOPIC).then(|| self.topic_configs.keys());
        let others = self.configs.keys().filter(move |(of, _)| *of == resource_type).map(|(_, name)| name);
        topics.into_iter().flatten().chain(others)
    }

    /// The finalized features, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (&**name, *level))
    }

    /// 0 is off.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    pub fn metadata_version(&self) -> MetadataVersion {
        MetadataVersion(self.features.get(METADATA_VERSION).copied().unwrap_or(METADATA_VERSION_MIN))
    }

    pub fn broker(&self, id: i32) -> Option<&Arc<RegisterBrokerRecord>> {
        self.brokers.get(&id)
    }

    /// The epoch of our own registration, -1 before the first. A clean stop notes it, and by it Kafka's controller
    /// knows that the stop was clean.
    pub fn broker_epoch(&self) -> i64 {
        self.broker(self.node_id()).map_or(-1, |broker| broker.broker_epoch)
    }

    pub fn quorum(&self) -> &QuorumImage {
        &self.quorum
    }

    /// All producer ids from here on were never given out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }
}
