//! `corelane group list`: the groups of all brokers.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::cluster::Cluster;
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, Output};

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only groups in one of these states: Stable, Empty, PreparingRebalance, CompletingRebalance, Assigning,
    /// Reconciling, Dead
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only groups of one of these types: classic, consumer, share, streams
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    kind: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub struct Listed {
    pub protocol_type: String,
    /// Empty where the broker doesn't say.
    pub state: String,
    pub kind: String,
}

/// All groups by id, of every broker.
pub fn groups(cluster: &mut Cluster, states: &[String], kinds: &[String]) -> Result<BTreeMap<String, Listed>, Failure> {
    let mut all = BTreeMap::new();
    let is_one_of = |of: &str, wanted: &[String]| wanted.is_empty() || wanted.iter().any(|w| same_word(w, of));
    for node in cluster.nodes()? {
        for group in cluster.groups_at(&node, states, kinds)?.groups {
            let listed = Listed {
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
            };
            // Once more, for brokers that know no filter.
            if is_one_of(&listed.state, states) && is_one_of(&listed.kind, kinds) {
                all.insert(group.group_id.to_string(), listed);
            }
        }
    }
    Ok(all)
}

/// `preparing-rebalance`, `PreparingRebalance` and `PREPARING_REBALANCE` are the same, as for Kafka's tools.
fn same_word(one: &str, other: &str) -> bool {
    let letters = |word: &str| {
        word.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect::<String>()
    };
    letters(one) == letters(other)
}

pub fn run(cluster: &mut Cluster, args: &ListArgs) -> Result<Outcome, Failure> {
    let groups = groups(cluster, &args.state, &args.kind)?;
    let text = match args.output {
        Output::Table => {
            let mut table = Table::new(&["GROUP", "TYPE", "STATE", "PROTOCOL"]);
            for (id, group) in groups {
                let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
                table.row([id, dash(group.kind.to_lowercase()), dash(group.state), dash(group.protocol_type)]);
            }
            table.text()
        }
        Output::Json => {
            let rows = groups.iter().map(|(id, group)| {
                json!({
                    "group": id,
                    "type": group.kind.to_lowercase(),
                    "state": group.state,
                    "protocol_type": group.protocol_type,
                })
            });
            super::pretty(&rows.collect())
        }
    };
    Ok(Outcome { text, failed: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_in_any_spelling() {
        for word in ["PreparingRebalance", "preparing-rebalance", "PREPARING_REBALANCE", "preparingrebalance"] {
            assert!(same_word(word, "PreparingRebalance"), "{word}");
        }
        assert!(!same_word("Stable", "Empty"));
    }
}
