//! The double for a failing device: it stands between the appender and a real file and, by a seed and a plan, fails
//! operations, cuts writes short or says that the disk is full. Tests only build one; the path through it is the real one.

#[cfg(test)]
pub mod testing;

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

/// The operations that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOp {
    Write,
    Flush,
    Read,
    /// Preallocation, and making a new segment's file.
    Allocate,
}

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// EIO; nothing reaches the file.
    Io,
    /// ENOSPC; nothing reaches the file.
    NoSpace,
    /// A write ends before its end, after this many bytes at most.
    Short(usize),
}

impl FaultKind {
    fn error(self) -> io::Error {
        match self {
            FaultKind::Io => io::Error::from_raw_os_error(5),
            FaultKind::NoSpace | FaultKind::Short(_) => io::Error::from_raw_os_error(28),
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    /// Faults that hit the next operations of their kind, in order.
    once: VecDeque<(FaultOp, u32, FaultKind)>,
    /// The disk is full until it is said not to be.
    full: bool,
    /// Every write is short by chance; the state of the generator.
    short_writes: Option<u64>,
}

/// A plan of faults, shared by all files of a shard and its helper threads.
#[derive(Debug, Default)]
pub struct FaultPlan {
    plan: Mutex<Plan>,
}

impl FaultPlan {
    pub fn new() -> FaultPlan {
        FaultPlan::default()
    }

    /// Fails one operation of a kind, after `skip` of them went well.
    pub fn fail(&self, op: FaultOp, skip: u32, kind: FaultKind) {
        self.lock().once.push_back((op, skip, kind));
    }

    /// Every write and allocation says ENOSPC from now on, or no longer.
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// Half of all writes are short from now on, by this seed.
    pub fn set_short_writes(&self, seed: u64) {
        self.lock().short_writes = Some(seed | 1);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an operation may go on, and with how many bytes of a write at most.
    pub(super) fn check(&self, op: FaultOp) -> io::Result<usize> {
        let mut plan = self.lock();
        if plan.full && matches!(op, FaultOp::Write | FaultOp::Allocate) {
            return Err(FaultKind::NoSpace.error());
        }
        if let Some(at) = plan.once.iter().position(|(other, ..)| *other == op)
            && let Some((_, skip, kind)) = plan.once.get_mut(at)
        {
            if *skip > 0 {
                *skip -= 1;
            } else {
                let kind = *kind;
                plan.once.remove(at);
                return match kind {
                    FaultKind::Short(bytes) => Ok(bytes),
                    kind => Err(kind.error()),
                };
            }
        }
        if op == FaultOp::Write
            && let Some(state) = &mut plan.short_writes
        {
            // xorshift: a few lines, the same on every machine.
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            if *state & 1 == 0 {
                return Ok(1 + (*state >> 32) as usize % 20_000);
            }
        }
        Ok(usize::MAX)
    }
}
