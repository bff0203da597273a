//! The clocks: the only place, with `server` and `cli`, that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, read now.
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970, read now; 0 for a clock set before.
pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
