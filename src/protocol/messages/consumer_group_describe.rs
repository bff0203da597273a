//! ConsumerGroupDescribe (key 69): members and assignments of groups with server-side assignment (KIP-848).
//!
//! Version 1 adds the member type (KIP-1099).

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request ConsumerGroupDescribeRequest(ConsumerGroupDescribe) [0-1], flexible [0+], answer ConsumerGroupDescribeResponse {
        group_ids: Vec<Str> [0+];
        include_authorized_operations: bool [0+];
    }

    response ConsumerGroupDescribeResponse(ConsumerGroupDescribe) [0-1], flexible [0+] {
        throttle_time_ms: i32 [0+];
        groups: Vec<DescribedConsumerGroup> [0+];
    }

    struct DescribedConsumerGroup {
        error_code: i16 [0+];
        error_message: Option<Str> [0+];
        group_id: Str [0+];
        group_state: Str [0+];
        group_epoch: i32 [0+];
        assignment_epoch: i32 [0+];
        assignor_name: Str [0+];
        members: Vec<DescribedConsumerGroupMember> [0+];
        /// A bit per operation; `i32::MIN` when not asked for.
        authorized_operations: i32 [0+], default i32::MIN;
    }

    struct DescribedConsumerGroupMember {
        member_id: Str [0+];
        instance_id: Option<Str> [0+];
        rack_id: Option<Str> [0+];
        member_epoch: i32 [0+];
        client_id: Str [0+];
        client_host: Str [0+];
        subscribed_topic_names: Vec<Str> [0+];
        subscribed_topic_regex: Option<Str> [0+];
        assignment: DescribedAssignment [0+];
        target_assignment: DescribedAssignment [0+];
        /// 0 of the classic protocol, 1 of the newer one, -1 if unknown.
        member_type: i8 [1+ ignorable], default -1;
    }

    struct DescribedAssignment {
        topic_partitions: Vec<DescribedTopicPartitions> [0+];
    }

    struct DescribedTopicPartitions {
        topic_id: KafkaUuid [0+];
        topic_name: Str [0+];
        partitions: Vec<i32> [0+];
    }
}
