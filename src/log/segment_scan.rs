//! Scans one segment and decides which of its batches are the log's: the unbroken prefix.

use std::fmt;
use std::path::Path;

use crate::record::{BatchError, BatchHeader};
use crate::types::{LeaderEpoch, Offset};

use super::config::LogConfig;
use super::dir_files::scan_failed;
use super::error::LoadError;
use super::index::{IndexedBatch, OffsetPosition, SegmentIndexes};
use super::loaded::{LoadedActive, LoadedSegment};
use super::names;
use super::replay::Replay;
use super::scan::{ScanError, SegmentScanner};

/// No segment is larger: positions are 31 bits in the index, as in Kafka.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// Where the log stands in front of the next batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// The base offset of the next batch, or the lowest it can have where gaps are legal.
    pub offset: Offset,
    /// The epoch of the last batch.
    pub epoch: LeaderEpoch,
}

/// By what rules a segment's batches are accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Compaction leaves gaps between offsets; appends do not.
    pub gaps: bool,
    /// The next segment's base offset: no batch reaches it.
    pub below: Offset,
    /// No batch has a higher epoch.
    pub epoch_max: LeaderEpoch,
    /// Check each batch's CRC, not its header alone.
    pub crc: bool,
}

/// Why the batch behind the unbroken prefix is none of the log's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    Batch(BatchError),
    /// It does not continue the offsets: a leftover of what the file held before, or of a lost batch's successors.
    Offset {
        expected: Offset,
        found: Offset,
    },
    /// It was written before its predecessor, or its epoch is none that the partition had.
    Epoch {
        before: LeaderEpoch,
        max: LeaderEpoch,
        found: LeaderEpoch,
    },
    /// It reaches over the next segment's base offset, or the segment's own bounds.
    Bounds {
        last_offset: Offset,
    },
    /// The segment ends, and the next one begins further on.
    Missing {
        next: Offset,
    },
}

impl Rules {
    /// Headers alone, and whatever compaction left: for what is flushed and cut to its data.
    pub const TRUSTED: Rules =
        Rules { gaps: true, below: Offset(i64::MAX), epoch_max: LeaderEpoch(i32::MAX), crc: false };
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Batch(wrong) => wrong.fmt(f),
            Stop::Offset { expected, found } => write!(f, "a batch with offset {found} where {expected} belongs"),
            Stop::Epoch { before, max, found } => {
                write!(f, "a batch of leader epoch {found}, where {before} to {max} is possible")
            }
            Stop::Bounds { last_offset } => write!(f, "a batch up to offset {last_offset}, which is out of bounds"),
            Stop::Missing { next } => write!(f, "the batches up to the next segment, at offset {next}, are missing"),
        }
    }
}

/// What a scan found in a segment.
#[derive(Debug)]
pub(super) struct ScannedSegment {
    pub base_offset: Offset,
    pub file_bytes: u64,
    /// What lies before is trusted.
    pub scanned_from: u64,
    /// The size of the unbroken prefix.
    pub data_bytes: u64,
    pub indexes: SegmentIndexes,
    pub first_timestamp: Option<i64>,
    /// Why the prefix ends before the file does.
    pub stop: Option<Stop>,
    pub scanner: SegmentScanner,
}

impl ScannedSegment {
    pub fn sealed(&self) -> LoadedSegment {
        let largest = (!self.indexes.times.is_empty()).then_some(self.indexes.largest);
        LoadedSegment { base_offset: self.base_offset, size_bytes: self.data_bytes, largest }
    }

    pub fn into_active(self) -> LoadedActive {
        LoadedActive {
            base_offset: self.base_offset,
            size_bytes: self.data_bytes,
            indexes: self.indexes,
            first_timestamp: self.first_timestamp,
        }
    }
}

/// A segment to be scanned from its beginning.
pub(super) fn scan_segment(
    dir: &Path,
    base_offset: Offset,
    rules: Rules,
    standing: &mut Standing,
    config: &LogConfig,
    replay: &mut Replay,
) -> Result<ScannedSegment, LoadError> {
    let mut scanned = ScannedSegment::open(dir, base_offset, config)?;
    if rules.crc {
        scanned.scanner.read_all();
    }
    scanned.run(rules, standing, config, replay)?;
    Ok(scanned)
}

/// A segment whose indexes are known, to be scanned from the batch of the last index entry on. `None` if that
/// entry is not the one of a batch.
pub(super) fn scan_segment_end(
    dir: &Path,
    base_offset: Offset,
    indexes: SegmentIndexes,
    rules: Rules,
    standing: &mut Standing,
    config: &LogConfig,
    replay: &mut Replay,
) -> Result<Option<ScannedSegment>, LoadError> {
    let mut scanner = SegmentScanner::open(&names::log_file(dir, base_offset)).map_err(scan_failed)?;
    if rules.crc {
        scanner.read_all();
    }
    let mut scanned = ScannedSegment {
        base_offset,
        file_bytes: scanner.size(),
        scanned_from: 0,
        data_bytes: 0,
        indexes,
        first_timestamp: None,
        stop: None,
        scanner,
    };
    if let Some(last) = scanned.indexes.offsets.last()
        && !scanned.begin_at(last, standing)?
    {
        return Ok(None);
    }
    scanned.scanned_from = scanned.data_bytes;
    scanned.run(rules, standing, config, replay)?;
    Ok(Some(scanned))
}

