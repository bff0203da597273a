//! Fetch (key 1): reads record batches, waiting for them.
//!
//! Version 5 adds the log start offset, 7 sessions (KIP-227), 9 the leader epoch (KIP-320), 10 allows zstd (KIP-110),
//! 11 adds the rack (KIP-392), 12 is flexible and detects divergence (KIP-595), 13 has topic ids for names (KIP-516),
//! 14 tiered storage's error (KIP-405), 15 to 18 concern replicas (KIP-903, 853, 1166) and endpoints of new leaders
//! (KIP-951).

use crate::protocol::{Records, Str, messages};
use crate::types::KafkaUuid;

messages! {
    request FetchRequest(Fetch) [4-18], flexible [12+], answer FetchResponse {
        cluster_id: Option<Str> [12+ ignorable], tag 0;
        /// -1 for consumers.
        replica_id: i32 [0-14], default -1;
        replica_state: ReplicaState [15+], tag 1;
        /// How long to wait for `min_bytes`.
        max_wait_ms: i32 [0+];
        min_bytes: i32 [0+];
        /// Over all partitions; the first batch is answered whatever its size (KIP-74).
        max_bytes: i32 [3+ ignorable], default i32::MAX;
        /// 0: all records; 1: up to the last stable offset, with the aborted transactions.
        isolation_level: i8 [4+ ignorable];
        session_id: i32 [7+ ignorable];
        /// -1: no session; 0: a new one; above: the next request of a session.
        session_epoch: i32 [7+ ignorable], default -1;
        topics: Vec<FetchTopic> [0+];
        forgotten_topics_data: Vec<ForgottenTopic> [7+];
        rack_id: Str [11+ ignorable];
    }

    struct ReplicaState {
        replica_id: i32 [15+], default -1;
        replica_epoch: i64 [15+], default -1;
    }

    struct FetchTopic {
        topic: Str [0-12 ignorable];
        topic_id: KafkaUuid [13+ ignorable];
        partitions: Vec<FetchPartition> [0+];
    }

    struct FetchPartition {
        partition: i32 [0+];
        /// -1 when the client does not know it.
        current_leader_epoch: i32 [9+ ignorable], default -1;
        fetch_offset: i64 [0+];
        last_fetched_epoch: i32 [12+], default -1;
        /// Of a follower; -1 from consumers.
        log_start_offset: i64 [5+ ignorable], default -1;
        partition_max_bytes: i32 [0+];
        replica_directory_id: KafkaUuid [17+ ignorable], tag 0;
        high_watermark: i64 [18+ ignorable], tag 1, default i64::MAX;
    }

    /// Partitions that leave the session.
    struct ForgottenTopic {
        topic: Str [7-12 ignorable];
        topic_id: KafkaUuid [13+ ignorable];
        partitions: Vec<i32> [7+];
    }

    response FetchResponse(Fetch) [4-18], flexible [12+] {
        throttle_time_ms: i32 [1+ ignorable];
        error_code: i16 [7+ ignorable];
        /// 0 outside a session.
        session_id: i32 [7+];
        responses: Vec<FetchableTopicResponse> [0+];
        node_endpoints: Vec<NodeEndpoint> [16+], tag 0;
    }

    struct FetchableTopicResponse {
        topic: Str [0-12 ignorable];
        topic_id: KafkaUuid [13+ ignorable];
        partitions: Vec<PartitionData> [0+];
    }

    struct PartitionData {
        partition_index: i32 [0+];
        error_code: i16 [0+];
        high_watermark: i64 [0+];
        last_stable_offset: i64 [4+ ignorable], default -1;
        log_start_offset: i64 [5+ ignorable], default -1;
        /// Where the log parts from the one that the request has seen.
        diverging_epoch: EpochEndOffset [12+], tag 0;
        current_leader: LeaderIdAndEpoch [12+], tag 1;
        snapshot_id: SnapshotId [12+], tag 2;
        /// Null when the isolation level is 0.
        aborted_transactions: Option<Vec<AbortedTransaction>> [4+ ignorable];
        preferred_read_replica: i32 [11+], default -1;
        records: Records [0+];
    }

    struct EpochEndOffset {
        epoch: i32 [12+], default -1;
        end_offset: i64 [12+], default -1;
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [12+], default -1;
        leader_epoch: i32 [12+], default -1;
    }

    struct SnapshotId {
        end_offset: i64 [0+], default -1;
        epoch: i32 [0+], default -1;
    }

    struct AbortedTransaction {
        producer_id: i64 [4+];
        first_offset: i64 [4+];
    }

    struct NodeEndpoint {
        node_id: i32 [16+];
        host: Str [16+];
        port: i32 [16+];
        rack: Option<Str> [16+];
    }
}
