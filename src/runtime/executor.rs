//! The executor of a shard: run queue, loop, and the free functions that tasks use.
//!
//! One turn of the loop: poll what is ready, then the tasks that asked to run last (they gather what the others made,
//! such as several answers for one send), then one `io_uring_enter` that hands over every entry of the turn and waits
//! for the next completion or the nearest timer, then wake whom the completions concern, and behind them who waits to send
//! (`send_share`).

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    future::Future,
    os::fd::AsFd,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use async_task::Runnable;
use slab::Slab;

use super::{
    aligned::AlignedPool,
    clock,
    driver::Driver,
    file::RawFile,
    options::{Feature, FeatureSet, RuntimeOptions, SetupError},
    recv_buffers::RecvBuffers,
    remote::{Doorbell, Handle, Remote, RemoteWork},
    ring::{Ring, Wait},
    send_share::SendShare,
    timer::Timers,
};

/// Tasks polled before the loop looks at the ring again: bounds how long a completion waits behind ready tasks.
const POLLS_PER_TURN_MAX: usize = 256;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Shard>>> = const { RefCell::new(None) };
}

/// The state of a runtime that its tasks reach.
pub(super) struct Shard {
    pub driver: Driver,
    pub remote: Arc<Remote>,
    pub timers: Timers,
    pub aligned: Arc<AlignedPool>,
    pub sends: SendShare,
    recv_buffers: OnceCell<Rc<RecvBuffers>>,
    queue: RefCell<VecDeque<Runnable>>,
    last: RefCell<Vec<Waker>>,
    inbox: RefCell<Slab<Vec<Waker>>>,
    tasks: RefCell<Slab<Waker>>,
    now: Cell<Instant>,
    wall_ms: Cell<i64>,
    turns: Cell<u64>,
    spin: Duration,
}

/// A runtime: one ring and one executor, for the thread that made it.
///
/// It does not move to another thread, since the ring takes entries from its own thread only.
pub struct Runtime {
    shard: Rc<Shard>,
}

impl Runtime {
    /// Sets up the ring with what this kernel has.
    pub fn new(options: &RuntimeOptions) -> Result<Runtime, SetupError> {
        let ring = Ring::new(options)?;
        let remote = Remote::new(ring.fd()).map_err(SetupError::Other)?;
        let driver = Driver::new(ring);
        let aligned = AlignedPool::new(options.aligned_retained_bytes_max, options.arena_bytes, &driver);
        let shard = Rc::new(Shard {
            driver,
            remote,
            timers: Timers::default(),
            aligned,
            sends: SendShare::default(),
            recv_buffers: OnceCell::new(),
            queue: RefCell::default(),
            last: RefCell::default(),
            inbox: RefCell::default(),
            tasks: RefCell::default(),
            now: Cell::new(clock::now()),
            wall_ms: Cell::new(clock::wall_ms()),
            turns: Cell::new(0),
            spin: options.spin,
        });
        if shard.driver.has(Feature::ProvidedBuffers) {
            match RecvBuffers::register(&shard.driver, options.recv_buffers, options.recv_buffer_bytes) {
                Ok(buffers) => {
                    let _ = shard.recv_buffers.set(buffers);
                }
                Err(error) => {
                    tracing::warn!(
                        "receive buffers cannot be provided to the kernel ({error}); receiving without them"
                    );
                    shard.driver.lose(Feature::ProvidedBuffers);
                }
            }
        }
        if !shard.driver.has(Feature::ProvidedBuffers) {
            // A multishot receive always takes provided buffers.
            shard.driver.lose(Feature::MultishotRecv);
        }
        Doorbell::arm(&shard.driver, &shard.remote);
        Ok(Runtime { shard })
    }

    /// The features in use.
    pub fn features(&self) -> FeatureSet {
        self.shard.driver.features()
    }

