//! DeleteGroups (key 42): removes empty groups with their offsets.
//!
//! Version 2 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request DeleteGroupsRequest(DeleteGroups) [0-2], flexible [2+], answer DeleteGroupsResponse {
        groups_names: Vec<Str> [0+];
    }

    response DeleteGroupsResponse(DeleteGroups) [0-2], flexible [2+] {
        throttle_time_ms: i32 [0+];
        results: Vec<DeletableGroupResult> [0+];
    }

    struct DeletableGroupResult {
        group_id: Str [0+];
        error_code: i16 [0+];
    }
}
