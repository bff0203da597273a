//! Compares what a broker has after a cut with what clients had been told before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::batch::Batch;
use crate::facts::{Fact, Noted, Run};
use crate::payload;
use crate::wire::{Wire, records};

/// A fetch of the comparison asks for this much.
const FETCH_BYTES: i32 = 8 << 20;

/// Ids of the records that are written after a cut.
const AFTERWARDS: u64 = 0xffff << 48;

/// What is still there of a partition whose start retention moved may be less than the limit by what was in flight.
const RETENTION_SLACK_BYTES: u64 = 256 * 1024;

const OFFSET_OUT_OF_RANGE: i16 = 1;

type Place<'a> = (&'a str, i32);

/// What has to hold at a position, from what was noted until then.
#[derive(Default)]
pub struct Expected<'a> {
    topics: BTreeMap<&'a str, i32>,
    /// Whose deletion was asked for: there or not, with whatever records.
    leaving: HashSet<&'a str>,
    deleted: HashSet<&'a str>,
    records: HashMap<Place<'a>, BTreeMap<i64, u64>>,
    watermarks: HashMap<Place<'a>, i64>,
    /// The last commit that was acknowledged, and the last that was asked for.
    commits: HashMap<(&'a str, Place<'a>), (i64, i64)>,
    /// The last deletion of records that was acknowledged, and the last that was asked for.
    trims: HashMap<Place<'a>, (i64, i64)>,
    /// Bytes that retention leaves of a partition at least, if it removes anything.
    retention_bytes: Option<u64>,
    violations: Vec<String>,
}