    /// How other threads reach this runtime.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shard.remote))
    }

    /// Keeps a file open until the kernel has taken the ring apart, which is after its last operation, and may be after
    /// the process: what a lock on it is good for. One file for each runtime.
    pub fn hold(&self, file: &RawFile) -> std::io::Result<()> {
        self.shard.driver.hold(file.as_fd())
    }

    /// Runs `future` and every spawned task until `future` is done. Tasks still open go on with the next call.
    ///
    /// # Panics
    /// If this thread is already inside a runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let shard = &self.shard;
        let _entered = Entered::new(shard);
        let main = Arc::new(MainWaker { ready: AtomicBool::new(true), remote: Arc::clone(&shard.remote) });
        let waker = Waker::from(Arc::clone(&main));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        shard.refresh_clock();
        loop {
            if main.ready.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut context)
            {
                // Wakes of other shards may be among what is queued.
                shard.driver.flush();
                return output;
            }
            shard.run_ready();
            shard.turn(|| main.ready.load(Ordering::Acquire));
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let shard = &self.shard;
        // Tasks may hold each other; each round drops those that are schedulable, which all are once woken.
        let entered = Entered::try_new(shard);
        loop {
            let wakers: Vec<Waker> = shard.tasks.borrow().iter().map(|(_, waker)| waker.clone()).collect();
            for waker in wakers {
                waker.wake();
            }
            for work in shard.remote.take() {
                if let RemoteWork::Run(runnable) = work {
                    shard.queue.borrow_mut().push_back(runnable);
                }
            }
            let mut dropped = false;
            while let Some(runnable) = shard.pop() {
                dropped = true;
                drop(runnable);
            }
            if !dropped {
                break;
            }
        }
        shard.remote.close();
        shard.last.borrow_mut().clear();
        shard.inbox.borrow_mut().clear();
        shard.timers.clear();
        shard.driver.flush();
        let open = shard.driver.shut_down();
        if open > 0 {
            // Nothing of this may be freed while the kernel can still write to it.
            tracing::error!("{open} operations did not end with their runtime; their memory is given up");
            std::mem::forget(Rc::clone(shard));
        }
        drop(entered);
    }
}

/// Marks the shard as this thread's while tasks of it run.
struct Entered;

impl Entered {
    fn new(shard: &Rc<Shard>) -> Entered {
        Entered::try_new(shard).expect("a thread runs one runtime at a time")
    }

    fn try_new(shard: &Rc<Shard>) -> Option<Entered> {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            if current.is_some() {
                return None;
            }
            *current = Some(Rc::clone(shard));
            Some(Entered)
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let shard = CURRENT.with(|current| current.borrow_mut().take());
        drop(shard);
    }
}

struct MainWaker {
    ready: AtomicBool,
    remote: Arc<Remote>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.store(true, Ordering::Release);
        if !is_current(&self.remote) {
            self.remote.wake();
        }
    }
}

/// Whether this thread runs the shard of `remote` just now.
pub(super) fn is_current(remote: &Arc<Remote>) -> bool {
    CURRENT
        .try_with(|current| current.borrow().as_ref().is_some_and(|shard| Arc::ptr_eq(&shard.remote, remote)))
        .unwrap_or(false)
}

/// Rings the doorbell of another shard, by the ring of this thread if it has one.
pub(super) fn ring_from_here(remote: &Arc<Remote>) {
    match try_current() {
        Some(shard) if shard.driver.has(Feature::MsgRing) => shard.driver.ring_bell(remote),
        _ => remote.ring_eventfd(),
    }
}

/// The shard whose task is running.
///
/// # Panics
/// Outside a runtime.
pub(super) fn current() -> Rc<Shard> {
    try_current().expect("this works inside a shard's runtime only")
}

pub(super) fn try_current() -> Option<Rc<Shard>> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

impl Shard {
    pub fn recv_buffers(&self) -> Option<&Rc<RecvBuffers>> {
        self.recv_buffers.get()
    }

    fn refresh_clock(&self) {
        self.now.set(clock::now());
        self.wall_ms.set(clock::wall_ms());
        self.driver.tick(self.wall_ms.get().cast_unsigned());
    }

