//! `corelane group describe`: a group's state, how far it is behind, and who is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::facts::{self, Committed, EARLIEST, Group, LATEST, Member, Place, by_topic};
use super::failure::Failure;
use super::table::Table;
use super::{Outcome, Output, SomeGroups};

#[derive(Args, Debug)]
pub struct DescribeArgs {
    #[command(flatten)]
    groups: SomeGroups,
    /// Who is in the group and what each has, instead of offsets
    #[arg(long)]
    members: bool,
    /// The first line alone
    #[arg(long, conflicts_with = "members")]
    state: bool,
    /// Also where the logs begin, and epochs and metadata
    #[arg(long, short)]
    verbose: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

struct Described {
    group: Group,
    partitions: Vec<Partition>,
}

/// A partition that the group has committed an offset of, or that a member has.
struct Partition {
    place: Place,
    committed: Option<Committed>,
    start: Option<i64>,
    end: Option<i64>,
    /// Its place among the members.
    owner: Option<usize>,
}

impl Partition {
    /// Records between what is committed and the end; None where either is unknown.
    fn lag(&self) -> Option<i64> {
        // An offset behind the end is that of a topic made anew.
        Some((self.end? - self.committed.as_ref()?.offset).max(0))
    }
}

impl Described {
    fn lag(&self) -> i64 {
        self.partitions.iter().filter_map(Partition::lag).sum()
    }
}

pub fn run(cluster: &mut Cluster, args: &DescribeArgs) -> Result<Outcome, Failure> {
    let ids = args.groups.ids(cluster)?;
    let mut described = Vec::new();
    let mut errors = Vec::new();
    for id in ids {
        match describe(cluster, &id) {
            Ok(found) if found.group.is_there() || !found.partitions.is_empty() => described.push(found),
            Ok(_) => errors.push((id, "there is no such group".to_owned())),
            Err(failure @ Failure::Code { .. }) => errors.push((id, failure.to_string())),
            Err(failure) => return Err(failure),
        }
    }
    let text = match args.output {
        Output::Table => {
            for (id, error) in &errors {
                eprintln!("corelane: {id}: {error}");
            }
            described.iter().map(|described| table(described, args)).collect::<Vec<_>>().join("\n")
        }
        Output::Json => {
            let errors = errors.iter().map(|(id, error)| json!({ "group": id, "error": error }));
            super::pretty(&described.iter().map(json).chain(errors).collect())
        }
    };
    Ok(Outcome { text, failed: !errors.is_empty() })
}

fn describe(cluster: &mut Cluster, id: &str) -> Result<Described, Failure> {
    let group = facts::group(cluster, id)?;
    let mut committed = facts::committed(cluster, id)?;
    let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assigned.iter().map(|place| (place.clone(), index)));
    }
    let places: BTreeSet<Place> = committed.keys().chain(owners.keys()).cloned().collect();
    let partitions = by_topic(&places);
    let ends = facts::offsets_at(cluster, &partitions, LATEST)?;
    let starts = facts::offsets_at(cluster, &partitions, EARLIEST)?;
    let partitions = places
        .into_iter()
        .map(|place| Partition {
            committed: committed.remove(&place),
            start: starts.get(&place).copied(),
            end: ends.get(&place).copied(),
            owner: owners.get(&place).copied(),
            place,
        })
        .collect();
    Ok(Described { group, partitions })
}

fn table(described: &Described, args: &DescribeArgs) -> String {
    let mut out = head(described);
    let table = match args {
        DescribeArgs { state: true, .. } => return out,
        DescribeArgs { members: true, .. } => members_table(&described.group, args.verbose),
        _ => offsets_table(described, args.verbose),
    };
    if table.rows() > 0 {
        let _ = write!(out, "\n{}", table.text());
    }
    out
}