impl<'a> Expected<'a> {
    /// `with_written` counts records acknowledged with acks=1 too, as after a crash of the process.
    pub fn at(noted: &'a [Noted], position: u64, with_written: bool, retention_bytes: Option<u64>) -> Expected<'a> {
        let mut expected = Expected { retention_bytes, ..Expected::default() };
        for one in noted.iter().filter(|one| one.at <= position) {
            match &one.fact {
                Fact::Acknowledged(run) | Fact::Seen(run) => expected.run(run),
                Fact::Written(run) if with_written => expected.run(run),
                Fact::Written(_) => {}
                Fact::HighWatermark { topic, partition, offset } => {
                    let known = expected.watermarks.entry((topic, *partition)).or_default();
                    *known = (*known).max(*offset);
                }
                Fact::CommitAsked { group, topic, partition, offset } => {
                    let known = expected.commits.entry((group, (topic, *partition))).or_insert((-1, -1));
                    known.1 = known.1.max(*offset);
                }
                Fact::Committed { group, topic, partition, offset } => {
                    let known = expected.commits.entry((group, (topic, *partition))).or_insert((-1, -1));
                    known.0 = known.0.max(*offset);
                }
                Fact::TopicMade { topic, partitions } => {
                    expected.topics.insert(topic, *partitions);
                }
                Fact::TrimAsked { topic, partition, offset } => {
                    let known = expected.trims.entry((topic, *partition)).or_default();
                    known.1 = known.1.max(*offset);
                }
                Fact::Trimmed { topic, partition, offset } => {
                    let known = expected.trims.entry((topic, *partition)).or_default();
                    known.0 = known.0.max(*offset);
                }
                Fact::DeletionAsked { topic } => {
                    expected.leaving.insert(topic);
                }
                Fact::Deleted { topic } => {
                    expected.deleted.insert(topic);
                }
            }
        }
        expected
    }

    fn run(&mut self, run: &'a Run) {
        let known = self.records.entry((&run.topic, run.partition)).or_default();
        for (offset, id) in (run.base_offset..).zip(&run.ids) {
            if let Some(before) = known.insert(offset, *id)
                && before != *id
            {
                let place = format!("{}-{} at {offset}", run.topic, run.partition);
                self.violations.push(format!("{place}: clients were told of {before:#x} and of {id:#x}"));
            }
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.records.values().map(BTreeMap::len).sum()
    }
}

/// What a comparison found.
#[derive(Default, Debug)]
pub struct Found {
    pub records: usize,
    pub violations: Vec<String>,
}

impl Found {
    fn wrong(&mut self, what: String) {
        self.violations.push(what);
    }
}

/// Reads everything that a broker has, compares, and writes a little to every partition.
pub fn compare(address: SocketAddr, mut expected: Expected<'_>, write: bool) -> Result<Found> {
    let mut wire = Wire::connect(address)?;
    let mut found = Found { violations: std::mem::take(&mut expected.violations), records: 0 };
    let topics: BTreeMap<String, i32> =
        wire.topics()?.into_iter().filter(|(name, _)| !name.starts_with("__")).collect();
    for (topic, partitions) in &expected.topics {
        if expected.leaving.contains(topic) {
            continue;
        }
        match topics.get(*topic) {
            None => found.wrong(format!("topic {topic}, which was acknowledged, is gone")),
            Some(there) if there != partitions => {
                found.wrong(format!("topic {topic} has {there} partitions instead of {partitions}"));
            }
            Some(_) => {}
        }
    }
    for topic in &expected.deleted {
        if topics.contains_key(*topic) {
            found.wrong(format!("topic {topic}, whose deletion was acknowledged, is back"));
        }
    }
    let mut ids = HashSet::new();
    let identity = wire.producer_id()?;
    let mut written = 0;
    for (topic, partitions) in &topics {
        for partition in 0..*partitions {
            let checked = partition_of(&mut wire, &expected, topic, partition, &mut ids, &mut found)
                .with_context(|| format!("{topic}-{partition}"));
            let end = match checked {
                Ok(end) => end,
                Err(error) => {
                    found.wrong(format!("{error:#}"));
                    continue;
                }
            };
            if write {
                written += 1;
                if let Err(error) = write_to(&mut wire, topic, partition, end, identity, AFTERWARDS | written << 8) {
                    found.wrong(format!("writing to {topic}-{partition} at {end}: {error:#}"));
                }
            }
        }
    }
    for ((group, (topic, partition)), (acknowledged, asked)) in &expected.commits {
        if *acknowledged == -1 {
            continue;
        }
        match wire.committed(group, topic, *partition) {
            Ok(offset) if (*acknowledged..=*asked).contains(&offset) => {}
            Ok(offset) => found.wrong(format!(
                "{group} committed {acknowledged} for {topic}-{partition} and has {offset} (asked for {asked})"
            )),
            Err(error) => found.wrong(format!("{error:#}")),
        }
    }
    Ok(found)
}

/// Reads a partition and compares it; its end.
fn partition_of(
    wire: &mut Wire,
    expected: &Expected<'_>,
    topic: &str,
    partition: i32,
    ids: &mut HashSet<u64>,
    found: &mut Found,
) -> Result<i64> {
    let name = format!("{topic}-{partition}");
    let place = payload::place(topic, partition);
    let mut start = wire.list_offset(topic, partition, -2)?;
    let end = wire.list_offset(topic, partition, -1)?;
    let mut next = start;
    let mut bytes = 0;
    let mut there: BTreeMap<i64, u64> = BTreeMap::new();
    // By producer and its partition, the last of its records; they come in order, and once.
    let mut last_of: HashMap<u64, u64> = HashMap::new();
    while next < end {
        let mut fetched = wire.fetch(&[(topic.to_owned(), partition, next)], 0, FETCH_BYTES)?;
        let data = fetched.pop().context("an answer")?.data;
        if data.error_code == OFFSET_OUT_OF_RANGE {
            // Retention goes on meanwhile: what is left is read from its new start.
            let moved = wire.list_offset(topic, partition, -2)?;
            ensure!(moved > start, "nothing to read at {next}, between {start} and the end {end}");
            (start, next, bytes) = (moved, moved, 0);
            for id in std::mem::take(&mut there).into_values() {
                ids.remove(&id);
            }
            last_of.clear();
            continue;
        }
        ensure!(data.error_code == 0, "fetching at {next}: error {}", data.error_code);
        let data = data.records.unwrap_or_default();
        bytes += data.len() as u64;
        let read = records(data, next, place)?;
        ensure!(!read.is_empty(), "nothing to read at {next}, before the end {end}");
        for record in read {
            ensure!(record.offset == next, "a gap: {} instead of {next}", record.offset);
            next += 1;
            let Some(id) = record.id else {
                found.wrong(format!("{name} at {}: altered", record.offset));
                continue;
            };
            found.records += 1;
            there.insert(record.offset, id);
            if !ids.insert(id) {
                found.wrong(format!("{name} at {}: record {id:#x} is there twice", record.offset));
            }
            let last = last_of.entry(id >> 40).or_default();
            if *last > id {
                found.wrong(format!("{name} at {}: record {id:#x} behind {last:#x}", record.offset));
            }
            *last = id;
        }
    }
    if expected.leaving.contains(topic) {
        return Ok(end);
    }
    if let Some(watermark) = expected.watermarks.get(&(topic, partition))
        && end < *watermark
    {
        found.wrong(format!("{name} ends at {end}, consumers had been told {watermark}"));
    }
    let (trimmed, asked) = expected.trims.get(&(topic, partition)).copied().unwrap_or_default();
    if start < trimmed {
        found.wrong(format!("{name} starts at {start}, records before {trimmed} had been deleted"));
    }
    if start > asked {
        let kept = bytes + RETENTION_SLACK_BYTES;
        if expected.retention_bytes.is_none_or(|limit| kept < limit) {
            found.wrong(format!("{name} starts at {start} with {bytes} bytes left, which no retention explains"));
        }
    }
    let mut lost = Vec::new();
    for (offset, id) in expected.records.get(&(topic, partition)).into_iter().flatten() {
        match there.get(offset) {
            _ if *offset < start => {}
            Some(other) if other == id => {}
            Some(other) => found.wrong(format!("{name} at {offset}: {other:#x} instead of {id:#x}")),
            None => lost.push(*offset),
        }
    }
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        found.wrong(format!("{name}: {} acknowledged or seen records lost, {first} to {last}", lost.len()));
    }
    Ok(end)
}

fn write_to(wire: &mut Wire, topic: &str, partition: i32, end: i64, identity: (i64, i16), id: u64) -> Result<()> {
    let place = payload::place(topic, partition);
    let values: Vec<Vec<u8>> = (0..3).map(|n| payload::value(id + n, place)).collect();
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let batch = Batch::sequenced(&slices, identity.0, identity.1, 0).bytes();
    let (error, offset) = wire.produce(-1, topic, partition, batch)?;
    ensure!(error == 0 && offset == end, "error {error}, offset {offset}");
    let mut fetched = wire.fetch(&[(topic.to_owned(), partition, end)], 0, FETCH_BYTES)?;
    let data = fetched.pop().context("an answer")?.data;
    let read = records(data.records.unwrap_or_default(), end, place)?;
    let back: Vec<_> = read.iter().map(|record| record.id).collect();
    ensure!(back == [Some(id), Some(id + 1), Some(id + 2)], "read back: {back:x?}");
    Ok(())
}
