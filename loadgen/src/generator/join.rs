//! End-to-end latency: which batch, placed by a producer at some offset, a consumer got when.
//!
//! Both sides note partition and base offset, and meet here. So records need no timestamp inside, batches can be
//! prepared and compressed ahead, and every record's latency still begins when it was due.

use std::{collections::HashMap, ops::Range};

use hdrhistogram::Histogram;

use super::measure::{Placed, Seen, histogram, micros};

type Place = (u32, i64);

pub struct Join {
    window: Range<u64>,
    /// How many times each batch is read.
    subscriptions: u32,
    placed: HashMap<Place, (Placed, u32)>,
    /// Got before the answer to its producer was noted.
    early: HashMap<Place, Vec<u64>>,
    /// Of records that were due in the measured time.
    pub end_to_end: Histogram<u64>,
    /// Of what was joined since the last `second`.
    of_second: Histogram<u64>,
}

impl Join {
    pub fn new(window: Range<u64>, subscriptions: u32) -> Join {
        Join {
            window,
            subscriptions,
            placed: HashMap::new(),
            early: HashMap::new(),
            end_to_end: histogram(),
            of_second: histogram(),
        }
    }

    pub fn placed(&mut self, placed: Placed) {
        let place = (placed.partition, placed.base_offset);
        let mut left = self.subscriptions;
        for at_ns in self.early.remove(&place).unwrap_or_default() {
            self.record(&placed, at_ns);
            left = left.saturating_sub(1);
        }
        if left > 0 {
            self.placed.insert(place, (placed, left));
        }
    }

    pub fn seen(&mut self, seen: Seen) {
        let place = (seen.partition, seen.base_offset);
        let Some((placed, left)) = self.placed.remove(&place) else {
            self.early.entry(place).or_default().push(seen.at_ns);
            return;
        };
        self.record(&placed, seen.at_ns);
        if left > 1 {
            self.placed.insert(place, (placed, left - 1));
        }
    }

    fn record(&mut self, placed: &Placed, at_ns: u64) {
        placed.due.for_each(placed.count, |due, count| {
            let took = micros(due, at_ns).min(self.end_to_end.high());
            if self.window.contains(&due) {
                self.end_to_end.record_n(took, count).ok();
            }
            self.of_second.record_n(took, count).ok();
        });
    }

    /// Records that were placed and not got, by at least one subscription.
    pub fn missing(&self) -> u64 {
        self.placed.values().map(|(placed, _)| u64::from(placed.count)).sum()
    }

    /// What was placed and not got until now has waited so long at least, and counts as that.
    pub fn give_up(&mut self, now_ns: u64) {
        for (placed, left) in std::mem::take(&mut self.placed).into_values() {
            for _ in 0..left {
                self.record(&placed, now_ns);
            }
        }
    }

    pub fn is_complete(&self) -> bool {
        self.placed.is_empty()
    }

    /// The latencies joined since this was last asked.
    pub fn take_second(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.of_second, histogram())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::measure::Due;

    #[test]
    fn both_orders_meet_and_each_subscription_counts() {
        let mut join = Join::new(0..u64::MAX, 2);
        let placed = |base_offset| Placed {
            partition: 1,
            base_offset,
            count: 3,
            due: Due::Even { first_ns: 1_000_000, step_ns: 0.0 },
        };
        let seen = |base_offset, at_ns| Seen { partition: 1, base_offset, at_ns };
        join.seen(seen(0, 3_000_000));
        join.placed(placed(0));
        assert_eq!((join.end_to_end.len(), join.missing()), (3, 3));
        join.seen(seen(0, 5_000_000));
        assert!(join.is_complete());
        join.placed(placed(3));
        join.seen(seen(3, 2_000_000));
        assert_eq!((join.end_to_end.len(), join.missing()), (9, 3));
        assert_eq!((join.end_to_end.min(), join.end_to_end.max() / 10), (1000, 400));
        join.give_up(11_000_000);
        assert_eq!((join.end_to_end.len(), join.missing()), (12, 0), "what never came has waited until the end");
        assert_eq!(join.end_to_end.max() / 100, 100);
        assert_eq!(join.take_second().len(), 12);
        assert_eq!(join.take_second().len(), 0);
    }
}
