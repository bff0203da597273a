//! DescribeLogDirs (key 35): log directories and the sizes of their partitions.
//!
//! Version 2 is flexible, 3 has an error for the whole, 4 the sizes of the file systems (KIP-827), 5 whether a
//! directory is cordoned (KIP-1066).

use crate::protocol::{Str, messages};

messages! {
    request DescribeLogDirsRequest(DescribeLogDirs) [1-5], flexible [2+], answer DescribeLogDirsResponse {
        /// Null for all.
        topics: Option<Vec<DescribableLogDirTopic>> [0+];
    }

    struct DescribableLogDirTopic {
        topic: Str [0+];
        partitions: Vec<i32> [0+];
    }

    response DescribeLogDirsResponse(DescribeLogDirs) [1-5], flexible [2+] {
        throttle_time_ms: i32 [0+];
        error_code: i16 [3+ ignorable];
        results: Vec<DescribeLogDirsResult> [0+];
    }

    struct DescribeLogDirsResult {
        error_code: i16 [0+];
        log_dir: Str [0+];
        topics: Vec<DescribeLogDirsTopic> [0+];
        /// Of the file system; -1 when unknown.
        total_bytes: i64 [4+ ignorable], default -1;
        usable_bytes: i64 [4+ ignorable], default -1;
        is_cordoned: bool [5+ ignorable];
    }

    struct DescribeLogDirsTopic {
        name: Str [0+];
        partitions: Vec<DescribeLogDirsPartition> [0+];
    }

    struct DescribeLogDirsPartition {
        partition_index: i32 [0+];
        partition_size: i64 [0+];
        /// How far a replica is behind the high watermark, or a future one behind the present.
        offset_lag: i64 [0+];
        /// Whether it is being moved here.
        is_future_key: bool [0+];
    }
}
