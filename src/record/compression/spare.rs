//! Working memory of the codecs, kept per thread: a small batch should not cost an allocation of 64 KiB.

use std::cell::RefCell;

/// A decompressor holds one buffer and a compressor two; reading and rewriting a batch holds both.
const SPARE_BUFFERS_MAX: usize = 4;
/// An lz4 block of 64 KiB and what it was compressed from fit; larger buffers are given back to the allocator.
const SPARE_BUFFER_BYTES_MAX: usize = 256 << 10;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer whose bytes mean nothing yet. Its length grows and never shrinks, so that memory is zeroed once.
#[derive(Debug)]
pub struct SpareBuffer(Vec<u8>);

impl SpareBuffer {
    pub fn take() -> SpareBuffer {
        SpareBuffer(SPARE.with_borrow_mut(Vec::pop).unwrap_or_default())
    }

    /// The first `len` bytes, made if need be.
    pub fn first(&mut self, len: usize) -> &mut [u8] {
        if self.0.len() < len {
            self.0.resize(len, 0);
        }
        &mut self.0[..len]
    }

    /// All bytes there are, at least as many as the greatest `first` was asked for.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SpareBuffer {
    fn drop(&mut self) {
        if self.0.capacity() <= SPARE_BUFFER_BYTES_MAX {
            let buffer = std::mem::take(&mut self.0);
            // At the end of a thread its spares are gone already.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARE_BUFFERS_MAX {
                    spare.push(buffer);
                }
            });
        }
    }
}
