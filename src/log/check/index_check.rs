//! Holds the index files of a segment against its batches, while these are walked through.

use std::path::{Path, PathBuf};

use crate::record::BatchHeader;
use crate::runtime::fs;
use crate::types::Offset;

use super::super::config::LogConfig;
use super::super::error::LoadError;
use super::super::index::{
    IndexDamage, NO_TIMESTAMP, OFFSET_ENTRY_BYTES, OffsetIndex, TIME_ENTRY_BYTES, TimeIndex, TimestampOffset,
};
use super::super::names;
use super::finding::{FindingKind, Findings, Severity};

/// No index file is larger: one entry for every batch of the largest segment.
const INDEX_BYTES_MAX: usize = 1 << 30;

/// The first entry of an index that is wrong.
#[derive(Debug)]
struct Wrong {
    position: u64,
    offset: Option<Offset>,
    what: String,
}

/// Both index files of one segment.
#[derive(Debug)]
pub(super) struct IndexCheck {
    offset_path: PathBuf,
    time_path: PathBuf,
    offsets: Option<OffsetIndex>,
    times: Option<TimeIndex>,
    /// Entries before these were met.
    offsets_met: usize,
    times_met: usize,
    largest: TimestampOffset,
    wrong_offsets: Option<Wrong>,
    wrong_times: Option<Wrong>,
    /// Batches were passed over that are damaged: what the indexes say of them cannot be held against anything.
    hurt: bool,
    data_bytes: u64,
}

impl IndexCheck {
    /// Reads the files; `None` where one is not there.
    pub fn open(dir: &Path, base_offset: Offset, config: &LogConfig) -> Result<IndexCheck, LoadError> {
        let offset_path = names::offset_index_file(dir, base_offset);
        let time_path = names::time_index_file(dir, base_offset);
        let (mut wrong_offsets, mut wrong_times) = (None, None);
        let bytes_max = config.segment_index_bytes;
        let offsets = read(&offset_path)?.and_then(|bytes| {
            OffsetIndex::decode(base_offset, &bytes, i32::MAX as u64, bytes_max)
                .map_err(|damage| wrong_offsets = Some(malformed(damage, OFFSET_ENTRY_BYTES)))
                .ok()
        });
        let times = read(&time_path)?.and_then(|bytes| {
            TimeIndex::decode(base_offset, &bytes, Offset(i64::MAX), bytes_max)
                .map_err(|damage| wrong_times = Some(malformed(damage, TIME_ENTRY_BYTES)))
                .ok()
        });
        Ok(IndexCheck {
            offset_path,
            time_path,
            offsets,
            times,
            offsets_met: 0,
            times_met: 0,
            largest: TimestampOffset { timestamp: NO_TIMESTAMP, offset: base_offset },
            wrong_offsets,
            wrong_times,
            hurt: false,
            data_bytes: 0,
        })
    }

    /// The next batch of the segment.
    pub fn batch(&mut self, position: u64, header: &BatchHeader) {
        self.data_bytes = position + header.size() as u64;
        while let Some(entry) = self.offsets.as_ref().and_then(|index| index.get(self.offsets_met)) {
            let at = u64::from(entry.position);
            if at > position {
                break;
            }
            let what = if at < position {
                Some(format!("it points at byte {at} of the segment, where no batch begins"))
            } else if entry.offset == header.last_offset() {
                None
            } else {
                let last = header.last_offset();
                Some(format!("it says offset {} of the batch at byte {at}, whose last offset is {last}", entry.offset))
            };
            if let Some(what) = what {
                let number = self.offsets_met;
                self.wrong_offsets.get_or_insert_with(|| wrong(number, OFFSET_ENTRY_BYTES, entry.offset, &what));
            }
            self.offsets_met += 1;
        }
        while let Some(entry) = self.times.as_ref().and_then(|index| index.get(self.times_met)) {
            if entry.offset > header.last_offset() {
                break;
            }
            let what = if entry.offset < header.base_offset {
                Some(format!("it says offset {}, which no batch has", entry.offset))
            } else if entry.timestamp != header.max_timestamp {
                let (has, max) = (entry.timestamp, header.max_timestamp);
                Some(format!("it says timestamp {has} of the batch with offset {}, which has {max}", entry.offset))
            } else if self.largest.timestamp > entry.timestamp {
                Some(format!(
                    "offset {} has timestamp {}, which is greater than its {} up to offset {}",
                    self.largest.offset, self.largest.timestamp, entry.timestamp, entry.offset
                ))
            } else {
                None
            };
            if let Some(what) = what {
                let number = self.times_met;
                self.wrong_times.get_or_insert_with(|| wrong(number, TIME_ENTRY_BYTES, entry.offset, &what));
            }
            self.times_met += 1;
        }
        if header.max_timestamp > self.largest.timestamp {
            self.largest = TimestampOffset { timestamp: header.max_timestamp, offset: header.last_offset() };
        }
    }

