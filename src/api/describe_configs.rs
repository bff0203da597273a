//! DescribeConfigs (32), versions 1 to 4: TOPIC, BROKER, BROKER_LOGGER and GROUP resources.
//!
//! With per-core listeners a BROKER resource of any of our node ids is this broker's. A group is described whether there
//! is one of that name or not. Not done: CLIENT_METRICS resources (INVALID_REQUEST).

use std::collections::BTreeMap;

use crate::catalog::ResourceType;
use crate::config::ConfigRow;
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::{Context, Outcome};

/// `ConfigResource.Type`.
mod resource {
    pub const TOPIC: i8 = 2;
    pub const BROKER: i8 = 4;
    pub const BROKER_LOGGER: i8 = 8;
    pub const GROUP: i8 = 32;
}

pub async fn handle(context: Context, request: DescribeConfigsRequest) -> Outcome<DescribeConfigsResponse> {
    let results = request
        .resources
        .into_iter()
        .map(|wanted| {
            let rows = rows_of(&context, &wanted);
            let mut result = DescribeConfigsResult {
                resource_type: wanted.resource_type,
                resource_name: wanted.resource_name,
                ..Default::default()
            };
            match rows {
                Ok(rows) => {
                    result.configs = rows
                        .into_iter()
                        .map(|row| encode(row, request.include_synonyms, request.include_documentation))
                        .collect();
                }
                Err((code, why)) => {
                    result.error_code = code.code();
                    result.error_message = Some(Str::from(why));
                }
            }
            result
        })
        .collect();
    Outcome::Answer(DescribeConfigsResponse { results, ..Default::default() })
}

fn rows_of(context: &Context, wanted: &DescribeConfigsResource) -> Result<Vec<ConfigRow>, (ErrorCode, String)> {
    let keys: Option<Vec<&str>> =
        wanted.configuration_keys.as_ref().map(|keys| keys.iter().map(|key| &**key).collect());
    let keys = keys.as_deref();
    let view = context.api.shard.view();
    let config = view.config();
    match wanted.resource_type {
        resource::TOPIC => match view.topic(&wanted.resource_name) {
            Some(topic) => {
                let overrides: BTreeMap<String, String> = view
                    .image
                    .topic_overrides(&topic.name)
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                Ok(config.describe_topic(&overrides, keys))
            }
            None if crate::catalog::topic_name::check(&wanted.resource_name).is_err() => {
                Err((ErrorCode::InvalidTopicException, "the topic name is not valid".to_owned()))
            }
            None => Err((ErrorCode::UnknownTopicOrPartition, "there is no such topic".to_owned())),
        },
        resource::BROKER if wanted.resource_name.is_empty() => Ok(config.describe_broker_defaults(keys)),
        resource::BROKER | resource::BROKER_LOGGER => {
            let ours = wanted
                .resource_name
                .parse::<i32>()
                .is_ok_and(|id| context.brokers().iter().any(|broker| broker.node_id == id) || id == config.node_id);
            match (ours, wanted.resource_type) {
                (false, _) => Err((
                    ErrorCode::InvalidRequest,
                    format!(
                        "Unexpected broker id, expected {} but received {}",
                        config.node_id, &*wanted.resource_name
                    ),
                )),
                (true, resource::BROKER) => Ok(config.describe_broker(keys)),
                (true, _) => Ok(Vec::new()),
            }
        }
        resource::GROUP if wanted.resource_name.is_empty() => {
            Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()))
        }
        resource::GROUP => {
            let own = view.image.config(ResourceType::GROUP, &wanted.resource_name).into_iter();
            let own = own.flat_map(|map| map.iter().map(|(key, value)| (key.to_string(), value.to_string())));
            Ok(config.describe_group(&own.collect(), keys))
        }
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} are not described here"))),
    }
}

fn encode(row: ConfigRow, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: Str::from(row.name),
        value: row.value.map(Str::from),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.is_sensitive,
        synonyms: if synonyms {
            row.synonyms
                .into_iter()
                .map(|synonym| DescribeConfigsSynonym {
                    name: Str::from(synonym.name),
                    value: synonym.value.map(Str::from),
                    source: synonym.source as i8,
                })
                .collect()
        } else {
            Vec::new()
        },
        config_type: row.config_type,
        documentation: documentation.then(|| Str::from(row.documentation)),
    }
}
