//! DeleteTopics (`ReplicationControlManager.deleteTopics`).

use std::sync::Arc;

use crate::catalog::CommandError;
use crate::catalog::image::CatalogImage;
use crate::catalog::metadata_record::MetadataRecord;
use crate::catalog::records::RemoveTopicRecord;
use crate::catalog::topic::TopicImage;
use crate::error_code::ErrorCode;
use crate::types::TopicId;

/// A topic as requests name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicRef<'a> {
    Name(&'a str),
    Id(TopicId),
}

/// The topic, and the record that removes it with its partitions and configuration.
pub fn delete_topic(
    image: &CatalogImage,
    topic: TopicRef<'_>,
) -> Result<(Arc<TopicImage>, MetadataRecord), CommandError> {
    let found = match topic {
        TopicRef::Name(name) => image.topic(name),
        TopicRef::Id(id) => image.topic_by_id(id),
    };
    match (found, topic) {
        (Some(found), _) => Ok((Arc::clone(found), RemoveTopicRecord { topic_id: found.id }.into())),
        (None, TopicRef::Name(_)) => Err(CommandError::new(
            ErrorCode::UnknownTopicOrPartition,
            "This server does not host this topic-partition.",
        )),
        (None, TopicRef::Id(_)) => {
            Err(CommandError::new(ErrorCode::UnknownTopicId, "This server does not host this topic ID."))
        }
    }
}
