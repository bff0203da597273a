//! OffsetDelete (key 47): removes committed offsets of partitions that the group is not subscribed to (KIP-496).

use crate::protocol::{Str, messages};

messages! {
    request OffsetDeleteRequest(OffsetDelete) [0-0], flexible [none], answer OffsetDeleteResponse {
        group_id: Str [0+];
        topics: Vec<OffsetDeleteRequestTopic> [0+];
    }

    struct OffsetDeleteRequestTopic {
        name: Str [0+];
        partitions: Vec<OffsetDeleteRequestPartition> [0+];
    }

    struct OffsetDeleteRequestPartition {
        partition_index: i32 [0+];
    }

    response OffsetDeleteResponse(OffsetDelete) [0-0], flexible [none] {
        error_code: i16 [0+];
        throttle_time_ms: i32 [0+ ignorable];
        topics: Vec<OffsetDeleteResponseTopic> [0+];
    }

    struct OffsetDeleteResponseTopic {
        name: Str [0+];
        partitions: Vec<OffsetDeleteResponsePartition> [0+];
    }

    struct OffsetDeleteResponsePartition {
        partition_index: i32 [0+];
        error_code: i16 [0+];
    }
}
