//! When records are due: a fixed schedule that knows nothing of how the broker is doing.

/// The schedule of one producer: its record number `n` is due at `start + phase + n * step`.
#[allow(clippy::struct_field_names)] // the unit belongs in the name
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    first_ns: f64,
    pub step_ns: f64,
    pub end_ns: u64,
}

impl Schedule {
    /// That of producer `number` of `producers`, who share the rate and take turns.
    pub fn new(rate: f64, producers: u32, number: u32, start_ns: u64, end_ns: u64) -> Schedule {
        let step_ns = 1e9 * f64::from(producers) / rate;
        let first_ns = start_ns as f64 + step_ns * f64::from(number) / f64::from(producers);
        Schedule { first_ns, step_ns, end_ns }
    }

    pub fn due_ns(&self, record: u64) -> u64 {
        (self.first_ns + record as f64 * self.step_ns) as u64
    }

    /// How many records are due up to and at `now`.
    pub fn due_by(&self, now_ns: u64) -> u64 {
        let until = now_ns.min(self.end_ns.saturating_sub(1)) as f64;
        if until < self.first_ns { 0 } else { ((until - self.first_ns) / self.step_ns) as u64 + 1 }
    }

    /// Whether this record comes before the end.
    pub fn has(&self, record: u64) -> bool {
        self.due_ns(record) < self.end_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_take_turns_and_keep_the_rate_together() {
        let second = 1_000_000_000;
        let mut due = Vec::new();
        for number in 0..3 {
            let schedule = Schedule::new(300.0, 3, number, 5 * second, 7 * second);
            let all = schedule.due_by(u64::MAX);
            assert!(schedule.has(all - 1) && !schedule.has(all));
            due.extend((0..all).map(|record| schedule.due_ns(record)));
        }
        due.sort_unstable();
        assert_eq!(due.len(), 600);
        for (at, due) in due.iter().enumerate() {
            let even = 5 * second + at as u64 * second / 300;
            assert!(due.abs_diff(even) <= 2, "record {at} is due at {due}, not {even}");
        }
    }

    #[test]
    fn what_is_due_does_not_depend_on_when_one_asks() {
        let schedule = Schedule::new(7.0, 1, 0, 100, u64::MAX);
        for record in 0..1000 {
            let due = schedule.due_ns(record);
            assert!(schedule.due_by(due + 1) > record);
            assert!(schedule.due_by(due.saturating_sub(1)) <= record + 1);
        }
    }
}
