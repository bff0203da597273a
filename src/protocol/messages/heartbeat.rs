//! Heartbeat (key 12): a member of a classic group is still there.
//!
//! Version 3 knows static members (KIP-345), 4 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request HeartbeatRequest(Heartbeat) [0-4], flexible [4+], answer HeartbeatResponse {
        group_id: Str [0+];
        generation_id: i32 [0+];
        member_id: Str [0+];
        group_instance_id: Option<Str> [3+];
    }

    response HeartbeatResponse(Heartbeat) [0-4], flexible [4+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [0+];
    }
}
