//! The reading and writing of a compaction, on helper threads and in steps, so that others get their turn there.
//!
//! First the last record of each key is found in the part that was not compacted before; where that has transactions,
//! their markers are looked for before. Then the segments are copied, group by group, without what is superseded. A group
//! becomes one segment, whose files are complete and on the device under their `.cleaned` names when it is handed out.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record::{BatchError, BatchHeader};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::Offset;

use super::super::config::LogConfig;
use super::super::index::{IndexedBatch, SegmentIndexes, TimestampOffset};
use super::super::names;
use super::super::scan::{ScanError, SegmentScanner};
use super::filter::{Left, Rules, filter, note_latest};
use super::latest::LatestOffsets;
use super::transactions::{Outcomes, Seen, marker_of};

/// What a step reads: some milliseconds of a core, after which others have their turn.
const STEP_BYTES: u64 = 1 << 20;
/// What is written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// What waits in the page cache at most: a segment's worth of it at once would hold up everybody else's flushes.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;

/// An entry of a `.txnindex` (Kafka's `AbortedTxn`): version, producer id, first offset, last offset (that of the marker),
/// last stable offset.
const TXN_ENTRY_BYTES: usize = 34;
const TXN_ENTRY_LAST_AT: usize = 18;

/// A segment to be compacted, or looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::log) struct Source {
    pub base_offset: Offset,
    pub size_bytes: u64,
    /// Where the next segment begins.
    pub end_offset: Offset,
}

/// What became of a group of segments.
#[derive(Debug)]
pub(in crate::log) struct Output {
    pub sources: Vec<Source>,
    pub size_bytes: u64,
    pub largest: TimestampOffset,
}

impl Output {
    /// Named as the first of those whose place it takes.
    pub fn base_offset(&self) -> Offset {
        self.sources.first().map_or(Offset::ZERO, |first| first.base_offset)
    }
}

/// Why a compaction cannot go on.
#[derive(Debug)]
pub(in crate::log) enum CompactError {
    Scan(ScanError),
    /// A batch whose records cannot be read.
    Records {
        segment: PathBuf,
        offset: Offset,
        what: BatchError,
    },
    Io {
        path: PathBuf,
        source: io::Error,
    },
}

impl std::fmt::Display for CompactError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompactError::Scan(error) => error.fmt(f),
            CompactError::Records { segment, offset, what } => {
                write!(f, "{} has an unreadable batch at offset {offset}: {what}", segment.display())
            }
            CompactError::Io { path, source } => write!(f, "cannot write {}: {source}", path.display()),
        }
    }
}

impl From<ScanError> for CompactError {
    fn from(error: ScanError) -> CompactError {
        CompactError::Scan(error)
    }
}

pub(super) struct Job {
    pub dir: Arc<Path>,
    pub config: LogConfig,
    pub rules: Rules,
    /// All that is compacted, from the log's beginning on.
    pub sources: Vec<Source>,
    /// Where the part begins that was not compacted before.
    pub first_dirty: Offset,
    pub latest: LatestOffsets,
    /// The segments behind `sources`, where the markers of their last transactions are.
    behind: Vec<Source>,
    /// Known when there was a transaction.
    outcomes: Option<Outcomes>,
    seen: Seen,
    /// Of keys, and most of the memory that they took; what was read and written.
    pub figures: Figures,
    /// The next of `sources` to be looked at for its keys or, with those behind them, its markers, then the next to be
    /// copied.
    at: usize,
    phase: Phase,
}

/// What a job has done so far, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Figures {
    pub read: u64,
    pub written: u64,
    pub keys: usize,
}

/// What is looked for in the part that was not compacted before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Keys,
    Markers,
}

enum Phase {
    Look(Look, Option<SegmentScanner>),
    Copy(Option<Box<Copy>>),
    Done,
}

/// What a batch says about going on.
#[derive(PartialEq, Eq)]
enum Noted {
    More,
    Enough,
    NeedsMarkers,
}

/// What a step came to.
pub(super) enum Progress {
    More,
    Ready(Output),
    Done,
}

/// A group being copied.
struct Copy {
    sources: Vec<Source>,
    /// The next of them to be opened.
    next: usize,
    scanner: Option<SegmentScanner>,
    file: RawFile,
    path: PathBuf,
    position: u64,
    synced_to: u64,
    buffer: Vec<u8>,
    indexes: SegmentIndexes,
}

