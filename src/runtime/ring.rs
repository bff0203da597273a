//! The ring itself: set-up with what this kernel has, the submission queue, and the one system call.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    sync::Once,
    time::Duration,
};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue::Entry, types};

use super::{
    options::{Feature, FeatureSet, RuntimeOptions, SetupError},
    threads,
};

/// One completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub user_data: u64,
    pub result: i32,
    pub flags: u32,
}

impl From<&cqueue::Entry> for Completion {
    fn from(entry: &cqueue::Entry) -> Completion {
        Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() }
    }
}

impl Completion {
    pub fn more(self) -> bool {
        cqueue::more(self.flags)
    }

    pub fn buffer(self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The count an operation returns, or its error.
    pub fn count(self) -> io::Result<usize> {
        if self.result < 0 { Err(io::Error::from_raw_os_error(-self.result)) } else { Ok(self.result as usize) }
    }
}

/// How an enter is to wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Submit and take what is there.
    No,
    /// Until there is a completion.
    Forever,
    /// Until there is a completion, or this long.
    AtMost(Duration),
}

/// How many completions a busy shard would like at once, and how long it gives them to gather.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    pub completions: u32,
    pub at_most_us: u32,
}

const REGISTER_RING_FDS: libc::c_uint = 20;
const UNREGISTER_RING_FDS: libc::c_uint = 21;

#[repr(C)]
struct RingFdUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

pub(super) struct Ring {
    uring: IoUring,
    features: FeatureSet,
    /// Index of the registered ring descriptor, or -1.
    registered: i32,
    /// Number of entries ever pushed, modulo 2^32: the queue's tail.
    pushed: u32,
    /// Completions taken early, because the kernel wanted room before it took more entries.
    stash: Vec<Completion>,
}

impl Ring {
    pub fn new(options: &RuntimeOptions) -> Result<Ring, SetupError> {
        let mut wanted = FeatureSet::all();
        for masked in options.disable.iter() {
            wanted = wanted.without(masked);
        }
        // The kernel demands SINGLE_ISSUER for DEFER_TASKRUN.
        if !wanted.has(Feature::SingleIssuer) {
            wanted = wanted.without(Feature::DeferTaskrun);
        }
        let (ring, mut features) = build(options, wanted)?;
        require(&ring)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(SetupError::Other)?;
        // Flags of an operation show in no probe; an operation that came with the same kernel does.
        if !probe.is_supported(opcode::Socket::CODE) {
            features = features.without(Feature::MultishotAccept);
        }
        if !probe.is_supported(opcode::SendZc::CODE) {
            features = features.without(Feature::MultishotRecv);
        }
        if !probe.is_supported(opcode::MsgRingData::CODE) {
            features = features.without(Feature::MsgRing);
        }
        if !ring.params().is_feature_skip_cqe_on_success() {
            features = features.without(Feature::CqeSkip);
        }
        if !ring.params().is_feature_min_timeout() {
            features = features.without(Feature::MinWait);
        }
        let mut this = Ring { uring: ring, features, registered: -1, pushed: 0, stash: Vec::new() };
        if this.features.has(Feature::RegisteredRing) {
            this.register_ring_fd();
        }
        Ok(this)
    }

    pub fn features(&self) -> FeatureSet {
        self.features
    }

    /// Stops using a feature that the kernel turned out not to have.
    pub fn lose(&mut self, feature: Feature) {
        self.features = self.features.without(feature);
    }

