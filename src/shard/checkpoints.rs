//! What the directory's checkpoints are told of a shard's partitions.

use std::rc::Rc;

use crate::log::PartitionOffsets;
use crate::partition::Partition;
use crate::types::ShardId;

use super::Shard;
use super::join::join_all;
use super::message::ShardRequest;

impl Shard {
    /// Notes where the partitions of this shard stand now; touches no disk.
    pub fn note_offsets(&self) {
        let offsets = self.partitions().into_iter().map(|partition| (partition.name.clone(), offsets_of(&partition)));
        self.checkpoints.update(offsets);
    }

    /// As [`note_offsets`](Shard::note_offsets), of every shard: what is written next is nowhere older than this call.
    pub async fn note_all_offsets(self: &Rc<Self>) {
        let shards = self.view().shards;
        join_all((0..shards).map(|to| Box::pin(self.call(ShardId(to), ShardRequest::NoteOffsets))).collect()).await;
    }
}

/// What the checkpoints keep of a partition.
pub(super) fn offsets_of(partition: &Partition) -> PartitionOffsets {
    PartitionOffsets {
        recovery_point: partition.log.recovery_point(),
        log_start_offset: partition.log.log_start_offset(),
        high_watermark: partition.log.high_watermark(),
        compacted_to: partition.log.compacted_to(),
    }
}