    fn pop(&self) -> Option<Runnable> {
        self.queue.borrow_mut().pop_front()
    }

    fn run_ready(&self) {
        for _ in 0..POLLS_PER_TURN_MAX {
            let Some(runnable) = self.pop() else { break };
            runnable.run();
        }
        // Even if the queue did not run empty: they go behind it, and come to their turn however busy the shard is.
        if self.last.borrow().is_empty() {
            return;
        }
        for waker in std::mem::take(&mut *self.last.borrow_mut()) {
            waker.wake();
        }
        for _ in 0..POLLS_PER_TURN_MAX {
            let Some(runnable) = self.pop() else { break };
            runnable.run();
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.borrow().is_empty()
            && self.last.borrow().is_empty()
            && !self.sends.is_wanted()
            && !self.driver.wants_hurry()
    }

    fn turn(&self, main_ready: impl Fn() -> bool) {
        // Behind the tasks, which give buffers back, and before the sleep, which may be long.
        if let Some(buffers) = self.recv_buffers.get() {
            buffers.relieve(&self.driver);
        }
        let mut wait = Wait::No;
        if self.is_idle() && !main_ready() && !self.spin(&main_ready) {
            self.remote.fall_asleep();
            if !main_ready() && !self.remote.has_work() {
                wait = match self.timers.next() {
                    None => Wait::Forever,
                    Some(deadline) => match deadline.saturating_duration_since(clock::now()) {
                        Duration::ZERO => Wait::No,
                        left => Wait::AtMost(left),
                    },
                };
            }
            self.driver.turn(wait);
            self.remote.stay_awake();
        } else {
            self.driver.turn(wait);
        }
        self.turns.set(self.turns.get() + 1);
        self.refresh_clock();
        self.timers.fire(self.now.get());
        self.take_remote();
        // Behind whom the completions woke: what arrived is looked at before more is sent.
        self.sends.next_turn();
    }

    /// Watches for work for the configured while; true when there is some.
    fn spin(&self, main_ready: &impl Fn() -> bool) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let mut until = clock::now() + self.spin;
        if let Some(deadline) = self.timers.next() {
            until = until.min(deadline);
        }
        // What the turn queued must be under way while we watch.
        self.driver.turn(Wait::No);
        loop {
            if self.driver.has_work() || self.remote.has_work() || main_ready() || !self.is_idle() {
                return true;
            }
            if clock::now() >= until {
                return false;
            }
            for _ in 0..32 {
                std::hint::spin_loop();
            }
        }
    }

    fn take_remote(&self) {
        if self.remote.take_inbox() {
            // Woken in place: a waker of this shard only queues its task.
            for (_, wakers) in self.inbox.borrow_mut().iter_mut() {
                wakers.drain(..).for_each(Waker::wake);
            }
        }
        if self.remote.has_queued() {
            for work in self.remote.take() {
                match work {
                    RemoteWork::Run(runnable) => self.queue.borrow_mut().push_back(runnable),
                    RemoteWork::Call(call) => call(),
                }
            }
        }
    }

    /// Reserves a place among those that are woken when another thread filled a queue of this shard.
    pub fn add_inbox(&self) -> usize {
        self.inbox.borrow_mut().insert(Vec::new())
    }

    pub fn remove_inbox(&self, key: usize) {
        self.inbox.borrow_mut().try_remove(key);
    }

    pub fn wait_inbox(&self, key: usize, waker: &Waker) {
        if let Some(wakers) = self.inbox.borrow_mut().get_mut(key)
            && !wakers.iter().any(|other| other.will_wake(waker))
        {
            wakers.push(waker.clone());
        }
    }
}

/// A spawned task. Dropping it lets the task go on; awaiting it gives its output.
pub struct Task<T>(Option<async_task::Task<T>>);

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

