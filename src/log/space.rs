//! How much room a direct segment is given ahead of its writes.
//!
//! Writes into preallocated room are two to four times as fast as writes that extend the file, but room that nobody
//! writes to is room that others miss. So the step follows the partition's own rate: it doubles while a step lasts
//! only seconds and shrinks when one lasts a minute. Whether a partition is given a whole segment ahead of need, or keeps a
//! removed one, follows its pace.

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

    /// Room came from elsewhere: how long it lasts says nothing about the step.
    #[must_use]
    pub fn interrupted(self) -> Growth {
        Growth { last_ms: None, ..self }
    }

    /// The size of the step, without taking it.
    pub fn step_bytes(&self) -> u64 {
        self.step_bytes
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

/// A partition that fills a whole segment in this time is worth one ahead of need.
const SEGMENT_FILL_MS_MAX: u64 = 10 * 60 * 1000;
/// How long before a segment is full the next one is made: making it takes a device that is busy a second at most.
const AHEAD_MS: u64 = 4_000;
/// Over this time bytes are counted for one sample.
const SAMPLE_MS: i64 = 1_000;

/// How many bytes a second a partition is appended, over the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    bytes_per_s: u64,
    since_ms: i64,
    bytes: u64,
}

impl Pace {
    #[must_use]
    pub fn with(mut self, bytes: u64, now_ms: i64) -> Pace {
        if self.since_ms == 0 {
            self.since_ms = now_ms;
        }
        self.bytes += bytes;
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        if passed_ms >= SAMPLE_MS {
            let sample = per_second(self.bytes, passed_ms);
            // The first sample stands alone, and so does one after a pause.
            let alone = self.bytes_per_s == 0 || passed_ms > 8 * SAMPLE_MS;
            self.bytes_per_s = if alone { sample } else { (3 * self.bytes_per_s + sample) / 4 };
            self.since_ms = now_ms;
            self.bytes = 0;
        } else if passed_ms < 0 {
            // The clock was set back.
            self.since_ms = now_ms;
        }
        self
    }

    fn bytes_per_s(self, now_ms: i64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.since_ms);
        match passed_ms {
            // Before the first sample is complete.
            _ if self.bytes_per_s == 0 => per_second(self.bytes, passed_ms.max(SAMPLE_MS / 4)),
            passed_ms if passed_ms > 8 * SAMPLE_MS => per_second(self.bytes, passed_ms),
            _ => self.bytes_per_s,
        }
    }

    /// Whether segments of this size fill so fast that one more should be at hand.
    pub fn fills_soon(self, segment_bytes: u64, now_ms: i64) -> bool {
        self.fills_within(segment_bytes, SEGMENT_FILL_MS_MAX, now_ms)
    }

    /// Whether a segment of which so much is left is about to be full.
    pub fn is_nearly_full(self, left_bytes: u64, now_ms: i64) -> bool {
        self.fills_within(left_bytes, AHEAD_MS, now_ms)
    }

    fn fills_within(self, bytes: u64, within_ms: u64, now_ms: i64) -> bool {
        u128::from(bytes) * 1000 <= u128::from(self.bytes_per_s(now_ms)) * u128::from(within_ms)
    }
}

fn per_second(bytes: u64, passed_ms: i64) -> u64 {
    bytes.saturating_mul(1000) / passed_ms.max(1).cast_unsigned()
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
        assert_eq!(growth.interrupted().next_step(200_010), growth.step_bytes());
        assert_eq!((round_up(1, 4096), round_up(4096, 4096), round_down(8191, 4096)), (4096, 4096, 4096));
    }

    #[test]
    fn the_pace_follows_the_last_seconds() {
        let mut pace = Pace::default();
        assert!(!pace.fills_soon(1, 1_000_000), "nothing was written yet");
        for at in 0..100 {
            pace = pace.with(100_000, 1_000_000 + at * 100);
        }
        let now = 1_010_000;
        assert!((900_000..1_100_000).contains(&pace.bytes_per_s(now)), "{pace:?}");
        assert!(pace.fills_soon(500_000_000, now) && !pace.fills_soon(700_000_000, now));
        assert!(pace.is_nearly_full(3_000_000, now) && !pace.is_nearly_full(5_000_000, now));
        assert!(!pace.fills_soon(500_000_000, now + 600_000), "it is idle now");
        // A trickle behind it does not keep the pace up.
        for at in 1..10 {
            pace = pace.with(100, now + at * 20_000);
        }
        assert!(!pace.fills_soon(10_000_000, now + 200_000), "{pace:?}");
        pace = pace.with(100, 5);
        assert!(!pace.with(100, 6).fills_soon(10_000_000, 7), "a clock that was set back");
    }
}
