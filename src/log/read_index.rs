//! Index look-ups of a running log: live and just sealed segments in memory, others block by block from their files,
//! through a cache that the shard's logs share.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::offload;
use crate::types::Offset;

use super::error::LogError;
use super::index::{OffsetPosition, SegmentIndexes, TimestampOffset};
use super::log::Log;
use super::names;
use super::read::SegmentView;
use super::sealed_index::{IndexBlockCache, IndexKind, IndexSearch, SealedIndex};

/// Blocks of index files, and how long those files are.
#[derive(Debug)]
pub(super) struct IndexCache {
    blocks: RefCell<IndexBlockCache>,
    files: RefCell<HashMap<(u64, Offset, IndexKind), KnownFile>>,
    next_id: Cell<u64>,
}

#[derive(Clone, Copy, Debug)]
struct KnownFile {
    id: u64,
    bytes: u64,
}

/// Files whose length is remembered; when there are more, all are forgotten and looked up again.
const FILES_MAX: usize = 65_536;

impl IndexCache {
    pub fn new(bytes_max: usize) -> IndexCache {
        IndexCache {
            blocks: RefCell::new(IndexBlockCache::new(bytes_max)),
            files: RefCell::default(),
            next_id: Cell::new(0),
        }
    }

    /// Forgets the files of a log that is gone.
    pub fn forget(&self, log: u64) {
        self.files.borrow_mut().retain(|key, _| key.0 != log);
    }

    /// Forgets the files of segments that are gone.
    pub fn forget_segments(&self, log: u64, segments: &[Offset]) {
        let mut files = self.files.borrow_mut();
        for &base_offset in segments {
            files.remove(&(log, base_offset, IndexKind::Offset));
            files.remove(&(log, base_offset, IndexKind::Time));
        }
    }

    fn known(&self, key: (u64, Offset, IndexKind)) -> Option<KnownFile> {
        self.files.borrow().get(&key).copied()
    }

    fn learn(&self, key: (u64, Offset, IndexKind), bytes: u64) -> KnownFile {
        self.next_id.set(self.next_id.get() + 1);
        let known = KnownFile { id: self.next_id.get(), bytes };
        let mut files = self.files.borrow_mut();
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(key, known);
        known
    }
}

impl Log {
    /// The last indexed batch at or before the one that holds `offset`.
    pub(super) async fn lookup_offset(&self, view: SegmentView, offset: Offset) -> Result<OffsetPosition, LogError> {
        if let Some(found) = self.in_memory(view, |indexes| indexes.offsets.lookup(offset)) {
            return Ok(found);
        }
        let start = OffsetPosition { offset: view.base_offset, position: 0 };
        let search = self.search_file(view, IndexKind::Offset, |index| index.search(offset.0)).await?;
        let found = search.map_or(start, |search| search.position());
        // A position behind the data would be an index that is not this segment's.
        Ok(if u64::from(found.position) < view.size { found } else { start })
    }

    /// The last entry of the time index whose timestamp is at most `timestamp`.
    pub(super) async fn lookup_time(
        &self,
        view: SegmentView,
        timestamp: i64,
    ) -> Result<Option<TimestampOffset>, LogError> {
        if let Some(found) = self.in_memory(view, |indexes| indexes.times.lookup(timestamp)) {
            return Ok(found);
        }
        let search = self.search_file(view, IndexKind::Time, |index| index.search(timestamp)).await?;
        Ok(search.and_then(|search| search.timestamp()))
    }

    /// The greatest timestamp of a segment, if it has any.
    pub(super) async fn largest_timestamp(&self, view: SegmentView) -> Result<Option<TimestampOffset>, LogError> {
        let known = self.in_memory(view, |indexes| indexes.largest).or_else(|| {
            let sealed = self.sealed.borrow();
            sealed.iter().find(|segment| segment.base_offset == view.base_offset).and_then(|segment| segment.largest)
        });
        if let Some(known) = known {
            return Ok(Some(known).filter(|largest| largest.timestamp >= 0));
        }
        let search = self.search_file(view, IndexKind::Time, SealedIndex::last).await?;
        Ok(search.and_then(|search| search.timestamp()))
    }

    fn in_memory<T>(&self, view: SegmentView, look: impl FnOnce(&SegmentIndexes) -> T) -> Option<T> {
        let base = view.base_offset;
        if let Some(segment) = self.live().borrow().iter().find(|segment| segment.base_offset == base) {
            return Some(look(&segment.indexes));
        }
        let sealed = self.sealed.borrow();
        let at = sealed.binary_search_by_key(&base, |segment| segment.base_offset).ok()?;
        sealed.get(at)?.indexes.as_deref().map(look)
    }

    /// Searches an index file. `None` where there is no usable one: then the segment is read from its beginning, which
    /// is slow and right.
    async fn search_file(
        &self,
        view: SegmentView,
        kind: IndexKind,
        begin: impl FnOnce(&SealedIndex) -> IndexSearch,
    ) -> Result<Option<IndexSearch>, LogError> {
        let cache = &self.shard().indexes;
        let path = match kind {
            IndexKind::Offset => names::offset_index_file(&self.dir(), view.base_offset),
            IndexKind::Time => names::time_index_file(&self.dir(), view.base_offset),
        };
        let key = (self.key(), view.base_offset, kind);
        let file = if let Some(known) = cache.known(key) {
            known
        } else {
            let path_there = path.clone();
            let size = offload(move || fs::open(&path_there, OpenFlags::READ).and_then(|file| fs::file_size(&file)));
            match size.await {
                Ok(bytes) => cache.learn(key, bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(LogError::io("read", &path, &error)),
            }
        };
        let Ok(index) = SealedIndex::new(kind, view.base_offset, file.bytes) else { return Ok(self.unusable(&path)) };
        let mut search = begin(&index);
        while let Some(block) = search.wants() {
            let known = cache.blocks.borrow_mut().get(file.id, block.number);
            let bytes = if let Some(bytes) = known {
                bytes
            } else {
                let read = read_block(path.clone(), block.position, block.len).await;
                let bytes = read.map_err(|error| LogError::io("read", &path, &error))?;
                cache.blocks.borrow_mut().put(file.id, block.number, Arc::clone(&bytes));
                bytes
            };
            if search.give(&bytes).is_err() {
                return Ok(self.unusable(&path));
            }
        }
        Ok(Some(search))
    }

    fn unusable(&self, path: &std::path::Path) -> Option<IndexSearch> {
        tracing::warn!(
            "{}: {} is no index; its segment is read from the beginning",
            self.topic_partition(),
            path.display()
        );
        None
    }
}

async fn read_block(path: PathBuf, position: u64, len: usize) -> io::Result<Arc<[u8]>> {
    offload(move || {
        let file = fs::open(&path, OpenFlags::READ)?;
        let mut bytes = vec![0; len];
        let count = fs::pread(&file, &mut bytes, position)?;
        bytes.truncate(count);
        Ok(Arc::from(bytes))
    })
    .await
}
