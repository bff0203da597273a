//! CreateTopics (`ReplicationControlManager.createTopics`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alter_configs::{check_resolved, check_topic_value, config_record};
use super::placing::{
    ManualAssignment, PARTITIONS_PER_REQUEST_MAX, PlacingRules, check_assignment, new_partition, replication_factor,
};
use crate::catalog::CommandError;
use crate::catalog::image::{CatalogImage, ConfigMap, ResourceType};
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::TopicRecord;
use crate::catalog::topic_name::{self, CLUSTER_METADATA};
use crate::config::Settings;
use crate::error_code::ErrorCode;
use crate::types::TopicId;

/// A topic as a client wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    /// -1 is the broker's default, or as many as there are assignments.
    pub num_partitions: i32,
    /// -1 is the broker's default.
    pub replication_factor: i16,
    /// Empty: the broker places the replicas.
    pub assignments: Vec<ManualAssignment>,
    pub configs: Vec<(&'a str, Option<&'a str>)>,
}

/// A topic as it will be.
#[derive(Clone, PartialEq, Debug)]
pub struct CreatedTopic {
    pub name: Arc<str>,
    pub id: TopicId,
    pub num_partitions: i32,
    pub replication_factor: i16,
    /// The topic's own values, in their canonical text.
    pub configs: ConfigMap,
    /// Something that is not as it was asked for: for the log, since the answer has no place for it.
    pub warning: Option<String>,
    pub records: Vec<MetadataRecord>,
}

/// Checks each topic, and makes the records of those that can be: TopicRecord, ConfigRecords, PartitionRecords.
/// Answers each name once, in the order of the request. `new_id` gives the ids.
pub fn create_topics(
    image: &CatalogImage,
    settings: &Settings,
    rules: PlacingRules,
    topics: &[NewTopic<'_>],
    mut new_id: impl FnMut() -> TopicId,
) -> Vec<(Arc<str>, Result<CreatedTopic, CommandError>)> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in topics {
        *times.entry(topic.name).or_default() += 1;
    }
    // Later topics of a request meet the earlier ones.
    let mut image = image.clone();
    let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
    let mut answers = Vec::with_capacity(topics.len());
    for topic in topics {
        let Some(count) = times.remove(topic.name) else { continue };
        let result = if count > 1 {
            Err(CommandError::new(ErrorCode::InvalidRequest, "Duplicate topic name."))
        } else {
            create_topic(&image, settings, rules, topic, partitions_left, &mut new_id)
        };
        if let Ok(created) = &result {
            partitions_left -= i64::from(created.num_partitions);
            for record in &created.records {
                image.apply(record).expect("records of a checked topic fit the image they were made from");
            }
        }
        answers.push((Arc::from(topic.name), result));
    }
    answers
}

fn create_topic(
    image: &CatalogImage,
    settings: &Settings,
    rules: PlacingRules,
    topic: &NewTopic<'_>,
    partitions_left: i64,
    new_id: &mut impl FnMut() -> TopicId,
) -> Result<CreatedTopic, CommandError> {
    check_name(image, topic.name)?;
    let configs = check_configs(settings, topic)?;
    let (num_partitions, warning) = count_partitions(image, rules, topic)?;
    if i64::from(num_partitions) > partitions_left {
        return Err(CommandError::new(
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    let mut id = new_id();
    while image.topic_by_id(id).is_some() {
        id = new_id();
    }
    let mut records: Vec<MetadataRecord> = Vec::with_capacity(1 + configs.len() + num_partitions as usize);
    records.push(TopicRecord { name: topic.name.into(), topic_id: id }.into());
    records.extend(
        configs.iter().map(|(key, value)| config_record(ResourceType::TOPIC, topic.name, key, Some(value)).into()),
    );
    records.extend((0..num_partitions).map(|index| new_partition(image, id, index).into()));
    Ok(CreatedTopic {
        name: Arc::from(topic.name),
        id,
        num_partitions,
        replication_factor: 1,
        configs,
        warning,
        records,
    })
}

fn check_name(image: &CatalogImage, name: &str) -> Result<(), CommandError> {
    if name == CLUSTER_METADATA {
        return Err(CommandError::new(
            ErrorCode::InvalidRequest,
            format!("Creation of internal topic {CLUSTER_METADATA} is prohibited."),
        ));
    }
    topic_name::check(name).map_err(|message| CommandError::new(ErrorCode::InvalidTopicException, message))?;
    if image.topic(name).is_some() {
        return Err(CommandError::new(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
    }
    if let Some(other) = image.collision(name) {
        return Err(CommandError::new(
            ErrorCode::InvalidTopicException,
            format!("Topic '{name}' collides with existing topic: {other}"),
        ));
    }
    Ok(())
}

fn check_configs(settings: &Settings, topic: &NewTopic<'_>) -> Result<ConfigMap, CommandError> {
    let mut configs = ConfigMap::new();
    for &(key, value) in &topic.configs {
        let Some(value) = value else {
            let message = format!("Null value not supported for topic configs: {key}");
            return Err(CommandError::new(ErrorCode::InvalidConfig, message));
        };
        configs.insert(Arc::from(key), Arc::from(check_topic_value(key, value)?));
    }
    check_resolved(settings, &configs)?;
    Ok(configs)
}

/// How many partitions the topic gets, and a warning if its replication factor is not the one asked for.
fn count_partitions(
    image: &CatalogImage,
    rules: PlacingRules,
    topic: &NewTopic<'_>,
) -> Result<(i32, Option<String>), CommandError> {
    if topic.assignments.is_empty() {
        let warning = replication_factor(topic.replication_factor, rules)?;
        return match topic.num_partitions {
            -1 => Ok((rules.default_partitions.max(1), warning)),
            1.. => Ok((topic.num_partitions, warning)),
            _ => Err(CommandError::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            )),
        };
    }
    let both = |what| {
        let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(CommandError::new(ErrorCode::InvalidRequest, message))
    };
    if topic.replication_factor != -1 {
        return both("replication factor");
    }
    if topic.num_partitions != -1 {
        return both("numPartitions");
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|assignment| assignment.partition).collect();
    indexes.sort_unstable();
    if indexes.windows(2).any(|pair| pair.first() == pair.get(1)) {
        return Err(CommandError::new(
            ErrorCode::InvalidReplicaAssignment,
            "Found multiple manual partition assignments for the same partition.",
        ));
    }
    if !indexes.iter().copied().eq(0..indexes.len() as i32) {
        return Err(CommandError::new(
            ErrorCode::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        ));
    }
    for assignment in &topic.assignments {
        check_assignment(image, &assignment.broker_ids)?;
    }
    Ok((topic.assignments.len() as i32, None))
}
