//! Reads the batches of segments one after the other, in bounded memory and with plain blocking calls: for
//! recovery, and for what is replayed at a start (the catalog, committed offsets).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::{BATCH_HEADER_BYTES, BatchError, BatchHeader};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::Offset;

use super::names::{self, FileKind};
use super::scan_read::ScanFile;

/// How much is read at a time: little where a scan begins or skips large batches, since most scans look at a few
/// headers of one of thousands of partitions; twice as much each time it goes on, up to a disk's full speed.
const READ_BYTES_MIN: usize = 4096;
const READ_BYTES_MAX: usize = 256 << 10;
/// What a long scan takes from the device at a time.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// Where a scan begins that will look at every byte: most of the partitions that a crash leaves have no more to be
/// looked at.
const READ_BYTES_ALL: usize = 64 << 10;
/// The largest batch handed out whole; producers are held to far less by `max.message.bytes`.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// Where the CRC of a batch begins to count.
const CRC_COVERS_FROM: usize = 21;
const CRC_AT: usize = 17;

/// Why a scan cannot go on.
#[derive(Debug)]
pub enum ScanError {
    /// The bytes at `position` of the segment are no batch.
    Broken {
        segment: PathBuf,
        position: u64,
        what: BatchError,
    },
    Io {
        segment: PathBuf,
        source: io::Error,
    },
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Broken { segment, position, what } => {
                write!(f, "{} has no valid batch at byte {position}: {what}", segment.display())
            }
            ScanError::Io { segment, source } => write!(f, "cannot read {}: {source}", segment.display()),
        }
    }
}

impl std::error::Error for ScanError {}

/// The batches of one segment file, from the front. The file must not grow meanwhile.
#[derive(Debug)]
pub struct SegmentScanner {
    path: PathBuf,
    file: ScanFile,
    size: u64,
    /// Where the current batch begins, and its size; 0 before the first.
    position: u64,
    batch_bytes: usize,
    buffer: Vec<u8>,
    /// The position in the file of the buffer's first byte.
    buffered_from: u64,
    /// How much to read next.
    read_bytes: usize,
    /// How much where a scan begins.
    read_bytes_min: usize,
}

impl SegmentScanner {
    pub fn open(path: &Path) -> Result<SegmentScanner, ScanError> {
        let failed = |source| ScanError::Io { segment: path.to_owned(), source };
        let file = fs::open(path, OpenFlags::READ).map_err(failed)?;
        let size = fs::file_size(&file).map_err(failed)?;
        Ok(SegmentScanner::over(path, file, size))
    }

    /// Scans the first `size` bytes of a file that is open.
    pub fn over(path: &Path, file: RawFile, size: u64) -> SegmentScanner {
        SegmentScanner {
            path: path.to_owned(),
            file: ScanFile::new(file, size),
            size,
            position: 0,
            batch_bytes: 0,
            buffer: Vec::new(),
            buffered_from: 0,
            read_bytes: READ_BYTES_MIN,
            read_bytes_min: READ_BYTES_MIN,
        }
    }

    /// Every batch's CRC will be asked for: reads begin larger.
    pub fn read_all(&mut self) {
        self.read_bytes_min = READ_BYTES_ALL;
        self.read_bytes = READ_BYTES_ALL;
    }

