//! LeaveGroup (key 13): members leave a group, or an administrator removes them.
//!
//! Version 3 names several, static ones too (KIP-345), 4 is flexible, 5 gives reasons (KIP-800).

use crate::protocol::{Str, messages};

messages! {
    request LeaveGroupRequest(LeaveGroup) [0-5], flexible [4+], answer LeaveGroupResponse {
        group_id: Str [0+];
        member_id: Str [0-2];
        members: Vec<MemberIdentity> [3+];
    }

    struct MemberIdentity {
        member_id: Str [3+];
        group_instance_id: Option<Str> [3+];
        reason: Option<Str> [5+ ignorable];
    }

    response LeaveGroupResponse(LeaveGroup) [0-5], flexible [4+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [0+];
        members: Vec<MemberResponse> [3+];
    }

    struct MemberResponse {
        member_id: Str [3+];
        group_instance_id: Option<Str> [3+];
        error_code: i16 [3+];
    }
}
