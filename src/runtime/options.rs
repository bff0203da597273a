//! What a runtime is built with, and why building one can fail.

use std::{fmt, io, time::Duration};

/// An optional ability of the ring. Each has a slower path that works without it, and each can be masked
/// (`runtime.disable=`), so that those paths can be tested on a kernel that has them all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Feature {
    /// One accept operation answers for every connection (5.19). Without: one operation each.
    MultishotAccept,
    /// One receive operation answers for everything that arrives (6.0). Without: one operation each.
    MultishotRecv,
    /// The kernel picks the receive buffer when data is there (5.19). Without: poll, then recv(2).
    ProvidedBuffers,
    /// Completions are worked off only inside our own enter (6.1). Without: cooperative task work.
    DeferTaskrun,
    /// Only one thread submits, so the kernel skips locks (6.0).
    SingleIssuer,
    /// The ring's descriptor needs no look-up at each enter (5.18).
    RegisteredRing,
    /// Pages of the shard's buffer arena are pinned once instead of at each direct operation.
    RegisteredBuffers,
    /// A shard wakes another by an operation instead of a write(2) to its eventfd (5.18).
    MsgRing,
    /// A send that succeeds at once posts no completion (5.17). Without: each send costs one.
    CqeSkip,
    /// A busy shard waits a few microseconds for more than one completion (6.12). Without: it enters more often.
    MinWait,
}

impl Feature {
    pub const ALL: [Feature; 10] = [
        Feature::MultishotAccept,
        Feature::MultishotRecv,
        Feature::ProvidedBuffers,
        Feature::DeferTaskrun,
        Feature::SingleIssuer,
        Feature::RegisteredRing,
        Feature::RegisteredBuffers,
        Feature::MsgRing,
        Feature::CqeSkip,
        Feature::MinWait,
    ];

    /// The name by which `runtime.disable=` masks it.
    pub fn name(self) -> &'static str {
        match self {
            Feature::MultishotAccept => "multishot-accept",
            Feature::MultishotRecv => "multishot-recv",
            Feature::ProvidedBuffers => "provided-buffers",
            Feature::DeferTaskrun => "defer-taskrun",
            Feature::SingleIssuer => "single-issuer",
            Feature::RegisteredRing => "registered-ring",
            Feature::RegisteredBuffers => "registered-buffers",
            Feature::MsgRing => "msg-ring",
            Feature::CqeSkip => "cqe-skip",
            Feature::MinWait => "min-wait",
        }
    }

    pub fn parse(name: &str) -> Option<Feature> {
        Feature::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureSet(u16);

impl FeatureSet {
    pub const NONE: FeatureSet = FeatureSet(0);

    pub fn all() -> FeatureSet {
        Feature::ALL.into_iter().fold(FeatureSet::NONE, FeatureSet::with)
    }

    #[must_use]
    pub fn with(self, feature: Feature) -> FeatureSet {
        FeatureSet(self.0 | (1 << feature as u8))
    }

    #[must_use]
    pub fn without(self, feature: Feature) -> FeatureSet {
        FeatureSet(self.0 & !(1 << feature as u8))
    }

    pub fn has(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.has(*feature))
    }

    /// Reads a list such as `multishot-recv,msg-ring`; `all` stands for every feature.
    ///
    /// # Errors
    /// The first name that is no feature.
    pub fn parse(list: &str) -> Result<FeatureSet, String> {
        let mut set = FeatureSet::NONE;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            set = match Feature::parse(name) {
                Some(feature) => set.with(feature),
                None if name == "all" => FeatureSet::all(),
                None => return Err(name.to_owned()),
            };
        }
        Ok(set)
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(Feature::name)).finish()
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, feature) in self.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            f.write_str(feature.name())?;
        }
        Ok(())
    }
}

/// How a shard's runtime is built.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// How many runtimes share the process's limit of locked memory.
    pub shards: usize,
    /// Slots of the submission queue; a fuller turn is submitted in several enters.
    pub submission_entries: u32,
    /// Slots of the completion queue. What does not fit, the kernel keeps until there is room.
    pub completion_entries: u32,
    /// Receive buffers provided to the kernel, all connections of the shard together; rounded up to a power of two.
    pub recv_buffers: u16,
    /// Size of each of them.
    pub recv_buffer_bytes: u32,
    /// Aligned buffers kept for reuse when nobody holds them.
    pub aligned_retained_bytes_max: usize,
    /// Size of the arena of aligned buffers that is registered with the ring; 0 for none.
    pub arena_bytes: usize,
    /// How long an idle shard watches its queues before it sleeps in the kernel.
    pub spin: Duration,
    /// Features not to be used even where the kernel has them.
    pub disable: FeatureSet,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions {
            shards: 1,
            submission_entries: 1024,
            completion_entries: 8192,
            recv_buffers: 512,
            recv_buffer_bytes: 16 * 1024,
            aligned_retained_bytes_max: 32 * 1024 * 1024,
            arena_bytes: 2 * 1024 * 1024,
            spin: Duration::ZERO,
            disable: FeatureSet::NONE,
        }
    }
}

