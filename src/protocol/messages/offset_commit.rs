//! OffsetCommit (key 8): stores the offsets of a group.
//!
//! Version 5 drops the retention time, 6 adds the leader epoch, 7 static members (KIP-345), 8 is flexible, 9 serves the
//! new group protocol (KIP-848), 10 has topic ids for names.

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request OffsetCommitRequest(OffsetCommit) [2-10], flexible [8+], answer OffsetCommitResponse {
        group_id: Str [0+];
        /// -1 for consumers that assign partitions themselves.
        generation_id_or_member_epoch: i32 [1+ ignorable], default -1;
        member_id: Str [1+ ignorable];
        group_instance_id: Option<Str> [7+];
        /// -1 for the configured one.
        retention_time_ms: i64 [2-4 ignorable], default -1;
        topics: Vec<OffsetCommitRequestTopic> [0+];
    }

    struct OffsetCommitRequestTopic {
        name: Str [0-9 ignorable];
        topic_id: KafkaUuid [10+ ignorable];
        partitions: Vec<OffsetCommitRequestPartition> [0+];
    }

    struct OffsetCommitRequestPartition {
        partition_index: i32 [0+];
        committed_offset: i64 [0+];
        committed_leader_epoch: i32 [6+ ignorable], default -1;
        committed_metadata: Option<Str> [0+];
    }

    response OffsetCommitResponse(OffsetCommit) [2-10], flexible [8+] {
        throttle_time_ms: i32 [3+ ignorable];
        topics: Vec<OffsetCommitResponseTopic> [0+];
    }

    struct OffsetCommitResponseTopic {
        name: Str [0-9 ignorable];
        topic_id: KafkaUuid [10+ ignorable];
        partitions: Vec<OffsetCommitResponsePartition> [0+];
    }

    struct OffsetCommitResponsePartition {
        partition_index: i32 [0+];
        error_code: i16 [0+];
    }
}
