//! Durations in fixed buckets.

use super::Counter;

const BUCKETS: usize = 19;

/// The upper ends of the buckets in microseconds: 1, 2.5 and 5 times the powers of ten from 50 us to 10 s, then all
/// that is longer.
const BOUNDS_US: [u64; BUCKETS] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    u64::MAX,
];

const _: () = {
    let mut i = 1;
    while i < BUCKETS {
        assert!(BOUNDS_US[i - 1] < BOUNDS_US[i], "each bucket ends after the one before");
        i += 1;
    }
};

/// How often something took how long. Written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    pub fn record_us(&self, duration_us: u64) {
        // The last bound is the largest number there is, so some bucket fits.
        if let Some(count) = self.counts.get(BOUNDS_US.partition_point(|&end| end < duration_us)) {
            count.increment();
        }
        self.sum_us.add(duration_us);
    }

    pub fn record(&self, duration: std::time::Duration) {
        self.record_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The sum of several histograms.
#[derive(Debug, Default)]
pub struct Totals {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Totals {
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *total += count.get();
        }
        self.sum_us = self.sum_us.saturating_add(histogram.sum_us.get());
    }

    /// Sum, count and buckets as the encoder takes them.
    pub fn in_seconds(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let seconds = |us: u64| if us == u64::MAX { f64::MAX } else { us as f64 / 1e6 };
        let buckets = BOUNDS_US.iter().zip(self.counts).map(|(&end, count)| (seconds(end), count)).collect();
        (self.sum_us as f64 / 1e6, self.counts.iter().sum(), buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_upper_end() {
        let histogram = Histogram::default();
        for us in [0, 50, 51, 10_000_000, 30_000_001, u64::MAX - 1] {
            histogram.record_us(us);
        }
        let mut totals = Totals::default();
        totals.add(&histogram);
        let (_, count, buckets) = totals.in_seconds();
        assert_eq!(count, 6);
        let of = |end: f64| buckets.iter().find(|bucket| bucket.0.to_bits() == end.to_bits()).map(|bucket| bucket.1);
        assert_eq!((of(0.00005), of(0.0001), of(10.0), of(f64::MAX)), (Some(2), Some(1), Some(1), Some(2)));
    }
}
