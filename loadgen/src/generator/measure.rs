//! What a generator thread notes down, and hands over once a second.
//!
//! Every latency begins at the moment a record was *due* by the schedule, not when it was sent: a record that had to
//! wait, for the broker or for us, has waited for its reader too. A closed loop has no schedule; there a record is due
//! when it is sent. The time from due to sent is kept apart, to tell our own delay from the broker's.

use std::{cell::RefCell, collections::HashMap, ops::Range, time::Instant};

use corelane::runtime::clock;
use hdrhistogram::Histogram;

use super::verify::{Acknowledged, Checker};

/// Latencies are counted in microseconds, up to an hour, in three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds that the crate takes")
}

/// Nanoseconds since the process began to count.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Instant);

impl Clock {
    pub fn ns(self) -> u64 {
        self.ns_of(clock::now())
    }

    pub fn ns_of(self, at: Instant) -> u64 {
        at.saturating_duration_since(self.0).as_nanos() as u64
    }

    pub fn instant(self, ns: u64) -> Instant {
        self.0 + std::time::Duration::from_nanos(ns)
    }
}

/// When the records of a batch were due.
#[derive(Clone, Debug)]
pub enum Due {
    /// The first at this time, each other so much later.
    Even { first_ns: u64, step_ns: f64 },
    /// One by one, where a schedule spreads over partitions by keys.
    Each(Vec<u64>),
}

impl Due {
    pub fn first_ns(&self) -> u64 {
        match self {
            Due::Even { first_ns, .. } => *first_ns,
            Due::Each(each) => each.first().copied().unwrap_or(0),
        }
    }

    /// Calls `f` with each time and how many of the `count` records were due then.
    pub fn for_each(&self, count: u32, mut f: impl FnMut(u64, u64)) {
        match self {
            Due::Even { first_ns, step_ns } if *step_ns == 0.0 => f(*first_ns, u64::from(count)),
            Due::Even { first_ns, step_ns } => {
                for index in 0..count {
                    f(first_ns + (f64::from(index) * step_ns) as u64, 1);
                }
            }
            Due::Each(each) => each.iter().for_each(|&due| f(due, 1)),
        }
    }
}

/// A batch that the broker said it stored.
#[derive(Debug)]
pub struct Placed {
    pub partition: u32,
    pub base_offset: i64,
    pub count: u32,
    pub due: Due,
}

/// A batch that a consumer got.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub partition: u32,
    pub base_offset: i64,
    pub at_ns: u64,
}

/// Sums over some time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub records: u64,
    /// Bytes of the values.
    pub bytes: u64,
    /// Bytes of the batches as they are on the wire.
    pub wire_bytes: u64,
    pub requests: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.wire_bytes += other.wire_bytes;
        self.requests += other.requests;
    }
}

/// What one thread saw in one second of the run.
pub struct Interval {
    /// Counted from the start of the run, warm-up included.
    pub second: u64,
    /// Of records that were due in the measured time.
    pub publish: Histogram<u64>,
    pub send_delay: Histogram<u64>,
    /// Of the others.
    pub publish_outside: Histogram<u64>,
    /// Answered in this second.
    pub acked: Counts,
    /// Of those, what was answered within the measured time.
    pub acked_measured: Counts,
    pub consumed: Counts,
    pub consumed_measured: Counts,
    /// Due in the measured time, and answered at last.
    pub due_and_acked: u64,
    pub failed: u64,
    pub unanswered: u64,
    pub first_failure: Option<String>,
    pub placed: Vec<Placed>,
    pub seen: Vec<Seen>,
    pub acknowledged: Vec<Acknowledged>,
    /// At a consumer's end, for `--verify`: what it has seen, by partition.
    pub checked: Vec<HashMap<u32, Checker>>,
}

impl Interval {
    pub fn new(second: u64) -> Interval {
        Interval {
            second,
            publish: histogram(),
            send_delay: histogram(),
            publish_outside: histogram(),
            acked: Counts::default(),
            acked_measured: Counts::default(),
            consumed: Counts::default(),
            consumed_measured: Counts::default(),
            due_and_acked: 0,
            failed: 0,
            unanswered: 0,
            first_failure: None,
            placed: Vec::new(),
            seen: Vec::new(),
            acknowledged: Vec::new(),
            checked: Vec::new(),
        }
    }

