//! ListConfigResources (74), versions 0 and 1 (KIP-1142): groups that have values of their own, brokers and topics.
//!
//! Version 0, once ListClientMetricsResources (KIP-1000), lists client metrics alone. With per-core listeners every shard
//! is a broker. Types are listed in the order of Kafka's answers.

use crate::catalog::ResourceType;
use crate::error_code::ErrorCode;
use crate::protocol::list_config_resources::ConfigResource;
use crate::protocol::{ListConfigResourcesRequest, ListConfigResourcesResponse, Str};

use super::{Context, Outcome};

const LISTED: [ResourceType; 5] = [
    ResourceType::GROUP,
    ResourceType::CLIENT_METRICS,
    ResourceType::BROKER_LOGGER,
    ResourceType::BROKER,
    ResourceType::TOPIC,
];

pub async fn handle(context: Context, request: ListConfigResourcesRequest) -> Outcome<ListConfigResourcesResponse> {
    let listed = if context.version == 0 { &[ResourceType::CLIENT_METRICS][..] } else { &LISTED[..] };
    let mut response = ListConfigResourcesResponse::default();
    if !request.resource_types.iter().all(|wanted| listed.contains(&ResourceType(*wanted))) {
        response.error_code = ErrorCode::UnsupportedVersion.code();
        return Outcome::Answer(response);
    }
    let view = context.api.shard.view();
    for &of in listed {
        if !request.resource_types.is_empty() && !request.resource_types.contains(&of.0) {
            continue;
        }
        let mut add = |name: Str| {
            response.config_resources.push(ConfigResource { resource_name: name, resource_type: of.0 });
        };
        match of {
            ResourceType::BROKER | ResourceType::BROKER_LOGGER => {
                context.brokers().iter().for_each(|broker| add(Str::from(broker.node_id.to_string())));
            }
            ResourceType::TOPIC => view.image.topics().for_each(|topic| add(Str::from(&*topic.name))),
            _ => view.image.configured(of).for_each(|name| add(Str::from(&**name))),
        }
    }
    Outcome::Answer(response)
}
