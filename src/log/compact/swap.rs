//! Puts a compacted segment in the place of those that it was made of.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::runtime::fs;
use crate::types::Offset;

use super::super::error::{LogError, is_disk_full};
use super::super::full::with_room;
use super::super::log::Log;
use super::super::log_shard::LogShard;
use super::super::names;
use super::super::read_cursor::Cursors;
use super::super::segment::SealedSegment;
use super::{Output, Source};

impl Log {
    /// Swaps a segment in. Says no, and changes nothing, if the log is no longer what it was made of.
    pub(super) async fn swap_in(self: &Rc<Self>, output: &Output) -> Result<bool, LogError> {
        let _names = self.close_files().await;
        if !self.may_compact() || self.place_of(&output.sources).is_none() {
            return Ok(false);
        }
        let bases: Vec<Offset> = output.sources.iter().map(|source| source.base_offset).collect();
        // Descriptors of the files that go: those who read from one have it, and nobody else finds it.
        let files: Vec<_> =
            bases.iter().filter_map(|base| self.shard().descriptors.remove((self.key(), *base))).collect();
        LogShard::close_files(files);
        let (dir, new) = (self.dir(), output.base_offset());
        let renamed = with_room(&self.shard().options().room, is_disk_full, || {
            let (dir, bases) = (Arc::clone(&dir), bases.clone());
            move || swap_names(&dir, new, &bases)
        })
        .await;
        let removed = match renamed {
            Ok(removed) => removed,
            Err(error) => {
                // Which of the names are on the device nobody knows: the next start sorts it out.
                self.poison_by(&format!("putting the compacted segment {new} in place failed"), &error);
                return Ok(false);
            }
        };
        self.shard().indexes.forget_segments(self.key(), &bases);
        *self.cursors.borrow_mut() = Cursors::default();
        if let Some(place) = self.place_of(&output.sources) {
            let segment = SealedSegment {
                base_offset: new,
                size_bytes: output.size_bytes,
                largest: Some(output.largest),
                indexes: None,
                straddling: None,
            };
            self.sealed.borrow_mut().splice(place, [segment]);
        }
        // Readers are not to be shown from memory what is gone from the files.
        if let Some(last) = output.sources.last() {
            self.shard().tails.forget_below(self, last.end_offset);
        }
        self.shard().bury_files(self, removed);
        self.shard().count(|stats| stats.compacted_segments += bases.len() as u64);
        Ok(true)
    }

    /// Where the sources stand among the sealed segments, if all of them still do.
    fn place_of(&self, sources: &[Source]) -> Option<std::ops::Range<usize>> {
        let sealed = self.sealed.borrow();
        let first = sources.first()?;
        let at = sealed.binary_search_by_key(&first.base_offset, |segment| segment.base_offset).ok()?;
        let place = at..at + sources.len();
        let same = |segment: &SealedSegment, source: &Source| {
            segment.base_offset == source.base_offset
                && segment.size_bytes == source.size_bytes
                && segment.indexes.is_none()
        };
        let found = sealed.get(place.clone())?;
        found.iter().zip(sources).all(|(segment, source)| same(segment, source)).then_some(place)
    }
}

/// Changes the names, each step on the device before the next. Answers which files are to be removed.
pub(super) fn swap_names(dir: &Path, new: Offset, old: &[Offset]) -> io::Result<Vec<PathBuf>> {
    let files: [fn(&Path, Offset) -> PathBuf; 4] =
        [names::log_file, names::offset_index_file, names::time_index_file, names::txn_index_file];
    for file in files {
        let cleaned = names::cleaned(&file(dir, new));
        fs::if_exists(fs::rename(&cleaned, &names::swap(&file(dir, new))))?;
    }
    fs::sync_dir(dir)?;
    let mut removed = Vec::new();
    for &base_offset in old {
        let mut paths = files.map(|file| file(dir, base_offset)).to_vec();
        if base_offset != new {
            // No segment begins there any more.
            paths.push(names::snapshot_file(dir, base_offset));
        }
        for path in paths {
            let deleted = names::deleted(&path);
            if fs::if_exists(fs::rename(&path, &deleted))?.is_some() {
                removed.push(deleted);
            }
        }
    }
    // Were one of the old ones left beside the new one under its own name, their offsets would overlap.
    fs::sync_dir(dir)?;
    for file in files {
        let path = file(dir, new);
        fs::if_exists(fs::rename(&names::swap(&path), &path))?;
    }
    fs::sync_dir(dir)?;
    Ok(removed)
}
