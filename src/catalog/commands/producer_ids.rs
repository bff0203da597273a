//! Blocks of producer ids (KIP-730; `ProducerIdControlManager`).

use crate::catalog::CommandError;
use crate::catalog::image::CatalogImage;
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::ProducerIdsRecord;
use crate::error_code::ErrorCode;

/// How many ids a shard is given at a time, as many as Kafka gives a broker.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Ids that are given to one shard, and after a restart to none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerIdBlock {
    pub first: i64,
    pub count: i64,
}

/// The next block, and the record that says it is taken.
pub fn allocate_producer_ids(image: &CatalogImage) -> Result<(ProducerIdBlock, MetadataRecord), CommandError> {
    let first = image.next_producer_id();
    let next_producer_id = first.checked_add(PRODUCER_ID_BLOCK).ok_or_else(|| {
        CommandError::new(
            ErrorCode::UnknownServerError,
            "Exhausted all producerIds as the next block's end is beyond them.",
        )
    })?;
    let record = ProducerIdsRecord { broker_id: image.node_id(), broker_epoch: image.broker_epoch(), next_producer_id };
    Ok((ProducerIdBlock { first, count: PRODUCER_ID_BLOCK }, record.into()))
}
