//! CreatePartitions (`ReplicationControlManager.createPartitions`).

use super::placing::{PARTITIONS_PER_REQUEST_MAX, check_assignment, new_partition};
use crate::catalog::CommandError;
use crate::catalog::image::CatalogImage;
use crate::catalog::metadata_record::MetadataRecord;
use crate::error_code::ErrorCode;

/// How many partitions a topic is to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPartitions<'a> {
    pub topic: &'a str,
    /// In all, not in addition.
    pub count: i32,
    /// The brokers of each additional partition; `None`: the broker places them.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// The records of the additional partitions.
pub fn create_partitions(
    image: &CatalogImage,
    request: &NewPartitions<'_>,
) -> Result<Vec<MetadataRecord>, CommandError> {
    let topic = image.topic(request.topic).ok_or_else(|| {
        CommandError::new(ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.")
    })?;
    let present = topic.partition_count();
    let refuse = |message| Err(CommandError::new(ErrorCode::InvalidPartitions, message));
    if request.count == present {
        return refuse(format!("Topic already has {present} partition(s)."));
    }
    if request.count < present {
        return refuse(format!(
            "The topic {} currently has {present} partition(s); {} would not be an increase.",
            request.topic, request.count
        ));
    }
    let additional = i64::from(request.count) - i64::from(present);
    if let Some(assignments) = &request.assignments {
        if assignments.len() as i64 != additional {
            return Err(CommandError::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        for broker_ids in assignments {
            check_assignment(image, broker_ids)?;
        }
    }
    if additional > PARTITIONS_PER_REQUEST_MAX {
        return Err(CommandError::new(
            ErrorCode::PolicyViolation,
            "Excessively large number of partitions per request.",
        ));
    }
    Ok((present..request.count).map(|index| new_partition(image, topic.id, index).into()).collect())
}
