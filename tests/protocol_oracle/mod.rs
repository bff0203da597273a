//! The codec against the world: against the crate `kafka-protocol` both ways (`oracle`), against frames captured from
//! real clients and brokers (`golden`), and against bytes that are no message (`malformed`).

mod golden;
mod malformed;
mod oracle;
mod text;
mod values;

/// Calls a macro with every API of the codec: request, response, and the versions that `kafka-protocol` 0.17 has of
/// them. What stands after the macro's name is handed to it first.
macro_rules! for_every_api {
    ($call:ident $($argument:tt)*) => {
        $call! {
            $($argument)*;
            ProduceRequest ProduceResponse 3-13,
            FetchRequest FetchResponse 4-18,
            ListOffsetsRequest ListOffsetsResponse 1-10,
            MetadataRequest MetadataResponse 0-13,
            OffsetCommitRequest OffsetCommitResponse 2-9,
            OffsetFetchRequest OffsetFetchResponse 1-9,
            FindCoordinatorRequest FindCoordinatorResponse 0-6,
            DescribeGroupsRequest DescribeGroupsResponse 0-6,
            ListGroupsRequest ListGroupsResponse 0-5,
            ApiVersionsRequest ApiVersionsResponse 0-4,
            CreateTopicsRequest CreateTopicsResponse 2-7,
            DeleteTopicsRequest DeleteTopicsResponse 1-6,
            DeleteRecordsRequest DeleteRecordsResponse 0-2,
            InitProducerIdRequest InitProducerIdResponse 0-5,
            OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse 2-4,
            DescribeConfigsRequest DescribeConfigsResponse 1-4,
            AlterConfigsRequest AlterConfigsResponse 0-2,
            DescribeLogDirsRequest DescribeLogDirsResponse 1-4,
            CreatePartitionsRequest CreatePartitionsResponse 0-3,
            IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse 0-1,
            DescribeClusterRequest DescribeClusterResponse 0-2,
            DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse 0-0,
            JoinGroupRequest JoinGroupResponse 0-9,
            SyncGroupRequest SyncGroupResponse 0-5,
            HeartbeatRequest HeartbeatResponse 0-4,
            LeaveGroupRequest LeaveGroupResponse 0-5,
            ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse 0-1,
            ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse 0-1,
            DeleteGroupsRequest DeleteGroupsResponse 0-2,
            OffsetDeleteRequest OffsetDeleteResponse 0-0,
            ListConfigResourcesRequest ListConfigResourcesResponse 0-1,
        }
    };
}

/// Calls a generic function with every message as its type.
macro_rules! with_every_message {
    ($check:ident) => {
        for_every_api!(call_with_each $check)
    };
}

macro_rules! call_with_each {
    ($check:ident; $($request:ident $response:ident $min:literal - $max:literal,)*) => {
        $(
            $check::<corelane::protocol::$request>();
            $check::<corelane::protocol::$response>();
        )*
    };
}

use {call_with_each, for_every_api, with_every_message};
