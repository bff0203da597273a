//! Operations in flight: which memory and descriptors the kernel may still touch, and who waits.
//!
//! An operation owns its descriptor and its buffers until its last completion. While its future lives they are in the
//! future (behind pointers that do not move with it); when the future is dropped they move here and the operation is
//! cancelled. So nothing the kernel holds a pointer to is ever freed or reused early.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, BorrowedFd},
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use io_uring::{
    opcode,
    squeue::{Entry, Flags},
};
use slab::Slab;

use super::{
    options::{Feature, FeatureSet},
    remote::Remote,
    ring::{Completion, Gather, Ring, Wait, cancel_entry, fd},
};

/// User data of entries whose completion nobody wants.
pub(super) const IGNORED: u64 = u64::MAX;
/// User data of a MSG_RING that did not reach its shard: this bit, which no operation has, and the shard's index.
const UNHEARD: u64 = 1 << 63;

/// User data of the completion that another shard's MSG_RING puts into our queue.
pub(super) const DOORBELL: u64 = u64::MAX - 1;

/// One operation in flight. The upper half tells apart the operations that used the same slot one after the other, so
/// that a late cancel never meets a stranger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpId(pub u64);

impl OpId {
    fn new(generation: u32, key: usize) -> OpId {
        OpId(u64::from(generation) << 32 | key as u64)
    }

