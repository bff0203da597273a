//! Where the replicas of new partitions go: on one node, to that node.

use crate::catalog::CommandError;
use crate::catalog::image::CatalogImage;
use crate::catalog::records::PartitionRecord;
use crate::error_code::ErrorCode;
use crate::types::TopicId;

/// More partitions than this in one request are refused, as in Kafka (`MAX_PARTITIONS_PER_BATCH`).
pub(super) const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;

/// What the broker's configuration says of new topics.
#[derive(Clone, Copy, Debug)]
pub struct PlacingRules {
    /// `num.partitions`, for a request of -1.
    pub default_partitions: i32,
    /// `corelane.replication.factor.strict`: refuse a replication factor above 1 instead of making it 1.
    pub strict_replication_factor: bool,
}

/// The brokers that a client wants a partition's replicas on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManualAssignment {
    pub partition: i32,
    pub broker_ids: Vec<i32>,
}

/// What replication factor a request gets here, and a warning if that is not the one asked for.
pub(super) fn replication_factor(asked: i16, rules: PlacingRules) -> Result<Option<String>, CommandError> {
    match asked {
        -1 | 1 => Ok(None),
        2.. if !rules.strict_replication_factor => Ok(Some(format!(
            "a replication factor of {asked} was asked for; on a single node it is 1 \
             (corelane.replication.factor.strict=true refuses it instead)"
        ))),
        2.. => Err(CommandError::new(
            ErrorCode::InvalidReplicationFactor,
            format!(
                "Unable to replicate the partition {asked} time(s): The target replication factor of {asked} cannot \
                 be reached because only 1 broker(s) are registered."
            ),
        )),
        _ => Err(CommandError::new(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor was set to an invalid non-positive value.",
        )),
    }
}

/// A partition of ours as it begins: led by this node, in its one data directory.
pub(super) fn new_partition(image: &CatalogImage, topic_id: TopicId, index: i32) -> PartitionRecord {
    PartitionRecord {
        partition_id: index,
        topic_id,
        replicas: vec![image.node_id()],
        isr: vec![image.node_id()],
        leader: image.node_id(),
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![image.directory_id()],
        ..PartitionRecord::default()
    }
}

/// Checks the replicas that a client chose for one partition; with one node it can only choose that.
pub(super) fn check_assignment(image: &CatalogImage, broker_ids: &[i32]) -> Result<(), CommandError> {
    let refuse = |message| Err(CommandError::new(ErrorCode::InvalidReplicaAssignment, message));
    if broker_ids.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let mut sorted = broker_ids.to_vec();
    sorted.sort_unstable();
    if let Some(unknown) = sorted.iter().find(|&&id| id != image.node_id()) {
        return refuse(format!(
            "The manual partition assignment includes broker {unknown}, but no such broker is registered."
        ));
    }
    if sorted.len() > 1 {
        return refuse(format!(
            "The manual partition assignment includes the broker {} more than once.",
            image.node_id()
        ));
    }
    Ok(())
}
