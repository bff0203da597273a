//! Anonymous memory straight from the kernel: page-aligned, zero, and there only once it is used.

use std::{io, num::NonZeroUsize, ptr::NonNull};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

pub(super) struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its memory, which belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: it gives out an address only; who uses that has its own duties.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub fn new(bytes: usize) -> io::Result<Mapping> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let at = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
        Ok(Mapping { at: at.cast(), bytes })
    }

    pub fn at(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and who drops this has made sure that nobody points into it.
        let _ = unsafe { munmap(self.at.cast(), self.bytes) };
    }
}