impl Job {
    pub fn new(
        dir: Arc<Path>,
        config: LogConfig,
        rules: Rules,
        (sources, behind): (Vec<Source>, Vec<Source>),
        first_dirty: Offset,
        keys_bytes_max: usize,
    ) -> Job {
        Job {
            dir,
            config,
            rules,
            sources,
            first_dirty,
            latest: LatestOffsets::new(first_dirty, keys_bytes_max),
            behind,
            outcomes: None,
            seen: Seen::default(),
            figures: Figures::default(),
            at: 0,
            phase: Phase::Look(Look::Keys, None),
        }
    }

    /// Up to where the log is compacted when all groups are.
    pub fn end(&self) -> Offset {
        self.latest.end()
    }

    /// Does a part of the work. Blocking.
    pub fn step(&mut self) -> Result<Progress, CompactError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        match phase {
            Phase::Look(look, scanner) => self.look(look, scanner).map(|()| Progress::More),
            Phase::Copy(copy) => self.copy(copy),
            Phase::Done => Ok(Progress::Done),
        }
    }

    fn look(&mut self, look: Look, scanner: Option<SegmentScanner>) -> Result<(), CompactError> {
        let mut scanner = if let Some(scanner) = scanner {
            scanner
        } else if let Some(source) = self.next_to_look_at(look) {
            open(&self.dir, Some(source))?
        } else {
            self.end_look(look);
            return Ok(());
        };
        let from = scanner.position();
        while scanner.position() < from + STEP_BYTES {
            let Some(header) = scanner.advance()? else {
                if look == Look::Keys {
                    // A segment can end in offsets without records.
                    let end = self.sources.get(self.at - 1).map_or(Offset::ZERO, |source| source.end_offset);
                    self.latest.advance_to(end);
                }
                self.phase = Phase::Look(look, None);
                self.figures.read += scanner.position() - from;
                return Ok(());
            };
            if header.next_offset() <= self.first_dirty {
                continue;
            }
            let noted = match look {
                Look::Keys => self.note_keys(&header, &mut scanner)?,
                Look::Markers => self.note_marker(&header, &mut scanner)?,
            };
            if noted == Noted::Enough {
                self.figures.read += scanner.end_position() - from;
                self.end_look(look);
                return Ok(());
            }
            if noted == Noted::NeedsMarkers {
                self.figures.read += scanner.end_position() - from;
                self.outcomes = Some(Outcomes::default());
                (self.at, self.phase) = (0, Phase::Look(Look::Markers, None));
                return Ok(());
            }
        }
        self.figures.read += scanner.position() - from;
        self.phase = Phase::Look(look, Some(scanner));
        Ok(())
    }

    fn next_to_look_at(&mut self, look: Look) -> Option<Source> {
        let behind: &[Source] = match (look, &self.outcomes) {
            // What is not decided in the sources is behind them.
            (Look::Markers, Some(outcomes)) if outcomes.first_undecided().is_some() => &self.behind,
            _ => &[],
        };
        let rest = self.sources.iter().chain(behind).enumerate().skip(self.at);
        let (at, next) = rest.into_iter().find(|(_, source)| source.end_offset > self.first_dirty)?;
        if look == Look::Keys && self.latest.is_full() {
            return None;
        }
        let next = *next;
        self.at = at + 1;
        Some(next)
    }

    /// All was seen that is to be seen of it.
    fn end_look(&mut self, look: Look) {
        self.at = 0;
        self.figures.keys = self.figures.keys.max(self.latest.bytes());
        self.phase = match look {
            // It may not go past a transaction that is not decided.
            Look::Keys if self.latest.end() <= self.first_dirty => Phase::Done,
            Look::Keys => Phase::Copy(None),
            Look::Markers => Phase::Look(Look::Keys, None),
        };
    }

    fn note_keys(&mut self, header: &BatchHeader, scanner: &mut SegmentScanner) -> Result<Noted, CompactError> {
        let transactional = header.attributes.is_transactional() && !header.attributes.is_control();
        match &self.outcomes {
            None if transactional => {
                // What was noted stays right: it comes from before the first transaction.
                return Ok(Noted::NeedsMarkers);
            }
            Some(outcomes) if outcomes.first_undecided().is_some_and(|undecided| header.next_offset() > undecided) => {
                // The last stable offset should not have let it in.
                return Ok(Noted::Enough);
            }
            _ => {}
        }
        scanner.check_crc()?;
        let segment = scanner.path().to_owned();
        let none = Outcomes::default();
        let outcomes = self.outcomes.as_ref().unwrap_or(&none);
        note_latest(scanner.bytes()?, &mut self.latest, outcomes).map_err(|what| CompactError::Records {
            segment,
            offset: header.base_offset,
            what,
        })?;
        // What is behind it is compacted the next time.
        Ok(if self.latest.is_full() { Noted::Enough } else { Noted::More })
    }

    fn note_marker(&mut self, header: &BatchHeader, scanner: &mut SegmentScanner) -> Result<Noted, CompactError> {
        let Some(outcomes) = &mut self.outcomes else { return Ok(Noted::Enough) };
        let is_behind = self.sources.last().is_none_or(|last| header.base_offset >= last.end_offset);
        if header.attributes.is_control() {
            scanner.check_crc()?;
            let segment = scanner.path().to_owned();
            let marker = marker_of(scanner.bytes()?).map_err(|what| CompactError::Records {
                segment,
                offset: header.base_offset,
                what,
            })?;
            outcomes.note_marker(header, marker);
        } else if !is_behind {
            outcomes.note_data(header);
        }
        Ok(if is_behind && outcomes.first_undecided().is_none() { Noted::Enough } else { Noted::More })
    }

    fn copy(&mut self, copy: Option<Box<Copy>>) -> Result<Progress, CompactError> {
        let mut copy = match copy {
            Some(copy) => copy,
            None => match self.next_group() {
                Some(group) => {
                    self.rules.keep_end = group.last().map_or(Offset::ZERO, |last| last.end_offset);
                    Box::new(Copy::begin(&self.dir, &self.config, group)?)
                }
                None => return Ok(Progress::Done),
            },
        };
        let mut read = 0;
        while read < STEP_BYTES {
            let Some(scanner) = &mut copy.scanner else {
                if copy.next == copy.sources.len() {
                    let output = copy.finish(&self.dir, &self.seen.take_abort_markers())?;
                    self.figures.read += read;
                    self.figures.written += output.size_bytes;
                    self.phase = Phase::Copy(None);
                    return Ok(Progress::Ready(output));
                }
                copy.scanner = Some(open(&self.dir, copy.sources.get(copy.next).copied())?);
                copy.next += 1;
                continue;
            };
            let Some(header) = scanner.advance()? else {
                copy.scanner = None;
                continue;
            };
            read += header.size() as u64;
            scanner.check_crc()?;
            let segment = scanner.path().to_owned();
            let batch = scanner.bytes()?;
            let outcomes = self.outcomes.get_or_insert_default();
            let left = filter(batch, &self.latest, outcomes, &mut self.seen, &self.rules)
                .map_err(|what| CompactError::Records { segment, offset: header.base_offset, what })?;
            match left {
                Left::Nothing => {}
                Left::All => {
                    copy.buffer.extend_from_slice(batch);
                    copy.note(&header, self.config.index_interval_bytes);
                }
                Left::Part(batch) => {
                    let segment = scanner.path().to_owned();
                    let header = BatchHeader::parse(&batch).map_err(|what| CompactError::Records {
                        segment,
                        offset: header.base_offset,
                        what,
                    })?;
                    copy.buffer.extend_from_slice(&batch);
                    copy.note(&header, self.config.index_interval_bytes);
                }
            }
            if copy.buffer.len() >= WRITE_BYTES {
                copy.write()?;
            }
        }
        self.figures.read += read;
        self.phase = Phase::Copy(Some(copy));
        Ok(Progress::More)
    }

    /// Segments that together are no larger than one may be, and whose offsets one index can hold
    /// (`Cleaner.groupSegmentsBySize`).
    fn next_group(&mut self) -> Option<Vec<Source>> {
        let end = self.end();
        let rest = self.sources.get(self.at..)?;
        let first = *rest.first().filter(|first| first.base_offset < end)?;
        let mut bytes = 0;
        let group: Vec<Source> = rest
            .iter()
            .take_while(|source| {
                bytes += source.size_bytes;
                source.base_offset == first.base_offset
                    || (source.base_offset < end
                        && bytes <= u64::from(self.config.segment_bytes)
                        && i32::try_from(source.end_offset.0 - first.base_offset.0).is_ok())
            })
            .copied()
            .collect();
        self.at += group.len();
        Some(group)
    }
}

