//! DeleteTopics (key 20): deletes topics.
//!
//! Version 4 is flexible, 5 has error messages and may be throttled (KIP-599), 6 accepts topic ids in `topics`, where
//! up to 5 there were names alone.

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    request DeleteTopicsRequest(DeleteTopics) [1-6], flexible [4+], answer DeleteTopicsResponse {
        topics: Vec<DeleteTopicState> [6+];
        topic_names: Vec<Str> [0-5 ignorable];
        timeout_ms: i32 [0+];
    }

    struct DeleteTopicState {
        /// Null to delete by id.
        name: Option<Str> [6+];
        topic_id: KafkaUuid [6+];
    }

    response DeleteTopicsResponse(DeleteTopics) [1-6], flexible [4+] {
        throttle_time_ms: i32 [1+ ignorable];
        responses: Vec<DeletableTopicResult> [0+];
    }

    struct DeletableTopicResult {
        name: Option<Str> [0+], nullable [6+];
        topic_id: KafkaUuid [6+ ignorable];
        error_code: i16 [0+];
        error_message: Option<Str> [5+ ignorable];
    }
}
