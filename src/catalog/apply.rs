//! What each record makes of an image (Kafka's `MetadataDelta`).

use std::sync::Arc;

use super::error::ApplyError;
use super::image::{CarriedKey, CatalogImage, ConfigMap, ResourceType};
use super::metadata_record::MetadataRecord;
use super::records::{
    BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord, ConfigRecord, FeatureLevelRecord,
    PartitionChangeRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
};
use super::topic::{PARTITIONS_PER_TOPIC_MAX, PartitionImage, TopicImage};
use super::topic_name;
use crate::types::TopicId;

impl CatalogImage {
    /// Takes one record over. Records of transactions are none: whoever reads a log holds those back until the
    /// transaction ends.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        let wrong = |what| ApplyError { record: record.name(), what };
        match record {
            MetadataRecord::Topic(topic) => self.apply_topic(topic).map_err(wrong),
            MetadataRecord::Partition(partition) => self.apply_partition(partition).map_err(wrong),
            MetadataRecord::PartitionChange(change) => self.apply_partition_change(change).map_err(wrong),
            MetadataRecord::RemoveTopic(remove) => self.apply_remove_topic(remove.topic_id).map_err(wrong),
            MetadataRecord::ClearElr(clear) => self.apply_clear_elr(clear).map_err(wrong),
            MetadataRecord::Config(config) => {
                self.apply_config(config);
                Ok(())
            }
            MetadataRecord::FeatureLevel(feature) => {
                self.apply_feature(feature);
                Ok(())
            }
            MetadataRecord::ProducerIds(ids) => {
                self.next_producer_id = ids.next_producer_id;
                Ok(())
            }
            MetadataRecord::RegisterBroker(broker) => {
                self.brokers.insert(broker.broker_id, Arc::new(broker.clone()));
                Ok(())
            }
            MetadataRecord::UnregisterBroker(gone) => {
                self.broker_mut(gone.broker_id, gone.broker_epoch).map_err(wrong)?;
                self.brokers.remove(&gone.broker_id);
                Ok(())
            }
            MetadataRecord::FenceBroker(fence) => {
                self.broker_mut(fence.id, fence.epoch).map_err(wrong)?.fenced = true;
                Ok(())
            }
            MetadataRecord::UnfenceBroker(unfence) => {
                self.broker_mut(unfence.id, unfence.epoch).map_err(wrong)?.fenced = false;
                Ok(())
            }
            MetadataRecord::BrokerRegistrationChange(change) => self.apply_broker_change(change).map_err(wrong),
            MetadataRecord::Unknown(_) => {
                self.has_unknown = true;
                Ok(())
            }
            MetadataRecord::NoOp(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => Ok(()),
            MetadataRecord::RegisterController(_)
            | MetadataRecord::ClientQuota(_)
            | MetadataRecord::AccessControlEntry(_)
            | MetadataRecord::RemoveAccessControlEntry(_)
            | MetadataRecord::UserScramCredential(_)
            | MetadataRecord::RemoveUserScramCredential(_)
            | MetadataRecord::DelegationToken(_)
            | MetadataRecord::RemoveDelegationToken(_)
            | MetadataRecord::ZkMigrationState(_) => {
                self.apply_carried(record);
                Ok(())
            }
        }
    }

    fn apply_topic(&mut self, record: &TopicRecord) -> Result<(), String> {
        let name: Arc<str> = Arc::from(&*record.name);
        if let Some(known) = self.topics.get(&name) {
            return Err(format!("topic {name} is there already, with id {}", known.id));
        }
        if let Some(known) = self.topic_names.get(&record.topic_id) {
            return Err(format!("topic {known} has the id {} already", record.topic_id));
        }
        if let Some(key) = topic_name::collision_key(&name) {
            self.colliding.entry(Arc::from(&*key)).or_default().push(Arc::clone(&name));
        }
        self.topic_names.insert(record.topic_id, Arc::clone(&name));
        let topic = TopicImage { name: Arc::clone(&name), id: record.topic_id, partitions: Vec::new() };
        self.topics.insert(name, Arc::new(topic));
        Ok(())
    }

