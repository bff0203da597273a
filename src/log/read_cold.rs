//! Reads from segment files.
//!
//! Direct segments are read past the page cache in large aligned pieces, and ahead of readers that go through them in
//! order. Of buffered ones only the batch boundaries are looked up; resident ranges are handed on as file ranges for
//! `sendfile(2)`, others are read into memory, because a page fault inside `sendfile` would stop the shard.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::record::{BATCH_HEADER_BYTES, BatchError};
use crate::runtime::file::RawFile;
use crate::runtime::fs;
use crate::runtime::offload;
use crate::types::Offset;

use super::error::LogError;
use super::log::Log;
use super::read::{Chunk, FileRange, ReadResult, SegmentView};
use super::read_cursor::Cursor;
use super::read_pick::{Picked, Wanted, header_of, pick};

/// What one cold read takes from a file at most, a single larger batch aside.
const READ_BYTES_MAX: u64 = 1 << 20;
/// What it takes at least: less costs a device about the same.
const READ_BYTES_MIN: u64 = 64 << 10;
/// Found by the index, a batch lies at most this far behind where the search begins (`index.interval.bytes` as shipped);
/// further ones cost a second read.
const SEARCH_BYTES: u64 = 8 << 10;
/// What is read ahead at once, in answers as the reader takes them: while it takes the one the next are on their way.
const READ_AHEAD_ANSWERS: u64 = 2;

