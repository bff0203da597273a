//! AlterConfigs (33), versions 0 to 2: the request's values become the only ones of a TOPIC, BROKER or GROUP
//! resource.
//!
//! Kafka's clients use IncrementalAlterConfigs instead (KIP-339). Of BROKER resources only keys can be set that act
//! while the broker runs. Not done: BROKER_LOGGER and CLIENT_METRICS resources (INVALID_REQUEST).

use crate::catalog::{CommandError, ResourceType};
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::alter_configs::{AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse};
use crate::shard::controller::{Alteration, Command, CommandOutcome, ResourceToAlter};

use super::{Context, Outcome};

/// A message names keys and values of the request; older versions hold 32,767 bytes of it.
const MESSAGE_BYTES_MAX: usize = 4096;

pub async fn handle(context: Context, request: AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
    let resources = request.resources.iter().map(|resource| ResourceToAlter {
        resource_type: ResourceType(resource.resource_type),
        name: stored_name(&context, resource.resource_type, &resource.resource_name),
        alteration: Alteration::Replace(
            resource.configs.iter().map(|config| (config.name.to_string(), owned(config.value.as_ref()))).collect(),
        ),
    });
    let rows = match alter(&context, resources.map(Ok).collect(), request.validate_only).await {
        Ok(rows) => rows,
        Err(why) => return Outcome::Close(why),
    };
    let responses = request.resources.into_iter().zip(rows);
    let responses = responses.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    Outcome::Answer(AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// Has the controller alter resources; those that the request itself makes impossible are left out. The code and message
/// of each, in their order, or why there is none.
pub(super) async fn alter(
    context: &Context,
    resources: Vec<Result<ResourceToAlter, CommandError>>,
    validate_only: bool,
) -> Result<Vec<(i16, Option<Str>)>, String> {
    let mut refused = Vec::with_capacity(resources.len());
    let mut wanted = Vec::with_capacity(resources.len());
    for resource in resources {
        refused.push(resource.map(|resource| wanted.push(resource)));
    }
    let command = Command::AlterConfigs { resources: wanted, validate_only };
    let CommandOutcome::ConfigsAltered(rows) = context.control(command).await else {
        return Err("the controller gave no answer to a change of configurations".to_owned());
    };
    let mut rows = rows.into_iter();
    let missing = || CommandError::new(ErrorCode::UnknownServerError, "There is no answer for this resource.");
    let all = refused.into_iter().map(|row| row.and_then(|()| rows.next().unwrap_or_else(|| Err(missing()))));
    Ok(all.map(code_and_message).collect())
}

fn code_and_message(row: Result<(), CommandError>) -> (i16, Option<Str>) {
    match row {
        Ok(()) => (ErrorCode::None.code(), None),
        Err(CommandError { code, mut message }) => {
            let mut end = MESSAGE_BYTES_MAX.min(message.len());
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
            (code.code(), Some(Str::from(message)))
        }
    }
}

/// A client names the nodes it was shown; the catalog knows one.
pub(super) fn stored_name(context: &Context, resource_type: i8, name: &str) -> String {
    match name.parse() {
        Ok(node) if ResourceType(resource_type) == ResourceType::BROKER => context.stored_node(node).to_string(),
        _ => name.to_owned(),
    }
}

pub(super) fn owned(value: Option<&Str>) -> Option<String> {
    value.map(ToString::to_string)
}
