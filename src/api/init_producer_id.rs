//! InitProducerId (22), versions 0 to 5, for idempotent producers.
//!
//! A producer that brings its id and epoch gets the next epoch (KIP-360); one whose epochs are used up
//! gets a new id. Not done: transactional ids, which get COORDINATOR_NOT_AVAILABLE here since nothing
//! coordinates them.

use crate::error_code::ErrorCode;
use crate::protocol::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Context, Outcome};

pub async fn handle(context: Context, request: InitProducerIdRequest) -> Outcome<InitProducerIdResponse> {
    let failed = |code: ErrorCode| {
        Outcome::Answer(InitProducerIdResponse {
            error_code: code.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        })
    };
    match &request.transactional_id {
        Some(id) if id.is_empty() => return failed(ErrorCode::InvalidRequest),
        Some(_) => return failed(ErrorCode::CoordinatorNotAvailable),
        None => {}
    }
    // Kafka gives an idempotent producer a new id each time; the epoch it brings matters for
    // transactional ones only (`TransactionCoordinator.handleInitProducerId`).
    match context.api.shard.next_producer_id().await {
        Ok(id) => {
            Outcome::Answer(InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() })
        }
        Err(code) => failed(code),
    }
}
