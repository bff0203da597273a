//! What a run did and what was promised of it: the other side of every comparison.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::log::{EpochEntry, LeaderEpochCache, LoadedLog, LogScanner};
use crate::record::{self, BatchHeader, RecordIter};
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// A batch as it stands in the log.
#[derive(Clone, Debug)]
pub struct Known {
    pub end: i64,
    pub epoch: i32,
    pub bytes: Bytes,
}

impl Known {
    /// Whether a batch is what compaction can leave of it.
    pub fn is_left_by(&self, batch: &[u8]) -> bool {
        let (Ok(left), Ok(all)) = (BatchHeader::parse(batch), BatchHeader::parse(&self.bytes)) else { return false };
        let same = |header: &BatchHeader| {
            (header.base_offset, header.last_offset_delta, header.leader_epoch, header.base_sequence)
        };
        let all_records = records_of(&self.bytes);
        record::check_crc(batch).is_ok()
            && same(&left) == same(&all)
            && records_of(batch).iter().all(|record| all_records.contains(record))
    }
}

/// Offset, time, key and value.
type Row = (i64, i64, Vec<u8>, Option<Vec<u8>>);

fn records_of(batch: &[u8]) -> Vec<Row> {
    let mut records = RecordIter::new(batch).expect("it is a batch");
    let mut rows = Vec::new();
    while let Some(record) = records.next_record().expect("its records are whole") {
        let key = record.key.unwrap_or_default().to_vec();
        rows.push((record.offset.0, record.timestamp, key, record.value.map(<[u8]>::to_vec)));
    }
    rows
}

/// What records from an offset on mean: the last value of each key, but for those that were deleted.
fn meaning<'a>(batches: impl Iterator<Item = &'a [u8]>, start: i64) -> BTreeMap<Vec<u8>, Row> {
    let mut meaning = BTreeMap::new();
    for row in batches.flat_map(records_of).filter(|row| row.0 >= start) {
        meaning.insert(row.2.clone(), row);
    }
    meaning.retain(|_, row| row.3.is_some());
    meaning
}

/// A batch as its client sends it. Its producer is the partition's only one, so its first sequence is its first
/// offset, wherever and however often it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub sequence: i32,
    pub count: i32,
    pub bytes: Bytes,
    /// Sent, and not answered yet.
    pub in_flight: bool,
}

/// One moment of a run, as far as it concerns partition `lane`.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A client made a new batch.
    Made {
        lane: usize,
        sent: Sent,
    },
    Appended {
        lane: usize,
        base: i64,
        known: Known,
    },
    /// The disk was full: what was appended from here on is gone.
    TakenBack {
        lane: usize,
        end: i64,
    },
    /// A client was told that everything before is durable.
    Acknowledged {
        lane: usize,
        end: i64,
    },
    /// A client was told that everything before is written; it does not send it again.
    Answered {
        lane: usize,
        end: i64,
    },
    /// So much was shown to consumers, or is said to be on the device.
    Visible {
        lane: usize,
        end: i64,
    },
    /// So much was acknowledged to those who asked for no more than that it is written.
    Written {
        lane: usize,
        end: i64,
    },
    LogStart {
        lane: usize,
        offset: i64,
    },
    /// A start was through: the partition is served from its loaded log. It may have lost its producer with all of its
    /// batches, where written was enough.
    Opened {
        lane: usize,
        end: i64,
        lost_producer: bool,
    },
    /// The catalog holds this leader epoch.
    Epoch(i32),
    /// The directory was stopped cleanly.
    Stopped,
}

/// How the last run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    PowerCut,
    /// The process was killed; the kernel lived on.
    Kill,
}

/// A partition and its client.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    pub known: BTreeMap<i64, Known>,
    /// Batches that were taken back. Their clients were told so; a power cut can still bring them back, as long as what
    /// is behind the log's end was not cut off.
    pub taken_back: BTreeMap<i64, Known>,
    /// Where a full disk last ended the log. If a producer had as many batches in flight as are remembered, nothing is
    /// known of it there.
    taken_back_to: Option<i64>,
    pub end: i64,
    /// No power cut takes what is before.
    pub durable: i64,
    /// No end of the process takes what is before.
    pub written: i64,
    pub log_start: i64,
    /// What the client has no answer for.
    pub unanswered: VecDeque<Sent>,
    pub next_sequence: i32,
}

#[derive(Clone, Debug)]
pub struct World {
    pub lanes: Vec<Lane>,
    pub epoch: i32,
    pub stopped: bool,
}

pub const PRODUCER: ProducerId = ProducerId(4000);

