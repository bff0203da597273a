//! IncrementalAlterConfigs and AlterConfigs (`ConfigurationControlManager`).

use std::sync::Arc;

use crate::catalog::CommandError;
use crate::catalog::image::{CatalogImage, ConfigMap, ResourceType};
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::ConfigRecord;
use crate::config::keys::{Key, Kind, Scope, broker_key, items, topic_key};
use crate::config::{Settings, TopicConfig, validate_topic_config};
use crate::error_code::ErrorCode;

/// Kafka's bound of what is stored of one value, against a list that grows with every APPEND.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// What a configuration belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigTarget<'a> {
    pub resource_type: ResourceType,
    /// Of a broker: its id as stored (`node.id`), or empty for all brokers.
    pub name: &'a str,
}

/// `AlterConfigOp.OpType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigOp {
    Set,
    Delete,
    /// Of a list: the items that are not in it yet.
    Append,
    Subtract,
}

impl ConfigOp {
    pub fn from_code(code: i8) -> Option<ConfigOp> {
        Some(match code {
            0 => ConfigOp::Set,
            1 => ConfigOp::Delete,
            2 => ConfigOp::Append,
            3 => ConfigOp::Subtract,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            ConfigOp::Set => "SET",
            ConfigOp::Delete => "DELETE",
            ConfigOp::Append => "APPEND",
            ConfigOp::Subtract => "SUBTRACT",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigChange<'a> {
    pub key: &'a str,
    pub op: ConfigOp,
    pub value: Option<&'a str>,
}

/// The records of changes to single keys; those that change nothing make none.
pub fn alter_configs(
    image: &CatalogImage,
    settings: &Settings,
    target: ConfigTarget<'_>,
    changes: &[ConfigChange<'_>],
) -> Result<Vec<MetadataRecord>, CommandError> {
    check_target(image, target)?;
    let before = image.config(target.resource_type, target.name).cloned().unwrap_or_default();
    let mut after = ConfigMap::clone(&before);
    for (i, change) in changes.iter().enumerate() {
        if changes.iter().take(i).any(|earlier| earlier.key == change.key) {
            let message = format!("Error due to duplicate config keys: {}", change.key);
            return Err(CommandError::new(ErrorCode::InvalidRequest, message));
        }
        apply_change(settings, target, &mut after, change)?;
    }
    finish(settings, target, &before, &after)
}

/// The records that make these the only values of a resource.
pub fn replace_configs(
    image: &CatalogImage,
    settings: &Settings,
    target: ConfigTarget<'_>,
    values: &[(&str, Option<&str>)],
) -> Result<Vec<MetadataRecord>, CommandError> {
    check_target(image, target)?;
    let before = image.config(target.resource_type, target.name).cloned().unwrap_or_default();
    let mut after = ConfigMap::new();
    for &(key, value) in values {
        if let Some(value) = value {
            after.insert(Arc::from(key), Arc::from(check_value(target, key, value)?));
        }
    }
    finish(settings, target, &before, &after)
}

fn check_target(image: &CatalogImage, target: ConfigTarget<'_>) -> Result<(), CommandError> {
    match target.resource_type {
        ResourceType::TOPIC if image.topic(target.name).is_none() => Err(CommandError::new(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{}' does not exist.", target.name),
        )),
        ResourceType::BROKER if !target.name.is_empty() && target.name != image.node_id().to_string() => {
            Err(CommandError::new(ErrorCode::InvalidRequest, format!("Node id {} is not this broker's.", target.name)))
        }
        ResourceType::CLIENT_METRICS | ResourceType::GROUP if target.name.is_empty() => {
            Err(CommandError::new(ErrorCode::InvalidRequest, "Default resources are not allowed here."))
        }
        ResourceType::TOPIC | ResourceType::BROKER | ResourceType::CLIENT_METRICS | ResourceType::GROUP => Ok(()),
        ResourceType(other) => {
            Err(CommandError::new(ErrorCode::InvalidRequest, format!("Unexpected resource type {other}.")))
        }
    }
}

fn apply_change(
    settings: &Settings,
    target: ConfigTarget<'_>,
    after: &mut ConfigMap,
    change: &ConfigChange<'_>,
) -> Result<(), CommandError> {
    let key = change.key;
    if change.op == ConfigOp::Delete {
        after.remove(key);
        return Ok(());
    }
    let given = change.value.ok_or_else(|| {
        let message = format!("Null value not supported for {} of configuration {key}", change.op.name());
        CommandError::new(ErrorCode::InvalidRequest, message)
    })?;
    let value = match change.op {
        ConfigOp::Append | ConfigOp::Subtract => {
            let known = known_key(target, key).filter(|known| matches!(known.kind, Kind::List | Kind::ListOf(_)));
            if known.is_none() {
                return Err(CommandError::new(
                    ErrorCode::InvalidConfig,
                    format!("Can't {} to key {key} because its type is not LIST.", change.op.name()),
                ));
            }
            // A list that is not set begins with what is inherited.
            let present = after.get(key).map(ToString::to_string).or_else(|| inherited(settings, target, key));
            edit_list(present.as_deref().unwrap_or_default(), change.op, given)
        }
        _ => given.to_owned(),
    };
    let value = check_value(target, key, &value)?;
    after.insert(Arc::from(key), Arc::from(value));
    Ok(())
}

fn edit_list(present: &str, op: ConfigOp, given: &str) -> String {
    let mut list: Vec<&str> = items(present).collect();
    for item in items(given) {
        if op == ConfigOp::Subtract {
            list.retain(|known| *known != item);
        } else if !list.contains(&item) {
            list.push(item);
        }
    }
    list.join(",")
}

fn inherited(settings: &Settings, target: ConfigTarget<'_>, key: &str) -> Option<String> {
    let broker = match target.resource_type {
        ResourceType::TOPIC => topic_key(key)?.broker_key.unwrap_or(key),
        _ => key,
    };
    settings.get(broker).map(str::to_owned)
}

fn known_key(target: ConfigTarget<'_>, key: &str) -> Option<&'static Key> {
    if target.resource_type == ResourceType::TOPIC { topic_key(key) } else { broker_key(key) }
}

/// The canonical text of a value.
fn check_value(target: ConfigTarget<'_>, key: &str, value: &str) -> Result<String, CommandError> {
    let invalid = |message: String| CommandError::new(ErrorCode::InvalidConfig, message);
    if value.len() > VALUE_BYTES_MAX {
        return Err(invalid(format!("The configuration value of {key} cannot be longer than {VALUE_BYTES_MAX}")));
    }
    match target.resource_type {
        ResourceType::TOPIC => check_topic_value(key, value),
        ResourceType::BROKER => {
            let known = broker_key(key).ok_or_else(|| invalid(format!("Unknown broker config name: {key}")))?;
            let scope_ok = match known.scope {
                Scope::ReadOnly => false,
                Scope::PerBroker => true,
                Scope::ClusterWide => target.name.is_empty(),
            };
            if !scope_ok {
                let what = if known.scope == Scope::ReadOnly { "dynamically" } else { "at broker level" };
                return Err(CommandError::new(
                    ErrorCode::InvalidRequest,
                    format!("Cannot update these configs {what}: [{key}]"),
                ));
            }
            known.kind.canonical(value).map_err(|expected| {
                invalid(format!("Invalid value {value} for configuration {key}: expected {expected}"))
            })
        }
        // Kept for Kafka and for later: their keys are not known here.
        _ => Ok(value.to_owned()),
    }
}

pub(super) fn check_topic_value(key: &str, value: &str) -> Result<String, CommandError> {
    validate_topic_config(key, value).map_err(|error| CommandError::new(ErrorCode::InvalidConfig, error.to_string()))
}

/// Whether a topic's values go together, and with what it inherits.
pub(super) fn check_resolved(settings: &Settings, configs: &ConfigMap) -> Result<(), CommandError> {
    if configs.is_empty() {
        return Ok(());
    }
    let overrides = configs.iter().map(|(key, value)| (&**key, &**value));
    TopicConfig::resolve(settings, overrides)
        .map(|_| ())
        .map_err(|error| CommandError::new(ErrorCode::InvalidConfig, error.to_string()))
}

fn finish(
    settings: &Settings,
    target: ConfigTarget<'_>,
    before: &ConfigMap,
    after: &ConfigMap,
) -> Result<Vec<MetadataRecord>, CommandError> {
    if target.resource_type == ResourceType::TOPIC {
        check_resolved(settings, after)?;
    }
    let record = |key: &str, value: Option<&str>| config_record(target.resource_type, target.name, key, value).into();
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| record(key, None));
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    Ok(gone.chain(set.map(|(key, value)| record(key, Some(value)))).collect())
}

pub(super) fn config_record(resource_type: ResourceType, name: &str, key: &str, value: Option<&str>) -> ConfigRecord {
    ConfigRecord {
        resource_type: resource_type.0,
        resource_name: name.into(),
        name: key.into(),
        value: value.map(Into::into),
    }
}
