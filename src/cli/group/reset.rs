//! `corelane group reset-offsets`: moves the committed offsets of groups nobody is in. A dry run unless told otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::protocol::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::{OffsetCommitRequest, Str};

use super::cluster::{Cluster, Partitions};
use super::facts::{self, EARLIEST, LATEST, OFFSETS_BY_NAME_VERSION_MAX, Place, by_topic};
use super::failure::{Failure, explain};
use super::offsets_file;
use super::table::Table;
use super::topics::{TopicSpec, resolve};
use super::when;
use super::{Outcome, SomeGroups};

#[derive(Args, Debug)]
pub struct ResetArgs {
    #[command(flatten)]
    groups: SomeGroups,
    /// A topic whose offsets are moved, or some of its partitions: TOPIC or TOPIC:0,1,2; may be repeated
    #[arg(long, value_name = "TOPIC[:P,P]")]
    topic: Vec<TopicSpec>,
    /// All topics that the group has committed offsets of
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,
    #[command(flatten)]
    target: TargetArgs,
    /// Do it. Without this the offsets are only shown
    #[arg(long)]
    execute: bool,
    #[arg(long, value_enum, default_value_t)]
    output: ResetOutput,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct TargetArgs {
    /// To where the logs begin
    #[arg(long)]
    to_earliest: bool,
    /// To where the logs end
    #[arg(long)]
    to_latest: bool,
    /// To what is committed; to the end where nothing is
    #[arg(long)]
    to_current: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record at or after this time: 2026-11-21T15:30:00.000, in UTC unless it ends in Z or an offset such
    /// as +01:00
    #[arg(long, value_name = "TIME", value_parser = when::datetime)]
    to_datetime: Option<i64>,
    /// To the first record of the last P7D, PT2H30M, ...
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    by_duration: Option<i64>,
    /// By so many records forward, or back if it is negative
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To what a file says: lines of TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET, as `--output csv` (or
    /// kafka-consumer-groups --export) writes them
    #[arg(long, value_name = "FILE")]
    from_file: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum ResetOutput {
    #[default]
    Table,
    Json,
    /// For --from-file
    Csv,
}

/// Where to; times are milliseconds since 1970.
#[derive(Clone, Debug)]
enum Target {
    Earliest,
    Latest,
    Current,
    Offset(i64),
    Time(i64),
    Shift(i64),
    Given(BTreeMap<Place, i64>),
}

/// What is known of a partition when its new offset is found.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    committed: Option<i64>,
    start: i64,
    end: i64,
    by_time: Option<i64>,
}

/// One offset that is, or would be, moved.
struct Move {
    place: Place,
    from: Option<i64>,
    /// Or why not.
    to: Result<i64, String>,
    /// What was asked for and cannot be.
    note: Option<String>,
}

struct Report {
    group: String,
    moves: Vec<Move>,
    error: Option<String>,
}

pub fn run(cluster: &mut Cluster, args: &ResetArgs) -> Result<Outcome, Failure> {
    if args.topic.is_empty() && !args.all_topics && args.target.from_file.is_none() {
        return Err(Failure::Wrong("--topic TOPIC or --all-topics says what is moved".to_owned()));
    }
    let ids = args.groups.ids(cluster)?;
    let file = args.target.from_file.as_deref().map(offsets_file::read).transpose()?;
    let mut reports = Vec::new();
    for id in ids {
        let report = match reset(cluster, &id, args, file.as_ref()) {
            Ok(moves) => Report { group: id, moves, error: None },
            // What concerns one group does not keep the others from it.
            Err(failure @ (Failure::Code { .. } | Failure::Wrong(_))) => {
                Report { group: id, moves: Vec::new(), error: Some(failure.to_string()) }
            }
            Err(failure) => return Err(failure),
        };
        reports.push(report);
    }
    let failed = reports.iter().any(|report| report.error.is_some() || report.moves.iter().any(|m| m.to.is_err()));
    let text = match args.output {
        ResetOutput::Table => table(&reports, args.execute),
        ResetOutput::Json => super::pretty(&json(&reports, args.execute)),
        ResetOutput::Csv => csv(&reports),
    };
    Ok(Outcome { text, failed })
}

fn reset(
    cluster: &mut Cluster,
    id: &str,
    args: &ResetArgs,
    file: Option<&offsets_file::Offsets>,
) -> Result<Vec<Move>, Failure> {
    let group = facts::group(cluster, id)?;
    if !group.is_inactive() {
        let count = group.members.len();
        return Err(Failure::Wrong(format!(
            "offsets are moved only while nobody is in the group; it is {} and has {count} member{}",
            group.state,
            if count == 1 { "" } else { "s" }
        )));
    }
    let committed = facts::committed(cluster, id)?;
    let given = file.map(|offsets| offsets.of(id));
    let target = args.target.target(given)?;
    let partitions = match &target {
        Target::Given(offsets) => by_topic(offsets.keys()),
        _ if args.all_topics => by_topic(committed.keys()),
        _ => resolve(cluster, &args.topic)?,
    };
    let known = known(cluster, &partitions, &target, |place| committed.get(place).map(|c| c.offset))?;
    let mut moves: Vec<Move> = known
        .into_iter()
        .map(|(place, known)| match known {
            Some(known) => {
                let (to, note) = target.of(&place, known);
                Move { place, from: known.committed, to, note }
            }
            None => Move { place, from: None, to: Err("there is no such partition".to_owned()), note: None },
        })
        .collect();
    if args.execute {
        commit(cluster, id, &mut moves)?;
    }
    Ok(moves)
}

/// Where each partition's log begins and ends, and what else the target needs; None for those that aren't there.
fn known(
    cluster: &mut Cluster,
    partitions: &Partitions,
    target: &Target,
    committed: impl Fn(&Place) -> Option<i64>,
) -> Result<Vec<(Place, Option<Known>)>, Failure> {
    let starts = facts::offsets_at(cluster, partitions, EARLIEST)?;
    let ends = facts::offsets_at(cluster, partitions, LATEST)?;
    let by_time = match target {
        Target::Time(at) => facts::offsets_at(cluster, partitions, *at)?,
        _ => BTreeMap::new(),
    };
    let places: BTreeSet<Place> =
        partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|n| (topic.clone(), *n))).collect();
    Ok(places
        .into_iter()
        .map(|place| {
            let known = match (starts.get(&place), ends.get(&place)) {
                (Some(&start), Some(&end)) => {
                    Some(Known { committed: committed(&place), start, end, by_time: by_time.get(&place).copied() })
                }
                _ => None,
            };
            (place, known)
        })
        .collect())
}