impl ScannedSegment {
    /// A segment of which nothing is scanned yet.
    pub(super) fn open(dir: &Path, base_offset: Offset, config: &LogConfig) -> Result<ScannedSegment, LoadError> {
        let scanner = SegmentScanner::open(&names::log_file(dir, base_offset)).map_err(scan_failed)?;
        Ok(ScannedSegment {
            base_offset,
            file_bytes: scanner.size(),
            scanned_from: 0,
            data_bytes: 0,
            indexes: SegmentIndexes::new(base_offset, config),
            first_timestamp: None,
            stop: None,
            scanner,
        })
    }

    /// Goes on from an indexed batch; false if there is none where the entry says.
    fn begin_at(&mut self, entry: OffsetPosition, standing: &mut Standing) -> Result<bool, LoadError> {
        match self.scanner.advance() {
            Ok(Some(first)) => self.first_timestamp = Some(first.max_timestamp),
            Ok(None) | Err(ScanError::Broken { .. }) => return Ok(false),
            Err(failed) => return Err(scan_failed(failed)),
        }
        self.scanner.seek(u64::from(entry.position));
        match self.scanner.advance() {
            Ok(Some(header)) if header.last_offset() == entry.offset && header.base_offset >= self.base_offset => {
                *standing = Standing { offset: header.base_offset, epoch: header.leader_epoch };
                self.scanner.seek(u64::from(entry.position));
                self.data_bytes = u64::from(entry.position);
                Ok(true)
            }
            Ok(_) | Err(ScanError::Broken { .. }) => Ok(false),
            Err(failed) => Err(scan_failed(failed)),
        }
    }

    fn run(
        &mut self,
        rules: Rules,
        standing: &mut Standing,
        config: &LogConfig,
        replay: &mut Replay,
    ) -> Result<(), LoadError> {
        loop {
            let header = match self.next(rules, *standing) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(()),
                Err(Refused::Stop(stop)) => {
                    self.stop = Some(stop);
                    return Ok(());
                }
                Err(Refused::Failed(error)) => return Err(error),
            };
            replay.batch(&header, &mut self.scanner).map_err(scan_failed)?;
            self.accept(&header, config);
            *standing = Standing { offset: header.next_offset(), epoch: header.leader_epoch };
        }
    }

    /// Takes the scanner's current batch for one of the log's.
    pub(super) fn accept(&mut self, header: &BatchHeader, config: &LogConfig) {
        let batch = IndexedBatch {
            position: self.scanner.position() as u32,
            size: header.size() as u32,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        };
        self.indexes.note(batch, config.index_interval_bytes);
        self.first_timestamp.get_or_insert(header.max_timestamp);
        self.data_bytes = self.scanner.end_position();
    }

    /// The next batch, if it is the log's.
    pub(super) fn next(&mut self, rules: Rules, standing: Standing) -> Result<Option<BatchHeader>, Refused> {
        let Some(header) = self.scanner.advance()? else { return Ok(None) };
        self.check(&header, rules, standing).map_err(Refused::Stop)?;
        if rules.crc {
            self.scanner.check_crc()?;
        }
        Ok(Some(header))
    }

    fn check(&self, header: &BatchHeader, rules: Rules, standing: Standing) -> Result<(), Stop> {
        let (found, expected) = (header.base_offset, standing.offset);
        if found != expected && (found < expected || !rules.gaps) {
            return Err(Stop::Offset { expected, found });
        }
        if header.leader_epoch < standing.epoch || header.leader_epoch > rules.epoch_max {
            return Err(Stop::Epoch { before: standing.epoch, max: rules.epoch_max, found: header.leader_epoch });
        }
        let last_offset = header.last_offset();
        let relative = last_offset.0.saturating_sub(self.base_offset.0);
        let fits = last_offset >= found
            && last_offset < rules.below
            && i32::try_from(relative).is_ok()
            && self.scanner.end_position() <= SEGMENT_BYTES_MAX;
        if fits { Ok(()) } else { Err(Stop::Bounds { last_offset }) }
    }
}

/// Why there is no next batch.
pub(super) enum Refused {
    Stop(Stop),
    Failed(LoadError),
}

impl From<ScanError> for Refused {
    fn from(error: ScanError) -> Refused {
        match error {
            ScanError::Broken { what, .. } => Refused::Stop(Stop::Batch(what)),
            failed @ ScanError::Io { .. } => Refused::Failed(scan_failed(failed)),
        }
    }
}
