//! IncrementalAlterConfigs and AlterConfigs (`ConfigurationControlManager`).

use std::sync::Arc;

use crate::catalog::CommandError;
use crate::catalog::features::ELIGIBLE_LEADER_REPLICAS_VERSION;
use crate::catalog::image::{CatalogImage, ConfigMap, ResourceType};
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::ConfigRecord;
use crate::catalog::topic_name;
use crate::config::keys::{Effect, Key, Kind, Scope, broker_key, group_key, items, topic_key};
use crate::config::{
    Settings, TopicConfig, check_group_bounds, check_group_config, validate_group_config, validate_topic_config,
};
use crate::error_code::ErrorCode;

/// Kafka's bound of what is stored of one value, against a list that grows with every APPEND.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

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

/// What a request makes of one resource. A value that is missing is none that can be set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigRequest<'a> {
    /// IncrementalAlterConfigs: changes of single keys.
    Change(Vec<ConfigChange<'a>>),
    /// AlterConfigs: the only values from now on.
    Replace(Vec<(&'a str, Option<&'a str>)>),
}

/// The records of one resource; what changes nothing makes none. `settings` are the broker's as they are now.
///
/// # Errors
/// As Kafka's `ConfigAdminManager` and `ControllerConfigurationValidator` give them. For a broker's keys that cannot be
/// changed while this broker runs, INVALID_REQUEST.
pub fn alter_configs(
    image: &CatalogImage,
    settings: &Settings,
    target: ConfigTarget<'_>,
    request: &ConfigRequest<'_>,
) -> Result<Vec<MetadataRecord>, CommandError> {
    check_keys(request)?;
    check_target(image, target)?;
    let before = image.config(target.resource_type, target.name).cloned().unwrap_or_default();
    let mut after = ConfigMap::new();
    match request {
        ConfigRequest::Change(changes) => {
            check_changeable(target, changes.iter().filter(|change| change.op != ConfigOp::Delete).map(|c| c.key))?;
            after.clone_from(&before);
            for change in changes {
                apply_change(settings, target, &mut after, change)?;
            }
        }
        ConfigRequest::Replace(values) => {
            check_changeable(target, values.iter().map(|(key, _)| *key))?;
            for &(key, value) in values {
                after.insert(Arc::from(key), Arc::from(check_value(target, key, value.unwrap_or_default())?));
            }
        }
    }
    check_together(image, settings, target, &before, &after)?;
    // A topic that is not there is told last, as Kafka does.
    if target.resource_type == ResourceType::TOPIC && image.topic(target.name).is_none() {
        let message = format!("The topic '{}' does not exist.", target.name);
        return Err(CommandError::new(ErrorCode::UnknownTopicOrPartition, message));
    }
    let record = |key: &str, value: Option<&str>| config_record(target.resource_type, target.name, key, value).into();
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| record(key, None));
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(value));
    Ok(gone.chain(set.map(|(key, value)| record(key, Some(value)))).collect())
}

fn invalid_request(message: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::InvalidRequest, message)
}

fn invalid_config(message: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::InvalidConfig, message)
}

/// Every key once, and with a value where one is needed.
fn check_keys(request: &ConfigRequest<'_>) -> Result<(), CommandError> {
    let (mut keys, without_value): (Vec<&str>, Vec<&str>) = match request {
        ConfigRequest::Change(changes) => (
            changes.iter().map(|change| change.key).collect(),
            changes.iter().filter(|c| c.op != ConfigOp::Delete && c.value.is_none()).map(|c| c.key).collect(),
        ),
        ConfigRequest::Replace(values) => (
            values.iter().map(|(key, _)| *key).collect(),
            values.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| *key).collect(),
        ),
    };
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    if !without_value.is_empty() {
        return Err(invalid_request(format!("Null value not supported for : {}", without_value.join(", "))));
    }
    Ok(())
}

fn check_target(image: &CatalogImage, target: ConfigTarget<'_>) -> Result<(), CommandError> {
    let name = target.name;
    match target.resource_type {
        ResourceType::TOPIC if name.is_empty() => Err(invalid_request("Default topic resources are not allowed.")),
        ResourceType::TOPIC => {
            topic_name::check(name).map_err(|error| CommandError::new(ErrorCode::InvalidTopicException, error))
        }
        ResourceType::BROKER if name.is_empty() => Ok(()),
        ResourceType::BROKER => match name.parse::<i32>() {
            Err(_) => Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
            Ok(id) if id != image.node_id() => {
                Err(invalid_request(format!("Unexpected broker id, expected {}, but received {name}", image.node_id())))
            }
            Ok(_) => Ok(()),
        },
        ResourceType::BROKER_LOGGER => Err(invalid_request("Log levels cannot be changed while the broker runs.")),
        ResourceType::CLIENT_METRICS => Err(invalid_request("Client metrics cannot be configured yet.")),
        // Whether there is such a group is not asked: it may come later, and what it is given stays when it goes.
        ResourceType::GROUP if name.is_empty() => Err(invalid_request("Default group resources are not allowed.")),
        ResourceType::GROUP => Ok(()),
        ResourceType(other) => Err(invalid_request(format!("Unknown resource type {other}"))),
    }
}

