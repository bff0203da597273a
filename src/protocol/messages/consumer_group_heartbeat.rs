//! ConsumerGroupHeartbeat (key 68): a member of a group with server-side assignment (KIP-848).
//!
//! Version 1 adds subscriptions by regular expression and member ids that clients make (KIP-1082).

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request ConsumerGroupHeartbeatRequest(ConsumerGroupHeartbeat) [0-1], flexible [0+], answer ConsumerGroupHeartbeatResponse {
        group_id: Str [0+];
        member_id: Str [0+];
        /// 0 to join, -1 to leave, -2 of a static member that will be back.
        member_epoch: i32 [0+];
        instance_id: Option<Str> [0+];
        rack_id: Option<Str> [0+];
        /// -1 if it has not changed.
        rebalance_timeout_ms: i32 [0+], default -1;
        /// Null if it has not changed, and likewise below.
        subscribed_topic_names: Option<Vec<Str>> [0+];
        subscribed_topic_regex: Option<Str> [1+];
        server_assignor: Option<Str> [0+];
        /// What the member owns.
        topic_partitions: Option<Vec<HeartbeatTopicPartitions>> [0+];
    }

    struct HeartbeatTopicPartitions {
        topic_id: KafkaUuid [0+];
        partitions: Vec<i32> [0+];
    }

    response ConsumerGroupHeartbeatResponse(ConsumerGroupHeartbeat) [0-1], flexible [0+] {
        throttle_time_ms: i32 [0+];
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
        member_id: Option<Str> [0+];
        member_epoch: i32 [0+];
        heartbeat_interval_ms: i32 [0+];
        /// Null if it has not changed.
        assignment: Option<HeartbeatAssignment> [0+];
    }

    struct HeartbeatAssignment {
        topic_partitions: Vec<HeartbeatTopicPartitions> [0+];
    }
}
