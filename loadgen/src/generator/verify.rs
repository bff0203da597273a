//! `--verify`: every record carries who sent it and its number, and its value follows from both. What was acknowledged
//! is held against what consumers saw.
//!
//! ```text
//! 0  producer   u16
//! 2  number     u48   of this producer's records to this partition, from 0
//! 8  the rest of the value, cut from the payload at a place that follows from producer and number
//! ```

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::BytesMut;
use corelane::record::{BatchBuilder, BatchOptions, Codec, Producer, crc_ok, for_each_record};
use serde::{Deserialize, Serialize};

use super::payload::{Payload, scatter};
use crate::workload::{IDENTITY_BYTES, Workload};

/// Makes and checks the records of a run.
pub struct Identities {
    payload: Payload,
    bytes_min: usize,
    bytes_max: usize,
    codec: Codec,
}

/// Records of one producer to one partition that the broker acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledged {
    pub partition: u32,
    pub producer: u16,
    pub first: u64,
    pub count: u32,
}

impl Identities {
    pub fn new(workload: &Workload, payload: Payload) -> Identities {
        Identities {
            payload,
            bytes_min: workload.record_bytes_min,
            bytes_max: workload.record_bytes_max,
            codec: workload.codec(),
        }
    }

    /// A batch of records, and the bytes of their values.
    pub fn batch(&self, of: Acknowledged, timestamp_ms: i64, producer: Producer) -> (BytesMut, u64) {
        let options = BatchOptions { codec: self.codec, producer, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let (mut value, mut bytes) = (Vec::new(), 0);
        for number in of.first..of.first + u64::from(of.count) {
            value.clear();
            self.value(of.producer, number, &mut value);
            bytes += value.len() as u64;
            builder.append(timestamp_ms, None, Some(&value), &[]);
        }
        (builder.build(), bytes)
    }

    fn value(&self, producer: u16, number: u64, out: &mut Vec<u8>) {
        let identity = (u64::from(producer) << 48) | number;
        out.extend_from_slice(&identity.to_be_bytes());
        let sizes = (self.bytes_max - self.bytes_min + 1) as u64;
        let bytes = self.bytes_min + (scatter(identity ^ 0x5555) % sizes) as usize;
        self.payload.value(identity, bytes - IDENTITY_BYTES, out);
    }

    /// How many records surely fit a batch of `batch_bytes`.
    pub fn records_per_batch(&self, batch_bytes: usize) -> u32 {
        let record = BatchBuilder::record_bytes_max(None, None, &[]) + 5 + self.bytes_max;
        (batch_bytes.saturating_sub(61) / record).max(1) as u32
    }
}

/// Whole numbers, in runs.
#[derive(Clone, Debug, Default)]
struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Adds the numbers from `first` up to and without `end`.
    fn add(&mut self, first: u64, end: u64) {
        if first < end {
            self.0.insert(first, end);
        }
    }

    /// Takes a number out; false if it was not in.
    fn remove(&mut self, number: u64) -> bool {
        let Some((&first, &end)) = self.0.range(..=number).next_back() else { return false };
        if number >= end {
            return false;
        }
        self.0.remove(&first);
        self.add(first, number);
        self.add(number + 1, end);
        true
    }

    /// How many numbers from `first` up to and without `end` are in.
    fn overlap(&self, first: u64, end: u64) -> u64 {
        let before = self.0.range(..first).next_back().into_iter();
        let inside = self.0.range(first..end);
        before.chain(inside).map(|(&a, &b)| b.min(end).saturating_sub(a.max(first))).sum()
    }
}

/// What a consumer has seen of one producer's records in one partition.
#[derive(Clone, Debug, Default)]
struct Track {
    /// Above the highest number seen.
    next: u64,
    missing: Runs,
}

/// Checks what one consumer reads of one partition.
pub struct Checker {
    identities: Arc<Identities>,
    tracks: HashMap<u16, Track>,
    next_offset: i64,
    found: Findings,
}

