//! DescribeCluster (60), versions 0 to 2.

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};

use super::{Context, Outcome};

/// `EndpointType.BROKER`; 2 asks for controllers, which a broker's listener does not answer for.
const BROKERS: i8 = 1;

pub async fn handle(context: Context, request: DescribeClusterRequest) -> Outcome<DescribeClusterResponse> {
    if context.version >= 1 && request.endpoint_type != BROKERS {
        let (code, message) = if request.endpoint_type == 2 {
            (ErrorCode::MismatchedEndpointType, "this listener is a broker's; it does not describe controllers")
        } else {
            (ErrorCode::UnsupportedEndpointType, "the endpoint type is neither 1 (brokers) nor 2 (controllers)")
        };
        return Outcome::Answer(DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(Str::from(message)),
            ..Default::default()
        });
    }
    let view = context.api.shard.view();
    let brokers = context
        .brokers()
        .into_iter()
        .map(|broker| DescribeClusterBroker {
            broker_id: broker.node_id,
            host: Str::from(broker.host),
            port: i32::from(broker.port),
            rack: context.api.config().rack.as_deref().map(Str::from),
            ..Default::default()
        })
        .collect();
    Outcome::Answer(DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Str::from(&**view.image.cluster_id()),
        controller_id: context.api.config().node_id,
        brokers,
        cluster_authorized_operations: i32::MIN,
        ..Default::default()
    })
}
