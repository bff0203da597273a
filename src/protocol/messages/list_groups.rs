//! ListGroups (key 16): the groups a broker coordinates.
//!
//! Version 3 is flexible, 4 filters by state (KIP-518), 5 by type (KIP-848).

use crate::protocol::{Str, messages};

messages! {
    request ListGroupsRequest(ListGroups) [0-5], flexible [3+], answer ListGroupsResponse {
        /// Empty for all.
        states_filter: Vec<Str> [4+];
        /// Empty for all.
        types_filter: Vec<Str> [5+];
    }

    response ListGroupsResponse(ListGroups) [0-5], flexible [3+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [0+];
        groups: Vec<ListedGroup> [0+];
    }

    struct ListedGroup {
        group_id: Str [0+];
        protocol_type: Str [0+];
        group_state: Str [4+ ignorable];
        group_type: Str [5+ ignorable];
    }
}