    fn key(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What outlives its future until the kernel is done with it.
pub(super) trait Abandoned {
    fn complete(self: Box<Self>, completion: Completion);
}

/// Receives the completions of an operation that may have many.
pub(super) trait Completions {
    /// The last one says `more == false`; the operation is over before this is called.
    fn complete(self: Rc<Self>, driver: &Driver, completion: Completion, more: bool);

    /// The kernel ran out of receive buffers: copy what is held of them and give them back.
    fn release_buffers(&self) {}
}

enum Slot {
    /// A future owns the resources and waits, or will.
    Waiting(Option<Waker>),
    /// Completed, and the future has not looked yet.
    Done(Completion),
    /// The future is gone.
    Abandoned(Box<dyn Abandoned>),
    Many(Rc<dyn Completions>),
}

/// A send that posts no completion when it succeeds: it has, once the kernel took its entry and posted none.
struct Silent {
    position: u32,
    id: OpId,
    bytes: u32,
}

/// How many connections have been heard from lately, in windows of a millisecond.
///
/// Requests of many connections trickle in one by one. A shard that is quicker than they come would enter the kernel
/// once for each; with enough of them about, it lets a few gather.
#[derive(Default)]
struct Activity {
    window: Cell<u64>,
    heard: Cell<u32>,
    heard_before: Cell<u32>,
}

/// Fewer connections than this in a millisecond are served one by one, each as soon as it can be.
const GATHER_CONNECTIONS_MIN: u32 = 32;
/// What gathering adds to a latency at most: less than the flush, or the queue of the others, that a request waits for.
const GATHER_US_MAX: u32 = 20;

impl Activity {
    fn gather(&self) -> Option<Gather> {
        let connections = self.heard_before.get().max(self.heard.get());
        (connections >= GATHER_CONNECTIONS_MIN)
            .then(|| Gather { completions: (connections / 4).min(64), at_most_us: GATHER_US_MAX })
    }

    fn advance(&self, now_ms: u64) {
        let before = self.window.replace(now_ms);
        if now_ms != before {
            self.heard_before.set(if now_ms == before + 1 { self.heard.get() } else { 0 });
            self.heard.set(0);
        }
    }
}

pub(super) struct Driver {
    ring: RefCell<Ring>,
    features: Cell<FeatureSet>,
    slots: RefCell<Slab<(u32, Slot)>>,
    generation: Cell<u32>,
    silent: RefCell<VecDeque<Silent>>,
    /// Somebody waits for a silent send: do not sleep before its outcome is known.
    hurry: Cell<bool>,
    scratch: RefCell<Vec<Completion>>,
    /// The shards that were rung from here. Each holds its ring's descriptor open for the entries that name it.
    bells: RefCell<Vec<Arc<Remote>>>,
    enters: Cell<u64>,
    active: Activity,
}

impl Driver {
    pub fn new(ring: Ring) -> Driver {
        Driver {
            features: Cell::new(ring.features()),
            ring: RefCell::new(ring),
            slots: RefCell::new(Slab::new()),
            generation: Cell::new(0),
            silent: RefCell::new(VecDeque::new()),
            hurry: Cell::new(false),
            scratch: RefCell::new(Vec::new()),
            bells: RefCell::default(),
            enters: Cell::new(0),
            active: Activity::default(),
        }
    }

    pub fn features(&self) -> FeatureSet {
        self.features.get()
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features.get().has(feature)
    }

    pub fn lose(&self, feature: Feature) {
        self.ring.borrow_mut().lose(feature);
        self.features.set(self.features.get().without(feature));
    }

    /// Notes that a connection was heard from; `last` is where it keeps when it was before.
    pub fn heard_from(&self, last: &Cell<u64>) {
        let window = self.active.window.get();
        if last.replace(window) != window {
            self.active.heard.set(self.active.heard.get() + 1);
        }
    }

    /// Tells the time, in milliseconds of any epoch.
    pub fn tick(&self, now_ms: u64) {
        self.active.advance(now_ms);
    }

    /// How often this shard has entered the kernel through its ring.
    pub fn enters(&self) -> u64 {
        self.enters.get()
    }

    pub fn in_flight(&self) -> usize {
        self.slots.borrow().len()
    }

    fn reserve(&self, slot: Slot) -> OpId {
        let generation = self.generation.get().wrapping_add(1) & 0x7fff_ffff;
        self.generation.set(generation);
        OpId::new(generation, self.slots.borrow_mut().insert((generation, slot)))
    }

    /// Starts an operation with one completion.
    ///
    /// # Safety
    /// What the entry points at stays valid and in place until `poll` has returned the completion, or until the
    /// `Abandoned` given to `abandon` is called or dropped.
    pub unsafe fn start(&self, entry: Entry) -> OpId {
        let id = self.reserve(Slot::Waiting(None));
        // SAFETY: as the caller vouches.
        unsafe { self.ring.borrow_mut().push(&entry.user_data(id.0)) };
        id
    }

    /// Starts a send that posts a completion only if it does not succeed whole and at once.
    ///
    /// # Safety
    /// As `start`. The entry must be one that the kernel executes while it takes it and never later (MSG_DONTWAIT).
    pub unsafe fn start_silent(&self, entry: Entry, bytes: u32) -> OpId {
        let id = self.reserve(Slot::Waiting(None));
        let mut ring = self.ring.borrow_mut();
        // SAFETY: as the caller vouches.
        unsafe { ring.push(&entry.user_data(id.0).flags(Flags::SKIP_SUCCESS)) };
        let position = ring.tail().wrapping_sub(1);
        self.silent.borrow_mut().push_back(Silent { position, id, bytes });
        id
    }

    /// Starts an operation with any number of completions.
    ///
    /// # Safety
    /// `owner` owns everything the entry points at, and keeps it valid and in place as long as it lives.
    pub unsafe fn start_many(&self, entry: Entry, owner: Rc<dyn Completions>) -> OpId {
        let id = self.reserve(Slot::Many(owner));
        // SAFETY: the slot holds `owner` until the last completion, and `owner` holds what the entry points at.
        unsafe { self.ring.borrow_mut().push(&entry.user_data(id.0)) };
        id
    }

    /// Queues an entry that points at nothing and whose completion nobody wants.
    pub fn push_detached(&self, entry: &Entry) {
        // SAFETY: the callers build entries without pointers (cancel, MSG_RING).
        unsafe { self.ring.borrow_mut().push(entry) };
    }

    /// Wakes a sleeping shard with the next enter.
    pub fn ring_bell(&self, remote: &Arc<Remote>) {
        let index = {
            let mut bells = self.bells.borrow_mut();
            bells.iter().position(|known| Arc::ptr_eq(known, remote)).unwrap_or_else(|| {
                bells.push(Arc::clone(remote));
                bells.len() - 1
            })
        };
        let entry = opcode::MsgRingData::new(fd(remote.ring_fd()), 0, DOORBELL, None).build();
        let entry = entry.user_data(UNHEARD | index as u64);
        let skip = self.has(Feature::CqeSkip);
        self.push_detached(&if skip { entry.flags(Flags::SKIP_SUCCESS) } else { entry });
    }

    /// Hands over what is queued, without waiting.
    pub fn flush(&self) {
        let mut ring = self.ring.borrow_mut();
        if ring.pending() > 0 {
            self.enters.set(self.enters.get() + 1);
            if let Err(error) = ring.enter(Wait::No, None) {
                panic!("io_uring_enter failed: {error}");
            }
        }
    }

    pub fn cancel(&self, id: OpId) {
        self.push_detached(&cancel_entry(id.0, self.features.get()));
    }

    /// Whether the operation is completed; else `waker` is woken when it is.
    pub fn poll(&self, id: OpId, waker: &Waker) -> Option<Completion> {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(id.key()) {
            Some((generation, slot)) if *generation == id.generation() => match slot {
                Slot::Waiting(waiting) => {
                    match waiting {
                        Some(old) if old.will_wake(waker) => {}
                        _ => *waiting = Some(waker.clone()),
                    }
                    None
                }
                Slot::Done(completion) => {
                    let completion = *completion;
                    slots.remove(id.key());
                    Some(completion)
                }
                Slot::Abandoned(_) | Slot::Many(_) => unreachable!("only a future polls, and it owns its slot"),
            },
            _ => unreachable!("a slot lives as long as its future"),
        }
    }

    /// Takes over what the operation owns, because nobody waits for it any more. `cancel` asks the kernel to stop it.
    pub fn abandon(&self, id: OpId, resources: Box<dyn Abandoned>, cancel: bool) {
        let done = {
            let mut slots = self.slots.borrow_mut();
            match slots.get_mut(id.key()) {
                Some((generation, slot)) if *generation == id.generation() => {
                    if let Slot::Done(completion) = slot {
                        let completion = *completion;
                        slots.remove(id.key());
                        Some(completion)
                    } else {
                        *slot = Slot::Abandoned(resources);
                        if cancel {
                            drop(slots);
                            self.cancel(id);
                        }
                        return;
                    }
                }
                _ => None,
            }
        };
        if let Some(completion) = done {
            resources.complete(completion);
        }
    }

    /// Makes the next enter not wait if a silent send is on its way.
    pub fn hurry(&self) {
        self.hurry.set(true);
    }

    pub fn wants_hurry(&self) -> bool {
        self.hurry.get()
    }

    /// Whether work may be had without waiting.
    pub fn has_work(&self) -> bool {
        let mut ring = self.ring.borrow_mut();
        ring.has_completions() || ring.wants_enter()
    }

    /// The one system call of a turn, and the completions it brings. Without waiting, and with nothing to hand over or
    /// to fetch, it is left out.
    pub fn turn(&self, wait: Wait) {
        {
            let mut ring = self.ring.borrow_mut();
            let needed = ring.pending() > 0 || ring.wants_enter();
            let idle_wait = !matches!(wait, Wait::No) && !ring.has_completions();
            let gather = self.active.gather().filter(|_| self.has(Feature::MinWait));
            if needed || idle_wait {
                let wait = if idle_wait { wait } else { Wait::No };
                self.enters.set(self.enters.get() + 1);
                if let Err(error) = ring.enter(wait, gather) {
                    panic!("io_uring_enter failed: {error}");
                }
            }
        }
        self.hurry.set(false);
        self.reap();
    }

    fn reap(&self) {
        let mut batch = std::mem::take(&mut *self.scratch.borrow_mut());
        let (head, complete) = {
            let mut ring = self.ring.borrow_mut();
            ring.take(&mut batch);
            (ring.head(), !ring.overflowed())
        };
        for completion in batch.drain(..) {
            self.dispatch(completion);
        }
        *self.scratch.borrow_mut() = batch;
        if complete {
            self.settle_silent(head);
        }
    }

    /// Every silent send that the kernel took and that is still waiting has succeeded.
    fn settle_silent(&self, head: u32) {
        loop {
            let silent = {
                let mut queue = self.silent.borrow_mut();
                match queue.front() {
                    Some(front) if (front.position.wrapping_sub(head) as i32) < 0 => queue.pop_front(),
                    _ => None,
                }
            };
            let Some(Silent { id, bytes, .. }) = silent else { return };
            let open = matches!(
                self.slots.borrow().get(id.key()),
                Some((generation, Slot::Waiting(_) | Slot::Abandoned(_))) if *generation == id.generation()
            );
            if open {
                self.dispatch(Completion { user_data: id.0, result: bytes as i32, flags: 0 });
            }
        }
    }

    fn dispatch(&self, completion: Completion) {
        match completion.user_data {
            // The doorbell is answered by having woken up.
            IGNORED | DOORBELL => return,
            unheard if unheard & UNHEARD != 0 => {
                if completion.result < 0 {
                    self.lose(Feature::MsgRing);
                    if let Some(remote) = self.bells.borrow().get((unheard & !UNHEARD) as usize) {
                        remote.ring_eventfd();
                    }
                }
                return;
            }
            _ => {}
        }
        let id = OpId(completion.user_data);
        let mut slots = self.slots.borrow_mut();
        let Some((generation, slot)) = slots.get_mut(id.key()) else { return };
        if *generation != id.generation() {
            return;
        }
        match slot {
            Slot::Waiting(waker) => {
                let waker = waker.take();
                *slot = Slot::Done(completion);
                drop(slots);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Done(_) => {}
            Slot::Abandoned(_) => {
                let (_, slot) = slots.remove(id.key());
                drop(slots);
                if let Slot::Abandoned(resources) = slot {
                    resources.complete(completion);
                }
            }
            Slot::Many(owner) => {
                let owner = Rc::clone(owner);
                let more = completion.more();
                // Held until its receiver has seen the last completion.
                let last = (!more).then(|| slots.remove(id.key()));
                drop(slots);
                owner.complete(self, completion, more);
                drop(last);
            }
        }
    }

    /// Asks every receiver to give back the receive buffers it holds.
    pub fn release_buffers(&self) {
        let owners: Vec<_> = self
            .slots
            .borrow()
            .iter()
            .filter_map(|(_, (_, slot))| if let Slot::Many(owner) = slot { Some(Rc::clone(owner)) } else { None })
            .collect();
        for owner in owners {
            owner.release_buffers();
        }
    }

    /// Cancels all that is in flight and waits until the kernel holds nothing of ours. Returns how many operations did
    /// not end within about ten seconds; their memory must then never be freed.
    pub fn shut_down(&self) -> usize {
        const ROUNDS_MAX: u32 = 100;
        let mut rounds = 0;
        loop {
            let open: Vec<OpId> = self
                .slots
                .borrow()
                .iter()
                .filter(|(_, (_, slot))| !matches!(slot, Slot::Done(_)))
                .map(|(key, (generation, _))| OpId::new(*generation, key))
                .collect();
            if open.is_empty() {
                // The ring may outlive its shard for as long as a peer knows it; our memory need not.
                let ring = self.ring.borrow();
                let _ = ring.submitter().unregister_buf_ring(super::recv_buffers::GROUP);
                let _ = ring.submitter().unregister_buffers();
                return 0;
            }
            if rounds == ROUNDS_MAX {
                return open.len();
            }
            if rounds % 10 == 0 {
                for id in &open {
                    self.cancel(*id);
                }
            }
            rounds += 1;
            self.turn(Wait::AtMost(std::time::Duration::from_millis(100)));
        }
    }

    /// Keeps a file open as long as the ring is there, and with it what the ring has in flight.
    pub fn hold(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.borrow().submitter().register_files(&[file.as_raw_fd()])
    }

    /// Registers memory as buffer 0 of the ring.
    ///
    /// # Safety
    /// The memory stays valid until the ring is closed.
    pub unsafe fn register_buffer(&self, at: *mut u8, bytes: usize) -> io::Result<()> {
        let piece = libc::iovec { iov_base: at.cast(), iov_len: bytes };
        // SAFETY: as the caller vouches.
        unsafe { self.ring.borrow().submitter().register_buffers(&[piece]) }
    }

    /// Registers a ring of provided buffers.
    ///
    /// # Safety
    /// The memory stays valid until the ring is closed.
    pub unsafe fn register_buffer_ring(&self, at: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: as the caller vouches.
        unsafe { self.ring.borrow().submitter().register_buf_ring_with_flags(at, entries, group, 0) }
    }
}
