//! The reading and writing of a compaction, on helper threads and in steps, so that others get their turn there.
//!
//! First the last record of each key is found in the part that was not compacted before; then the segments are copied,
//! group by group, without what is superseded. A group becomes one segment, whose files are complete and on the device
//! under their `.cleaned` names when it is handed out.

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

/// What a step reads.
const STEP_BYTES: u64 = 4 << 20;
/// What is written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A sealed segment to be compacted.
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
    /// The next of `sources` to be looked at for its keys, then the next to be copied.
    at: usize,
    phase: Phase,
}

enum Phase {
    Keys(Option<SegmentScanner>),
    Copy(Option<Copy>),
    Done,
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
    buffer: Vec<u8>,
    indexes: SegmentIndexes,
}

impl Job {
    pub fn new(
        dir: Arc<Path>,
        config: LogConfig,
        rules: Rules,
        sources: Vec<Source>,
        first_dirty: Offset,
        keys_bytes_max: usize,
    ) -> Job {
        let latest = LatestOffsets::new(first_dirty, keys_bytes_max);
        Job { dir, config, rules, sources, first_dirty, latest, at: 0, phase: Phase::Keys(None) }
    }

    /// Up to where the log is compacted when all groups are.
    pub fn end(&self) -> Offset {
        self.latest.end()
    }

    /// Does a part of the work. Blocking.
    pub fn step(&mut self) -> Result<Progress, CompactError> {
        let phase = std::mem::replace(&mut self.phase, Phase::Done);
        match phase {
            Phase::Keys(scanner) => self.read_keys(scanner).map(|()| Progress::More),
            Phase::Copy(copy) => self.copy(copy),
            Phase::Done => Ok(Progress::Done),
        }
    }

    fn read_keys(&mut self, scanner: Option<SegmentScanner>) -> Result<(), CompactError> {
        let mut scanner = match scanner {
            Some(scanner) => scanner,
            None => {
                let next = self.sources.iter().skip(self.at).position(|it| it.end_offset > self.first_dirty);
                let Some(next) = next.filter(|_| !self.latest.is_full()) else {
                    self.at = 0;
                    self.phase = Phase::Copy(None);
                    return Ok(());
                };
                self.at += next + 1;
                let source = self.sources.get(self.at - 1).copied();
                open(&self.dir, source)?
            }
        };
        let from = scanner.position();
        while scanner.position() < from + STEP_BYTES {
            let Some(header) = scanner.advance()? else {
                // A segment can end in offsets without records.
                let end = self.sources.get(self.at - 1).map_or(Offset::ZERO, |source| source.end_offset);
                self.latest.advance_to(end);
                self.phase = Phase::Keys(None);
                return Ok(());
            };
            if header.next_offset() <= self.first_dirty {
                continue;
            }
            scanner.check_crc()?;
            let segment = scanner.path().to_owned();
            note_latest(scanner.bytes()?, &mut self.latest).map_err(|what| CompactError::Records {
                segment,
                offset: header.base_offset,
                what,
            })?;
            if self.latest.is_full() {
                // What is behind it is compacted the next time.
                self.at = 0;
                self.phase = Phase::Copy(None);
                return Ok(());
            }
        }
        self.phase = Phase::Keys(Some(scanner));
        Ok(())
    }

    fn copy(&mut self, copy: Option<Copy>) -> Result<Progress, CompactError> {
        let mut copy = match copy {
            Some(copy) => copy,
            None => match self.next_group() {
                Some(group) => Copy::begin(&self.dir, &self.config, group)?,
                None => return Ok(Progress::Done),
            },
        };
        let mut read = 0;
        while read < STEP_BYTES {
            let Some(scanner) = &mut copy.scanner else {
                if copy.next == copy.sources.len() {
                    let output = copy.finish(&self.dir)?;
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
            let left = filter(batch, &self.latest, &self.rules).map_err(|what| CompactError::Records {
                segment,
                offset: header.base_offset,
                what,
            })?;
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
        Ok(Copy { sources, next: 0, scanner: None, file, path, position: 0, buffer: Vec::new(), indexes })
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
        Ok(())
    }

    /// Completes the segment's files, all of them on the device with their names.
    fn finish(mut self, dir: &Path) -> Result<Output, CompactError> {
        self.write()?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CompactError::Io { path, source }
        };
        fs::sync_all(&self.file).map_err(failed(&self.path))?;
        self.indexes.seal();
        let base_offset = self.indexes.offsets.base_offset();
        for (path, content) in [
            (names::offset_index_file(dir, base_offset), self.indexes.offsets.encode()),
            (names::time_index_file(dir, base_offset), self.indexes.times.encode()),
            (names::txn_index_file(dir, base_offset), self.aborted_transactions(dir)?),
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

    /// What the sources' indexes of aborted transactions say, one behind the other: they are in the order of their
    /// offsets, and one that stands for records that are gone does no harm.
    fn aborted_transactions(&self, dir: &Path) -> Result<Vec<u8>, CompactError> {
        /// Entries of 34 bytes; more of them are not in one segment.
        const BYTES_MAX: usize = 256 << 20;
        let mut all = Vec::new();
        for source in &self.sources {
            let path = names::txn_index_file(dir, source.base_offset);
            let content = fs::if_exists(fs::read_bounded(&path, BYTES_MAX))
                .map_err(|source| CompactError::Io { path: path.clone(), source })?;
            all.extend(content.unwrap_or_default());
        }
        Ok(all)
    }
}
