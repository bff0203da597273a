//! `corelane group`: groups of consumers as a cluster knows them, of Corelane or of Apache Kafka.

mod cluster;
mod connection;
mod delete;
mod describe;
mod facts;
mod failure;
mod list;
mod offsets_file;
mod reset;
mod table;
#[cfg(test)]
mod tests;
mod topics;
mod when;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use cluster::Cluster;
use failure::Failure;

/// Where a broker listens that was started without options.
const BOOTSTRAP: &str = "127.0.0.1:9092";

/// Look at groups of consumers, how far they are behind, and change their offsets
///
/// Speaks to any broker of Kafka's protocol. Exit codes: 0 done; 1 refused for at least one group or partition; 2 a wrong
/// command line; 66 a file that cannot be read; 69 no broker answers; 76 a broker that speaks none of our versions.
#[derive(Args, Debug)]
pub struct GroupArgs {
    /// Brokers to ask first: HOST:PORT[,HOST:PORT...]
    #[arg(long, short, global = true, value_name = "LIST", default_value = BOOTSTRAP, alias = "bootstrap-server")]
    bootstrap: String,
    /// How long to try while a coordinator is loading or a broker does not answer, in seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// All groups: type, state, and what protocol they speak among themselves
    List(list::ListArgs),
    /// A group's state, its committed offsets with their lag, its members
    Describe(describe::DescribeArgs),
    /// Move the committed offsets of a group that nobody is in; shows what it would do unless --execute is given
    ResetOffsets(reset::ResetArgs),
    /// Delete groups that nobody is in, with their offsets
    Delete(delete::DeleteArgs),
    /// Delete committed offsets of topics that no member is subscribed to
    DeleteOffsets(delete::DeleteOffsetsArgs),
}

/// Named groups, or all.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct SomeGroups {
    /// The groups
    #[arg(value_name = "GROUP", conflicts_with = "all_groups")]
    group: Vec<String>,
    /// All groups of the cluster
    #[arg(long)]
    all_groups: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// What a command prints, and whether something of what it was asked for was refused.
struct Outcome {
    text: String,
    failed: bool,
}

impl SomeGroups {
    fn ids(&self, cluster: &mut Cluster) -> Result<Vec<String>, Failure> {
        if !self.all_groups {
            return Ok(self.group.clone());
        }
        // Share groups and those of Streams' own protocol have other requests.
        let ours = |kind: &str| kind.is_empty() || ["classic", "consumer"].iter().any(|k| kind.eq_ignore_ascii_case(k));
        let all = list::groups(cluster, &[], &[])?;
        Ok(all.into_iter().filter(|(_, group)| ours(&group.kind)).map(|(id, _)| id).collect())
    }
}

/// Runs the command, and says on the standard error why it could not.
pub fn run(args: &GroupArgs) -> ExitCode {
    let timeout = Duration::from_secs(args.timeout.clamp(1, 24 * 3600));
    let mut cluster = Cluster::new(&args.bootstrap, timeout);
    let outcome = match &args.command {
        GroupCommand::List(args) => list::run(&mut cluster, args),
        GroupCommand::Describe(args) => describe::run(&mut cluster, args),
        GroupCommand::ResetOffsets(args) => reset::run(&mut cluster, args),
        GroupCommand::Delete(args) => delete::delete(&mut cluster, args),
        GroupCommand::DeleteOffsets(args) => delete::delete_offsets(&mut cluster, args),
    };
    match outcome {
        Ok(Outcome { text, failed }) => {
            super::print(&text);
            ExitCode::from(u8::from(failed))
        }
        Err(failure) => {
            eprintln!("corelane: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain values are JSON");
    text.push('\n');
    text
}