fn open(dir: &Path, source: Option<Source>) -> Result<SegmentScanner, CompactError> {
    let Source { base_offset, size_bytes, .. } =
        source.unwrap_or(Source { base_offset: Offset::ZERO, size_bytes: 0, end_offset: Offset::ZERO });
    let path = names::log_file(dir, base_offset);
    let file = fs::open(&path, OpenFlags::READ)
        .map_err(|source| CompactError::Scan(ScanError::Io { segment: path.clone(), source }))?;
    let mut scanner = SegmentScanner::over(&path, file, size_bytes);
    scanner.read_all();
    Ok(scanner)
}

impl Copy {
    fn begin(dir: &Path, config: &LogConfig, sources: Vec<Source>) -> Result<Copy, CompactError> {
        let base_offset = sources.first().map_or(Offset::ZERO, |first| first.base_offset);
        let path = names::cleaned(&names::log_file(dir, base_offset));
        let flags = OpenFlags { truncate: true, ..OpenFlags::CREATE };
        let file = fs::open(&path, flags).map_err(|source| CompactError::Io { path: path.clone(), source })?;
        let indexes = SegmentIndexes::new(base_offset, config);
        Ok(Copy { sources, next: 0, scanner: None, file, path, position: 0, synced_to: 0, buffer: Vec::new(), indexes })
    }

