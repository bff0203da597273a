//! The clocks: the only place, with `server` and `cli`, that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock, read now.
pub fn now() -> Instant {
    #[cfg(test)]
    if let Some(ms) = super::observe::clock_ms() {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        return *START + std::time::Duration::from_millis(ms);
    }
    Instant::now()
}

/// Milliseconds since 1970, read now; 0 for a clock set before.
pub fn wall_ms() -> i64 {
    #[cfg(test)]
    if let Some(ms) = super::observe::clock_ms() {
        return 1_700_000_000_000 + ms.cast_signed();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
