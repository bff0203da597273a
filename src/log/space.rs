//! How much room a direct segment is given ahead of its writes.
//!
//! Writes into preallocated room are two to four times as fast as writes that extend the file, but room that nobody
//! writes to is room that others miss. So the step follows the partition's own rate: it doubles while a step lasts
//! only seconds and shrinks when one lasts a minute.

/// The first step of a partition: what an idle one can hold at most for nothing.
pub(super) const STEP_BYTES_MIN: u64 = 64 * 1024;
/// One step is at most 64 MiB: at the 1 GB/s that one partition can be written with, several allocations a second.
pub(super) const STEP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A step used up faster than this was too small.
const FAST_MS: i64 = 4_000;
/// A step that lasted longer than this was too large.
const SLOW_MS: i64 = 60_000;

/// The next step of one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    step_bytes: u64,
    last_ms: Option<i64>,
}

impl Growth {
    pub fn new() -> Growth {
        Growth { step_bytes: STEP_BYTES_MIN, last_ms: None }
    }

    /// The next segment of a partition goes on with the rate of the last.
    #[must_use]
    pub fn inherit(self) -> Growth {
        self
    }

    /// How many bytes to allocate now.
    pub fn next_step(&mut self, now_ms: i64) -> u64 {
        if let Some(last_ms) = self.last_ms {
            let lasted_ms = now_ms.saturating_sub(last_ms);
            if lasted_ms < FAST_MS {
                self.step_bytes = (self.step_bytes * 2).min(STEP_BYTES_MAX);
            } else if lasted_ms > SLOW_MS {
                self.step_bytes = (self.step_bytes / 4).max(STEP_BYTES_MIN);
            }
        }
        self.last_ms = Some(now_ms);
        self.step_bytes
    }

    /// There was no room for so large a step.
    pub fn fall_back(&mut self) {
        self.step_bytes = STEP_BYTES_MIN;
    }

    /// Whether so little of the room is left that more should be on its way.
    pub fn is_short(&self, room_left_bytes: u64) -> bool {
        room_left_bytes < self.step_bytes / 2
    }
}

pub(super) fn round_up(bytes: u64, block: u64) -> u64 {
    bytes.div_ceil(block) * block
}

pub(super) fn round_down(bytes: u64, block: u64) -> u64 {
    bytes / block * block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_the_rate() {
        let mut growth = Growth::new();
        assert_eq!(growth.next_step(0), STEP_BYTES_MIN);
        assert_eq!(growth.next_step(10), 2 * STEP_BYTES_MIN);
        assert_eq!(growth.next_step(10_000), 2 * STEP_BYTES_MIN);
        for at in 0..20 {
            growth.next_step(10_000 + at);
        }
        assert_eq!(growth.next_step(10_020), STEP_BYTES_MAX);
        assert_eq!(growth.next_step(200_000), STEP_BYTES_MAX / 4);
        assert!(growth.is_short(STEP_BYTES_MAX / 16));
        assert!(!growth.is_short(STEP_BYTES_MAX));
        assert_eq!((round_up(1, 4096), round_up(4096, 4096), round_down(8191, 4096)), (4096, 4096, 4096));
    }
}
