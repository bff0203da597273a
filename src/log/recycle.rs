//! Makes a removed segment's file ready to be written over, as a later segment of the same partition: writes over
//! blocks that were written before are faster than writes into new ones.
//!
//! What must hold, or the file is unlinked as any removed one:
//!
//! - Nobody has it open: neither a range on its way to a client, a reader or maintenance of ours, nor another process. They
//!   would see the new bytes. The file has its `.deleted` name by then, and a reader of ours that opens a
//!   segment looks again whether the log still has it; so nobody comes later.
//! - It has one name only, and shares no blocks.
//! - It was written by this process alone, past the page cache, from its first byte to its last; so the positions of its
//!   batches are known, and no page of it is in a buffer of anybody.
//!
//! **Disarming.** Recovery takes a batch for the log's when its offset is the expected one and its CRC holds; but a CRC does
//! not cover the base offset, the length and the leader epoch in front of it. Over an old batch of equal length, at
//! the same position and with the header across the end of a sector, a power cut can leave the first sector new and
//! the second one old: then the old records stand there under the new offset, and nothing tells. So such batches
//! are spoilt before the file is used again, in a way that [`spoilt_by_disarm`] knows again.
//!
//! The removal of the old name is durable before anything in the file is changed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::file::{AlignedBuf, RawFile};
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::reuse;

use super::space::{round_down, round_up};

/// What every medium writes whole or not at all. Most do so with more.
pub(super) const SECTOR_BYTES: u64 = 512;
/// The first byte that the CRC covers; the high byte of the attributes, of which no bit is in use.
pub(super) const ATTRIBUTES_AT: u64 = 21;
/// Spoiling a batch costs a read and a write of a block. Segments of so many small batches gain less by being used
/// again than that costs; and the positions are kept in memory.
const STRADDLING_MAX: usize = 4096;

/// The positions of those batches of a segment that are to be spoilt: their headers lie across the end of a sector.
#[derive(Clone, Debug, Default)]
pub(super) struct Straddling {
    positions: Vec<u32>,
    too_many: bool,
}

impl Straddling {
    /// Notes a batch if it is one of them.
    pub fn note(&mut self, position: u64) {
        if !straddles(position, SECTOR_BYTES) {
            return;
        }
        if self.positions.len() < STRADDLING_MAX {
            self.positions.push(position as u32);
        } else {
            self.too_many = true;
        }
    }

    /// Forgets batches from `end` on: they were taken back.
    pub fn truncate_to(&mut self, end: u64) {
        let kept = self.positions.partition_point(|position| u64::from(*position) < end);
        self.positions.truncate(kept);
    }

    /// The positions, unless they are too many.
    pub fn into_positions(self) -> Option<Arc<[u32]>> {
        (!self.too_many).then(|| self.positions.into())
    }
}

/// Whether the part of a header that no CRC covers can be written without the rest, with sectors of this size.
pub(super) fn straddles(position: u64, sector_bytes: u64) -> bool {
    let in_first_sector = (sector_bytes - position % sector_bytes) % sector_bytes;
    (1..ATTRIBUTES_AT).contains(&in_first_sector)
}

/// Spoils the batches at these positions, past the page cache if the file was opened so. The caller syncs the file
/// before it is used again.
pub(super) fn disarm(file: &RawFile, positions: &[u32], block_bytes: u64) -> io::Result<()> {
    let mut block = AlignedBuf::with_capacity(block_bytes as usize);
    for &position in positions {
        let at = u64::from(position) + ATTRIBUTES_AT;
        let from = round_down(at, block_bytes);
        block.set_len(block_bytes as usize);
        let read = fs::pread(file, &mut block, from)?;
        match block.get_mut((at - from) as usize) {
            Some(byte) if read as u64 == block_bytes => *byte = !*byte,
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        fs::pwrite_all(file, &block, from)?;
    }
    Ok(())
}

/// Whether attributes are those of a batch that was spoilt; then the byte at [`ATTRIBUTES_AT`] was 0 before.
pub(super) fn spoilt_by_disarm(attributes: i16) -> bool {
    attributes.to_be_bytes()[0] == 0xff
}

/// A removed segment that could be used again.
#[derive(Clone, Debug)]
pub(super) struct Removed {
    /// Its file, under its `.deleted` name, which is durable.
    pub path: PathBuf,
    pub straddling: Arc<[u32]>,
}

/// What is made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub block_bytes: u64,
    /// The largest size that the next segment needs: larger files are cut.
    pub bytes_max: u64,
    /// Smaller files are not worth the work.
    pub bytes_min: u64,
}

