//! FindCoordinator (key 10): which broker keeps a group or a transaction.
//!
//! Version 1 adds the type of the key, 3 is flexible, 4 asks for several (KIP-699), 6 knows share groups (KIP-932),
//! whose key is `group:topic id:partition`. Up to 3 the fields of the message count, from 4 on `coordinator_keys` and
//! `coordinators`.

use crate::protocol::{Str, messages};

messages! {
    request FindCoordinatorRequest(FindCoordinator) [0-6], flexible [3+], answer FindCoordinatorResponse {
        key: Str [0-3];
        /// 0: group; 1: transaction; 2: share group.
        key_type: i8 [1+];
        coordinator_keys: Vec<Str> [4+];
    }

    response FindCoordinatorResponse(FindCoordinator) [0-6], flexible [3+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [0-3];
        error_message: Option<Str> [1-3 ignorable];
        node_id: i32 [0-3];
        host: Str [0-3];
        port: i32 [0-3];
        coordinators: Vec<Coordinator> [4+];
    }

    struct Coordinator {
        key: Str [4+];
        node_id: i32 [4+];
        host: Str [4+];
        port: i32 [4+];
        error_code: i16 [4+];
        error_message: Option<Str> [4+ ignorable];
    }
}