    /// Takes note of the batch at the end of the buffer.
    fn note(&mut self, header: &BatchHeader, interval: u32) {
        let size = header.size();
        let position = self.position + (self.buffer.len() - size) as u64;
        let noted = IndexedBatch {
            position: position as u32,
            size: size as u32,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
        };
        self.indexes.note(noted, interval);
    }

    fn write(&mut self) -> Result<(), CompactError> {
        fs::pwrite_all(&self.file, &self.buffer, self.position)
            .map_err(|source| CompactError::Io { path: self.path.clone(), source })?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        if self.position - self.synced_to >= UNSYNCED_BYTES_MAX {
            fs::sync_data(&self.file).map_err(|source| CompactError::Io { path: self.path.clone(), source })?;
            self.synced_to = self.position;
        }
        Ok(())
    }

    /// Completes the segment's files, all of them on the device with their names.
    fn finish(mut self, dir: &Path, abort_markers: &HashSet<Offset>) -> Result<Output, CompactError> {
        self.write()?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CompactError::Io { path, source }
        };
        // Retention goes by it where records have no timestamps.
        if let Some(last) = self.sources.last() {
            let path = names::log_file(dir, last.base_offset);
            let modified_ms = fs::stat(&path).map_err(failed(&path))?.modified_ms;
            fs::set_modified_ms(&self.file, modified_ms).map_err(failed(&self.path))?;
        }
        fs::sync_all(&self.file).map_err(failed(&self.path))?;
        self.indexes.seal();
        let base_offset = self.indexes.offsets.base_offset();
        for (path, content) in [
            (names::offset_index_file(dir, base_offset), self.indexes.offsets.encode()),
            (names::time_index_file(dir, base_offset), self.indexes.times.encode()),
            (names::txn_index_file(dir, base_offset), self.aborted_transactions(dir, abort_markers)?),
        ] {
            if content.is_empty() && path.extension().is_some_and(|extension| extension == "txnindex") {
                continue;
            }
            let path = names::cleaned(&path);
            fs::write_synced(&path, &content).map_err(failed(&path))?;
        }
        fs::sync_dir(dir).map_err(failed(dir))?;
        Ok(Output { size_bytes: self.position, largest: self.indexes.largest, sources: self.sources })
    }

    /// The entries of the sources' indexes of aborted transactions whose batches were still there: behind the offset up
    /// to which keys were looked at, they still are.
    fn aborted_transactions(&self, dir: &Path, abort_markers: &HashSet<Offset>) -> Result<Vec<u8>, CompactError> {
        /// Entries of 34 bytes; more of them are not in one segment.
        const BYTES_MAX: usize = 350 << 20;
        let mut kept = Vec::new();
        for source in &self.sources {
            let path = names::txn_index_file(dir, source.base_offset);
            let content = fs::if_exists(fs::read_bounded(&path, BYTES_MAX))
                .map_err(|source| CompactError::Io { path: path.clone(), source })?;
            for entry in content.unwrap_or_default().chunks_exact(TXN_ENTRY_BYTES) {
                let marker = entry.get(TXN_ENTRY_LAST_AT..).and_then(|bytes| bytes.first_chunk());
                let marker = marker.map(|bytes| Offset(i64::from_be_bytes(*bytes)));
                if marker.is_some_and(|marker| abort_markers.contains(&marker)) {
                    kept.extend_from_slice(entry);
                }
            }
        }
        Ok(kept)
    }
}