/// A file made ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Recycled {
    /// Its size, in whole blocks.
    pub bytes: u64,
    /// Up to where it holds the bytes of its earlier use.
    pub stale_bytes: u64,
}

impl Removed {
    /// Makes the file ready, durably, or says that it is to be unlinked. Blocking, for a second or two at most.
    pub fn make_ready(&self, wanted: Wanted) -> io::Result<Option<Recycled>> {
        let stat = fs::stat(&self.path)?;
        if stat.links != 1 || stat.is_dir || stat.bytes < wanted.bytes_min || !on_fit_file_system(&self.path)? {
            return Ok(None);
        }
        let file = fs::open(&self.path, OpenFlags::READ_WRITE.direct(true))?;
        if reuse::is_open_elsewhere(&file)? || reuse::shares_blocks(&file)? {
            return Ok(None);
        }
        let block = wanted.block_bytes;
        let bytes_max = round_up(wanted.bytes_max, block);
        let stale_bytes = round_up(stat.bytes, block).min(bytes_max);
        if stat.bytes > bytes_max {
            fs::truncate(&file, bytes_max)?;
        }
        // Most segments end a batch short of the next one's end: then it never has to wait for room.
        let bytes = if stale_bytes >= bytes_max / 2 { bytes_max } else { stale_bytes };
        if bytes > stat.bytes {
            let from = round_down(stat.bytes, block);
            fs::fallocate(&file, from, bytes - from, false)?;
        }
        let cut = self.straddling.partition_point(|position| u64::from(*position) + ATTRIBUTES_AT < bytes_max);
        disarm(&file, self.straddling.get(..cut).unwrap_or_default(), block)?;
        fs::sync_all(&file)?;
        Ok(Some(Recycled { bytes, stale_bytes }))
    }
}

fn on_fit_file_system(path: &Path) -> io::Result<bool> {
    Ok(reuse::writes_in_place(fs::fs_info(path)?.kind))
}

#[cfg(test)]
mod tests {
    use super::super::testing::batch;
    use super::*;

    const WANTED: Wanted = Wanted { block_bytes: 4096, bytes_max: 100_000, bytes_min: 10_000 };

    fn removed(dir: &Path, bytes: usize) -> Removed {
        let path = dir.join("00000000000000000000.log.deleted");
        std::fs::write(&path, vec![7; bytes]).unwrap();
        let file = fs::open(&path, OpenFlags::READ).unwrap();
        fs::sync_all(&file).unwrap();
        Removed { path, straddling: Arc::from([]) }
    }

