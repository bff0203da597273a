//! DeleteTopics (20), versions 1 to 6: by name, from version 6 on by name or id.

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::shard::controller::{Command, CommandOutcome, TopicToDelete};

use super::{Context, Outcome};

pub async fn handle(context: Context, request: DeleteTopicsRequest) -> Outcome<DeleteTopicsResponse> {
    let wanted: Vec<TopicToDelete> = if context.version >= 6 {
        request
            .topics
            .into_iter()
            .map(|topic| match topic.name {
                Some(name) => TopicToDelete::Name(name.to_string()),
                None => TopicToDelete::Id(topic.topic_id),
            })
            .collect()
    } else {
        request.topic_names.into_iter().map(|name| TopicToDelete::Name(name.to_string())).collect()
    };
    let CommandOutcome::TopicsDeleted(rows) = context.control(Command::DeleteTopics(wanted)).await else {
        return Outcome::Close("the controller gave no answer to a DeleteTopics".to_owned());
    };
    let responses = rows
        .into_iter()
        .map(|(name, topic_id, row)| {
            let (code, message) = match row {
                Ok(()) => (ErrorCode::None, None),
                Err(error) => (error.code, Some(Str::from(error.message))),
            };
            DeletableTopicResult {
                name: name.map(Str::from),
                topic_id,
                error_code: code.code(),
                error_message: message,
            }
        })
        .collect();
    Outcome::Answer(DeleteTopicsResponse { responses, ..Default::default() })
}
