//! OffsetFetch (key 9): reads the offsets that groups have committed.
//!
//! From version 2 on null for the topics asks for all, and there is an error for the whole; 5 adds the leader epoch, 6
//! is flexible, 7 can insist on stable offsets (KIP-447), 8 asks for several groups (KIP-709), 9 serves the new group
//! protocol (KIP-848), 10 has topic ids for names. Up to 7 the fields of the message count, from 8 on those in
//! `groups`.

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request OffsetFetchRequest(OffsetFetch) [1-10], flexible [6+], answer OffsetFetchResponse {
        group_id: Str [0-7];
        /// Null for all.
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7], nullable [2-7];
        groups: Vec<OffsetFetchRequestGroup> [8+];
        /// Refuse offsets while a transaction may still change them.
        require_stable: bool [7+];
    }

    struct OffsetFetchRequestTopic {
        name: Str [0-7];
        partition_indexes: Vec<i32> [0-7];
    }

    struct OffsetFetchRequestGroup {
        group_id: Str [8+];
        member_id: Option<Str> [9+ ignorable];
        member_epoch: i32 [9+ ignorable], default -1;
        /// Null for all.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+];
    }

    struct OffsetFetchRequestTopics {
        name: Str [8-9 ignorable];
        topic_id: KafkaUuid [10+ ignorable];
        partition_indexes: Vec<i32> [8+];
    }

    response OffsetFetchResponse(OffsetFetch) [1-10], flexible [6+] {
        throttle_time_ms: i32 [3+ ignorable];
        topics: Vec<OffsetFetchResponseTopic> [0-7];
        error_code: i16 [2-7 ignorable];
        groups: Vec<OffsetFetchResponseGroup> [8+];
    }

    struct OffsetFetchResponseTopic {
        name: Str [0-7];
        partitions: Vec<OffsetFetchResponsePartition> [0-7];
    }

    struct OffsetFetchResponsePartition {
        partition_index: i32 [0-7];
        /// -1 when there is none.
        committed_offset: i64 [0-7];
        committed_leader_epoch: i32 [5-7 ignorable], default -1;
        metadata: Option<Str> [0-7];
        error_code: i16 [0-7];
    }

    struct OffsetFetchResponseGroup {
        group_id: Str [8+];
        topics: Vec<OffsetFetchResponseTopics> [8+];
        error_code: i16 [8+];
    }

    struct OffsetFetchResponseTopics {
        name: Str [8-9 ignorable];
        topic_id: KafkaUuid [10+ ignorable];
        partitions: Vec<OffsetFetchResponsePartitions> [8+];
    }

    struct OffsetFetchResponsePartitions {
        partition_index: i32 [8+];
        /// -1 when there is none.
        committed_offset: i64 [8+];
        committed_leader_epoch: i32 [8+ ignorable], default -1;
        metadata: Option<Str> [8+];
        error_code: i16 [8+];
    }
}
