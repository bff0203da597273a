//! CreatePartitions (key 37): adds partitions to topics.
//!
//! Version 2 is flexible, 3 may be throttled (KIP-599).

use crate::protocol::{Str, messages};

messages! {
    request CreatePartitionsRequest(CreatePartitions) [0-3], flexible [2+], answer CreatePartitionsResponse {
        topics: Vec<CreatePartitionsTopic> [0+];
        timeout_ms: i32 [0+];
        validate_only: bool [0+];
    }

    struct CreatePartitionsTopic {
        name: Str [0+];
        /// How many partitions the topic shall have, those it has included.
        count: i32 [0+];
        /// Null to let the broker choose.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+];
    }

    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0+];
    }

    response CreatePartitionsResponse(CreatePartitions) [0-3], flexible [2+] {
        throttle_time_ms: i32 [0+];
        results: Vec<CreatePartitionsTopicResult> [0+];
    }

    struct CreatePartitionsTopicResult {
        name: Str [0+];
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
    }
}
