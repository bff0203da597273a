//! Receive buffers that the kernel picks from when data is there, so that an idle connection holds none.
//!
//! One ring of descriptors shared with the kernel (16 bytes each: address, length, id; the tail lies in the last two
//! bytes of the first), and one mapping with the buffers, whose pages exist once they were used.
//!
//! The kernel goes through what it has in turn. So it gets few of them at a time, and of the others always the one that
//! was used last: what arrives then lands in the cache. Whenever that was too few it gets twice as many from then on.

use std::{
    cell::{Cell, RefCell},
    io,
    ops::Deref,
    rc::{Rc, Weak},
    sync::atomic::{AtomicU16, Ordering},
};

use bytes::Bytes;
use io_uring::types::BufRingEntry;

use super::{driver::Driver, mapping::Mapping};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// Buffers that the kernel has at first: with the usual size half a megabyte, which a core's own cache holds.
const OFFERED_FIRST: u16 = 32;

/// Somebody whose receive ended because there was no buffer.
pub(super) trait Starved {
    fn resume(self: Rc<Self>, driver: &Driver);
}

pub(super) struct RecvBuffers {
    ring: Mapping,
    buffers: Mapping,
    buffer_bytes: u32,
    count: u16,
    tail: Cell<u16>,
    /// Buffers in the kernel's hands.
    available: Cell<u16>,
    /// How many it is to have.
    offered_max: Cell<u16>,
    /// Buffers in nobody's hands, the one that was used last at the end.
    spare: RefCell<Vec<u16>>,
    starved: RefCell<Vec<Weak<dyn Starved>>>,
    /// Somebody starved since the last relief.
    release: Cell<bool>,
}

impl RecvBuffers {
    pub fn register(driver: &Driver, count: u16, buffer_bytes: u32) -> io::Result<Rc<RecvBuffers>> {
        let count = count.clamp(8, 1 << 14).next_power_of_two();
        let buffer_bytes = buffer_bytes.clamp(512, 1 << 20);
        let ring = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let this = Rc::new(RecvBuffers {
            ring,
            buffers,
            buffer_bytes,
            count,
            tail: Cell::new(0),
            available: Cell::new(0),
            offered_max: Cell::new(count.min(OFFERED_FIRST)),
            spare: RefCell::new((0..count).rev().collect()),
            starved: RefCell::default(),
            release: Cell::new(false),
        });
        // SAFETY: the shard holds `this`, and so the mapping, until after its ring is closed; so does every chunk.
        unsafe { driver.register_buffer_ring(this.ring.at() as u64, count, GROUP)? };
        this.top_up();
        Ok(this)
    }

    fn address(&self, id: u16) -> *mut u8 {
        // SAFETY: ids are below `count`, so the address is inside the mapping.
        unsafe { self.buffers.at().add(usize::from(id) * self.buffer_bytes as usize) }
    }

    /// Takes a buffer back.
    fn give_back(&self, id: u16) {
        self.spare.borrow_mut().push(id);
        self.top_up();
    }

    /// Gives the kernel as many buffers as it is to have, as far as there are.
    fn top_up(&self) {
        while self.available.get() < self.offered_max.get() {
            let Some(id) = self.spare.borrow_mut().pop() else { break };
            self.give(id);
        }
    }

    /// Gives a buffer to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let slot = usize::from(tail & (self.count - 1));
        #[allow(clippy::cast_ptr_alignment)] // the mapping is aligned to a page
        let base = self.ring.at().cast::<BufRingEntry>();
        // SAFETY: the slot is inside the ring's mapping. The kernel reads an entry only up to the tail that it last
        // saw, and this one is behind it; only this thread writes. The tail shares the first entry's last two bytes,
        // which the setters below leave alone.
        unsafe {
            let entry = &mut *base.add(slot);
            entry.set_addr(self.address(id) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
            let shared = BufRingEntry::tail(base).cast::<AtomicU16>();
            (*shared).store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
        self.available.set(self.available.get() + 1);
    }

    /// Takes a buffer that a completion names.
    pub fn take(self: &Rc<Self>, id: u16, bytes: usize) -> RecvChunk {
        debug_assert!(id < self.count && bytes <= self.buffer_bytes as usize);
        self.available.set(self.available.get().saturating_sub(1));
        let buffer = Provided { owner: Rc::clone(self), id };
        RecvChunk { held: Held::Provided(buffer), start: 0, end: bytes }
    }

    /// Remembers somebody to resume when there are buffers again.
    pub fn starve(&self, who: Weak<dyn Starved>) {
        self.starved.borrow_mut().push(who);
        if self.spare.borrow().is_empty() {
            self.release.set(true);
        }
    }

    /// Once a turn: makes up for buffers that are held, has those given back if somebody starved, and resumes those who
    /// did.
    pub fn relieve(&self, driver: &Driver) {
        let starved = !self.starved.borrow().is_empty();
        if starved {
            self.offered_max.set(self.offered_max.get().saturating_mul(2).min(self.count));
        }
        self.top_up();
        if !starved {
            return;
        }
        if self.release.replace(false) {
            driver.release_buffers();
        }
        if self.available.get() < self.offered_max.get() / 4 {
            return;
        }
        let starved = std::mem::take(&mut *self.starved.borrow_mut());
        for who in starved {
            if let Some(who) = who.upgrade() {
                who.resume(driver);
            }
        }
    }
}

struct Provided {
    owner: Rc<RecvBuffers>,
    id: u16,
}

impl Drop for Provided {
    fn drop(&mut self) {
        self.owner.give_back(self.id);
    }
}

enum Held {
    Provided(Provided),
    Copied(Bytes),
}

/// Bytes that arrived. Empty means that the peer sends no more. Dropping it gives the buffer back to the shard, so it
/// is for looking at and copying from, not for keeping.
pub struct RecvChunk {
    held: Held,
    start: usize,
    end: usize,
}

impl RecvChunk {
    pub(super) fn end_of_stream() -> RecvChunk {
        RecvChunk { held: Held::Copied(Bytes::new()), start: 0, end: 0 }
    }

    pub(super) fn copied(bytes: Bytes) -> RecvChunk {
        let end = bytes.len();
        RecvChunk { held: Held::Copied(bytes), start: 0, end }
    }

    /// Drops the first `count` bytes, or all if there are fewer.
    pub fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Copies the bytes out of the shard's buffer, so that it can be used again while this is kept.
    pub fn detach(&mut self) {
        if matches!(self.held, Held::Provided(_)) {
            *self = RecvChunk::copied(Bytes::copy_from_slice(self));
        }
    }
}

impl Deref for RecvChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.held {
            Held::Provided(buffer) => {
                // SAFETY: the kernel gave up this buffer with the completion that named it and wrote `end` bytes of it
                // at most its length; it gets it back only when `buffer` is dropped. `start <= end` always holds.
                unsafe {
                    std::slice::from_raw_parts(buffer.owner.address(buffer.id).add(self.start), self.end - self.start)
                }
            }
            Held::Copied(bytes) => &bytes[self.start..self.end],
        }
    }
}

impl std::fmt::Debug for RecvChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecvChunk({} bytes)", self.len())
    }
}
