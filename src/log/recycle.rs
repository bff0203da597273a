//! Prepares a segment file to be used again for new batches.
//!
//! Recovery takes a batch for the log's when its offset is the expected one and its CRC holds; but a CRC does not cover
//! the base offset, the length and the leader epoch in front of it. Over an old batch of equal length, at the same
//! position and with the header across the end of a sector, a power cut can leave the first sector new and the
//! second one old: then the old records stand there under the new offset, and nothing tells. So such old batches are
//! spoilt before the file is used again.

use std::path::Path;

use crate::runtime::fs::{self, OpenFlags};

use super::dir_files::scan_failed;
use super::error::LoadError;
use super::scan::{ScanError, SegmentScanner};

/// The first byte that the CRC covers; the high byte of the attributes, of which no bit is in use.
const ATTRIBUTES_AT: u64 = 21;

/// Spoils those batches of a file that could pass for new ones after a torn write, durably. `sector_bytes` is what the
/// medium writes whole or not at all. Returns how many there were. Blocks for as long as reading the batches' headers
/// takes; not for a shard thread.
pub fn disarm(path: &Path, sector_bytes: u64) -> Result<u32, LoadError> {
    let mut scanner = SegmentScanner::open(path).map_err(scan_failed)?;
    let mut spoilt = 0;
    let file = fs::open(path, OpenFlags::READ_WRITE).map_err(LoadError::io("open", path))?;
    loop {
        match scanner.advance() {
            Ok(Some(_)) => {}
            // What is behind the last batch is no batch.
            Ok(None) | Err(ScanError::Broken { .. }) => break,
            Err(failed) => return Err(scan_failed(failed)),
        }
        let in_first_sector = (sector_bytes - scanner.position() % sector_bytes) % sector_bytes;
        if (1..ATTRIBUTES_AT).contains(&in_first_sector) {
            let at = scanner.position() + ATTRIBUTES_AT;
            let mut byte = [0];
            fs::pread(&file, &mut byte, at).map_err(LoadError::io("read", path))?;
            fs::pwrite_all(&file, &[!byte[0]], at).map_err(LoadError::io("write", path))?;
            spoilt += 1;
        }
    }
    fs::sync_data(&file).map_err(LoadError::io("sync", path))?;
    Ok(spoilt)
}
