//! SyncGroup (key 14): the leader of a classic group hands in the assignment, each member gets its part.
//!
//! Version 3 knows static members (KIP-345), 4 is flexible, 5 names protocol type and name (KIP-559).

use bytes::Bytes;

use crate::protocol::{Str, messages};

messages! {
    request SyncGroupRequest(SyncGroup) [0-5], flexible [4+], answer SyncGroupResponse {
        group_id: Str [0+];
        generation_id: i32 [0+];
        member_id: Str [0+];
        group_instance_id: Option<Str> [3+];
        protocol_type: Option<Str> [5+ ignorable];
        protocol_name: Option<Str> [5+ ignorable];
        /// Of the leader's request alone.
        assignments: Vec<SyncGroupRequestAssignment> [0+];
    }

    struct SyncGroupRequestAssignment {
        member_id: Str [0+];
        assignment: Bytes [0+];
    }

    response SyncGroupResponse(SyncGroup) [0-5], flexible [4+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [0+];
        protocol_type: Option<Str> [5+ ignorable];
        protocol_name: Option<Str> [5+ ignorable];
        assignment: Bytes [0+];
    }
}