impl TargetArgs {
    fn target(&self, given: Option<BTreeMap<Place, i64>>) -> Result<Target, Failure> {
        Ok(if self.to_earliest {
            Target::Earliest
        } else if self.to_latest {
            Target::Latest
        } else if self.to_current {
            Target::Current
        } else if let Some(offset) = self.to_offset {
            Target::Offset(offset)
        } else if let Some(at) = self.to_datetime {
            Target::Time(at.max(0)) // below are the special ones: LATEST and others
        } else if let Some(length) = self.by_duration {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
            Target::Time(now.saturating_sub(length).max(0))
        } else if let Some(by) = self.shift_by {
            Target::Shift(by)
        } else if let Some(given) = given {
            Target::Given(given)
        } else {
            return Err(Failure::Wrong("no target is given".to_owned()));
        })
    }
}

impl Target {
    /// The new offset, which is never outside of the log, and a word where that is not what was asked for.
    fn of(&self, place: &Place, known: Known) -> (Result<i64, String>, Option<String>) {
        let (wanted, note) = match self {
            Target::Earliest => (known.start, None),
            Target::Latest => (known.end, None),
            Target::Current => match known.committed {
                Some(offset) => (offset, None),
                None => (known.end, Some("nothing is committed".to_owned())),
            },
            Target::Offset(offset) => (*offset, None),
            Target::Time(_) => match known.by_time {
                Some(offset) => (offset, None),
                None => (known.end, Some("no record is that late".to_owned())),
            },
            Target::Shift(by) => match known.committed {
                Some(offset) => (offset.saturating_add(*by), None),
                None => return (Err("nothing is committed that could be shifted".to_owned()), None),
            },
            Target::Given(offsets) => (offsets.get(place).copied().unwrap_or(known.end), None),
        };
        let offset = wanted.clamp(known.start, known.end);
        let note = match wanted {
            _ if wanted < known.start => Some(format!("the log begins behind {wanted}")),
            _ if wanted > known.end => Some(format!("the log ends before {wanted}")),
            _ => note,
        };
        (Ok(offset), note)
    }
}

