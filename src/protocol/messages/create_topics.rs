//! CreateTopics (key 19): creates topics.
//!
//! From version 4 on partitions and replication factor may be -1, for the broker's defaults (KIP-464); 5 is flexible
//! and answers with the configs (KIP-525), 6 may be throttled (KIP-599), 7 answers with the topic's id.

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request CreateTopicsRequest(CreateTopics) [2-7], flexible [5+], answer CreateTopicsResponse {
        topics: Vec<CreatableTopic> [0+];
        timeout_ms: i32 [0+], default 60000;
        validate_only: bool [1+];
    }

    struct CreatableTopic {
        name: Str [0+];
        /// -1 for the broker's default, or with assignments.
        num_partitions: i32 [0+];
        /// -1 for the broker's default, or with assignments.
        replication_factor: i16 [0+];
        assignments: Vec<CreatableReplicaAssignment> [0+];
        configs: Vec<CreatableTopicConfig> [0+];
    }

    struct CreatableReplicaAssignment {
        partition_index: i32 [0+];
        broker_ids: Vec<i32> [0+];
    }

    struct CreatableTopicConfig {
        name: Str [0+];
        value: Option<Str> [0+];
    }

    response CreateTopicsResponse(CreateTopics) [2-7], flexible [5+] {
        throttle_time_ms: i32 [2+ ignorable];
        topics: Vec<CreatableTopicResult> [0+];
    }

    struct CreatableTopicResult {
        name: Str [0+];
        topic_id: KafkaUuid [7+ ignorable];
        error_code: i16 [0+];
        error_message: Option<Str> [1+ ignorable];
        /// Why the configs are not shown, if they are not.
        topic_config_error_code: i16 [5+ ignorable], tag 0;
        num_partitions: i32 [5+ ignorable], default -1;
        replication_factor: i16 [5+ ignorable], default -1;
        configs: Option<Vec<CreatableTopicConfigs>> [5+ ignorable];
    }

    struct CreatableTopicConfigs {
        name: Str [5+];
        value: Option<Str> [5+];
        read_only: bool [5+];
        /// As in DescribeConfigs.
        config_source: i8 [5+ ignorable], default -1;
        is_sensitive: bool [5+];
    }
}
