//! ListOffsets (key 2): offsets by time, and the ends of logs.
//!
//! Timestamps below zero have a meaning: -1 latest, -2 earliest, -3 that of the largest timestamp (version 7, KIP-734),
//! -4 earliest local (8, KIP-405), -5 latest tiered (9, KIP-1005), -6 earliest pending upload (11, KIP-1023). Version 2
//! adds the isolation level, 4 the leader epoch, 6 is flexible, 10 has a timeout (KIP-1075).

use crate::protocol::{Str, messages};

messages! {
    request ListOffsetsRequest(ListOffsets) [1-11], flexible [6+], answer ListOffsetsResponse {
        /// -1 for consumers, -2 for debugging.
        replica_id: i32 [0+];
        isolation_level: i8 [2+];
        topics: Vec<ListOffsetsTopic> [0+];
        timeout_ms: i32 [10+ ignorable];
    }

    struct ListOffsetsTopic {
        name: Str [0+];
        partitions: Vec<ListOffsetsPartition> [0+];
    }

    struct ListOffsetsPartition {
        partition_index: i32 [0+];
        current_leader_epoch: i32 [4+ ignorable], default -1;
        timestamp: i64 [0+];
    }

    response ListOffsetsResponse(ListOffsets) [1-11], flexible [6+] {
        throttle_time_ms: i32 [2+ ignorable];
        topics: Vec<ListOffsetsTopicResponse> [0+];
    }

    struct ListOffsetsTopicResponse {
        name: Str [0+];
        partitions: Vec<ListOffsetsPartitionResponse> [0+];
    }

    struct ListOffsetsPartitionResponse {
        partition_index: i32 [0+];
        error_code: i16 [0+];
        /// Of the record found, or -1.
        timestamp: i64 [1+], default -1;
        /// -1 when there is none.
        offset: i64 [1+], default -1;
        leader_epoch: i32 [4+], default -1;
    }
}