impl World {
    pub fn new(lanes: usize) -> World {
        World { lanes: vec![Lane::default(); lanes], epoch: 0, stopped: false }
    }

    pub fn apply(&mut self, mark: &Mark) {
        match mark {
            Mark::Made { lane, sent } => {
                let lane = &mut self.lanes[*lane];
                lane.next_sequence = sent.sequence + sent.count;
                lane.unanswered.push_back(sent.clone());
            }
            Mark::Appended { lane, base, known } => {
                let lane = &mut self.lanes[*lane];
                assert_eq!(*base, lane.end);
                lane.end = known.end;
                lane.known.insert(*base, known.clone());
            }
            Mark::TakenBack { lane, end } => {
                let lane = &mut self.lanes[*lane];
                lane.taken_back_to = Some(*end);
                let mut gone = lane.cut(*end);
                lane.taken_back.append(&mut gone);
            }
            Mark::Acknowledged { lane, end } => {
                let lane = &mut self.lanes[*lane];
                lane.durable = lane.durable.max(*end);
                lane.unanswered.retain(|sent| i64::from(sent.sequence) >= *end);
            }
            Mark::Answered { lane, end } => {
                self.lanes[*lane].unanswered.retain(|sent| i64::from(sent.sequence) >= *end);
            }
            Mark::Visible { lane, end } => self.lanes[*lane].durable = *end,
            Mark::Written { lane, end } => self.lanes[*lane].written = *end,
            Mark::LogStart { lane, offset } => self.lanes[*lane].log_start = *offset,
            Mark::Opened { lane, end, lost_producer } => {
                let lane = &mut self.lanes[*lane];
                lane.known = lane.possible();
                lane.taken_back.clear();
                lane.cut(*end);
                // All of it is shown from now on.
                lane.durable = *end;
                lane.written = *end;
                let next = lane.unanswered.front().map_or(lane.next_sequence, |sent| sent.sequence);
                if i64::from(next) > *end || *lost_producer {
                    // Written was not enough: what its client does not have any more is lost, and it begins anew.
                    lane.unanswered.clear();
                    lane.next_sequence = *end as i32;
                }
                self.stopped = false;
            }
            Mark::Epoch(epoch) => self.epoch = *epoch,
            Mark::Stopped => self.stopped = true,
        }
    }

    /// The process is gone: whatever clients have no answer for they send again.
    pub fn ended(&mut self, ending: Ending) {
        for lane in &mut self.lanes {
            if ending == Ending::PowerCut {
                lane.written = lane.durable;
            }
            lane.unanswered.iter_mut().for_each(|sent| sent.in_flight = false);
        }
    }
}

impl Lane {
    fn cut(&mut self, end: i64) -> BTreeMap<i64, Known> {
        self.end = end;
        self.known.split_off(&end)
    }

    /// The log at its longest.
    fn possible(&self) -> BTreeMap<i64, Known> {
        let mut possible = self.known.clone();
        let mut end = self.end;
        while let Some(known) = self.taken_back.get(&end) {
            possible.insert(end, known.clone());
            end = known.end;
        }
        possible
    }

    /// Compares a loaded log with what was promised.
    pub fn check(&self, loaded: &LoadedLog, ending: Ending, compacted: bool) -> Result<(), String> {
        let name = &loaded.topic_partition;
        if let Some(damage) = &loaded.damage {
            return Err(format!("{name}: taken for damage: {damage}"));
        }
        let promised = match ending {
            Ending::PowerCut => self.durable,
            Ending::Kill => self.durable.max(self.written),
        };
        let (start, end) = (loaded.log_start_offset.0, loaded.log_end_offset.0);
        if end < promised {
            return Err(format!("{name}: the log ends at {end}, and everything before {promised} was promised"));
        }
        let possible = self.possible();
        let longest = possible.last_key_value().map_or(self.end, |(_, known)| known.end.max(self.end));
        if end > longest {
            return Err(format!("{name}: the log ends at {end}, and nothing behind {longest} was ever appended"));
        }
        if start > self.log_start {
            return Err(format!("{name}: the log begins at {start}, and only {} was asked for", self.log_start));
        }
        if compacted {
            check_meaning(loaded, &possible)?;
        } else {
            self.check_content(loaded, &possible)?;
        }
        if !compacted {
            check_epochs(loaded, &possible)?;
        }
        match check_producer(loaded) {
            Err(_) if self.taken_back_to == Some(end) && loaded.producers.is_empty() => Ok(()),
            checked => checked,
        }
    }

