//! IncrementalAlterConfigs (44), versions 0 and 1 (KIP-339): single keys of TOPIC, BROKER and GROUP resources are set,
//! deleted, appended to and subtracted from.
//!
//! What is answered without an error is durable, and every partition goes by it. The rest is as in AlterConfigs.

use crate::catalog::commands::ConfigOp;
use crate::catalog::{CommandError, ResourceType};
use crate::error_code::ErrorCode;
use crate::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::shard::controller::{Alteration, ResourceToAlter};

use super::alter_configs::{alter, owned, stored_name};
use super::{Context, Outcome};

pub async fn handle(
    context: Context,
    request: IncrementalAlterConfigsRequest,
) -> Outcome<IncrementalAlterConfigsResponse> {
    let resources = request.resources.iter().map(|resource| wanted(&context, resource)).collect();
    let rows = match alter(&context, resources, request.validate_only).await {
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
    Outcome::Answer(IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

fn wanted(context: &Context, resource: &AlterConfigsResource) -> Result<ResourceToAlter, CommandError> {
    let changes = resource.configs.iter().map(|config| {
        let op = ConfigOp::from_code(config.config_operation).ok_or_else(|| {
            let message = format!("Unknown operations type {}", config.config_operation);
            CommandError::new(ErrorCode::InvalidRequest, message)
        })?;
        Ok((config.name.to_string(), op, owned(config.value.as_ref())))
    });
    Ok(ResourceToAlter {
        resource_type: ResourceType(resource.resource_type),
        name: stored_name(context, resource.resource_type, &resource.resource_name),
        alteration: Alteration::Change(changes.collect::<Result<_, CommandError>>()?),
    })
}
