//! Takes damaged bytes out of a segment, and keeps every valid batch at its offset.
//!
//! The batches around the damage are copied into `<segment>.log.cleaned`, which is synced and renamed over the
//! segment. A crash before the rename leaves the damaged segment and a file that the next start removes (Kafka's
//! too); one behind it leaves a segment with a gap, as compaction leaves them. The dropped bytes are saved first.

use std::path::{Path, PathBuf};

use crate::record::{BATCH_HEADER_BYTES, stamp};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::Offset;

use super::super::error::LoadError;
use super::super::names::{self, CLEANED_SUFFIX};
use super::DamagedRange;

const COPY_BYTES: usize = 1 << 20;

/// What was taken out of one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    pub segment: PathBuf,
    pub range: DamagedRange,
    /// Where the bytes are kept.
    pub saved: Option<PathBuf>,
}

/// Takes the ranges, which are of one segment and in order, out of it, and what is behind its last batch. With `save_to` their bytes are kept in files there.
pub(super) fn rewrite_segment(
    dir: &Path,
    base_offset: Offset,
    ranges: &[DamagedRange],
    data_end: Option<u64>,
    save_to: Option<&Path>,
) -> Result<Vec<Dropped>, LoadError> {
    let path = names::log_file(dir, base_offset);
    let file = fs::open(&path, OpenFlags::READ).map_err(LoadError::io("open", &path))?;
    let size = fs::file_size(&file).map_err(LoadError::io("read", &path))?;
    let mut dropped = Vec::new();
    for range in ranges.iter().filter(|range| range.restamp.is_none()) {
        let saved = save_to.map(|to| save(&path, *range, to)).transpose()?;
        dropped.push(Dropped { segment: path.clone(), range: *range, saved });
    }
    // Without its indexes the segment gets new ones, whichever of both contents a crash leaves.
    remove_indexes(dir, base_offset)?;
    let mut name = path.as_os_str().to_owned();
    name.push(CLEANED_SUFFIX);
    let cleaned = PathBuf::from(name);
    let flags = OpenFlags { truncate: true, ..OpenFlags::CREATE };
    let mut out = Copy {
        file: fs::open(&cleaned, flags).map_err(LoadError::io("make", &cleaned))?,
        path: cleaned.clone(),
        position: 0,
    };
    let mut from = 0;
    for range in ranges {
        out.copy(&file, &path, from, range.from)?;
        if let Some(put_right) = range.restamp {
            let mut header = [0; BATCH_HEADER_BYTES];
            let count = fs::pread(&file, &mut header, range.from).map_err(LoadError::io("read", &path))?;
            stamp(&mut header, put_right.base_offset, put_right.leader_epoch);
            out.put(header.get(..count).unwrap_or_default())?;
            out.copy(&file, &path, range.from + count as u64, range.to)?;
        }
        from = range.to;
    }
    out.copy(&file, &path, from, data_end.unwrap_or(size))?;
    fs::sync_all(&out.file).map_err(LoadError::io("sync", &cleaned))?;
    fs::rename(&cleaned, &path).map_err(LoadError::io("rename", &cleaned))?;
    fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
    Ok(dropped)
}

/// Removes the index files of a segment, durably.
pub(super) fn remove_indexes(dir: &Path, base_offset: Offset) -> Result<(), LoadError> {
    for path in [names::offset_index_file(dir, base_offset), names::time_index_file(dir, base_offset)] {
        fs::remove_file(&path).map_err(LoadError::io("remove", &path))?;
    }
    fs::sync_dir(dir).map_err(LoadError::io("sync", dir))
}

/// Keeps the bytes of a range in a file that is named by segment and position.
pub(super) fn save(path: &Path, range: DamagedRange, to: &Path) -> Result<PathBuf, LoadError> {
    let file = fs::open(path, OpenFlags::READ).map_err(LoadError::io("open", path))?;
    fs::create_dir_all(to).map_err(LoadError::io("make", to))?;
    let target = to.join(format!("{}-{}.dropped", names::offset_digits(range.segment), range.from));
    let flags = OpenFlags { truncate: true, ..OpenFlags::CREATE };
    let mut out = Copy {
        file: fs::open(&target, flags).map_err(LoadError::io("make", &target))?,
        path: target.clone(),
        position: 0,
    };
    out.copy(&file, path, range.from, range.to)?;
    fs::sync_all(&out.file).map_err(LoadError::io("sync", &target))?;
    fs::sync_dir(to).map_err(LoadError::io("sync", to))?;
    Ok(target)
}

/// A file that is written from front to back.
struct Copy {
    file: RawFile,
    path: PathBuf,
    position: u64,
}

impl Copy {
    fn put(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        fs::pwrite_all(&self.file, bytes, self.position).map_err(LoadError::io("write", &self.path))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn copy(&mut self, from: &RawFile, path: &Path, mut position: u64, end: u64) -> Result<(), LoadError> {
        let mut buffer = vec![0; COPY_BYTES];
        while position < end {
            let wanted = (end - position).min(COPY_BYTES as u64) as usize;
            let slot = buffer.get_mut(..wanted).unwrap_or_default();
            let count = fs::pread(from, slot, position).map_err(LoadError::io("read", path))?;
            if count == 0 {
                break;
            }
            self.put(slot.get(..count).unwrap_or_default())?;
            position += count as u64;
        }
        Ok(())
    }
}
