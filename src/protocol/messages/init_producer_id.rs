//! InitProducerId (key 22): gives a producer its id and epoch.
//!
//! Version 2 is flexible, 3 lets a producer raise its epoch (KIP-360), 4 may answer PRODUCER_FENCED, 5
//! TRANSACTION_ABORTABLE (KIP-890). Version 6 (two-phase commit, KIP-939) is not stable in Kafka 4.3 and left out.

use crate::protocol::{Str, messages};

messages! {
    request InitProducerIdRequest(InitProducerId) [0-5], flexible [2+], answer InitProducerIdResponse {
        /// Null for a producer that is only idempotent.
        transactional_id: Option<Str> [0+];
        transaction_timeout_ms: i32 [0+];
        /// -1 for a new one.
        producer_id: i64 [3+], default -1;
        producer_epoch: i16 [3+], default -1;
    }

    response InitProducerIdResponse(InitProducerId) [0-5], flexible [2+] {
        throttle_time_ms: i32 [0+ ignorable];
        error_code: i16 [0+];
        producer_id: i64 [0+], default -1;
        producer_epoch: i16 [0+];
    }
}
