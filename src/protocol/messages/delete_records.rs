//! DeleteRecords (key 21): raises the log start offset of partitions (KIP-107). Version 2 is flexible.

use crate::protocol::{Str, messages};

messages! {
    request DeleteRecordsRequest(DeleteRecords) [0-2], flexible [2+], answer DeleteRecordsResponse {
        topics: Vec<DeleteRecordsTopic> [0+];
        timeout_ms: i32 [0+];
    }

    struct DeleteRecordsTopic {
        name: Str [0+];
        partitions: Vec<DeleteRecordsPartition> [0+];
    }

    struct DeleteRecordsPartition {
        partition_index: i32 [0+];
        /// The new log start offset; -1 for the high watermark.
        offset: i64 [0+];
    }

    response DeleteRecordsResponse(DeleteRecords) [0-2], flexible [2+] {
        throttle_time_ms: i32 [0+];
        topics: Vec<DeleteRecordsTopicResult> [0+];
    }

    struct DeleteRecordsTopicResult {
        name: Str [0+];
        partitions: Vec<DeleteRecordsPartitionResult> [0+];
    }

    struct DeleteRecordsPartitionResult {
        partition_index: i32 [0+];
        /// The log start offset now; -1 on error.
        low_watermark: i64 [0+];
        error_code: i16 [0+];
    }
}
