//! Log lines that a peer can cause at will: a few a second, then their number.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

const LINES_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// A budget of log lines.
pub(super) struct LogLimit {
    since: Cell<Instant>,
    lines: Cell<u32>,
}

impl LogLimit {
    pub fn new(now: Instant) -> LogLimit {
        LogLimit { since: Cell::new(now), lines: Cell::new(0) }
    }

    /// Whether one more line may be written.
    pub fn allows(&self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since.get()) >= PERIOD {
            let held_back = self.lines.get().saturating_sub(LINES_MAX);
            if held_back > 0 {
                tracing::warn!("{held_back} more lines about connections were left out");
            }
            self.since.set(now);
            self.lines.set(0);
        }
        self.lines.set(self.lines.get().saturating_add(1));
        self.lines.get() <= LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_the_next_period_starts_anew() {
        let start = crate::runtime::clock::now();
        let limit = LogLimit::new(start);
        assert_eq!((0..1000).filter(|_| limit.allows(start)).count(), LINES_MAX as usize);
        assert!(limit.allows(start + PERIOD));
    }
}
