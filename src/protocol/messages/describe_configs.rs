//! DescribeConfigs (key 32): the configuration of topics, brokers and groups.
//!
//! Version 1 has synonyms and sources (KIP-226), 3 types and documentation, 4 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request DescribeConfigsRequest(DescribeConfigs) [1-4], flexible [4+], answer DescribeConfigsResponse {
        resources: Vec<DescribeConfigsResource> [0+];
        include_synonyms: bool [1+];
        include_documentation: bool [3+];
    }

    struct DescribeConfigsResource {
        /// 2: topic; 4: broker; 8: broker logger; 16: client metrics; 32: group.
        resource_type: i8 [0+];
        resource_name: Str [0+];
        /// Null for all.
        configuration_keys: Option<Vec<Str>> [0+];
    }

    response DescribeConfigsResponse(DescribeConfigs) [1-4], flexible [4+] {
        throttle_time_ms: i32 [0+];
        results: Vec<DescribeConfigsResult> [0+];
    }

    struct DescribeConfigsResult {
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
        resource_type: i8 [0+];
        resource_name: Str [0+];
        configs: Vec<DescribeConfigsResourceResult> [0+];
    }

    struct DescribeConfigsResourceResult {
        name: Str [0+];
        value: Option<Str> [0+];
        read_only: bool [0+];
        /// 1: topic; 2: dynamic, this broker; 3: dynamic, all brokers; 4: static; 5: default; 6: logger; 7: client
        /// metrics; 8: group.
        config_source: i8 [1+ ignorable], default -1;
        is_sensitive: bool [0+];
        synonyms: Vec<DescribeConfigsSynonym> [1+ ignorable];
        /// 1: boolean; 2: string; 3: int; 4: short; 5: long; 6: double; 7: list; 8: class; 9: password.
        config_type: i8 [3+ ignorable];
        documentation: Option<Str> [3+ ignorable];
    }

    struct DescribeConfigsSynonym {
        name: Str [1+];
        value: Option<Str> [1+];
        source: i8 [1+];
    }
}
