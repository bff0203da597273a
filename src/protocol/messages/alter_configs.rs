//! AlterConfigs (key 33): replaces the whole configuration of a resource. Version 2 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request AlterConfigsRequest(AlterConfigs) [0-2], flexible [2+], answer AlterConfigsResponse {
        resources: Vec<AlterConfigsResource> [0+];
        validate_only: bool [0+];
    }

    struct AlterConfigsResource {
        resource_type: i8 [0+];
        resource_name: Str [0+];
        configs: Vec<AlterableConfig> [0+];
    }

    struct AlterableConfig {
        name: Str [0+];
        value: Option<Str> [0+];
    }

    response AlterConfigsResponse(AlterConfigs) [0-2], flexible [2+] {
        throttle_time_ms: i32 [0+];
        responses: Vec<AlterConfigsResourceResponse> [0+];
    }

    struct AlterConfigsResourceResponse {
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
        resource_type: i8 [0+];
        resource_name: Str [0+];
    }
}
