//! Reads for scans: plain ones, and for a scan that goes on and on large ones past the page cache, which cost a cold
//! scan a fraction of the CPU time and let the device run at its full speed.

use std::io;
use std::path::Path;

use crate::runtime::file::AlignedBuf;
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};

/// What is read past the page cache at a time, at most.
const WINDOW_BYTES_MAX: usize = 1 << 20;
/// Positions of direct reads are multiples of it; no device has larger blocks.
const BLOCK_BYTES: u64 = 4096;

/// A file that is scanned, opened a second time for direct reads when they are worth it.
#[derive(Debug)]
pub(super) struct ScanFile {
    file: RawFile,
    size: u64,
    direct: Direct,
}

#[derive(Debug)]
enum Direct {
    NotTried,
    /// The file system has none, or a read failed: plain ones say why.
    None,
    Open(Window),
}

#[derive(Debug)]
struct Window {
    file: RawFile,
    buffer: AlignedBuf,
    /// Where in the file the buffer begins.
    from: u64,
}

impl ScanFile {
    /// Of the first `size` bytes of a file.
    pub fn new(file: RawFile, size: u64) -> ScanFile {
        ScanFile { file, size, direct: Direct::NotTried }
    }

    pub fn file(&self) -> &RawFile {
        &self.file
    }

    pub fn into_file(self) -> RawFile {
        self.file
    }

    /// Fills `slot` from `position` on; short only at the end of the file.
    pub fn read(&self, slot: &mut [u8], position: u64) -> io::Result<usize> {
        fs::pread(&self.file, slot, position)
    }

    /// As [`read`](Self::read), for a scan that will want what follows as well: about `ahead` bytes from the position on.
    pub fn read_on(&mut self, path: &Path, slot: &mut [u8], position: u64, ahead: usize) -> io::Result<usize> {
        let mut done = 0;
        while done < slot.len() {
            let at = position + done as u64;
            let left = slot.get_mut(done..).unwrap_or_default();
            let Some(bytes) = self.window(path, at, ahead.max(left.len())) else {
                return Ok(done + fs::pread(&self.file, left, at)?);
            };
            let count = bytes.len().min(left.len());
            if let (Some(to), Some(from)) = (left.get_mut(..count), bytes.get(..count)) {
                to.copy_from_slice(from);
            }
            done += count;
        }
        Ok(done)
    }

    /// What a direct read has of the file from `position` on. `None` where a plain read is better: in the file's last
    /// block, which it may end in, and in the page cache.
    fn window(&mut self, path: &Path, position: u64, wanted: usize) -> Option<&[u8]> {
        let from = position - position % BLOCK_BYTES;
        let left = self.size.saturating_sub(from);
        let bytes = wanted.next_multiple_of(BLOCK_BYTES as usize).min(WINDOW_BYTES_MAX) as u64;
        let bytes = bytes.min(left - left % BLOCK_BYTES);
        let held = matches!(&self.direct, Direct::Open(window) if window.holds(position));
        if !held && (bytes == 0 || fs::is_resident(&self.file, from, bytes)) {
            return None;
        }
        if matches!(self.direct, Direct::NotTried) {
            self.direct = Window::open(path, &self.file).map_or(Direct::None, Direct::Open);
        }
        let Direct::Open(window) = &mut self.direct else { return None };
        if !held && !window.fill(from, bytes as usize) {
            self.direct = Direct::None;
            return None;
        }
        let Direct::Open(window) = &self.direct else { return None };
        window.buffer.get((position - window.from) as usize..).filter(|bytes| !bytes.is_empty())
    }
}

impl Window {
    fn open(path: &Path, plain: &RawFile) -> Option<Window> {
        let alignment = fs::direct_alignment(plain).ok().flatten()?;
        if u64::from(alignment.offset) > BLOCK_BYTES {
            return None;
        }
        let file = fs::open(path, OpenFlags::READ.direct(true)).ok()?;
        Some(Window { file, buffer: AlignedBuf::with_capacity(0), from: 0 })
    }

    fn holds(&self, position: u64) -> bool {
        position >= self.from && position - self.from < self.buffer.len() as u64
    }

    fn fill(&mut self, from: u64, bytes: usize) -> bool {
        if self.buffer.capacity() < bytes {
            self.buffer = AlignedBuf::with_capacity(bytes);
        }
        self.from = from;
        self.buffer.set_len(bytes);
        let filled = fs::pread(&self.file, &mut self.buffer, from).is_ok_and(|count| count == bytes);
        if !filled {
            self.buffer.clear();
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_reading_give_the_files_bytes() {
        // Not /tmp, which may be a file system without direct I/O.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").expect("a directory");
        let path = dir.path().join("segment");
        let bytes: Vec<u8> = (0..3_500_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let open = || fs::open(&path, OpenFlags::READ).expect("it is there");
        fs::sync_data(&open()).expect("synced");
        let mut file = ScanFile::new(open(), bytes.len() as u64);
        for (position, count) in [(0, 10), (5, 4096), (4000, 300_000), (1_000_000, 2_000_000), (12, 7), (3_499_990, 10)]
        {
            let (mut plain, mut on) = (vec![0; count], vec![0; count]);
            assert_eq!(file.read(&mut plain, position).expect("read"), count);
            assert_eq!(file.read_on(&path, &mut on, position, 1 << 18).expect("read"), count);
            let position = position as usize;
            assert!(plain == on && on == bytes[position..position + count], "{count} bytes at {position}");
        }
        assert!(matches!(file.direct, Direct::Open(_) | Direct::NotTried), "a direct read failed");
        let mut past = vec![0; 100];
        assert_eq!(file.read_on(&path, &mut past, bytes.len() as u64 - 40, 1 << 20).expect("read"), 40);
    }
}
