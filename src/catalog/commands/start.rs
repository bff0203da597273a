//! What the broker writes for itself, as Kafka's controller would: the first features, its registration, the lead of
//! all its partitions with a new leader epoch at every start, and the end of that lead at a clean stop.

use crate::catalog::features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION, METADATA_VERSION_MAX, SupportedFeature,
};
use crate::catalog::image::{CatalogImage, ResourceType};
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::{
    self, BrokerFeature, BrokerRegistrationChangeRecord, FeatureLevelRecord, RegisterBrokerRecord,
};
use crate::types::{KafkaUuid, Offset};

use super::alter_configs::config_record;

/// A listener as clients reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerEndpoint {
    /// The listener's name.
    pub name: String,
    pub host: String,
    pub port: u16,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// How the broker registers at a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// Of this run of the broker.
    pub incarnation_id: KafkaUuid,
    pub endpoints: Vec<BrokerEndpoint>,
    pub rack: Option<String>,
    /// All that the broker supports, `metadata.version` among them.
    pub features: Vec<SupportedFeature>,
}

/// The first records of a new catalog. `levels` are features that work, besides `metadata.version`.
/// `min_insync_replicas` is the broker's key.
pub fn first_features(levels: &[(&'static str, i16)], min_insync_replicas: i32) -> Vec<MetadataRecord> {
    let mut records = vec![feature(METADATA_VERSION, METADATA_VERSION_MAX)];
    let others = levels.iter().filter(|(name, level)| *name != METADATA_VERSION && *level > 0);
    records.extend(others.map(|&(name, level)| feature(name, level)));
    if levels.iter().any(|&(name, level)| name == ELIGIBLE_LEADER_REPLICAS_VERSION && level > 0) {
        // With ELR the controller alone decides by this key, and Kafka fixes it for the cluster (KIP-966).
        let value = min_insync_replicas.to_string();
        records.push(config_record(ResourceType::BROKER, "", "min.insync.replicas", Some(&value)).into());
    }
    records
}

fn feature(name: &str, level: i16) -> MetadataRecord {
    FeatureLevelRecord { name: name.into(), feature_level: level }.into()
}

/// The registration and its unfencing. The broker's epoch is the offset that the first of the two records gets.
pub fn register(image: &CatalogImage, registration: &Registration, at: Offset) -> Vec<MetadataRecord> {
    let end_points = registration.endpoints.iter().map(|endpoint| records::BrokerEndpoint {
        name: endpoint.name.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    });
    let features = registration.features.iter().map(|feature| BrokerFeature {
        name: feature.name.into(),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    });
    let broker = RegisterBrokerRecord {
        broker_id: image.node_id(),
        incarnation_id: registration.incarnation_id,
        broker_epoch: at.0,
        end_points: end_points.collect(),
        features: features.collect(),
        rack: registration.rack.as_deref().map(Into::into),
        log_dirs: vec![image.directory_id()],
        ..RegisterBrokerRecord::default()
    };
    let unfence = BrokerRegistrationChangeRecord {
        broker_id: image.node_id(),
        broker_epoch: at.0,
        fenced: -1,
        ..BrokerRegistrationChangeRecord::default()
    };
    vec![broker.into(), unfence.into()]
}

/// A new leader epoch for every partition that has a replica here, led by this node. Takes over what Kafka left at
/// its stop: no leader, an empty ISR and this node among the eligible leader replicas.
pub fn lead_partitions(image: &CatalogImage) -> impl Iterator<Item = MetadataRecord> + use<'_> {
    image.topics().flat_map(move |topic| {
        topic.partitions.iter().enumerate().filter_map(move |(index, partition)| {
            let change = partition.lead(image.node_id(), image.directory_id(), topic.id, index as i32)?;
            Some(change.into())
        })
    })
}

/// The end of this node's lead of every partition that it leads, as Kafka's controlled shutdown leaves them: a broker
/// that starts on them next leads nothing before its controller says so.
pub fn resign_partitions(image: &CatalogImage) -> impl Iterator<Item = MetadataRecord> + use<'_> {
    let elr = image.feature(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0;
    image.topics().flat_map(move |topic| {
        topic.partitions.iter().enumerate().filter_map(move |(index, partition)| {
            let change = partition.resign(image.node_id(), elr, topic.id, index as i32)?;
            Some(change.into())
        })
    })
}

/// The broker stops: fenced, it has no session, and another incarnation (Kafka's) can register at once.
pub fn fence(image: &CatalogImage) -> Option<MetadataRecord> {
    let broker = image.broker(image.node_id())?;
    let change = BrokerRegistrationChangeRecord {
        broker_id: broker.broker_id,
        broker_epoch: broker.broker_epoch,
        fenced: 1,
        ..BrokerRegistrationChangeRecord::default()
    };
    Some(change.into())
}
