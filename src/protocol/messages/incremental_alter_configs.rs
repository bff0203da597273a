//! IncrementalAlterConfigs (key 44): changes single configuration keys (KIP-339). Version 1 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request IncrementalAlterConfigsRequest(IncrementalAlterConfigs) [0-1], flexible [1+],
        answer IncrementalAlterConfigsResponse {
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
        /// 0: set; 1: delete; 2: append; 3: subtract.
        config_operation: i8 [0+];
        value: Option<Str> [0+];
    }

    response IncrementalAlterConfigsResponse(IncrementalAlterConfigs) [0-1], flexible [1+] {
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