/// Of a broker's keys only those may be set whose new value acts at once.
fn check_changeable<'a>(target: ConfigTarget<'_>, keys: impl Iterator<Item = &'a str>) -> Result<(), CommandError> {
    if target.resource_type != ResourceType::BROKER {
        return Ok(());
    }
    let (mut fixed, mut reasons) = (Vec::new(), Vec::new());
    for key in keys {
        let known = broker_key(key).ok_or_else(|| invalid_config(format!("Unknown broker config name: {key}")))?;
        if known.changes_live() {
            continue;
        }
        fixed.push(key);
        let reason = match known.effect {
            Effect::Ignored(reason) | Effect::Refused(reason) => reason,
            // Kafka needs a start for these too.
            Effect::Works if known.scope == Scope::ReadOnly => continue,
            Effect::Works => "here a change takes a start",
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if fixed.is_empty() {
        return Ok(());
    }
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) };
    Err(invalid_request(format!("Cannot update these configs dynamically: [{}]{reasons}", fixed.join(", "))))
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
    let given = change.value.unwrap_or_default();
    let value = match change.op {
        ConfigOp::Append | ConfigOp::Subtract => {
            let known = known_key(target, key).filter(|known| matches!(known.kind, Kind::List | Kind::ListOf(_)));
            if known.is_none() {
                let op = change.op.name();
                return Err(invalid_config(format!("Can't {op} to key {key} because its type is not LIST.")));
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
    let broker = known_key(target, key)?.broker_key.unwrap_or(key);
    settings.get(broker).map(str::to_owned)
}

fn known_key(target: ConfigTarget<'_>, key: &str) -> Option<&'static Key> {
    match target.resource_type {
        ResourceType::TOPIC => topic_key(key),
        ResourceType::GROUP => group_key(key),
        _ => broker_key(key),
    }
}

/// The canonical text of a value.
fn check_value(target: ConfigTarget<'_>, key: &str, value: &str) -> Result<String, CommandError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(invalid_config(format!(
            "The configuration value of {key} cannot be longer than {VALUE_BYTES_MAX}"
        )));
    }
    match target.resource_type {
        ResourceType::TOPIC => return check_topic_value(key, value),
        ResourceType::GROUP => {
            return validate_group_config(key, value).map_err(|error| invalid_config(error.to_string()));
        }
        _ => {}
    }
    let known = broker_key(key).ok_or_else(|| invalid_config(format!("Unknown broker config name: {key}")))?;
    // Kafka's code for a broker's bad value, unlike a topic's (KAFKA-13609).
    known.kind.canonical(value).map_err(|expected| {
        invalid_request(format!("Invalid value {value} for configuration {key}: expected {expected}"))
    })
}

pub(super) fn check_topic_value(key: &str, value: &str) -> Result<String, CommandError> {
    validate_topic_config(key, value).map_err(|error| invalid_config(error.to_string()))
}

/// Whether a topic's values go together, and with what it inherits.
pub(super) fn check_resolved(settings: &Settings, configs: &ConfigMap) -> Result<(), CommandError> {
    if configs.is_empty() {
        return Ok(());
    }
    let overrides = configs.iter().map(|(key, value)| (&**key, &**value));
    TopicConfig::resolve(settings, overrides).map(|_| ()).map_err(|error| invalid_config(error.to_string()))
}

/// Whether what a resource has then goes together.
fn check_together(
    image: &CatalogImage,
    settings: &Settings,
    target: ConfigTarget<'_>,
    before: &ConfigMap,
    after: &ConfigMap,
) -> Result<(), CommandError> {
    let texts = after.iter().map(|(key, value)| (&**key, &**value));
    match target.resource_type {
        ResourceType::BROKER => {}
        ResourceType::GROUP => {
            return check_group_config(settings, texts).map_err(|error| invalid_config(error.to_string()));
        }
        _ => return check_resolved(settings, after),
    }
    if image.feature(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0 {
        // Kafka, when it has the directory, reckons with one number for all brokers (KIP-966).
        let (was, is) = (before.get(MIN_INSYNC_REPLICAS), after.get(MIN_INSYNC_REPLICAS));
        if target.name.is_empty() && was.is_some() && is.is_none() {
            let message = "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.";
            return Err(invalid_config(message));
        }
        if !target.name.is_empty() && was != is {
            return Err(invalid_config("Broker-level min.insync.replicas cannot be altered while ELR is enabled."));
        }
    }
    let [default, broker] = image.broker_configs().map(|layer| layer.map(|map| &**map));
    let layers = if target.name.is_empty() { [Some(after), broker] } else { [default, Some(after)] };
    let [default, broker] = layers.map(|layer| layer.into_iter().flatten().map(|(key, value)| (&**key, &**value)));
    let settings = settings.with_dynamic(default, broker);
    TopicConfig::resolve(&settings, []).map_err(|error| invalid_request(error.to_string()))?;
    check_group_bounds(&settings).map_err(|error| invalid_request(error.to_string()))
}

pub(super) fn config_record(resource_type: ResourceType, name: &str, key: &str, value: Option<&str>) -> ConfigRecord {
    ConfigRecord {
        resource_type: resource_type.0,
        resource_name: name.into(),
        name: key.into(),
        value: value.map(Into::into),
    }
}
