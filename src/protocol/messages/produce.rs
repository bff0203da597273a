//! Produce (key 0): appends record batches.
//!
//! Version 7 allows zstd (KIP-110), 8 names the records in error (KIP-467), 9 is flexible, 10 tells a misled producer
//! the leader (KIP-951), 12 adds partitions to a transaction by itself (KIP-890), 13 has topic ids for names (KIP-516).
//! Versions 0-2 are advertised, since librdkafka looks for them (KAFKA-18659), and not spoken.

use crate::protocol::{Records, Str, messages};
use crate::types::KafkaUuid;

messages! {
    request ProduceRequest(Produce) [3-13], flexible [9+], answer ProduceResponse {
        /// Null unless the producer is transactional.
        transactional_id: Option<Str> [3+];
        /// 0: no answer; 1: when the leader has it; -1: when all in-sync replicas have it.
        acks: i16 [0+];
        timeout_ms: i32 [0+];
        topic_data: Vec<TopicProduceData> [0+];
    }

    struct TopicProduceData {
        name: Str [0-12 ignorable];
        topic_id: KafkaUuid [13+ ignorable];
        partition_data: Vec<PartitionProduceData> [0+];
    }

    struct PartitionProduceData {
        index: i32 [0+];
        /// Exactly one batch of magic 2.
        records: Records [0+];
    }

    response ProduceResponse(Produce) [3-13], flexible [9+] {
        responses: Vec<TopicProduceResponse> [0+];
        throttle_time_ms: i32 [1+ ignorable];
        node_endpoints: Vec<NodeEndpoint> [10+], tag 0;
    }

    struct TopicProduceResponse {
        name: Str [0-12 ignorable];
        topic_id: KafkaUuid [13+ ignorable];
        partition_responses: Vec<PartitionProduceResponse> [0+];
    }

    struct PartitionProduceResponse {
        index: i32 [0+];
        error_code: i16 [0+];
        base_offset: i64 [0+];
        /// -1 unless the topic has LogAppendTime.
        log_append_time_ms: i64 [2+ ignorable], default -1;
        log_start_offset: i64 [5+ ignorable], default -1;
        record_errors: Vec<BatchIndexAndErrorMessage> [8+ ignorable];
        error_message: Option<Str> [8+ ignorable];
        current_leader: LeaderIdAndEpoch [10+], tag 0;
    }

    /// A record for which the whole batch was refused.
    struct BatchIndexAndErrorMessage {
        batch_index: i32 [8+];
        batch_index_error_message: Option<Str> [8+];
    }

    struct LeaderIdAndEpoch {
        leader_id: i32 [10+], default -1;
        leader_epoch: i32 [10+], default -1;
    }

    struct NodeEndpoint {
        node_id: i32 [10+];
        host: Str [10+];
        port: i32 [10+];
        rack: Option<Str> [10+];
    }
}