    /// Goes on with the batch that begins at `position`.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
        self.batch_bytes = 0;
    }

    /// Where the current batch begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where the current batch ends; the end of the last one after the scan.
    pub fn end_position(&self) -> u64 {
        self.position + self.batch_bytes as u64
    }

    /// The size of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file back, for what is to be done with it after the scan.
    pub fn into_file(self) -> RawFile {
        self.file.into_file()
    }

    pub fn file(&self) -> &RawFile {
        self.file.file()
    }

    /// Moves on to the next batch and returns its header; `None` at the end of the file. Header and length are
    /// checked to lie in the file; the CRC is not. After an error the scanner stands at the end of the last batch.
    pub fn advance(&mut self) -> Result<Option<BatchHeader>, ScanError> {
        let position = self.end_position();
        self.seek(position);
        let left = self.size.saturating_sub(position);
        if left == 0 {
            return Ok(None);
        }
        self.fill(BATCH_HEADER_BYTES)?;
        let header = BatchHeader::parse_prefix(self.buffered()).map_err(|what| self.broken(what))?;
        let size = header.size() as u64;
        if size > left {
            return Err(self.broken(BatchError::Cut { size, available: left as usize }));
        }
        self.batch_bytes = header.size();
        Ok(Some(header))
    }

    /// Checks the CRC of the current batch, in pieces if it is large.
    pub fn check_crc(&mut self) -> Result<(), ScanError> {
        self.fill(self.batch_bytes.min(READ_BYTES_MAX))?;
        let batch = self.current();
        let Some(stored) = batch.get(CRC_AT..).and_then(|bytes| bytes.first_chunk()) else { return Ok(()) };
        let stored = u32::from_be_bytes(*stored);
        let mut computed = crc32c::crc32c(batch.get(CRC_COVERS_FROM..).unwrap_or_default());
        let (mut from, end) = (self.position + batch.len() as u64, self.end_position());
        let mut piece = Vec::new();
        while from < end {
            piece.resize((end - from).min(READ_BYTES_MAX as u64) as usize, 0);
            let count = self
                .file
                .read_on(&self.path, &mut piece, from, READ_AHEAD_BYTES)
                .map_err(|source| self.failed(source))?;
            if count < piece.len() {
                let (size, available) = (self.batch_bytes as u64, (from - self.position) as usize + count);
                return Err(self.broken(BatchError::Cut { size, available }));
            }
            computed = crc32c::crc32c_append(computed, &piece);
            from += count as u64;
        }
        if computed == stored { Ok(()) } else { Err(self.broken(BatchError::Crc { stored, computed })) }
    }

    /// The whole current batch.
    pub fn bytes(&mut self) -> Result<&[u8], ScanError> {
        let size = self.batch_bytes as u64;
        if self.batch_bytes > BATCH_BYTES_MAX {
            return Err(self.broken(BatchError::TooLarge { size, max: BATCH_BYTES_MAX as u64 }));
        }
        self.fill(self.batch_bytes)?;
        let available = self.current().len();
        if available < self.batch_bytes {
            return Err(self.broken(BatchError::Cut { size, available }));
        }
        Ok(self.current())
    }

    /// What is buffered of the current batch.
    fn current(&self) -> &[u8] {
        let buffered = self.buffered();
        buffered.get(..self.batch_bytes).unwrap_or(buffered)
    }

    /// What is buffered of the current batch and behind it.
    fn buffered(&self) -> &[u8] {
        let from = self.position.checked_sub(self.buffered_from);
        from.and_then(|from| self.buffer.get(usize::try_from(from).ok()?..)).unwrap_or_default()
    }

    /// Buffers the file from the current position: `wanted` bytes of it, unless it ends before, and what may as well
    /// be read with them. The buffer only ever holds bytes that are in the file.
    fn fill(&mut self, wanted: usize) -> Result<(), ScanError> {
        let held = self.buffered().len();
        if held >= wanted {
            return Ok(());
        }
        if held == 0 && self.position != self.buffered_from + self.buffer.len() as u64 {
            self.read_bytes = self.read_bytes_min;
        }
        let start = self.buffer.len() - held;
        self.buffer.drain(..start);
        self.buffered_from = self.position;
        let left = self.size.saturating_sub(self.position);
        let target = (wanted.max(self.read_bytes) as u64).min(left) as usize;
        // Where it has grown to the most, what is read is read in order, as it is where all is to be looked at.
        let ahead = if self.read_bytes == READ_BYTES_MAX { READ_AHEAD_BYTES } else { target };
        let goes_on = self.read_bytes == READ_BYTES_MAX || self.read_bytes_min == READ_BYTES_ALL;
        self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        self.buffer.resize(target.max(held), 0);
        let slot = self.buffer.get_mut(held..).unwrap_or_default();
        let from = self.position + held as u64;
        let read = if goes_on { self.file.read_on(&self.path, slot, from, ahead) } else { self.file.read(slot, from) };
        match read {
            Ok(count) => {
                self.buffer.truncate(held + count);
                Ok(())
            }
            Err(source) => {
                self.buffer.truncate(held);
                Err(self.failed(source))
            }
        }
    }

    fn broken(&self, what: BatchError) -> ScanError {
        ScanError::Broken { segment: self.path.clone(), position: self.position, what }
    }

    fn failed(&self, source: io::Error) -> ScanError {
        ScanError::Io { segment: self.path.clone(), source }
    }
}