/// What was not as it should be. All zeros is a run in which every record arrived once, in order and unaltered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    pub acknowledged: u64,
    pub consumed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub altered: u64,
    /// Offsets that were passed over or came twice.
    pub offset_gaps: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.altered + self.offset_gaps == 0
    }

    fn add(&mut self, other: &Findings) {
        self.consumed += other.consumed;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.altered += other.altered;
        self.offset_gaps += other.offset_gaps;
        for example in &other.examples {
            self.example(|| example.clone());
        }
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < 10 {
            self.examples.push(what());
        }
    }
}

impl Checker {
    /// Of a partition that is read from this offset on.
    pub fn new(identities: &Arc<Identities>, from: i64) -> Checker {
        Checker {
            identities: Arc::clone(identities),
            tracks: HashMap::new(),
            next_offset: from,
            found: Findings::default(),
        }
    }

    /// Checks the records of one whole batch.
    pub fn batch(&mut self, partition: u32, base_offset: i64, next_offset: i64, bytes: &[u8]) {
        let expected = std::mem::replace(&mut self.next_offset, next_offset);
        if expected != base_offset {
            self.found.offset_gaps += 1;
            self.found.example(|| format!("partition {partition}: offset {base_offset} follows {}", expected - 1));
        }
        let sound = crc_ok(bytes);
        let mut read = Vec::new();
        let outcome = for_each_record(bytes, |record| {
            read.push(self.identities.identity_of(record.value.unwrap_or_default()));
            ControlFlow::<()>::Continue(())
        });
        let mut altered = read.iter().filter(|identity| identity.is_none()).count() as u64;
        if (outcome.is_err() || !sound) && altered == 0 {
            altered = 1;
        }
        if altered > 0 {
            self.found.altered += altered;
            self.found
                .example(|| format!("partition {partition}: altered records in the batch at offset {base_offset}"));
        }
        // A record that is damaged beyond recognition stands where its neighbours say.
        let known = read.iter().enumerate().find_map(|(at, identity)| identity.map(|(p, n)| (at as u64, p, n)));
        for (at, identity) in read.iter().enumerate() {
            self.found.consumed += 1;
            let guess = known.and_then(|(k, p, n)| (n + at as u64).checked_sub(k).map(|n| (p, n)));
            if let Some((producer, number)) = identity.or(guess) {
                self.take(partition, producer, number);
            }
        }
    }

    fn take(&mut self, partition: u32, producer: u16, number: u64) {
        let track = self.tracks.entry(producer).or_default();
        if number >= track.next {
            track.missing.add(track.next, number);
            track.next = number + 1;
        } else if track.missing.remove(number) {
            self.found.reordered += 1;
            self.found.example(|| format!("partition {partition}: record {number} of producer {producer} came late"));
        } else {
            self.found.duplicated += 1;
            self.found.example(|| format!("partition {partition}: record {number} of producer {producer} came again"));
        }
    }
}

impl Identities {
    /// Who sent this value, if it is whole.
    fn identity_of(&self, value: &[u8]) -> Option<(u16, u64)> {
        let identity = u64::from_be_bytes(*value.first_chunk::<IDENTITY_BYTES>()?);
        let (producer, number) = ((identity >> 48) as u16, identity & ((1 << 48) - 1));
        let mut expected = Vec::with_capacity(value.len());
        self.value(producer, number, &mut expected);
        (expected == value).then_some((producer, number))
    }
}

