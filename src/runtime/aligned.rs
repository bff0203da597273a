//! Buffers for direct I/O: aligned to 4096 bytes, taken from a pool that a shard's buffers come back to.
//!
//! The first of them come from an arena, one mapping that is registered with the shard's ring where the limit of locked
//! memory allows it: the kernel then need not pin and unpin the pages of each operation.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{driver::Driver, executor, mapping::Mapping, options::Feature};

/// Alignment of address and capacity: no smaller block than this is in use on any device we support.
pub const ALIGNMENT: usize = 4096;

/// Pooled sizes are the powers of two from 4 KiB to 4 MiB; larger buffers are not kept.
const CLASSES: usize = 11;

/// Buffers of one shard that nobody holds. Shared, because a frozen buffer may be dropped on another shard.
pub(super) struct AlignedPool {
    free: Mutex<Free>,
    retained: AtomicUsize,
    retained_max: usize,
    arena: Option<Mapping>,
}

struct Free {
    classes: [Vec<Memory>; CLASSES],
    /// How much of the arena was carved into buffers. They keep their size for good.
    carved: usize,
}

impl AlignedPool {
    /// A pool that keeps so much beside the arena. The arena is used only if the ring takes it as a registered buffer.
    pub fn new(retained_bytes_max: usize, arena_bytes: usize, driver: &Driver) -> Arc<AlignedPool> {
        Arc::new(AlignedPool::build(retained_bytes_max, register_arena(arena_bytes, driver)))
    }

    fn build(retained_max: usize, arena: Option<Mapping>) -> AlignedPool {
        let free = Free { classes: std::array::from_fn(|_| Vec::new()), carved: 0 };
        AlignedPool { free: Mutex::new(free), retained: AtomicUsize::new(0), retained_max, arena }
    }

    /// Whether the bytes lie in the registered arena.
    pub fn is_registered(&self, bytes: &[u8]) -> bool {
        let Some(arena) = &self.arena else { return false };
        let (start, at) = (arena.at() as usize, bytes.as_ptr() as usize);
        at >= start && at + bytes.len() <= start + arena.bytes()
    }

    fn take(&self, class: usize) -> Option<Memory> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(memory) = free.classes.get_mut(class)?.pop() else { return self.carve(&mut free, ALIGNMENT << class) };
        if !memory.carved {
            self.retained.fetch_sub(memory.bytes, Ordering::Relaxed);
        }
        Some(memory)
    }

    fn carve(&self, free: &mut Free, bytes: usize) -> Option<Memory> {
        let arena = self.arena.as_ref()?;
        if bytes > arena.bytes() - free.carved {
            return None;
        }
        // SAFETY: the offset is inside the mapping, and so is the end of the new buffer.
        let at = NonNull::new(unsafe { arena.at().add(free.carved) })?;
        free.carved += bytes;
        Some(Memory { at, bytes, carved: true })
    }

    fn put(&self, class: usize, memory: Memory) {
        if !memory.carved {
            if self.retained.load(Ordering::Relaxed) + memory.bytes > self.retained_max {
                return;
            }
            self.retained.fetch_add(memory.bytes, Ordering::Relaxed);
        }
        if let Some(free) = self.free.lock().unwrap_or_else(PoisonError::into_inner).classes.get_mut(class) {
            free.push(memory);
        }
    }
}

fn register_arena(bytes: usize, driver: &Driver) -> Option<Mapping> {
    static WARNED: Once = Once::new();
    let bytes = bytes / ALIGNMENT * ALIGNMENT;
    if bytes == 0 || !driver.has(Feature::RegisteredBuffers) {
        driver.lose(Feature::RegisteredBuffers);
        return None;
    }
    let registered = Mapping::new(bytes).and_then(|arena| {
        // SAFETY: the pool holds the mapping, the shard holds the pool, and drops it behind its ring.
        unsafe { driver.register_buffer(arena.at(), bytes)? };
        Ok(arena)
    });
    match registered {
        Ok(arena) => Some(arena),
        Err(error) => {
            WARNED.call_once(|| {
                tracing::warn!(
                    "buffers of {bytes} bytes a shard cannot be registered with io_uring ({error}), plain ones are used; \
                     a limit of locked memory (ulimit -l) that holds them saves some CPU time"
                );
            });
            driver.lose(Feature::RegisteredBuffers);
            None
        }
    }
}

fn class_of(bytes: usize) -> Option<usize> {
    let class = bytes.next_power_of_two().trailing_zeros().saturating_sub(ALIGNMENT.trailing_zeros()) as usize;
    (class < CLASSES).then_some(class)
}

/// An allocation of its own, or a piece of the arena; initialised from the start.
struct Memory {
    at: NonNull<u8>,
    bytes: usize,
    carved: bool,
}

