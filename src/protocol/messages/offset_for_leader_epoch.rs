//! OffsetForLeaderEpoch (key 23): where a leader epoch ends, so that a consumer notices truncation (KIP-320).
//!
//! Version 3 adds the replica id, 4 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request OffsetForLeaderEpochRequest(OffsetForLeaderEpoch) [2-4], flexible [4+],
        answer OffsetForLeaderEpochResponse {
        /// -1 for consumers; -2, the default, for whoever may see past the high watermark.
        replica_id: i32 [3+ ignorable], default -2;
        topics: Vec<OffsetForLeaderTopic> [0+];
    }

    struct OffsetForLeaderTopic {
        topic: Str [0+];
        partitions: Vec<OffsetForLeaderPartition> [0+];
    }

    struct OffsetForLeaderPartition {
        partition: i32 [0+];
        current_leader_epoch: i32 [2+ ignorable], default -1;
        leader_epoch: i32 [0+];
    }

    response OffsetForLeaderEpochResponse(OffsetForLeaderEpoch) [2-4], flexible [4+] {
        throttle_time_ms: i32 [2+ ignorable];
        topics: Vec<OffsetForLeaderTopicResult> [0+];
    }

    struct OffsetForLeaderTopicResult {
        topic: Str [0+];
        partitions: Vec<EpochEndOffset> [0+];
    }

    struct EpochEndOffset {
        error_code: i16 [0+];
        partition: i32 [0+];
        leader_epoch: i32 [1+ ignorable], default -1;
        /// -1 when unknown.
        end_offset: i64 [0+], default -1;
    }
}