/// Holds what was acknowledged against what each subscription's consumers saw.
pub fn judge(acknowledged: &[Acknowledged], subscriptions: Vec<HashMap<u32, Checker>>, expected: u32) -> Findings {
    let mut findings =
        Findings { acknowledged: acknowledged.iter().map(|run| u64::from(run.count)).sum(), ..Findings::default() };
    let mut by_partition: HashMap<u32, Vec<Checker>> = HashMap::new();
    for (partition, checker) in subscriptions.into_iter().flatten() {
        findings.add(&checker.found);
        by_partition.entry(partition).or_default().push(checker);
    }
    for run in acknowledged {
        let end = run.first + u64::from(run.count);
        let checkers = by_partition.get(&run.partition).map(Vec::as_slice).unwrap_or_default();
        for checker in checkers {
            let lost = match checker.tracks.get(&run.producer) {
                None => u64::from(run.count),
                Some(track) => track.missing.overlap(run.first, end) + end.saturating_sub(run.first.max(track.next)),
            };
            findings.lost += lost;
            if lost > 0 {
                let Acknowledged { partition, producer, first, .. } = *run;
                findings.example(|| format!("partition {partition}: {lost} of records {first} to {} of producer {producer} were acknowledged and never came", end - 1));
            }
        }
        // Partitions that nobody read are lost to each subscription.
        findings.lost += u64::from(run.count) * u64::from(expected.saturating_sub(checkers.len() as u32));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identities() -> Arc<Identities> {
        let workload = Workload { record_bytes_min: 20, record_bytes_max: 40, ..Workload::default() };
        let payload = Payload::new(&workload).unwrap();
        Arc::new(Identities::new(&workload, payload))
    }

    fn run(first: u64, count: u32) -> Acknowledged {
        Acknowledged { partition: 0, producer: 3, first, count }
    }

    /// Lets a checker read these batches, one behind the other.
    fn read(identities: &Arc<Identities>, batches: &[BytesMut], acknowledged: &[Acknowledged]) -> Findings {
        let mut checker = Checker::new(identities, 0);
        let mut offset = 0;
        for batch in batches {
            let count = i64::from(corelane::record::BatchHeader::parse(batch).unwrap().count);
            checker.batch(0, offset, offset + count, batch);
            offset += count;
        }
        judge(acknowledged, vec![HashMap::from([(0, checker)])], 1)
    }

    #[test]
    fn each_kind_of_damage_is_told_from_the_others() {
        let identities = identities();
        let batch = |first, count| identities.batch(run(first, count), 1, Producer::NONE).0;
        let acknowledged = [run(0, 5), run(5, 5), run(10, 5)];

        let sound = read(&identities, &[batch(0, 5), batch(5, 5), batch(10, 5)], &acknowledged);
        assert!(sound.is_clean() && sound.consumed == 15 && sound.acknowledged == 15, "{sound:?}");
        let lost = read(&identities, &[batch(0, 5), batch(6, 4), batch(10, 5)], &acknowledged);
        assert_eq!((lost.lost, lost.duplicated, lost.reordered), (1, 0, 0), "{lost:?}");
        let tail = read(&identities, &[batch(0, 5), batch(5, 5), batch(10, 4)], &acknowledged);
        assert_eq!(tail.lost, 1, "the last record counts too");
        let duplicated = read(&identities, &[batch(0, 5), batch(4, 6), batch(10, 5)], &acknowledged);
        assert_eq!((duplicated.lost, duplicated.duplicated, duplicated.reordered), (0, 1, 0), "{duplicated:?}");
        let reordered = read(&identities, &[batch(0, 5), batch(10, 5), batch(5, 5)], &acknowledged);
        assert_eq!((reordered.lost, reordered.duplicated, reordered.reordered), (0, 0, 5), "{reordered:?}");

        let mut spoiled = batch(5, 5);
        let last = spoiled.len() - 2;
        spoiled[last] ^= 1;
        let altered = read(&identities, &[batch(0, 5), spoiled, batch(10, 5)], &acknowledged);
        assert_eq!((altered.lost, altered.altered, altered.duplicated), (0, 1, 0), "{altered:?}");
        let nothing = judge(&acknowledged, Vec::new(), 1);
        assert_eq!(nothing.lost, 15);
    }

    #[test]
    fn runs_are_taken_apart_and_counted() {
        let mut runs = Runs::default();
        runs.add(10, 20);
        assert!(runs.remove(15) && !runs.remove(15) && !runs.remove(20) && !runs.remove(9));
        assert_eq!((runs.overlap(0, 100), runs.overlap(14, 17), runs.overlap(15, 16)), (9, 2, 0));
    }
}
