//! ApiVersions (18), versions 0 to 4.
//!
//! A request of a newer version is answered UNSUPPORTED_VERSION in a version 0 body that names this
//! API's own range, so that the client can ask again (KIP-511). Below version 4, supported features
//! whose minimum is 0 are left out, since older clients cannot decode them (KAFKA-17492).

use crate::catalog::features::{self, CATALOG_FEATURES};
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use super::table;
use super::{Context, Outcome};

pub async fn handle(context: Context, request: ApiVersionsRequest) -> Outcome<ApiVersionsResponse> {
    if context.version >= 3
        && !(valid_name(&request.client_software_name) && valid_name(&request.client_software_version))
    {
        return Outcome::Answer(ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..Default::default()
        });
    }
    let view = context.api.shard.view();
    let supported = CATALOG_FEATURES
        .iter()
        .filter(|feature| context.version >= 4 || feature.min > 0)
        .map(|feature| SupportedFeatureKey {
            name: Str::from(feature.name),
            min_version: feature.min,
            max_version: feature.max,
        })
        .collect();
    let finalized = view
        .image
        .features()
        .filter_map(|(name, level)| Some((name, features::finalized(&CATALOG_FEATURES, name, level)?)))
        .map(|(name, level)| FinalizedFeatureKey {
            name: Str::from(name),
            max_version_level: level,
            min_version_level: level,
        })
        .collect();
    Outcome::Answer(ApiVersionsResponse {
        api_keys: table::advertised().collect(),
        supported_features: supported,
        finalized_features_epoch: view.image.position().end_offset.0 - 1,
        finalized_features: finalized,
        ..Default::default()
    })
}

/// The answer to an ApiVersions request that is newer than ours, to be written at version 0.
pub fn unsupported_version() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }],
        ..Default::default()
    }
}

/// `ApiVersionsRequest.SOFTWARE_NAME_VERSION_PATTERN`: letters and digits at both ends, dots and
/// dashes between.
fn valid_name(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    ends(name.bytes().next())
        && ends(name.bytes().last())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}
