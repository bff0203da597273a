//! ApiVersions (key 18): which APIs and versions the broker speaks, and its features.
//!
//! Version 3 is flexible and tells who the client is (KIP-511), with features in the answer (KIP-584); from 4 on
//! supported features may begin at 0 (KAFKA-17011). The answer's header stays at version 0, and a request of an unknown
//! version is answered in version 0 with UNSUPPORTED_VERSION.

use crate::protocol::{Str, messages};

messages! {
    request ApiVersionsRequest(ApiVersions) [0-4], flexible [3+], answer ApiVersionsResponse {
        client_software_name: Str [3+ ignorable];
        client_software_version: Str [3+ ignorable];
    }

    response ApiVersionsResponse(ApiVersions) [0-4], flexible [3+] {
        error_code: i16 [0+];
        api_keys: Vec<ApiVersion> [0+];
        throttle_time_ms: i32 [1+ ignorable];
        supported_features: Vec<SupportedFeatureKey> [3+ ignorable], tag 0;
        /// -1 when unknown.
        finalized_features_epoch: i64 [3+ ignorable], tag 1, default -1;
        finalized_features: Vec<FinalizedFeatureKey> [3+ ignorable], tag 2;
        zk_migration_ready: bool [3+ ignorable], tag 3;
    }

    struct ApiVersion {
        api_key: i16 [0+];
        min_version: i16 [0+];
        max_version: i16 [0+];
    }

    struct SupportedFeatureKey {
        name: Str [3+];
        min_version: i16 [3+];
        max_version: i16 [3+];
    }

    struct FinalizedFeatureKey {
        name: Str [3+];
        max_version_level: i16 [3+];
        min_version_level: i16 [3+];
    }
}
