//! ListConfigResources (key 74): the resources that have configurations of their own.
//!
//! Version 0 lists client metrics alone (KIP-1000), 1 names the types asked for (KIP-1142).

use crate::protocol::{Str, messages};

messages! {
    request ListConfigResourcesRequest(ListConfigResources) [0-1], flexible [0+], answer ListConfigResourcesResponse {
        /// Empty for all.
        resource_types: Vec<i8> [1+];
    }

    response ListConfigResourcesResponse(ListConfigResources) [0-1], flexible [0+] {
        throttle_time_ms: i32 [0+];
        error_code: i16 [0+];
        config_resources: Vec<ConfigResource> [0+];
    }

    struct ConfigResource {
        resource_name: Str [0+];
        /// 16 is CLIENT_METRICS.
        resource_type: i8 [1+ ignorable], default 16;
    }
}