    /// Adds the sums of another; what is followed one by one is left out.
    pub fn add(&mut self, other: Interval) {
        self.publish.add(other.publish).expect("histograms of equal bounds");
        self.send_delay.add(other.send_delay).expect("histograms of equal bounds");
        self.publish_outside.add(other.publish_outside).expect("histograms of equal bounds");
        self.acked.add(other.acked);
        self.acked_measured.add(other.acked_measured);
        self.consumed.add(other.consumed);
        self.consumed_measured.add(other.consumed_measured);
        self.due_and_acked += other.due_and_acked;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

/// The notebook of one thread.
pub struct Recorder {
    /// The measured time.
    window: RefCell<Range<u64>>,
    /// Whether batches are followed from the producer to the consumer.
    pub follows: bool,
    interval: RefCell<Box<Interval>>,
}

/// What was in a request for one partition.
#[derive(Debug)]
pub struct SentBatch {
    pub partition: u32,
    pub count: u32,
    pub value_bytes: u64,
    pub wire_bytes: u64,
    pub due: Due,
    pub identity: Option<Acknowledged>,
}

impl Recorder {
    pub fn new(follows: bool) -> Recorder {
        Recorder { window: RefCell::default(), follows, interval: RefCell::new(Box::new(Interval::new(0))) }
    }

    /// Sets the measured time, in nanoseconds of the clock.
    pub fn measure(&self, window: Range<u64>) {
        self.window.replace(window);
    }

    fn measures(&self, ns: u64) -> bool {
        self.window.borrow().contains(&ns)
    }

    /// Hands over what was noted and begins anew.
    pub fn turn_over(&self, next_second: u64) -> Box<Interval> {
        self.interval.replace(Box::new(Interval::new(next_second)))
    }

    pub fn sent(&self, batch: &SentBatch, at_ns: u64) {
        let mut interval = self.interval.borrow_mut();
        batch.due.for_each(batch.count, |due, count| {
            if self.measures(due) {
                interval.send_delay.saturating_record_n(micros(due, at_ns), count);
            }
        });
    }

    pub fn acked(&self, batch: SentBatch, at_ns: u64, base_offset: i64) {
        let mut interval = self.interval.borrow_mut();
        let interval = &mut **interval;
        let counts = Counts {
            records: u64::from(batch.count),
            bytes: batch.value_bytes,
            wire_bytes: batch.wire_bytes,
            requests: 0,
        };
        interval.acked.add(counts);
        if self.measures(at_ns) {
            interval.acked_measured.add(counts);
        }
        self.latency(interval, &batch, at_ns);
        if let Some(identity) = batch.identity {
            interval.acknowledged.push(identity);
        }
        if self.follows && base_offset >= 0 {
            let SentBatch { partition, count, due, .. } = batch;
            interval.placed.push(Placed { partition, base_offset, count, due });
        }
    }

    fn latency(&self, interval: &mut Interval, batch: &SentBatch, at_ns: u64) {
        batch.due.for_each(batch.count, |due, count| {
            let took = micros(due, at_ns);
            if self.measures(due) {
                interval.publish.saturating_record_n(took, count);
                interval.due_and_acked += count;
            } else {
                interval.publish_outside.saturating_record_n(took, count);
            }
        });
    }

    pub fn request(&self, at_ns: u64) {
        let mut interval = self.interval.borrow_mut();
        interval.acked.requests += 1;
        if self.measures(at_ns) {
            interval.acked_measured.requests += 1;
        }
    }

    pub fn failed(&self, batch: &SentBatch, what: impl FnOnce() -> String) {
        let mut interval = self.interval.borrow_mut();
        interval.failed += u64::from(batch.count);
        if interval.first_failure.is_none() {
            interval.first_failure = Some(what());
        }
    }

    /// No answer came until the end: the latency is at least what it is now, and counts as that.
    pub fn unanswered(&self, due: &Due, count: u32, at_ns: u64) {
        let mut interval = self.interval.borrow_mut();
        interval.unanswered += u64::from(count);
        due.for_each(count, |due, count| {
            if self.measures(due) {
                interval.publish.saturating_record_n(micros(due, at_ns), count);
            }
        });
    }

    /// A consumer has got a batch.
    pub fn consumed(&self, seen: Seen, counts: Counts) {
        let mut interval = self.interval.borrow_mut();
        interval.consumed.add(counts);
        if self.measures(seen.at_ns) {
            interval.consumed_measured.add(counts);
        }
        if self.follows {
            interval.seen.push(seen);
        }
    }

    pub fn checked(&self, checkers: HashMap<u32, Checker>) {
        self.interval.borrow_mut().checked.push(checkers);
    }
}

/// From `due` to `at`, in microseconds, one at least.
pub fn micros(due_ns: u64, at_ns: u64) -> u64 {
    (at_ns.saturating_sub(due_ns) / 1000).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(due: Due, count: u32) -> SentBatch {
        SentBatch { partition: 0, count, value_bytes: 10, wire_bytes: 100, due, identity: None }
    }

    #[test]
    fn a_latency_counts_from_when_each_record_was_due() {
        let recorder = Recorder::new(true);
        recorder.measure(0..u64::MAX);
        // Ten records, a millisecond apart, all answered when the last was due.
        recorder.acked(batch(Due::Even { first_ns: 0, step_ns: 1e6 }, 10), 9_000_000, 5);
        let interval = recorder.turn_over(1);
        assert_eq!((interval.publish.len(), interval.due_and_acked), (10, 10));
        assert_eq!(interval.publish.max() / 10, 900);
        assert_eq!(interval.publish.min(), 1);
        assert_eq!((interval.placed.len(), interval.placed[0].base_offset), (1, 5));
    }

    #[test]
    fn the_warm_up_stays_out_of_the_measured_figures() {
        let recorder = Recorder::new(false);
        recorder.measure(1_000_000..2_000_000);
        recorder.acked(batch(Due::Each(vec![500_000, 1_500_000]), 2), 1_600_000, 0);
        recorder.unanswered(&Due::Each(vec![100, 1_999_999]), 2, 5_000_000);
        let interval = recorder.turn_over(1);
        assert_eq!((interval.publish.len(), interval.publish_outside.len()), (2, 1));
        assert_eq!((interval.due_and_acked, interval.unanswered), (1, 2));
        assert_eq!(interval.acked_measured.records, 2, "both were answered within the measured time");
        assert!(interval.placed.is_empty());
    }
}