impl<T> Task<T> {
    /// Drops the task's future before its next poll, and waits until that is done: gives the output if it was quicker.
    pub async fn cancel(mut self) -> Option<T> {
        match self.0.take() {
            Some(task) => task.cancel().await,
            None => None,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(async_task::Task::is_finished)
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let task = self.0.as_mut().expect("a task is awaited once");
        Pin::new(task).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

struct Tracked<F> {
    future: F,
    // Dropped after the future, which may still use the shard.
    _listed: Listed,
}

struct Listed {
    shard: Rc<Shard>,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let waker = self.shard.tasks.borrow_mut().try_remove(self.key);
        drop(waker);
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `future` is pinned with `self`: it is never moved out, and nothing else gives access to it.
        unsafe { self.map_unchecked_mut(|tracked| &mut tracked.future) }.poll(cx)
    }
}

/// Starts a task on this shard.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (starter, task) = prepare(future);
    starter.start();
    task
}

/// A task that was made and is not started. Dropping it drops the task's future.
#[must_use = "a task that is not started never runs"]
pub struct Starter(Runnable);

impl Starter {
    /// Lets the task run, behind all that are ready now.
    pub fn start(self) {
        self.0.schedule();
    }
}

/// Makes a task of this shard and leaves its start to the caller: one allocation for a future that is to run later.
///
/// Awaiting the task of a starter that was dropped panics.
pub fn prepare<F>(future: F) -> (Starter, Task<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let shard = current();
    let remote = Arc::clone(&shard.remote);
    let mut tasks = shard.tasks.borrow_mut();
    let entry = tasks.vacant_entry();
    let tracked = Tracked { future, _listed: Listed { shard: Rc::clone(&shard), key: entry.key() } };
    // SAFETY: the future is not Send, so it may be polled and dropped on this thread only. `schedule` hands a task woken
    // elsewhere back to this thread's queue, and leaks it when there is no such thread any more; it is Send and Sync
    // itself, and `'static` like the future.
    let (runnable, task) = unsafe { async_task::spawn_unchecked(tracked, move |runnable| schedule(&remote, runnable)) };
    entry.insert(runnable.waker());
    (Starter(runnable), Task(Some(task)))
}

fn schedule(remote: &Arc<Remote>, runnable: Runnable) {
    let mut runnable = Some(runnable);
    let _ = CURRENT.try_with(|current| {
        if let Some(shard) = &*current.borrow()
            && Arc::ptr_eq(&shard.remote, remote)
            && let Some(runnable) = runnable.take()
        {
            shard.queue.borrow_mut().push_back(runnable);
        }
    });
    if let Some(runnable) = runnable {
        remote.push(RemoteWork::Run(runnable));
    }
}

/// The monotonic time of this turn of the loop.
pub fn now() -> Instant {
    try_current().map_or_else(clock::now, |shard| shard.now.get())
}

/// Milliseconds since 1970 of this turn of the loop.
pub fn wall_ms() -> i64 {
    try_current().map_or_else(clock::wall_ms, |shard| shard.wall_ms.get())
}

/// Figures of the running shard's loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuntimeStats {
    /// `io_uring_enter` calls so far.
    pub enters: u64,
    pub turns: u64,
    /// Operations the kernel has in hand.
    pub in_flight: usize,
    pub tasks: usize,
}

/// Figures of this shard's loop.
pub fn stats() -> RuntimeStats {
    let shard = current();
    RuntimeStats {
        enters: shard.driver.enters(),
        turns: shard.turns.get(),
        in_flight: shard.driver.in_flight(),
        tasks: shard.tasks.borrow().len(),
    }
}

/// The ring features in use by this shard.
pub fn features() -> FeatureSet {
    current().driver.features()
}

/// How other threads reach the running shard.
pub fn handle() -> Handle {
    Handle::new(Arc::clone(&current().remote))
}

/// Lets every other ready task run first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits until the other tasks of this turn have run, and goes on before the shard enters the kernel: the place to
/// gather what they made.
pub async fn end_of_turn() {
    let mut waiting = false;
    std::future::poll_fn(|cx| {
        if waiting {
            return Poll::Ready(());
        }
        waiting = true;
        current().last.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    })
    .await;
}
