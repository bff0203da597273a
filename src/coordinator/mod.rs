//! State machines of coordinators: `(state, request, now) -> (response, records)`. Pure.
//!
//! A coordinator of groups is a partition of `__consumer_offsets`: what it answers follows from the records of that
//! partition alone. A request changes the state at once and gives the records that make it so; the caller appends them,
//! waits until they are as durable as `acks=all`, and only then answers. If they cannot be stored, the state is loaded
//! again from what is.

mod batches;
mod classic;
pub mod consumer;
mod fields;
mod groups;
mod machine;
mod offset_record;
mod offsets;
#[cfg(test)]
mod tests;

pub use batches::{one_batch, several_batches};
pub use classic::{
    ClassicGroup, ClassicMember, ClassicState, OffsetExpiry, check_group_id, check_join, check_sync, heartbeat_answer,
    leave_answer, leave_unknown_group, leaving, refuse_join, refuse_sync,
};
pub use groups::{FetchCaller, GroupRequest, GroupsPartition, RequestKind};
pub use machine::{Caller, Effects, GroupAnswer, GroupContext, GroupLogRecord, GroupWorld, Ticket};
pub use offset_record::{CommittedOffset, GroupRecord, OffsetChange, RecordProblem, read_record};
pub use offsets::{Commit, CommitRequest, OffsetsPartition, RequestedOffset};

/// The partition of `__consumer_offsets` that holds `group_id`, and of `__transaction_state` likewise that holds a
/// transactional id: Java's `String.hashCode` over UTF-16, made non-negative as `Utils.abs` does, modulo the topic's
/// count of partitions. Fixed by the data on disk: another hash would lose every offset there is.
pub fn group_partition(group_id: &str, partitions: i32) -> i32 {
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // The one number without a positive counterpart counts as 0.
    hash.checked_abs().unwrap_or(0).checked_rem(partitions).unwrap_or(0)
}