// SAFETY: it owns its bytes, which belong to no thread.
unsafe impl Send for Memory {}
// SAFETY: shared references to it give no access to the bytes.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGNMENT).expect("sizes are multiples of the alignment, far below isize::MAX")
    }

    fn new(bytes: usize) -> Memory {
        let layout = Memory::layout(bytes);
        // SAFETY: the layout's size is at least one page.
        match NonNull::new(unsafe { alloc_zeroed(layout) }) {
            Some(at) => Memory { at, bytes, carved: false },
            None => handle_alloc_error(layout),
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.carved {
            return;
        }
        // SAFETY: allocated in `new` with the same layout, and nobody else has it.
        unsafe { dealloc(self.at.as_ptr(), Memory::layout(self.bytes)) };
    }
}

/// A buffer whose address is a multiple of 4096. It has a capacity, a multiple of 4096 too, and a length of bytes in
/// use. Bytes past the length are initialised but of no certain content: zero what goes to disk.
pub struct AlignedBuf {
    /// `None` only while being dropped.
    memory: Option<Memory>,
    capacity: usize,
    len: usize,
    pool: Option<Arc<AlignedPool>>,
}

impl AlignedBuf {
    /// An empty buffer for at least `bytes`, rounded up to a multiple of 4096; from the shard's pool when there is one.
    pub fn with_capacity(bytes: usize) -> AlignedBuf {
        let capacity = bytes.max(1).next_multiple_of(ALIGNMENT);
        let pool = executor::try_current().map(|shard| Arc::clone(&shard.aligned));
        let (memory, pool) = match class_of(capacity) {
            Some(class) => {
                let pooled = pool.as_ref().and_then(|pool| pool.take(class));
                (pooled.unwrap_or_else(|| Memory::new(ALIGNMENT << class)), pool)
            }
            None => (Memory::new(capacity), None),
        };
        AlignedBuf { memory: Some(memory), capacity, len: 0, pool }
    }

    fn at(&self) -> *mut u8 {
        self.memory.as_ref().map_or(std::ptr::dangling_mut(), |memory| memory.at.as_ptr())
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets how many bytes are in use.
    ///
    /// # Panics
    /// Beyond the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} bytes do not fit a buffer of {}", self.capacity);
        self.len = len;
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How many bytes fit behind those in use.
    pub fn remaining(&self) -> usize {
        self.capacity - self.len
    }

    /// The whole capacity, in use or not.
    pub fn as_mut_capacity(&mut self) -> &mut [u8] {
        // SAFETY: the memory is at least `capacity` long, initialised, and ours alone while we are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at(), self.capacity) }
    }

    /// Appends as much of `bytes` as fits, and says how much that was.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.remaining());
        let start = self.len;
        self.as_mut_capacity()[start..start + count].copy_from_slice(&bytes[..count]);
        self.len += count;
        count
    }

    /// Appends zeros, as many as fit, up to `count`.
    pub fn put_zeros(&mut self, count: usize) {
        let count = count.min(self.remaining());
        let start = self.len;
        self.as_mut_capacity()[start..start + count].fill(0);
        self.len += count;
    }

    /// Makes the bytes in use immutable and shareable. The memory goes back to its pool with the last reference.
    pub fn freeze(self) -> Bytes {
        if self.len == 0 { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len <= capacity`, and the memory is at least that long and initialised.
        unsafe { std::slice::from_raw_parts(self.at(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.as_mut_capacity()[..len]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} of {} bytes)", self.len, self.capacity)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take()
            && let Some(pool) = &self.pool
            && let Some(class) = class_of(memory.bytes)
        {
            pool.put(class, memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_keeps_its_bytes_when_frozen() {
        for bytes in [0, 1, 4096, 4097, 70_000, 5 << 20] {
            let mut buffer = AlignedBuf::with_capacity(bytes);
            assert_eq!(buffer.at() as usize % ALIGNMENT, 0);
            assert!(buffer.capacity() >= bytes && buffer.capacity().is_multiple_of(ALIGNMENT));
            assert_eq!(buffer.put(b"abc"), 3);
            buffer.put_zeros(2);
            assert_eq!(&buffer.freeze()[..], b"abc\0\0");
        }
        assert!(AlignedBuf::with_capacity(10).freeze().is_empty());
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_may() {
        let pool = AlignedPool::build(3 * 4096, None);
        for _ in 0..10 {
            pool.put(0, Memory::new(4096));
        }
        assert_eq!(pool.retained.load(Ordering::Relaxed), 3 * 4096);
        assert!(pool.take(0).is_some() && pool.take(1).is_none());
        assert_eq!(pool.retained.load(Ordering::Relaxed), 2 * 4096);
    }

    #[test]
    fn the_arena_is_carved_once_and_used_again() {
        let pool = AlignedPool::build(0, Some(Mapping::new(3 * 4096).unwrap()));
        let first = pool.take(1).unwrap();
        let second = pool.take(0).unwrap();
        assert!(pool.take(0).is_none(), "the arena is used up");
        let at = second.at;
        pool.put(0, second);
        assert_eq!(pool.take(0).unwrap().at, at);
        // SAFETY: eight kilobytes of the arena, which nobody else uses.
        let bytes = unsafe { std::slice::from_raw_parts(first.at.as_ptr(), first.bytes) };
        assert!(pool.is_registered(bytes) && !pool.is_registered(b"elsewhere"));
        pool.put(1, first);
    }
}
