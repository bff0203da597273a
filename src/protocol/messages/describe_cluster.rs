//! DescribeCluster (key 60): id, controller and brokers of the cluster (KIP-700).
//!
//! Flexible throughout. Version 1 tells brokers from controllers (KIP-919), 2 shows fenced brokers (KIP-1073).

use crate::protocol::{Str, messages};

messages! {
    request DescribeClusterRequest(DescribeCluster) [0-2], flexible [0+], answer DescribeClusterResponse {
        include_cluster_authorized_operations: bool [0+];
        /// 1: brokers; 2: controllers.
        endpoint_type: i8 [1+], default 1;
        include_fenced_brokers: bool [2+];
    }

    response DescribeClusterResponse(DescribeCluster) [0-2], flexible [0+] {
        throttle_time_ms: i32 [0+];
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
        endpoint_type: i8 [1+], default 1;
        cluster_id: Str [0+];
        controller_id: i32 [0+], default -1;
        brokers: Vec<DescribeClusterBroker> [0+];
        /// A bit per operation; `i32::MIN` when not asked for.
        cluster_authorized_operations: i32 [0+], default i32::MIN;
    }

    struct DescribeClusterBroker {
        broker_id: i32 [0+];
        host: Str [0+];
        port: i32 [0+];
        rack: Option<Str> [0+];
        is_fenced: bool [2+];
    }
}