    pub fn submitter(&self) -> io_uring::Submitter<'_> {
        self.uring.submitter()
    }

    /// The submission queue's tail: every entry pushed so far has a position before it.
    pub fn tail(&self) -> u32 {
        self.pushed
    }

    /// How far the kernel has taken entries.
    pub fn head(&mut self) -> u32 {
        let waiting = self.uring.submission().len() as u32;
        self.pushed.wrapping_sub(waiting)
    }

    pub fn pending(&mut self) -> usize {
        self.uring.submission().len()
    }

    /// Whether completions wait that only an enter brings to light.
    pub fn wants_enter(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    pub fn overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    pub fn has_completions(&mut self) -> bool {
        !self.stash.is_empty() || !self.uring.completion().is_empty()
    }

    /// Queues an entry for the next enter.
    ///
    /// # Safety
    /// Everything the entry points at must stay valid and in place until its last completion is taken, or, for an
    /// entry that skips its completion, until the kernel has taken the entry.
    pub unsafe fn push(&mut self, entry: &Entry) {
        loop {
            // SAFETY: the caller vouches for what the entry points at.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.pushed = self.pushed.wrapping_add(1);
                return;
            }
            // The queue is full: hand it over now, without waiting for anything.
            if let Err(error) = self.enter(Wait::No, None) {
                panic!("io_uring_enter failed with a full submission queue: {error}");
            }
            if self.uring.submission().is_full() {
                for entry in self.uring.completion() {
                    self.stash.push(Completion::from(&entry));
                }
            }
        }
    }

    /// Hands over what is queued and waits as told. Interruptions and timeouts are no errors.
    ///
    /// With `gather`, waiting lasts until that many completions are there or that much time is up, whichever is first;
    /// then, if there is none yet, until there is one.
    pub fn enter(&mut self, wait: Wait, gather: Option<Gather>) -> io::Result<()> {
        let to_submit = self.pending() as u32;
        let mut flags = libc::c_uint::default();
        let mut at_least = 0;
        let mut argument = EnterArgument::default();
        let mut time = TimeSpec::default();
        if !matches!(wait, Wait::No) {
            at_least = 1;
        }
        // Deferred work and overflown completions come only with GETEVENTS; asking costs nothing.
        flags |= ENTER_GETEVENTS;
        if let Wait::AtMost(limit) = wait {
            time.seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            time.nanoseconds = i64::from(limit.subsec_nanos());
            argument.timespec = std::ptr::from_ref(&time) as u64;
        }
        if let Some(gather) = gather
            && at_least > 0
        {
            at_least = gather.completions;
            argument.min_wait_us = gather.at_most_us;
        }
        let (argument_at, argument_bytes) = if argument.timespec != 0 || argument.min_wait_us != 0 {
            flags |= ENTER_EXT_ARG;
            (std::ptr::from_ref(&argument).cast::<libc::c_void>(), size_of::<EnterArgument>())
        } else {
            (std::ptr::null(), 0)
        };
        let fd = if self.registered >= 0 {
            flags |= ENTER_REGISTERED_RING;
            self.registered
        } else {
            self.raw_fd()
        };
        // SAFETY: the descriptor is ours, `argument` and `time` outlive the call, and the layouts are the kernel's.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                to_submit,
                at_least as libc::c_uint,
                flags,
                argument_at,
                argument_bytes,
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // EAGAIN: no memory for a request just now; EBUSY: take completions first. The entries stay queued.
            Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => Ok(()),
            _ => Err(error),
        }
    }

    /// Takes every completion that is there.
    pub fn take(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.stash);
        into.extend(self.uring.completion().map(|entry| Completion::from(&entry)));
    }

    fn raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns its descriptor, and is borrowed as long as this is.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }

    fn register_ring_fd(&mut self) {
        let mut update = RingFdUpdate { offset: u32::MAX, reserved: 0, data: self.raw_fd() as u64 };
        // SAFETY: `update` is the kernel's io_uring_rsrc_update and outlives the call, which writes the index into it.
        let result =
            unsafe { libc::syscall(libc::SYS_io_uring_register, self.raw_fd(), REGISTER_RING_FDS, &raw mut update, 1) };
        if result == 1 {
            self.registered = update.offset as i32;
        } else {
            self.lose(Feature::RegisteredRing);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.registered >= 0 {
            // A registered descriptor holds the ring beyond close(2) until its thread ends.
            let update = RingFdUpdate { offset: self.registered as u32, reserved: 0, data: 0 };
            // SAFETY: `update` is the kernel's io_uring_rsrc_update and outlives the call.
            unsafe {
                libc::syscall(libc::SYS_io_uring_register, self.raw_fd(), UNREGISTER_RING_FDS, &raw const update, 1)
            };
        }
    }
}

const ENTER_GETEVENTS: libc::c_uint = 1;
const ENTER_EXT_ARG: libc::c_uint = 1 << 3;
const ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;

#[repr(C)]
#[derive(Default)]
struct EnterArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

#[repr(C)]
#[derive(Default)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

/// Sizes of the two queues.
#[derive(Clone, Copy)]
struct QueueSizes {
    submissions: u32,
    completions: u32,
}

impl QueueSizes {
    /// Of the smallest ring: two pages.
    const MIN: QueueSizes = QueueSizes { submissions: 32, completions: 128 };