fn head(described: &Described) -> String {
    let group = &described.group;
    let mut out = format!("{}: {}, {} protocol", group.id, group.state, group.kind);
    if group.kind == "classic" && group.protocol_type != "consumer" && !group.protocol_type.is_empty() {
        let _ = write!(out, " for {}", group.protocol_type);
    }
    if !group.assignor.is_empty() {
        let _ = write!(out, ", assignor {}", group.assignor);
    }
    if let Some(epochs) = group.epochs {
        let _ = write!(out, ", epoch {}", epochs.group);
        if epochs.assignment != epochs.group {
            let _ = write!(out, " (assigned for {})", epochs.assignment);
        }
    }
    let count = group.members.len();
    let _ = write!(out, ", {count} member{}", if count == 1 { "" } else { "s" });
    let _ = write!(out, ", lag {}", described.lag());
    let _ = writeln!(out, ", coordinator {} ({})", group.coordinator.address, group.coordinator.id);
    out
}

fn offsets_table(described: &Described, verbose: bool) -> Table {
    let mut table = if verbose {
        Table::new(&[
            "TOPIC",
            ">PARTITION",
            ">START",
            ">COMMITTED",
            ">END",
            ">LAG",
            ">EPOCH",
            "METADATA",
            "MEMBER",
            "INSTANCE",
            "HOST",
            "CLIENT",
        ])
    } else {
        Table::new(&["TOPIC", ">PARTITION", ">COMMITTED", ">END", ">LAG", "MEMBER", "HOST", "CLIENT"])
    };
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for partition in &described.partitions {
        let committed = partition.committed.as_ref();
        let owner = partition.owner.and_then(|index| described.group.members.get(index));
        let mut cells = vec![partition.place.0.clone(), partition.place.1.to_string()];
        if verbose {
            cells.push(number(partition.start));
        }
        cells.push(number(committed.map(|committed| committed.offset)));
        cells.push(number(partition.end));
        cells.push(number(partition.lag()));
        if verbose {
            let epoch = committed.map(|committed| i64::from(committed.leader_epoch)).filter(|epoch| *epoch >= 0);
            cells.push(number(epoch));
            cells.push(dash(committed.map_or("", |committed| &committed.metadata)));
        }
        cells.push(dash(owner.map_or("", |owner| &owner.id)));
        if verbose {
            cells.push(dash(owner.and_then(|owner| owner.instance_id.as_deref()).unwrap_or_default()));
        }
        cells.push(dash(owner.map_or("", |owner| owner.host.trim_start_matches('/'))));
        cells.push(dash(owner.map_or("", |owner| &owner.client_id)));
        table.row(cells);
    }
    table
}

fn members_table(group: &Group, verbose: bool) -> Table {
    let mut headings = vec!["MEMBER", "INSTANCE", "HOST", "CLIENT", ">PARTITIONS", "ASSIGNED"];
    let server_side = group.epochs.is_some();
    if verbose && server_side {
        headings.extend([">EPOCH", "PROTOCOL", "TARGET"]);
    }
    if verbose {
        headings.push("SUBSCRIBED");
    }
    let mut table = Table::new(&headings);
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for member in &group.members {
        let mut cells = vec![
            member.id.clone(),
            dash(member.instance_id.clone().unwrap_or_default()),
            dash(member.host.trim_start_matches('/').to_owned()),
            dash(member.client_id.clone()),
            member.assigned.len().to_string(),
            dash(in_short(&member.assigned)),
        ];
        if verbose && server_side {
            cells.push(member.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()));
            cells.push(member.protocol.unwrap_or("-").to_owned());
            cells.push(dash(member.target.as_ref().map_or_else(String::new, in_short)));
        }
        if verbose {
            let regex = member.subscribed_regex.as_ref().map(|regex| format!("/{regex}/"));
            let subscribed: Vec<String> = member.subscribed.iter().cloned().chain(regex).collect();
            cells.push(dash(subscribed.join(",")));
        }
        table.row(cells);
    }
    table
}

/// `topic(0,1,2),other(5)`, as Kafka's tool has it.
fn in_short(places: &BTreeSet<Place>) -> String {
    let topics = by_topic(places).into_iter().map(|(topic, partitions)| {
        let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}({})", numbers.join(","))
    });
    topics.collect::<Vec<_>>().join(",")
}