    /// Bytes up to `to` were passed over; the batch there begins with `next_offset`.
    pub fn passed_over(&mut self, to: u64, next_offset: Offset) {
        self.hurt = true;
        let (offsets, times) = (&self.offsets, &self.times);
        let entry = |at| offsets.as_ref().and_then(|index| index.get(at));
        while entry(self.offsets_met).is_some_and(|entry| u64::from(entry.position) < to) {
            self.offsets_met += 1;
        }
        let entry = |at| times.as_ref().and_then(|index| index.get(at));
        while entry(self.times_met).is_some_and(|entry| entry.offset < next_offset) {
            self.times_met += 1;
        }
    }

    /// Ends with the segment. Answers whether its indexes are to be made anew.
    pub fn finish(mut self, sealed: bool, findings: &mut Findings) -> bool {
        if let Some(entry) = self.offsets.as_ref().and_then(|index| index.get(self.offsets_met)) {
            let what = format!("it points at byte {}, behind the segment's last batch", entry.position);
            let number = self.offsets_met;
            self.wrong_offsets.get_or_insert_with(|| wrong(number, OFFSET_ENTRY_BYTES, entry.offset, &what));
        }
        if let Some(entry) = self.times.as_ref().and_then(|index| index.get(self.times_met)) {
            let what = format!("it says offset {}, behind the segment's last batch", entry.offset);
            let number = self.times_met;
            self.wrong_times.get_or_insert_with(|| wrong(number, TIME_ENTRY_BYTES, entry.offset, &what));
        }
        if let Some(times) = &self.times
            && sealed
            && !self.hurt
            && !times.is_full()
            && times.last().map_or(NO_TIMESTAMP, |last| last.timestamp) < self.largest.timestamp
        {
            let what = format!(
                "it does not end with the segment's greatest timestamp, {} at offset {}",
                self.largest.timestamp, self.largest.offset
            );
            let position = times.len() as u64 * TIME_ENTRY_BYTES as u64;
            self.wrong_times.get_or_insert(Wrong { position, offset: Some(self.largest.offset), what });
        }
        let no_file = self.data_bytes > 0;
        let missing = |wrong: &Option<Wrong>, is_there: bool| no_file && wrong.is_none() && !is_there;
        let rows = [
            (FindingKind::OffsetIndex, &self.offset_path, &self.wrong_offsets, self.offsets.is_some()),
            (FindingKind::TimeIndex, &self.time_path, &self.wrong_times, self.times.is_some()),
        ];
        let mut rebuild = false;
        for (kind, path, wrong, is_there) in rows {
            if missing(wrong, is_there) {
                findings.file(Severity::Warning, kind, path, "the index of a segment is missing");
                rebuild = true;
            }
            if let Some(wrong) = wrong {
                let at = (Some(wrong.position), wrong.offset);
                findings.add(Severity::Warning, kind, path, at, wrong.what.clone());
                rebuild = true;
            }
        }
        rebuild
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LoadError> {
    fs::if_exists(fs::read_bounded(path, INDEX_BYTES_MAX)).map_err(LoadError::io("read", path))
}

fn malformed(damage: IndexDamage, entry_bytes: usize) -> Wrong {
    let position = match damage {
        IndexDamage::Size { bytes } => bytes,
        IndexDamage::Order { entry } | IndexDamage::Position { entry } | IndexDamage::Offset { entry } => {
            entry * entry_bytes
        }
    };
    Wrong { position: position as u64, offset: None, what: damage.to_string() }
}

fn wrong(number: usize, entry_bytes: usize, offset: Offset, what: &str) -> Wrong {
    Wrong { position: (number * entry_bytes) as u64, offset: Some(offset), what: format!("entry {number}: {what}") }
}