    fn apply_partition(&mut self, record: &PartitionRecord) -> Result<(), String> {
        let index = usize::try_from(record.partition_id).ok().filter(|&index| index < PARTITIONS_PER_TOPIC_MAX);
        let Some(index) = index else { return Err(format!("there is no partition {}", record.partition_id)) };
        if record.partition_epoch < 0 || record.leader_epoch < 0 {
            return Err(format!("partition {index} has no epoch"));
        }
        let topic = self.topic_mut(record.topic_id)?;
        while topic.partitions.len() <= index {
            topic.partitions.push(PartitionImage::hole());
        }
        let slot = topic.partitions.get_mut(index).ok_or("no room")?;
        let is_new = slot.is_hole();
        *slot = PartitionImage::of_record(record);
        self.partition_count += usize::from(is_new);
        Ok(())
    }

    fn apply_partition_change(&mut self, record: &PartitionChangeRecord) -> Result<(), String> {
        let topic = self.topic_mut(record.topic_id)?;
        let index = usize::try_from(record.partition_id).ok();
        let partition = index.and_then(|index| topic.partitions.get_mut(index)).filter(|known| !known.is_hole());
        match partition {
            Some(partition) => {
                partition.change(record);
                Ok(())
            }
            None => Err(format!("topic {} has no partition {}", topic.name, record.partition_id)),
        }
    }

    fn apply_remove_topic(&mut self, id: TopicId) -> Result<(), String> {
        let name = self.topic_names.remove(&id).ok_or_else(|| format!("no topic has the id {id}"))?;
        if let Some(topic) = self.topics.remove(&name) {
            self.partition_count -= topic.partitions.iter().filter(|partition| !partition.is_hole()).count();
        }
        self.topic_configs.remove(&name);
        if let Some(key) = topic_name::collision_key(&name)
            && let Some(names) = self.colliding.get_mut(&*key)
        {
            names.retain(|known| *known != name);
            if names.is_empty() {
                self.colliding.remove(&*key);
            }
        }
        Ok(())
    }

    fn apply_clear_elr(&mut self, record: &ClearElrRecord) -> Result<(), String> {
        let names: Vec<Arc<str>> = if record.topic_name.is_empty() {
            self.topics.keys().cloned().collect()
        } else {
            let known = self.topics.get_key_value(&*record.topic_name).map(|(name, _)| Arc::clone(name));
            vec![known.ok_or_else(|| format!("there is no topic {}", &*record.topic_name))?]
        };
        for name in names {
            let has_elr =
                |partition: &PartitionImage| !partition.elr.is_empty() || !partition.last_known_elr.is_empty();
            let Some(topic) = self.topics.get_mut(&name).filter(|topic| topic.partitions.iter().any(has_elr)) else {
                continue;
            };
            for partition in &mut Arc::make_mut(topic).partitions {
                // No rise of the partition epoch: Kafka's `TopicDelta` has none either.
                partition.elr.clear();
                partition.last_known_elr.clear();
            }
        }
        Ok(())
    }

    fn apply_config(&mut self, record: &ConfigRecord) {
        let resource_type = ResourceType(record.resource_type);
        let name: Arc<str> = Arc::from(&*record.resource_name);
        if resource_type == ResourceType::TOPIC {
            let map = self.topic_configs.entry(Arc::clone(&name)).or_default();
            if set_config(Arc::make_mut(map), record) {
                self.topic_configs.remove(&name);
            }
        } else {
            let key = (resource_type, name);
            let map = self.configs.entry(key.clone()).or_default();
            if set_config(Arc::make_mut(map), record) {
                self.configs.remove(&key);
            }
        }
    }