    fn dir() -> Option<tempfile::TempDir> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
        std::fs::create_dir_all(&root).unwrap();
        let dir = tempfile::tempdir_in(root).unwrap();
        if !on_fit_file_system(dir.path()).unwrap() {
            eprintln!("skipped: {} is on neither ext4 nor XFS", dir.path().display());
            return None;
        }
        Some(dir)
    }

    #[test]
    fn a_file_is_brought_to_the_size_of_the_next_segment() {
        let Some(dir) = dir() else { return };
        for (had, bytes, stale_bytes) in [
            (10_000, 12_288, 12_288),
            (49_152, 49_152, 49_152),
            (60_000, 102_400, 61_440),
            (99_999, 102_400, 102_400),
            (102_400, 102_400, 102_400),
            (300_000, 102_400, 102_400),
        ] {
            let removed = removed(dir.path(), had);
            let made = removed.make_ready(WANTED).unwrap();
            assert_eq!(made, Some(Recycled { bytes, stale_bytes }), "{had}");
            let content = std::fs::read(&removed.path).unwrap();
            assert_eq!(content.len() as u64, bytes);
            let kept = had.min(content.len());
            assert!(content[..kept].iter().all(|byte| *byte == 7) && content[kept..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(removed(dir.path(), 9_999).make_ready(WANTED).unwrap(), None, "too small");
    }

    #[test]
    fn a_file_that_somebody_has_or_that_has_another_name_is_left_alone() {
        let Some(dir) = dir() else { return };
        let removed = removed(dir.path(), 50_000);
        for flags in [OpenFlags::READ, OpenFlags::READ_WRITE, OpenFlags::READ.direct(true)] {
            let holder = fs::open(&removed.path, flags).unwrap();
            assert_eq!(removed.make_ready(WANTED).unwrap(), None);
            drop(holder);
        }
        let link = dir.path().join("backup");
        std::fs::hard_link(&removed.path, &link).unwrap();
        assert_eq!(removed.make_ready(WANTED).unwrap(), None);
        assert_eq!(std::fs::read(&link).unwrap().len(), 50_000, "nothing was changed");
        std::fs::remove_file(&link).unwrap();
        assert!(removed.make_ready(WANTED).unwrap().is_some());
    }

    #[test]
    fn a_file_that_shares_blocks_is_left_alone() {
        let Some(dir) = dir() else { return };
        let removed = removed(dir.path(), 50_000);
        let copy = dir.path().join("backup");
        let copied = std::process::Command::new("cp").arg("--reflink=always").args([&removed.path, &copy]).output();
        if !copied.unwrap().status.success() {
            eprintln!("skipped: {} has no reflinks", dir.path().display());
            return;
        }
        assert_eq!(removed.make_ready(WANTED).unwrap(), None);
        std::fs::remove_file(&copy).unwrap();
        assert!(removed.make_ready(WANTED).unwrap().is_some());
    }

    #[test]
    fn batches_whose_headers_lie_across_a_sectors_end_are_spoilt_and_known_again() {
        let Some(dir) = dir() else { return };
        let mut content = Vec::new();
        let mut straddling = Straddling::default();
        let mut positions = Vec::new();
        for at in 0..200 {
            let position = content.len() as u64;
            straddling.note(position);
            positions.push(position);
            content.extend_from_slice(&batch(at, 1, 0, &vec![b'v'; at as usize % 77]));
        }
        let mut taken_back = straddling.clone();
        taken_back.note(1_000_000 * SECTOR_BYTES - 1);
        taken_back.truncate_to(1_000_000);
        assert_eq!(taken_back.positions, straddling.positions);
        assert!(straddling.positions.len() > 3, "{straddling:?}");
        let path = dir.path().join("00000000000000000000.log.deleted");
        std::fs::write(&path, &content).unwrap();
        fs::sync_all(&fs::open(&path, OpenFlags::READ).unwrap()).unwrap();
        let removed = Removed { path, straddling: straddling.into_positions().unwrap() };
        removed.make_ready(Wanted { bytes_min: 0, ..WANTED }).unwrap().unwrap();
        let spoilt = std::fs::read(&removed.path).unwrap();
        for position in positions {
            let header = crate::record::BatchHeader::parse_prefix(&spoilt[position as usize..]).unwrap();
            let in_first = SECTOR_BYTES - position % SECTOR_BYTES;
            assert_eq!(spoilt_by_disarm(header.attributes.0), in_first < 21, "at {position}");
        }
        assert!(spoilt.iter().zip(&content).filter(|(a, b)| a != b).count() == removed.straddling.len());
    }

    #[test]
    fn a_segment_of_very_many_small_batches_is_not_used_again() {
        let mut straddling = Straddling::default();
        for at in 1..=STRADDLING_MAX as u64 {
            straddling.note(at * SECTOR_BYTES - 10);
            straddling.note(at * SECTOR_BYTES);
        }
        assert_eq!(straddling.clone().into_positions().unwrap().len(), STRADDLING_MAX);
        straddling.note(SECTOR_BYTES * 1_000_000 - 10);
        assert!(straddling.into_positions().is_none());
    }
}