/// The batches of a partition's directory from an offset on, each with its CRC checked, over all segments. For what a
/// loaded log has on its files: nothing behind `end` is looked at if a batch ends there.
#[derive(Debug)]
pub struct LogScanner {
    dir: PathBuf,
    /// Base offsets of the segments still to be read, the next one last.
    segments: Vec<Offset>,
    current: Option<SegmentScanner>,
    from: Offset,
    end: Offset,
    /// The batch before `end` was handed out: behind it the file of a log that is open is not written yet.
    at_end: bool,
}

impl LogScanner {
    /// Begins with the batch that holds `from`, or the first one behind it, and ends before `end`.
    pub fn open(dir: &Path, from: Offset, end: Offset) -> Result<LogScanner, ScanError> {
        let names = fs::list(dir).map_err(|source| ScanError::Io { segment: dir.to_owned(), source })?;
        let mut segments: Vec<Offset> = names
            .iter()
            .filter_map(|(name, _)| match FileKind::of(name) {
                FileKind::Log(base_offset) if base_offset < end => Some(base_offset),
                _ => None,
            })
            .collect();
        segments.sort_unstable_by(|a, b| b.cmp(a));
        // The segment that holds `from` is the last one that does not begin behind it.
        let behind = segments.partition_point(|&base_offset| base_offset > from);
        segments.truncate(behind + 1);
        Ok(LogScanner { dir: dir.to_owned(), segments, current: None, from, end, at_end: false })
    }

    /// The next batch, whole; `None` at the end. A batch that holds `from` may begin before it.
    pub fn next_batch(&mut self) -> Result<Option<(BatchHeader, &[u8])>, ScanError> {
        let Some(header) = self.next_header()? else { return Ok(None) };
        match &mut self.current {
            Some(scanner) => Ok(Some((header, scanner.bytes()?))),
            None => Ok(None),
        }
    }