    fn apply_feature(&mut self, record: &FeatureLevelRecord) {
        let features = Arc::make_mut(&mut self.features);
        if record.feature_level == 0 {
            features.remove(&*record.name);
        } else {
            features.insert(Arc::from(&*record.name), record.feature_level);
        }
    }

    fn apply_broker_change(&mut self, record: &BrokerRegistrationChangeRecord) -> Result<(), String> {
        let broker = self.broker_mut(record.broker_id, record.broker_epoch)?;
        match record.fenced {
            0 => {}
            -1 => broker.fenced = false,
            1 => broker.fenced = true,
            other => return Err(format!("{other} is no change of fencing")),
        }
        if record.in_controlled_shutdown == 1 {
            broker.in_controlled_shutdown = true;
        }
        if !record.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&record.log_dirs);
        }
        if record.cordoned_log_dirs.is_some() {
            broker.cordoned_log_dirs.clone_from(&record.cordoned_log_dirs);
        }
        Ok(())
    }

    fn apply_carried(&mut self, record: &MetadataRecord) {
        let (key, stays) = match record {
            MetadataRecord::RegisterController(of) => (CarriedKey::Controller(of.controller_id), true),
            MetadataRecord::ClientQuota(of) => (quota_key(of), !of.remove),
            MetadataRecord::AccessControlEntry(of) => (CarriedKey::AccessControlEntry(of.id), true),
            MetadataRecord::RemoveAccessControlEntry(of) => (CarriedKey::AccessControlEntry(of.id), false),
            MetadataRecord::UserScramCredential(of) => {
                (CarriedKey::UserScramCredential(of.name.to_string(), of.mechanism), true)
            }
            MetadataRecord::RemoveUserScramCredential(of) => {
                (CarriedKey::UserScramCredential(of.name.to_string(), of.mechanism), false)
            }
            MetadataRecord::DelegationToken(of) => (CarriedKey::DelegationToken(of.token_id.to_string()), true),
            MetadataRecord::RemoveDelegationToken(of) => (CarriedKey::DelegationToken(of.token_id.to_string()), false),
            _ => (CarriedKey::ZkMigrationState, true),
        };
        if stays {
            self.carried.insert(key, Arc::new(record.clone()));
        } else {
            self.carried.remove(&key);
        }
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, String> {
        let name = self.topic_names.get(&id);
        let topic = name.and_then(|name| self.topics.get_mut(name));
        topic.map(Arc::make_mut).ok_or_else(|| format!("no topic has the id {id}"))
    }

    fn broker_mut(&mut self, id: i32, epoch: i64) -> Result<&mut RegisterBrokerRecord, String> {
        match self.brokers.get_mut(&id) {
            None => Err(format!("broker {id} is not registered")),
            Some(broker) if broker.broker_epoch != epoch => {
                Err(format!("broker {id} has epoch {}, not {epoch}", broker.broker_epoch))
            }
            Some(broker) => Ok(Arc::make_mut(broker)),
        }
    }

    /// A topic that a partition of is still missing, when all records are applied.
    pub(super) fn incomplete_topic(&self) -> Option<&Arc<TopicImage>> {
        self.topics().find(|topic| topic.partitions.iter().any(PartitionImage::is_hole))
    }
}

/// Takes one value over; answers whether nothing is left.
fn set_config(map: &mut ConfigMap, record: &ConfigRecord) -> bool {
    match &record.value {
        Some(value) => map.insert(Arc::from(&*record.name), Arc::from(&**value)),
        None => map.remove(&*record.name),
    };
    map.is_empty()
}

fn quota_key(record: &ClientQuotaRecord) -> CarriedKey {
    let part = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    let mut entity: Vec<_> = record.entity.iter().map(|of| part(&of.entity_type, of.entity_name.as_deref())).collect();
    entity.sort();
    CarriedKey::ClientQuota(entity, record.key.to_string())
}
