//! `corelane group delete` and `delete-offsets`.

use clap::Args;
use serde_json::json;

use crate::error_code::ErrorCode;
use crate::protocol::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::{DeleteGroupsRequest, OffsetDeleteRequest, Str};

use super::cluster::{Cluster, Partitions};
use super::failure::{Failure, explain, passing};
use super::topics::TopicSpec;
use super::{Outcome, Output, SomeGroups, facts};

#[derive(Args, Debug)]
pub struct DeleteArgs {
    #[command(flatten)]
    groups: SomeGroups,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
pub struct DeleteOffsetsArgs {
    /// The group
    group: String,
    /// A topic whose offsets are deleted, or some of its partitions: TOPIC or TOPIC:0,1,2; may be repeated
    #[arg(long, value_name = "TOPIC[:P,P]", required = true)]
    topic: Vec<TopicSpec>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Deletes groups that nobody is in, with their offsets.
pub fn delete(cluster: &mut Cluster, args: &DeleteArgs) -> Result<Outcome, Failure> {
    let mut results = Vec::new();
    for id in args.groups.ids(cluster)? {
        let answer = cluster.on_coordinator(
            &id,
            i16::MAX,
            |_| DeleteGroupsRequest { groups_names: vec![Str::from(id.as_str())] },
            |answer| answer.results.first().map_or(0, |result| result.error_code),
        );
        let code = match answer {
            Ok(answer) => answer.results.first().map_or(ErrorCode::UnknownServerError.code(), |r| r.error_code),
            Err(Failure::Code { code, .. }) => code,
            Err(failure) => return Err(failure),
        };
        results.push((id, (code != 0).then(|| explain(code))));
    }
    let failed = results.iter().any(|(_, error)| error.is_some());
    let text = match args.output {
        Output::Table => results
            .iter()
            .map(|(id, error)| match error {
                None => format!("{id}: deleted\n"),
                Some(error) => format!("{id}: not deleted: {error}\n"),
            })
            .collect(),
        Output::Json => {
            let rows = results.iter().map(|(id, error)| json!({ "group": id, "error": error }));
            super::pretty(&rows.collect())
        }
    };
    Ok(Outcome { text, failed })
}

/// Deletes committed offsets of topics that no member is subscribed to (KIP-496).
pub fn delete_offsets(cluster: &mut Cluster, args: &DeleteOffsetsArgs) -> Result<Outcome, Failure> {
    let partitions = concerned(cluster, args)?;
    let topics: Vec<_> = partitions
        .iter()
        .map(|(topic, numbers)| OffsetDeleteRequestTopic {
            name: Str::from(topic.as_str()),
            partitions: numbers
                .iter()
                .map(|number| OffsetDeleteRequestPartition { partition_index: *number })
                .collect(),
        })
        .collect();
    let group = args.group.as_str();
    let answer = cluster.on_coordinator(
        group,
        i16::MAX,
        |_| OffsetDeleteRequest { group_id: Str::from(group), topics: topics.clone() },
        |answer| match answer.error_code {
            0 => answer
                .topics
                .iter()
                .flat_map(|t| &t.partitions)
                .map(|p| p.error_code)
                .find(|c| passing(*c))
                .unwrap_or(0),
            code => code,
        },
    )?;
    if answer.error_code != 0 {
        return Err(Failure::code(group, answer.error_code));
    }
    let mut rows = Vec::new();
    for topic in &answer.topics {
        for partition in &topic.partitions {
            let error = (partition.error_code != 0).then(|| explain(partition.error_code));
            rows.push((topic.name.to_string(), partition.partition_index, error));
        }
    }
    rows.sort();
    let failed = rows.iter().any(|(_, _, error)| error.is_some());
    let text = match args.output {
        Output::Table if rows.is_empty() => "No committed offset is concerned.\n".to_owned(),
        Output::Table => rows
            .iter()
            .map(|(topic, partition, error)| match error {
                None => format!("{topic}-{partition}: deleted\n"),
                Some(error) => format!("{topic}-{partition}: not deleted: {error}\n"),
            })
            .collect(),
        Output::Json => {
            let rows = rows.iter().map(|(topic, partition, error)| {
                json!({ "group": group, "topic": topic, "partition": partition, "error": error })
            });
            super::pretty(&rows.collect())
        }
    };
    Ok(Outcome { text, failed })
}

/// The partitions named; of a topic without numbers all that it has, or if it is gone those the group knows of.
fn concerned(cluster: &mut Cluster, args: &DeleteOffsetsArgs) -> Result<Partitions, Failure> {
    let names: Vec<&str> = args.topic.iter().map(|spec| spec.topic.as_str()).collect();
    let counts = cluster.partition_counts(&names)?;
    let mut partitions = Partitions::new();
    for spec in &args.topic {
        let of = partitions.entry(spec.topic.clone()).or_default();
        match counts.get(&spec.topic) {
            _ if !spec.partitions.is_empty() => of.extend(&spec.partitions),
            Some(Some(count)) => of.extend(0..*count),
            _ => {
                let committed = facts::committed(cluster, &args.group)?;
                of.extend(committed.keys().filter(|(topic, _)| *topic == spec.topic).map(|(_, number)| number));
                if of.is_empty() {
                    return Err(Failure::Wrong(format!("there is no topic {}", spec.topic)));
                }
            }
        }
        of.sort_unstable();
        of.dedup();
    }
    Ok(partitions)
}