    fn next_header(&mut self) -> Result<Option<BatchHeader>, ScanError> {
        while !self.at_end {
            let scanner = match &mut self.current {
                Some(scanner) => scanner,
                None => match self.segments.pop() {
                    Some(base_offset) => {
                        self.current.insert(SegmentScanner::open(&names::log_file(&self.dir, base_offset))?)
                    }
                    None => return Ok(None),
                },
            };
            match scanner.advance()? {
                Some(header) if header.base_offset >= self.end => return Ok(None),
                Some(header) if header.last_offset() < self.from => {}
                Some(header) => {
                    scanner.check_crc()?;
                    self.at_end = header.next_offset() >= self.end;
                    return Ok(Some(header));
                }
                None => self.current = None,
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, write_segment};
    use super::*;

    fn offsets(dir: &Path, from: i64, end: i64) -> Vec<i64> {
        let mut scanner = LogScanner::open(dir, Offset(from), Offset(end)).unwrap();
        let mut offsets = Vec::new();
        while let Some((header, bytes)) = scanner.next_batch().unwrap() {
            assert_eq!(BatchHeader::parse(bytes), Ok(header));
            assert_eq!(bytes.len(), header.size());
            offsets.push(header.base_offset.0);
        }
        offsets
    }

    #[test]
    fn a_log_is_read_over_its_segments() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(offsets(dir, 0, 10), [0; 0]);
        write_segment(dir, 5, &[batch(5, 2, 0, b"a"), batch(7, 3, 0, b"b")].concat());
        write_segment(dir, 10, b"");
        write_segment(dir, 12, &[batch(12, 1, 0, b"c"), batch(13, 1, 0, b"d")].concat());
        assert_eq!(offsets(dir, 0, 100), [5, 7, 12, 13]);
        assert_eq!(offsets(dir, 8, 100), [7, 12, 13], "a batch that holds the offset");
        assert_eq!(offsets(dir, 11, 100), [12, 13]);
        assert_eq!(offsets(dir, 5, 13), [5, 7, 12]);
        assert_eq!(offsets(dir, 14, 100), [0; 0]);
    }

    #[test]
    fn what_lies_behind_the_end_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        // Room that is allocated and not written yet reads as zeros.
        write_segment(dir, 0, &[batch(0, 2, 0, b"a"), batch(2, 3, 0, b"b"), vec![0; 4096]].concat());
        assert_eq!(offsets(dir, 0, 5), [0, 2]);
        assert_eq!(offsets(dir, 0, 2), [0]);
        assert!(LogScanner::open(dir, Offset(0), Offset(6)).is_ok_and(|mut scanner| {
            scanner.next_batch().unwrap();
            scanner.next_batch().unwrap();
            scanner.next_batch().is_err()
        }));
    }

    #[test]
    fn batches_of_any_size_are_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [1, 5000, READ_BYTES_MAX - 100, READ_BYTES_MAX, 3 * READ_BYTES_MAX, 10, 300_000, 1];
        let batches: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(at, &size)| batch(at as i64, 1, 0, &vec![7; size])).collect();
        write_segment(dir.path(), 0, &batches.concat());
        let mut scanner = SegmentScanner::open(&names::log_file(dir.path(), Offset(0))).unwrap();
        for with_crc in [false, true, true] {
            for (at, expected) in batches.iter().enumerate() {
                let header = scanner.advance().unwrap().unwrap();
                assert_eq!((header.base_offset.0, header.size()), (at as i64, expected.len()));
                if with_crc {
                    scanner.check_crc().unwrap();
                }
                if at % 2 == 0 {
                    assert_eq!(scanner.bytes().unwrap(), expected);
                }
            }
            assert!(scanner.advance().unwrap().is_none());
            scanner.seek(0);
        }
    }

    #[test]
    fn what_is_no_batch_ends_the_scan_where_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let batches = [batch(0, 1, 0, b"a"), batch(1, 1, 0, &vec![7; READ_BYTES_MAX])].concat();
        let first = batch(0, 1, 0, b"a").len();
        let path = names::log_file(dir.path(), Offset(0));
        let mut garbled = batches.clone();
        garbled[first + 50_000] ^= 1;
        std::fs::write(&path, &garbled).unwrap();
        let mut scanner = SegmentScanner::open(&path).unwrap();
        scanner.advance().unwrap();
        scanner.advance().unwrap();
        let broken = scanner.check_crc().unwrap_err();
        assert!(
            matches!(broken, ScanError::Broken { position, what: BatchError::Crc { .. }, .. }
            if position == first as u64),
            "{broken}"
        );
        for cut in [first + 1, first + 16, first + 60, batches.len() - 1] {
            std::fs::write(&path, &batches[..cut]).unwrap();
            let mut scanner = SegmentScanner::open(&path).unwrap();
            scanner.advance().unwrap();
            assert!(matches!(scanner.advance(), Err(ScanError::Broken { what: BatchError::Cut { .. }, .. })), "{cut}");
            assert_eq!(scanner.end_position(), first as u64);
        }
    }
}