/// Why no ring could be set up: one variant per thing that an administrator does about it.
#[derive(Debug)]
pub enum SetupError {
    /// `kernel.io_uring_disabled` is 2, or 1 and the process is not in the privileged group.
    DisabledBySysctl { value: i32 },
    /// EPERM although the sysctl allows it: a seccomp filter or a security module, as in most containers.
    Forbidden,
    /// ENOSYS: a kernel without io_uring, or a seccomp filter that answers so.
    Missing,
    /// The kernel has io_uring, but not what every kernel from 6.1 on has.
    TooOld { lacks: &'static str },
    /// ENOMEM: the locked-memory limit (or the memory itself) does not hold a ring.
    Memory { locked_bytes_max: u64 },
    /// EMFILE or ENFILE: no descriptor left.
    Descriptors,
    /// Anything else.
    Other(io::Error),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::DisabledBySysctl { value } => write!(
                f,
                "io_uring is switched off on this machine (kernel.io_uring_disabled = {value}): run `sysctl kernel.io_uring_disabled=0`, \
                 or for a value of 1 add this user to the group of kernel.io_uring_group"
            ),
            SetupError::Forbidden => f.write_str(
                "io_uring is forbidden to this process, most likely by a container's seccomp filter: \
                 allow io_uring_setup, io_uring_enter and io_uring_register (Docker: --security-opt seccomp=PROFILE)",
            ),
            SetupError::Missing => f.write_str(
                "this kernel does not offer io_uring: a kernel of version 6.1 or later with CONFIG_IO_URING is needed, \
                 and no seccomp filter that hides it",
            ),
            SetupError::TooOld { lacks } => {
                write!(f, "this kernel's io_uring is too old ({lacks} is missing): version 6.1 or later is needed")
            }
            SetupError::Memory { locked_bytes_max } => write!(
                f,
                "the kernel refused memory for an io_uring; the limit of locked memory is {locked_bytes_max} bytes: raise it \
                 (ulimit -l, or LimitMEMLOCK= of the systemd unit) or start fewer shards"
            ),
            SetupError::Descriptors => f.write_str(
                "no file descriptor is left for an io_uring: raise the limit of open files (ulimit -n, LimitNOFILE=)",
            ),
            SetupError::Other(error) => write!(f, "an io_uring could not be set up: {error}"),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SetupError::Other(error) => Some(error),
            _ => None,
        }
    }
}

impl SetupError {
    /// Reads from the error of `io_uring_setup` what stands in the way.
    pub(super) fn from_setup(error: io::Error) -> SetupError {
        let sysctl = super::fs::read_bounded("/proc/sys/kernel/io_uring_disabled", 16)
            .ok()
            .and_then(|text| String::from_utf8_lossy(&text).trim().parse::<i32>().ok());
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => match sysctl {
                Some(value @ 1..) => SetupError::DisabledBySysctl { value },
                _ => SetupError::Forbidden,
            },
            // A kernel that has the sysctl has io_uring: then somebody in between says ENOSYS.
            Some(libc::ENOSYS) if sysctl.is_some() => SetupError::Forbidden,
            Some(libc::ENOSYS) => SetupError::Missing,
            Some(libc::ENOMEM) => SetupError::Memory { locked_bytes_max: super::threads::locked_memory_limit() },
            Some(libc::EMFILE | libc::ENFILE) => SetupError::Descriptors,
            _ => SetupError::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_masked_by_its_name() {
        for feature in Feature::ALL {
            assert_eq!(Feature::parse(feature.name()), Some(feature));
        }
        let set = FeatureSet::parse("multishot-recv, msg-ring").unwrap();
        assert!(set.has(Feature::MultishotRecv) && set.has(Feature::MsgRing) && !set.has(Feature::CqeSkip));
        assert_eq!(set.to_string(), "multishot-recv,msg-ring");
        assert_eq!(FeatureSet::parse("all").unwrap(), FeatureSet::all());
        assert_eq!(FeatureSet::parse("multishot-recv,nonsense").unwrap_err(), "nonsense");
    }
}