impl Log {
    pub(super) async fn read_cold(
        self: &Rc<Self>,
        from: Offset,
        end_exclusive: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadResult, LogError> {
        let wanted = Wanted { from, end_exclusive, bytes_max, at_least_one };
        let mut view = self.segment_view(from);
        while let Some(segment) = view {
            let cursor = self.cursors.borrow_mut().take(from, segment.base_offset);
            let result = if self.shard().is_direct() {
                self.read_direct(segment, cursor, wanted).await?
            } else {
                self.read_buffered(segment, cursor, wanted).await?
            };
            if let Some(result) = result {
                return Ok(result);
            }
            // Compaction can leave a segment without the offset: the next one begins with a later one.
            view = Some(segment.end_offset)
                .filter(|end| *end < end_exclusive && *end > segment.base_offset)
                .and_then(|end| self.segment_view(end))
                .filter(|next| next.base_offset > segment.base_offset);
        }
        Ok(ReadResult::default())
    }

    /// Where a reader of `offset` begins: at a batch at or before the one that holds it.
    pub(super) async fn start_position(&self, view: SegmentView, offset: Offset) -> Result<u64, LogError> {
        if offset <= view.base_offset {
            return Ok(0);
        }
        Ok(u64::from(self.lookup_offset(view, offset).await?.position))
    }

    /// `None` when the segment ends before the offset.
    async fn read_direct(
        self: &Rc<Self>,
        view: SegmentView,
        cursor: Option<Cursor>,
        wanted: Wanted,
    ) -> Result<Option<ReadResult>, LogError> {
        let mut before = cursor;
        let sequential = before.is_some();
        let usual = (wanted.bytes_max as u64).saturating_add(SEARCH_BYTES).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let (mut position, mut arrived) = match &mut before {
            Some(cursor) => {
                let arrived = cursor.arrived().await;
                if arrived.is_some() {
                    self.shard().count(|stats| stats.read_ahead_hits += 1);
                }
                (cursor.position, arrived)
            }
            None => (self.start_position(view, wanted.from).await?, None),
        };
        let mut want = usual;
        loop {
            let content = match &arrived {
                Some(arrived) => arrived.bytes.clone(),
                None => self.window(view, position, want).await?,
            };
            let picked = pick(&content, &view.offsets(), wanted)
                .map_err(|bad| self.corrupt(view, position + bad.at as u64, bad.offset, &bad.error.to_string()))?;
            match picked {
                Picked::Found { start, end, next_offset } => {
                    if start == end {
                        return Ok(Some(ReadResult::default()));
                    }
                    let mut next = Cursor::new(next_offset, view.base_offset, position + end as u64);
                    if let (Some(arrived), Some(before)) = (arrived, before) {
                        next.keep(self, arrived, end, before);
                    }
                    if sequential {
                        next.read_ahead(self, view, usual * READ_AHEAD_ANSWERS);
                    }
                    self.cursors.borrow_mut().put(next);
                    return Ok(Some(ReadResult::of(vec![Chunk::Mem(content.slice(start..end))])));
                }
                Picked::Hidden => return Ok(Some(ReadResult::default())),
                Picked::Before { end: 0 } if position < view.size => {
                    return Err(self.corrupt(view, position, wanted.from, "the segment is shorter than its batches"));
                }
                Picked::Before { end } => position += end as u64,
                Picked::Need { at, bytes } => {
                    position += at as u64;
                    if at == 0 && content.len() >= bytes.min(want as usize) && bytes as u64 <= want {
                        return Err(self.corrupt(view, position, wanted.from, "the segment ends inside a batch"));
                    }
                    if bytes as u64 > view.size.saturating_sub(position) {
                        let what = "a batch claims to be longer than its segment";
                        return Err(self.corrupt(view, position, wanted.from, what));
                    }
                    want = usual.max(bytes as u64);
                }
            }
            if position >= view.size {
                return Ok(None);
            }
            // What was read ahead is not where the search goes on.
            arrived = None;
        }
    }

    async fn read_buffered(
        self: &Rc<Self>,
        view: SegmentView,
        cursor: Option<Cursor>,
        wanted: Wanted,
    ) -> Result<Option<ReadResult>, LogError> {
        let position = match cursor {
            Some(cursor) => cursor.position,
            None => self.start_position(view, wanted.from).await?,
        };
        let file = self.open_segment(view).await?;
        let walked = {
            let file = Arc::clone(&file);
            offload(move || walk(&file, position, view, wanted)).await
        };
        let found = match walked {
            Ok(found) => found,
            Err(WalkError::Io(error)) => return Err(LogError::io("read", &self.dir(), &error)),
            Err(WalkError::Corrupt { position, offset, what }) => {
                return Err(self.corrupt(view, position, offset, &what));
            }
        };
        let (start, end, next_offset) = match found {
            Walked::Found { start, end, next_offset } => (start, end, next_offset),
            Walked::Nothing => return Ok(Some(ReadResult::default())),
            Walked::End => return Ok(None),
        };
        self.cursors.borrow_mut().put(Cursor::new(next_offset, view.base_offset, end));
        if fs::is_resident(&file, start, end - start) {
            let len = u32::try_from(end - start).unwrap_or(u32::MAX);
            return Ok(Some(ReadResult::of(vec![Chunk::File(FileRange { file, position: start, len })])));
        }
        let bytes = self.window(view, start, end - start).await?;
        if bytes.len() as u64 != end - start {
            return Err(self.corrupt(view, start, wanted.from, "the segment is shorter than its batches"));
        }
        // These bytes pass through memory, so that their CRC can be looked at; those of a file range do not.
        let bytes = match pick(&bytes, &view.offsets(), wanted) {
            Ok(Picked::Found { start: from, end, .. }) => bytes.slice(from..end),
            Ok(_) => bytes,
            Err(bad) => {
                let at = start + bad.at as u64;
                return Err(self.corrupt(view, at, bad.offset, &bad.error.to_string()));
            }
        };
        Ok(Some(ReadResult::of(vec![Chunk::Mem(bytes)])))
    }
}

enum Walked {
    Found { start: u64, end: u64, next_offset: Offset },
    Nothing,
    End,
}

enum WalkError {
    Io(io::Error),
    Corrupt { position: u64, offset: Offset, what: String },
}

/// Bytes looked at in one go: several headers of small batches, one of a large one.
const WALK_BYTES: usize = 16 << 10;

/// Finds the batches that are wanted by their headers alone. Blocking: for a helper thread.
fn walk(file: &RawFile, mut position: u64, view: SegmentView, wanted: Wanted) -> Result<Walked, WalkError> {
    let (size, within) = (view.size, view.offsets());
    let mut next_offset = None;
    let mut buffer = vec![0; WALK_BYTES];
    let (mut buffer_at, mut buffer_len) = (0, 0);
    let mut found: Option<(u64, Offset)> = None;
    while position < size {
        let inside = position >= buffer_at && position + BATCH_HEADER_BYTES as u64 <= buffer_at + buffer_len as u64;
        if !inside {
            buffer_at = position;
            let room = buffer.len().min(usize::try_from(size - position).unwrap_or(usize::MAX));
            buffer_len =
                fs::pread(file, buffer.get_mut(..room).unwrap_or_default(), position).map_err(WalkError::Io)?;
        }
        let bytes = buffer.get((position - buffer_at) as usize..buffer_len).unwrap_or_default();
        let header = header_of(bytes, &within, next_offset).and_then(|header| {
            let header = header.ok_or(BatchError::Cut { size: BATCH_HEADER_BYTES as u64, available: bytes.len() })?;
            let left = size - position;
            if header.size() as u64 <= left {
                Ok(header)
            } else {
                Err(BatchError::Cut { size: header.size() as u64, available: left as usize })
            }
        });
        let header = match (header, found) {
            (Ok(header), _) => header,
            // What is in front of it is served.
            (Err(_), Some(_)) => break,
            (Err(error), None) => {
                let offset = next_offset.unwrap_or(wanted.from).min(wanted.from);
                return Err(WalkError::Corrupt { position, offset, what: error.to_string() });
            }
        };
        let next = position + header.size() as u64;
        if header.last_offset() >= wanted.from {
            let start = found.map_or(position, |(start, _)| start);
            let fits = next - start <= wanted.bytes_max as u64 || (wanted.at_least_one && found.is_none());
            if header.last_offset() >= wanted.end_exclusive || !fits {
                break;
            }
            found = Some((start, header.next_offset()));
        }
        (position, next_offset) = (next, Some(header.next_offset()));
    }
    Ok(match found {
        Some((start, next_offset)) => Walked::Found { start, end: position, next_offset },
        None if position < size => Walked::Nothing,
        None => Walked::End,
    })
}