/// Commits as an administrator does: of no member and no generation, which a group with members refuses.
fn commit(cluster: &mut Cluster, id: &str, moves: &mut [Move]) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for one in moves.iter() {
        if let Ok(offset) = one.to {
            topics.entry(&one.place.0).or_default().push(OffsetCommitRequestPartition {
                partition_index: one.place.1,
                committed_offset: offset,
                committed_metadata: Some(Str::from("")),
                ..Default::default()
            });
        }
    }
    if topics.is_empty() {
        return Ok(());
    }
    let topics: Vec<_> = topics
        .into_iter()
        .map(|(name, partitions)| OffsetCommitRequestTopic { name: Str::from(name), partitions, ..Default::default() })
        .collect();
    let answer = cluster.on_coordinator(
        id,
        OFFSETS_BY_NAME_VERSION_MAX,
        |_| OffsetCommitRequest { group_id: Str::from(id), topics: topics.clone(), ..Default::default() },
        |answer| answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).find(|c| *c != 0).unwrap_or(0),
    )?;
    for topic in &answer.topics {
        for partition in topic.partitions.iter().filter(|partition| partition.error_code != 0) {
            for one in moves.iter_mut() {
                if one.place.0 == *topic.name && one.place.1 == partition.partition_index {
                    one.to = Err(explain(partition.error_code));
                }
            }
        }
    }
    Ok(())
}

fn table(reports: &[Report], executed: bool) -> String {
    let mut table = Table::new(&["GROUP", "TOPIC", ">PARTITION", ">FROM", ">TO", "NOTE"]);
    let mut out = String::new();
    for report in reports {
        if let Some(error) = &report.error {
            let _ = writeln!(out, "{}: {error}", report.group);
        }
        for one in &report.moves {
            let dash = |offset: Option<i64>| offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
            let note = one.to.as_ref().err().or(one.note.as_ref());
            table.row([
                report.group.clone(),
                one.place.0.clone(),
                one.place.1.to_string(),
                dash(one.from),
                dash(one.to.as_ref().ok().copied()),
                note.cloned().unwrap_or_default(),
            ]);
        }
    }
    let rows = table.rows();
    if rows > 0 {
        out.push_str(&table.text());
        out.push_str(if executed {
            "\nDone.\n"
        } else {
            "\nNothing was changed: this was a dry run. --execute does it.\n"
        });
    } else if reports.iter().all(|report| report.error.is_none()) {
        out.push_str("No committed offset is concerned.\n");
    }
    out
}

fn json(reports: &[Report], executed: bool) -> Value {
    let groups = reports.iter().map(|report| {
        let offsets = report.moves.iter().map(|one| {
            json!({
                "topic": one.place.0,
                "partition": one.place.1,
                "from": one.from,
                "to": one.to.as_ref().ok(),
                "error": one.to.as_ref().err(),
                "note": one.note,
            })
        });
        json!({ "group": report.group, "error": report.error, "offsets": offsets.collect::<Vec<_>>() })
    });
    json!({ "executed": executed, "groups": groups.collect::<Vec<_>>() })
}

fn csv(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports {
        if let Some(error) = &report.error {
            eprintln!("corelane: {}: {error}", report.group);
        }
        let group = (reports.len() > 1).then_some(report.group.as_str());
        for one in &report.moves {
            match &one.to {
                Ok(offset) => out.push_str(&offsets_file::line(group, &one.place, *offset)),
                Err(why) => eprintln!("corelane: {}: {}-{}: {why}", report.group, one.place.0, one.place.1),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known { committed: Some(50), start: 10, end: 100, by_time: Some(70) };

    fn of(target: &Target, known: Known) -> (Result<i64, String>, bool) {
        let (to, note) = target.of(&("t".to_owned(), 0), known);
        (to, note.is_some())
    }

    #[test]
    fn every_target() {
        let given = BTreeMap::from([(("t".to_owned(), 0), 33)]);
        for (target, offset) in [
            (Target::Earliest, 10),
            (Target::Latest, 100),
            (Target::Current, 50),
            (Target::Offset(42), 42),
            (Target::Time(1), 70),
            (Target::Shift(-20), 30),
            (Target::Given(given), 33),
        ] {
            assert_eq!(of(&target, KNOWN), (Ok(offset), false), "{target:?}");
        }
    }

    #[test]
    fn nothing_goes_outside_of_the_log() {
        for (target, offset) in [
            (Target::Offset(9), 10),
            (Target::Offset(101), 100),
            (Target::Offset(-5), 10),
            (Target::Shift(i64::MAX), 100),
            (Target::Shift(i64::MIN), 10),
        ] {
            assert_eq!(of(&target, KNOWN), (Ok(offset), true), "{target:?}");
        }
    }

    #[test]
    fn where_nothing_is_committed() {
        let known = Known { committed: None, by_time: None, ..KNOWN };
        assert_eq!(of(&Target::Current, known), (Ok(100), true));
        assert_eq!(of(&Target::Time(1), known), (Ok(100), true));
        assert!(of(&Target::Shift(1), known).0.is_err());
    }
}
