//! CreatePartitions (37), versions 0 to 3.

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use crate::shard::controller::{Command, CommandOutcome, PartitionsToCreate};

use super::{Context, Outcome};

pub async fn handle(context: Context, request: CreatePartitionsRequest) -> Outcome<CreatePartitionsResponse> {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| PartitionsToCreate {
            topic: topic.name.to_string(),
            count: topic.count,
            assignments: topic.assignments.map(|assignments| {
                assignments
                    .into_iter()
                    .map(|assignment| assignment.broker_ids.into_iter().map(|id| context.stored_node(id)).collect())
                    .collect()
            }),
        })
        .collect();
    let command = Command::CreatePartitions { topics, validate_only: request.validate_only };
    let CommandOutcome::PartitionsCreated(rows) = context.control(command).await else {
        return Outcome::Close("the controller gave no answer to a CreatePartitions".to_owned());
    };
    let results = rows
        .into_iter()
        .map(|(name, row)| {
            let (code, message) = match row {
                Ok(()) => (ErrorCode::None, None),
                Err(error) => (error.code, Some(Str::from(error.message))),
            };
            CreatePartitionsTopicResult { name: Str::from(name), error_code: code.code(), error_message: message }
        })
        .collect();
    Outcome::Answer(CreatePartitionsResponse { results, ..Default::default() })
}
