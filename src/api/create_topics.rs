//! CreateTopics (19), versions 2 to 7.
//!
//! The topics exist, and can be written to, when the answer leaves. A replication factor above 1 becomes 1 with a
//! warning in the broker's log, unless `corelane.replication.factor.strict` is set.

use crate::catalog::commands::ManualAssignment;
use crate::config::ConfigRow;
use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::protocol::create_topics::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::shard::controller::{Command, CommandOutcome, TopicToCreate};

use super::{Context, Outcome};

pub async fn handle(context: Context, request: CreateTopicsRequest) -> Outcome<CreateTopicsResponse> {
    let topics: Vec<TopicToCreate> = request
        .topics
        .into_iter()
        .map(|topic| TopicToCreate {
            name: topic.name.to_string(),
            num_partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic
                .assignments
                .into_iter()
                .map(|assignment| ManualAssignment {
                    partition: assignment.partition_index,
                    // A client names the nodes it was shown; the catalog knows one.
                    broker_ids: assignment.broker_ids.into_iter().map(|id| context.stored_node(id)).collect(),
                })
                .collect(),
            configs: topic
                .configs
                .into_iter()
                .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
                .collect(),
        })
        .collect();
    let outcome = context.control(Command::CreateTopics { topics, validate_only: request.validate_only }).await;
    let CommandOutcome::TopicsCreated(rows) = outcome else {
        return Outcome::Close("the controller gave no answer to a CreateTopics".to_owned());
    };
    let topics = rows
        .into_iter()
        .map(|(name, row)| {
            let name = Str::from(name);
            match row {
                Err(error) => CreatableTopicResult {
                    name,
                    error_code: error.code.code(),
                    error_message: Some(Str::from(error.message)),
                    num_partitions: -1,
                    replication_factor: -1,
                    ..Default::default()
                },
                Ok(created) => {
                    let overrides =
                        created.configs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
                    CreatableTopicResult {
                        name,
                        topic_id: created.id,
                        error_code: ErrorCode::None.code(),
                        error_message: None,
                        num_partitions: created.num_partitions,
                        replication_factor: created.replication_factor,
                        configs: Some(
                            context
                                .api
                                .shard
                                .view()
                                .config()
                                .describe_topic(&overrides, None)
                                .into_iter()
                                .map(encode)
                                .collect(),
                        ),
                        ..Default::default()
                    }
                }
            }
        })
        .collect();
    Outcome::Answer(CreateTopicsResponse { topics, ..Default::default() })
}

fn encode(row: ConfigRow) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: Str::from(row.name),
        value: row.value.map(Str::from),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.is_sensitive,
    }
}
