//! Reads: from the hot tail without a copy, else from the segment files.
//!
//! Answers are whole batches as they are stored. The first is the one that holds the offset asked for, so it may begin
//! before it; consumers skip what they did not ask for.

use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::offload;
use crate::types::Offset;

use super::error::LogError;
use super::log::Log;
use super::names;
use super::space::{round_down, round_up};

/// A part of an answer. May be passed on to another shard.
#[derive(Clone, Debug)]
pub enum Chunk {
    Mem(Bytes),
    File(FileRange),
}

/// A range of a buffered segment, to be sent without copying it. Holds the file open.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<RawFile>,
    pub position: u64,
    pub len: u32,
}

impl Chunk {
    pub fn len(&self) -> usize {
        match self {
            Chunk::Mem(bytes) => bytes.len(),
            Chunk::File(range) => range.len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whole batches in offset order.
#[derive(Clone, Debug, Default)]
pub struct ReadResult {
    pub chunks: Vec<Chunk>,
    /// Sum of the chunks.
    pub bytes: usize,
}

impl ReadResult {
    pub(super) fn of(chunks: Vec<Chunk>) -> ReadResult {
        let bytes = chunks.iter().map(Chunk::len).sum();
        ReadResult { chunks, bytes }
    }
}

impl SegmentView {
    /// The offsets that its batches can have.
    pub fn offsets(&self) -> Range<Offset> {
        self.base_offset..self.end_offset
    }
}

/// A segment as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentView {
    pub base_offset: Offset,
    /// Where the next segment begins; the log end for the last.
    pub end_offset: Offset,
    /// What of the file may be read.
    pub size: u64,
    pub is_live: bool,
}

impl Log {
    /// Reads batches from the one that holds `from` up to `end_exclusive` (a high watermark or last stable offset), as
    /// many as fit into `bytes_max`, or one whatever its size if `at_least_one`. Fewer may come: what is in one segment,
    /// or in memory. Nothing when `from` is at `end_exclusive` or above.
    ///
    /// # Errors
    /// `OffsetOutOfRange` below the log start or above the log end.
    pub async fn read(
        self: &Rc<Self>,
        from: Offset,
        end_exclusive: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadResult, LogError> {
        let now = self.offsets();
        if from < now.log_start || from > now.log_end {
            return Err(self.out_of_range(from));
        }
        let end = end_exclusive.min(now.written);
        if from >= end || (bytes_max == 0 && !at_least_one) {
            return Ok(ReadResult::default());
        }
        let hot = self.tail().borrow().read(from, end, bytes_max, at_least_one);
        if let Some(batches) = hot {
            self.shard().count(|stats| stats.tail_reads += 1);
            return Ok(ReadResult::of(batches.into_iter().map(Chunk::Mem).collect()));
        }
        if from >= self.filled_offset() {
            let batches = self.read_journaled(from, end, bytes_max, at_least_one).await;
            if let Some(batches) = batches {
                self.shard().count(|stats| stats.tail_reads += 1);
                return Ok(ReadResult::of(batches.into_iter().map(Chunk::Mem).collect()));
            }
        }
        self.shard().count(|stats| stats.cold_reads += 1);
        let end = end.min(self.filled_offset());
        if from >= end {
            return Err(self.state_error().unwrap_or(LogError::Closed));
        }
        let _files = self.enter_files().await;
        let read = self.read_cold(from, end, bytes_max, at_least_one).await;
        let has_found = read.as_ref().is_ok_and(|read| !read.chunks.is_empty());
        if !has_found && from < self.log_start_offset() {
            // Its segment went before, or while, it was read; what comes behind may not be for this reader yet.
            return Err(self.out_of_range(from));
        }
        read
    }

    /// The segment that holds `offset`, or the first one behind it.
    pub(super) fn segment_view(&self, offset: Offset) -> Option<SegmentView> {
        let log_end = self.log_end_offset();
        let sealed = self.sealed.borrow();
        let live = self.live().borrow();
        let first_live = live.front()?.base_offset;
        if offset >= first_live || sealed.is_empty() {
            let at = live.iter().rposition(|segment| segment.base_offset <= offset).unwrap_or(0);
            let segment = live.get(at)?;
            let end_offset = live.get(at + 1).map_or(log_end, |next| next.base_offset);
            let (base_offset, size) = (segment.base_offset, segment.written_end);
            return Some(SegmentView { base_offset, end_offset, size, is_live: true });
        }
        let at = sealed.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
        let segment = sealed.get(at)?;
        let end_offset = sealed.get(at + 1).map_or(first_live, |next| next.base_offset);
        let (base_offset, size) = (segment.base_offset, segment.size_bytes);
        Some(SegmentView { base_offset, end_offset, size, is_live: false })
    }

    /// Whether a segment is there as it was seen. A live one grows.
    pub(super) fn is_still(&self, view: SegmentView) -> bool {
        self.segment_view(view.base_offset)
            .is_some_and(|now| now.base_offset == view.base_offset && (view.is_live || now.size == view.size))
    }

    /// Every segment from the first to the last.
    pub(super) fn segment_views(&self) -> Vec<SegmentView> {
        let mut views = Vec::with_capacity(self.segment_count());
        let mut offset = Offset(i64::MIN);
        while let Some(view) = self.segment_view(offset) {
            offset = view.end_offset;
            let last = offset >= self.log_end_offset();
            views.push(view);
            if last {
                break;
            }
        }
        views
    }

    /// Opens a segment, unless it is open. One that was removed while its reader was on the way may be gone.
    pub(super) async fn open_segment(&self, view: SegmentView) -> Result<Arc<RawFile>, LogError> {
        let key = (self.key(), view.base_offset);
        if let Some(file) = self.shard().descriptors.get(key) {
            return Ok(file);
        }
        // The appender shares the descriptor of a live segment, and the seal that of one that was live just now.
        let is_written_to = view.is_live || self.is_being_sealed(view.base_offset);
        let flags =
            if is_written_to { OpenFlags::READ_WRITE } else { OpenFlags::READ }.direct(self.shard().is_direct());
        let path: PathBuf = names::log_file(&self.dir(), view.base_offset);
        let opened = offload({
            let path = path.clone();
            move || fs::open(&path, flags)
        });
        let file = Arc::new(opened.await.map_err(|error| LogError::io("open", &path, &error))?);
        if let Some(file) = self.shard().descriptors.get(key) {
            return Ok(file);
        }
        if self.segment_view(view.base_offset).is_none_or(|now| now.base_offset != view.base_offset) {
            // Removed meanwhile: its file may be on its way to be another segment's.
            return Err(LogError::io("open", &path, &std::io::ErrorKind::NotFound.into()));
        }
        self.keep_open(view.base_offset, &file);
        Ok(file)
    }

    fn is_being_sealed(&self, base_offset: Offset) -> bool {
        self.seal_jobs.borrow().iter().any(|job| job.base_offset == base_offset)
    }

    /// Reads `bytes` of a segment at `position` into memory, less only where the segment ends.
    pub(super) async fn window(&self, view: SegmentView, position: u64, bytes: u64) -> Result<Bytes, LogError> {
        let file = self.open_segment(view).await?;
        let shard = self.shard();
        let end = position.saturating_add(bytes).min(view.size);
        if position >= end {
            return Ok(Bytes::new());
        }
        let block = if shard.is_direct() { shard.options.block_bytes } else { 1 };
        let start = round_down(position, block);
        let len = round_up(end, block) - start;
        let read = shard.file(file).read_at(start, len as usize).await;
        let content =
            read.map_err(|error| LogError::io("read", &names::log_file(&self.dir(), view.base_offset), &error))?;
        let content = content.freeze();
        let from = ((position - start) as usize).min(content.len());
        let to = ((end - start) as usize).min(content.len());
        Ok(content.slice(from..to))
    }
}
