//! JoinGroup (key 11): becomes a member of a classic group, and waits for its rebalance.
//!
//! Version 4 demands a member id that the broker gave (KIP-394), 5 knows static members (KIP-345), 6 is flexible, 7 names
//! the protocol type (KIP-559), 8 gives reasons (KIP-800), 9 lets a leader skip assigning (KIP-814).

use bytes::Bytes;

use crate::protocol::{Str, messages};

messages! {
    request JoinGroupRequest(JoinGroup) [0-9], flexible [6+], answer JoinGroupResponse {
        group_id: Str [0+];
        session_timeout_ms: i32 [0+];
        /// The session timeout stands in for it in version 0.
        rebalance_timeout_ms: i32 [1+ ignorable], default -1;
        /// Empty of one that has none yet.
        member_id: Str [0+];
        group_instance_id: Option<Str> [5+];
        protocol_type: Str [0+];
        /// In the member's order of preference.
        protocols: Vec<JoinGroupRequestProtocol> [0+];
        reason: Option<Str> [8+ ignorable];
    }

    struct JoinGroupRequestProtocol {
        name: Str [0+];
        metadata: Bytes [0+];
    }

    response JoinGroupResponse(JoinGroup) [0-9], flexible [6+] {
        throttle_time_ms: i32 [2+ ignorable];
        error_code: i16 [0+];
        generation_id: i32 [0+], default -1;
        protocol_type: Option<Str> [7+ ignorable];
        protocol_name: Option<Str> [0+], nullable [7+], default Some(Str::default());
        leader: Str [0+];
        skip_assignment: bool [9+];
        member_id: Str [0+];
        /// Of the leader's answer alone.
        members: Vec<JoinGroupResponseMember> [0+];
    }

    struct JoinGroupResponseMember {
        member_id: Str [0+];
        group_instance_id: Option<Str> [5+ ignorable];
        metadata: Bytes [0+];
    }
}