    /// What kernels from 6.14 on count as locked memory: entries of 64 and 16 bytes, and an index of 4 each.
    fn locked_bytes(self) -> u64 {
        let page = |bytes: u64| bytes.next_multiple_of(4096);
        let (submissions, completions) = (u64::from(self.submissions), u64::from(self.completions));
        page(submissions * 64) + page(completions * 16 + submissions * 4 + 512)
    }

    fn smaller(self) -> Option<QueueSizes> {
        (self.submissions > QueueSizes::MIN.submissions || self.completions > QueueSizes::MIN.completions).then(|| {
            QueueSizes {
                submissions: (self.submissions / 2).max(QueueSizes::MIN.submissions.min(self.submissions)),
                completions: (self.completions / 2).max(QueueSizes::MIN.completions.min(self.completions)),
            }
        })
    }

    /// As configured, or as large as this shard's share of the locked memory holds: half of it for all rings.
    fn affordable(options: &RuntimeOptions) -> QueueSizes {
        let mut sizes = QueueSizes {
            submissions: options.submission_entries.next_power_of_two(),
            completions: options.completion_entries.max(options.submission_entries).next_power_of_two(),
        };
        if threads::may_lock_without_limit() {
            return sizes;
        }
        let share = threads::locked_memory_limit() / 2 / options.shards.max(1) as u64;
        while sizes.locked_bytes() > share {
            match sizes.smaller() {
                Some(smaller) => sizes = smaller,
                None => break,
            }
        }
        sizes
    }
}

/// Tries the best set of flags first; EINVAL means that the kernel does not know one of them, ENOMEM mostly that the
/// limit of locked memory holds no ring of this size.
fn build(options: &RuntimeOptions, wanted: FeatureSet) -> Result<(IoUring, FeatureSet), SetupError> {
    static WARNED: Once = Once::new();
    const RETRIES_MAX: u32 = 40;
    const RETRY_AFTER: Duration = Duration::from_millis(25);

    let wished = options.submission_entries.next_power_of_two();
    let mut features = wanted;
    let mut sizes = QueueSizes::affordable(options);
    let mut retries = 0;
    loop {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(sizes.completions).setup_submit_all();
        if features.has(Feature::SingleIssuer) {
            builder.setup_single_issuer();
        }
        if features.has(Feature::DeferTaskrun) {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        builder.setup_taskrun_flag();
        match builder.build(sizes.submissions) {
            Ok(ring) => {
                if sizes.submissions < wished {
                    WARNED.call_once(|| {
                        tracing::warn!(
                            "the limit of locked memory ({} bytes) holds rings of {} entries only; {} would be better",
                            threads::locked_memory_limit(),
                            sizes.submissions,
                            wished
                        );
                    });
                }
                return Ok((ring, features));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if features.has(Feature::DeferTaskrun) {
                    features = features.without(Feature::DeferTaskrun);
                } else if features.has(Feature::SingleIssuer) {
                    features = features.without(Feature::SingleIssuer);
                } else {
                    return Err(SetupError::TooOld { lacks: "cooperative task running" });
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => match sizes.smaller() {
                Some(smaller) => sizes = smaller,
                // The kernel takes rings apart behind the back of whoever closed them, or was killed, and counts their
                // memory until then.
                None if retries < RETRIES_MAX => {
                    retries += 1;
                    threads::block_for(RETRY_AFTER);
                }
                None => return Err(SetupError::from_setup(error)),
            },
            Err(error) => return Err(SetupError::from_setup(error)),
        }
    }
}

/// What has no slower path: all of it is older than the oldest kernel we promise.
fn require(ring: &IoUring) -> Result<(), SetupError> {
    let params = ring.params();
    for (there, lacks) in [
        (params.is_feature_nodrop(), "completions that are never dropped"),
        (params.is_feature_ext_arg(), "waiting with a timeout"),
        (params.is_feature_fast_poll(), "fast poll"),
        (params.is_feature_submit_stable(), "stable submission"),
    ] {
        if !there {
            return Err(SetupError::TooOld { lacks });
        }
    }
    Ok(())
}

/// A cancel entry that says nothing when it succeeds.
pub(super) fn cancel_entry(user_data: u64, features: FeatureSet) -> Entry {
    let entry = opcode::AsyncCancel::new(user_data).build().user_data(super::driver::IGNORED);
    if features.has(Feature::CqeSkip) { entry.flags(io_uring::squeue::Flags::SKIP_SUCCESS) } else { entry }
}

pub(super) fn fd(of: &impl AsRawFd) -> types::Fd {
    types::Fd(of.as_raw_fd())
}
