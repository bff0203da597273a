//! DescribeTopicPartitions (key 75): topics with their partitions, in pages (KIP-966). Flexible throughout.

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request DescribeTopicPartitionsRequest(DescribeTopicPartitions) [0], flexible [0+],
        answer DescribeTopicPartitionsResponse {
        topics: Vec<TopicRequest> [0+];
        response_partition_limit: i32 [0+], default 2000;
        /// Where the page begins; null for the first.
        cursor: Option<Cursor> [0+];
    }

    struct TopicRequest {
        name: Str [0+];
    }

    struct Cursor {
        topic_name: Str [0+];
        partition_index: i32 [0+];
    }

    response DescribeTopicPartitionsResponse(DescribeTopicPartitions) [0], flexible [0+] {
        throttle_time_ms: i32 [0+ ignorable];
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+];
        /// Where the next page begins; null after the last.
        next_cursor: Option<Cursor> [0+];
    }

    struct DescribeTopicPartitionsResponseTopic {
        error_code: i16 [0+];
        name: Option<Str> [0+];
        topic_id: KafkaUuid [0+ ignorable];
        is_internal: bool [0+ ignorable];
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+];
        topic_authorized_operations: i32 [0+], default i32::MIN;
    }

    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16 [0+];
        partition_index: i32 [0+];
        leader_id: i32 [0+];
        leader_epoch: i32 [0+ ignorable], default -1;
        replica_nodes: Vec<i32> [0+];
        isr_nodes: Vec<i32> [0+];
        eligible_leader_replicas: Option<Vec<i32>> [0+];
        last_known_elr: Option<Vec<i32>> [0+];
        offline_replicas: Vec<i32> [0+ ignorable];
    }
}
