//! DescribeGroups (key 15): members and assignments of classic groups.
//!
//! Version 3 adds authorized operations (KIP-430), 4 static members (KIP-345), 5 is flexible, 6 answers
//! GROUP_ID_NOT_FOUND (KIP-1043).

use bytes::Bytes;

use crate::protocol::{Str, messages};

messages! {
    request DescribeGroupsRequest(DescribeGroups) [0-6], flexible [5+], answer DescribeGroupsResponse {
        groups: Vec<Str> [0+];
        include_authorized_operations: bool [3+];
    }

    response DescribeGroupsResponse(DescribeGroups) [0-6], flexible [5+] {
        throttle_time_ms: i32 [1+ ignorable];
        groups: Vec<DescribedGroup> [0+];
    }

    struct DescribedGroup {
        error_code: i16 [0+];
        error_message: Option<Str> [6+];
        group_id: Str [0+];
        group_state: Str [0+];
        protocol_type: Str [0+];
        protocol_data: Str [0+];
        members: Vec<DescribedGroupMember> [0+];
        /// A bit per operation; `i32::MIN` when not asked for.
        authorized_operations: i32 [3+], default i32::MIN;
    }

    struct DescribedGroupMember {
        member_id: Str [0+];
        group_instance_id: Option<Str> [4+ ignorable];
        client_id: Str [0+];
        client_host: Str [0+];
        member_metadata: Bytes [0+];
        member_assignment: Bytes [0+];
    }
}