fn json(described: &Described) -> Value {
    let group = &described.group;
    let partitions = described.partitions.iter().map(|partition| {
        let committed = partition.committed.as_ref();
        let owner = partition.owner.and_then(|index| group.members.get(index));
        json!({
            "topic": partition.place.0,
            "partition": partition.place.1,
            "start": partition.start,
            "committed": committed.map(|committed| committed.offset),
            "leader_epoch": committed.map(|committed| committed.leader_epoch).filter(|epoch| *epoch >= 0),
            "metadata": committed.map(|committed| &committed.metadata),
            "end": partition.end,
            "lag": partition.lag(),
            "member": owner.map(|owner| &owner.id),
        })
    });
    json!({
        "group": group.id,
        "type": group.kind,
        "state": group.state,
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "group_epoch": group.epochs.map(|epochs| epochs.group),
        "assignment_epoch": group.epochs.map(|epochs| epochs.assignment),
        "coordinator": { "id": group.coordinator.id, "address": group.coordinator.address },
        "lag": described.lag(),
        "members": group.members.iter().map(member_json).collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn member_json(member: &Member) -> Value {
    json!({
        "member": member.id,
        "instance": member.instance_id,
        "client": member.client_id,
        "host": member.host.trim_start_matches('/'),
        "epoch": member.epoch,
        "protocol": member.protocol,
        "subscribed": member.subscribed,
        "subscribed_regex": member.subscribed_regex,
        "assigned": by_topic(&member.assigned),
        "target": member.target.as_ref().map(by_topic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::group::cluster::Node;

    fn described() -> Described {
        let place = |partition| ("t".to_owned(), partition);
        let member = Member {
            id: "m-1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            host: "/127.0.0.1".to_owned(),
            epoch: None,
            protocol: None,
            subscribed: vec!["t".to_owned()],
            subscribed_regex: None,
            assigned: BTreeSet::from([place(0), place(2)]),
            target: None,
        };
        let group = Group {
            id: "g".to_owned(),
            kind: "classic",
            state: "Stable".to_owned(),
            protocol_type: "consumer".to_owned(),
            assignor: "range".to_owned(),
            epochs: None,
            coordinator: Node { id: 1, address: "h:9092".to_owned() },
            members: vec![member],
        };
        let committed = |offset| Some(Committed { offset, leader_epoch: 0, metadata: String::new() });
        let partition =
            |number, committed, end, owner| Partition { place: place(number), committed, start: Some(0), end, owner };
        let partitions = vec![
            partition(0, committed(7), Some(10), Some(0)),
            partition(1, committed(20), Some(10), None),
            partition(2, None, Some(10), Some(0)),
            partition(3, committed(5), None, None),
        ];
        Described { group, partitions }
    }

    #[test]
    fn lag_is_what_is_known_of_it() {
        let described = described();
        let lags: Vec<_> = described.partitions.iter().map(Partition::lag).collect();
        assert_eq!(lags, [Some(3), Some(0), None, None]);
        assert_eq!(described.lag(), 3);
    }

    #[test]
    fn a_table_has_a_line_for_each_partition() {
        let described = described();
        assert_eq!(
            head(&described),
            "g: Stable, classic protocol, assignor range, 1 member, lag 3, coordinator h:9092 (1)\n"
        );
        let text = offsets_table(&described, false).text();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["t", "0", "7", "10", "3", "m-1", "127.0.0.1", "c"]);
        assert_eq!(lines[4], ["t", "3", "5", "-", "-", "-", "-", "-"]);
        let members = members_table(&described.group, true).text();
        assert!(members.lines().nth(1).is_some_and(|line| line.contains("t(0,2)")), "{members}");
    }

    #[test]
    fn json_has_null_for_what_is_unknown() {
        let value = json(&described());
        assert_eq!(value["partitions"][3]["lag"], Value::Null);
        assert_eq!(value["partitions"][0]["member"], "m-1");
        assert_eq!(value["members"][0]["assigned"]["t"], json!([0, 2]));
    }
}