    fn check_content(&self, loaded: &LoadedLog, possible: &BTreeMap<i64, Known>) -> Result<(), String> {
        let name = &loaded.topic_partition;
        let (start, end) = (loaded.log_start_offset, loaded.log_end_offset);
        let mut at = start.0;
        if start < end {
            let mut scanner = LogScanner::open(&loaded.dir, start, end).map_err(|error| format!("{name}: {error}"))?;
            while let Some((header, bytes)) = scanner.next_batch().map_err(|error| format!("{name}: {error}"))? {
                let base = header.base_offset.0;
                let Some(known) = possible.get(&base) else {
                    return Err(format!("{name}: a batch stands at {base}, where none was appended"));
                };
                if base > at || (base < at && at > start.0) {
                    return Err(format!("{name}: a batch at {base} where {at} is next"));
                }
                let before = self.taken_back.get(&base);
                if known.bytes != bytes && before.is_none_or(|before| before.bytes != bytes) {
                    return Err(format!("{name}: the batch at {base} is not the one that was appended"));
                }
                at = header.next_offset().0;
            }
        }
        if at == end.0 { Ok(()) } else { Err(format!("{name}: the batches end at {at}, the log at {end}")) }
    }
}

/// As [`Lane::check_content`], for a log that is compacted: what is there is part of what was appended, and means the same.
fn check_meaning(loaded: &LoadedLog, possible: &BTreeMap<i64, Known>) -> Result<(), String> {
    let name = &loaded.topic_partition;
    let (start, end) = (loaded.log_start_offset, loaded.log_end_offset);
    let (mut at, mut found) = (i64::MIN, Vec::new());
    if start < end {
        let mut scanner = LogScanner::open(&loaded.dir, start, end).map_err(|error| format!("{name}: {error}"))?;
        while let Some((header, bytes)) = scanner.next_batch().map_err(|error| format!("{name}: {error}"))? {
            let base = header.base_offset.0;
            if base < at || !possible.get(&base).is_some_and(|known| known.is_left_by(bytes)) {
                return Err(format!("{name}: the batch at {base}, behind {at}, is not what is left of one appended"));
            }
            // Where an epoch began may be gone; which one a batch is of is not.
            if loaded.epochs.epoch_for_offset(header.last_offset()) != Some(header.leader_epoch) {
                return Err(format!("{name}: the leader epoch at {base} is none of {:?}", loaded.epochs));
            }
            at = header.next_offset().0;
            found.push(bytes.to_vec());
        }
        if at != end.0 {
            return Err(format!("{name}: the batches end at {at}, the log at {end}"));
        }
    }
    let appended = possible.range(..end.0).map(|(_, known)| &known.bytes[..]);
    let (now, then) = (meaning(found.iter().map(Vec::as_slice), start.0), meaning(appended, start.0));
    if now == then {
        return Ok(());
    }
    let offsets = |meaning: &BTreeMap<Vec<u8>, Row>| meaning.values().map(|row| row.0).collect::<Vec<_>>();
    Err(format!(
        "{name}: from {start} on the keys' last records are at {:?} instead of {:?}",
        offsets(&now),
        offsets(&then)
    ))
}

fn check_epochs(loaded: &LoadedLog, possible: &BTreeMap<i64, Known>) -> Result<(), String> {
    let mut entries: Vec<EpochEntry> = Vec::new();
    for (base, known) in possible.range(..loaded.log_end_offset.0) {
        if entries.last().is_none_or(|last| last.epoch.0 < known.epoch) {
            entries.push(EpochEntry { epoch: LeaderEpoch(known.epoch), start_offset: Offset(*base) });
        }
    }
    let mut expected = LeaderEpochCache::from_entries(entries);
    expected.truncate_from_start(loaded.log_start_offset);
    let is_empty = loaded.log_start_offset == loaded.log_end_offset;
    if expected == loaded.epochs || is_empty {
        return Ok(());
    }
    Err(format!("{}: leader epochs {:?} instead of {expected:?}", loaded.topic_partition, loaded.epochs))
}

/// A retry of the last batch must be known for one.
fn check_producer(loaded: &LoadedLog) -> Result<(), String> {
    let end = loaded.log_end_offset.0;
    let last = loaded.producers.get(PRODUCER).map(|entry| i64::from(entry.last_sequence()));
    if loaded.producers.end_offset() != loaded.log_end_offset {
        return Err(format!("{}: producers as of {:?}", loaded.topic_partition, loaded.producers.end_offset()));
    }
    if end > loaded.log_start_offset.0 && last != Some(end - 1) {
        return Err(format!("{}: the producer's last sequence is {last:?} of {end}", loaded.topic_partition));
    }
    Ok(())
}
