//! Metadata (key 3): brokers, topics, and who leads their partitions.
//!
//! In version 0 an empty list of topics asks for all, from 1 on null does. Version 4 can forbid creating topics, 5 adds
//! offline replicas, 7 the leader epoch, 8 authorized operations (KIP-430), 9 is flexible, 10 has topic ids, 12 accepts
//! them in the request (KIP-516), 13 has an error for the whole (KIP-1102).

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request MetadataRequest(Metadata) [0-13], flexible [9+], answer MetadataResponse {
        /// Null for all.
        topics: Option<Vec<MetadataRequestTopic>> [0+], nullable [1+];
        allow_auto_topic_creation: bool [4+], default true;
        include_cluster_authorized_operations: bool [8-10];
        include_topic_authorized_operations: bool [8+];
    }

    struct MetadataRequestTopic {
        topic_id: KafkaUuid [10+ ignorable];
        /// Null to ask by id.
        name: Option<Str> [0+], nullable [10+];
    }

    response MetadataResponse(Metadata) [0-13], flexible [9+] {
        throttle_time_ms: i32 [3+ ignorable];
        brokers: Vec<MetadataResponseBroker> [0+];
        cluster_id: Option<Str> [2+ ignorable];
        controller_id: i32 [1+ ignorable], default -1;
        topics: Vec<MetadataResponseTopic> [0+];
        /// A bit per operation; `i32::MIN` when not asked for.
        cluster_authorized_operations: i32 [8-10], default i32::MIN;
        error_code: i16 [13+ ignorable];
    }

    struct MetadataResponseBroker {
        node_id: i32 [0+];
        host: Str [0+];
        port: i32 [0+];
        rack: Option<Str> [1+ ignorable];
    }

    struct MetadataResponseTopic {
        error_code: i16 [0+];
        /// Null when an id is unknown.
        name: Option<Str> [0+], nullable [12+];
        topic_id: KafkaUuid [10+ ignorable];
        is_internal: bool [1+ ignorable];
        partitions: Vec<MetadataResponsePartition> [0+];
        /// A bit per operation; `i32::MIN` when not asked for.
        topic_authorized_operations: i32 [8+], default i32::MIN;
    }

    struct MetadataResponsePartition {
        error_code: i16 [0+];
        partition_index: i32 [0+];
        leader_id: i32 [0+];
        leader_epoch: i32 [7+ ignorable], default -1;
        replica_nodes: Vec<i32> [0+];
        isr_nodes: Vec<i32> [0+];
        offline_replicas: Vec<i32> [5+ ignorable];
    }
}
