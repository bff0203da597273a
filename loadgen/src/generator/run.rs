//! A run: starts the threads, keeps the time, gathers what they note, and decides when it is over.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::Duration,
};

use corelane::runtime::threads;
use hdrhistogram::Histogram;

use super::{
    context::{Plan, Stop, Times},
    join::Join,
    measure::{Counts, Interval, histogram},
    thread::{Event, Job},
    verify::{Acknowledged, Checker, Findings, judge},
};
use crate::{
    error::Error,
    process::{self, Sample, Usage},
};

/// Between the last thread's being ready and the first record.
const LEAD_NS: u64 = 50_000_000;
const LOOK_NS: u64 = 50_000_000;
/// Consumers get so long when nothing tells that they have everything (acks=0).
const GRACE_NS: u64 = 1_000_000_000;
/// Threads that are told to end have so long.
const END_PATIENCE_NS: u64 = 15_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Where a run happens.
#[derive(Clone, Debug)]
pub struct Setup {
    pub threads: usize,
    /// Cores that generator threads are pinned to, in turn; empty for none.
    pub cores: Vec<usize>,
    /// The broker's process, if it runs on this machine.
    pub broker_pid: Option<u32>,
    pub warm_up_seconds: f64,
    pub seconds: f64,
    pub drain_seconds: f64,
}

/// What to show while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Live {
    pub elapsed_seconds: f64,
    /// 0 where records are counted and not seconds.
    pub total_seconds: f64,
    /// In the last whole second.
    pub produced: Counts,
    pub consumed: Counts,
    pub p99_ms: f64,
}

/// One second of the run.
#[derive(Clone, Debug)]
pub struct Second {
    pub produced: Counts,
    pub consumed: Counts,
    pub publish: Histogram<u64>,
    pub end_to_end: Histogram<u64>,
}

impl Default for Second {
    fn default() -> Second {
        let (produced, consumed) = (Counts::default(), Counts::default());
        Second { produced, consumed, publish: histogram(), end_to_end: histogram() }
    }
}

/// All that a run found out.
pub struct Outcome {
    pub publish: Histogram<u64>,
    pub send_delay: Histogram<u64>,
    pub end_to_end: Histogram<u64>,
    pub series: Vec<Second>,
    /// Within the measured time.
    pub produced: Counts,
    pub consumed: Counts,
    pub consumed_total: Counts,
    pub measured_seconds: f64,
    pub due_and_acked: u64,
    pub failed: u64,
    pub unanswered: u64,
    pub first_failure: Option<String>,
    pub never_consumed: u64,
    pub findings: Option<Findings>,
    /// The share of a core that each generator thread used.
    pub generator_busy: Vec<f64>,
    pub broker: Option<Usage>,
}

/// Runs a plan. `watch` is called some times a second.
pub fn execute(plan: &Arc<Plan>, setup: &Setup, watch: &mut dyn FnMut(&Live)) -> Result<Outcome, Error> {
    let stop = Arc::new(Stop::default());
    let times = Arc::new(OnceLock::new());
    let (sender, events) = channel();
    let workload = &plan.workload;
    let producers = if plan.produce.is_some() { workload.producers_total() } else { 0 };
    let consumers =
        if plan.consume.is_some() { workload.topics * workload.subscriptions * workload.consumers } else { 0 };
    let count = setup.threads.clamp(1, (producers + consumers).max(1) as usize);
    let mut handles = Vec::new();
    for index in 0..count {
        let share = |from: u32, to: u32| (from..to).filter(move |number| *number as usize % count == index);
        let job = Job {
            plan: Arc::clone(plan),
            stop: Arc::clone(&stop),
            times: Arc::clone(&times),
            producers: share(0, producers).collect(),
            // Counted on from the producers, so that two threads for one of each take one of each.
            consumers: share(producers, producers + consumers).map(|number| number - producers).collect(),
            events: sender.clone(),
        };
        let core = (!setup.cores.is_empty()).then(|| setup.cores[index % setup.cores.len()]);
        let handle = threads::spawn(&format!("loadgen-{index}"), core, move || job.run())
            .map_err(|error| Error::Io("starting a thread", error))?;
        handles.push(handle);
    }
    drop(sender);
    let mut control = Control::new(plan, setup, stop, times, events, count);
    let outcome = control.run(watch);
    control.stop.all();
    if outcome.is_ok() {
        for handle in handles {
            let _ = handle.join();
        }
    }
    outcome?;
    Ok(control.finish())
}

struct Control<'a> {
    plan: &'a Plan,
    setup: &'a Setup,
    stop: Arc<Stop>,
    times: Arc<OnceLock<Times>>,
    events: Receiver<Event>,
    threads: usize,
    thread_ids: Vec<i32>,
    produced: usize,
    consumed: usize,
    ended: usize,
    failure: Option<Error>,
    /// From the first to the last look at who used how much processor time.
    begun: Option<(u64, Vec<f64>, Option<Sample>)>,
    closed: Option<(u64, Vec<f64>, Option<Sample>)>,
    join: Join,
    acknowledged: Vec<Acknowledged>,
    checked: Vec<HashMap<u32, Checker>>,
    whole: Interval,
    series: Vec<Second>,
    consumers_done_ns: Option<u64>,
    /// How long what was counted went on.
    measured_ns: u64,
    never_consumed: u64,
}

impl<'a> Control<'a> {
    fn new(
        plan: &'a Plan,
        setup: &'a Setup,
        stop: Arc<Stop>,
        times: Arc<OnceLock<Times>>,
        events: Receiver<Event>,
        threads: usize,
    ) -> Control<'a> {
        Control {
            plan,
            setup,
            stop,
            times,
            events,
            threads,
            thread_ids: Vec::new(),
            produced: 0,
            consumed: 0,
            ended: 0,
            failure: None,
            begun: None,
            closed: None,
            join: Join::new(0..0, 1),
            acknowledged: Vec::new(),
            checked: Vec::new(),
            whole: Interval::new(0),
            series: Vec::new(),
            consumers_done_ns: None,
            measured_ns: 0,
            never_consumed: 0,
        }
    }

    fn run(&mut self, watch: &mut dyn FnMut(&Live)) -> Result<(), Error> {
        while self.thread_ids.len() < self.threads && self.failure.is_none() {
            self.take(Duration::from_secs(1));
        }
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        let start_ns = self.plan.clock.ns() + LEAD_NS;
        let measure_from_ns = start_ns + ns(self.setup.warm_up_seconds);
        let measure_to_ns = measure_from_ns + ns(self.setup.seconds);
        let drain_to_ns = measure_to_ns + ns(self.setup.drain_seconds);
        let times = Times { start_ns, measure_from_ns, measure_to_ns, drain_to_ns };
        self.join = Join::new(measure_from_ns..measure_to_ns, self.plan.workload.subscriptions);
        self.times.set(times).expect("times are set once");

        let mut sent_all_ns = None;
        let mut stopped_ns = None;
        let mut shown = u64::MAX;
        while self.ended < self.threads {
            let now = self.plan.clock.ns();
            if self.begun.is_none() && now >= measure_from_ns {
                self.begun = Some(self.look());
            }
            // Reading that has an end is over with it; everything else with the measured time.
            let sends = self.plan.produce.is_some();
            let sent_all = sends && self.produced == self.threads && !self.until_is_known();
            let over = now >= measure_to_ns || self.consumers_done_ns.is_some() || sent_all;
            if self.closed.is_none() && self.begun.is_some() && over {
                self.closed = Some(self.look());
            }
            if self.produced == self.threads {
                sent_all_ns.get_or_insert(now);
            }
            if self.consumed == self.threads && self.until_is_known() {
                self.stop.end_at(*self.consumers_done_ns.get_or_insert(now));
            }
            if stopped_ns.is_none() && self.is_over(now, times, sent_all_ns) {
                self.never_consumed = self.join.missing();
                self.join.give_up(now);
                self.stop.consumers();
                stopped_ns = Some(now);
            }
            if self.failure.is_some() || self.hopeless() {
                self.stop.all();
                stopped_ns.get_or_insert(now);
            }
            if stopped_ns.is_some_and(|at| now > at + END_PATIENCE_NS) {
                break;
            }
            let look = (now.saturating_sub(start_ns)) / (SECOND_NS / 4);
            if look != shown {
                shown = look;
                watch(&self.live(now, times));
            }
            let next = [measure_from_ns, measure_to_ns].into_iter().filter(|at| *at > now).min().unwrap_or(u64::MAX);
            self.take(Duration::from_nanos((next - now.min(next)).min(LOOK_NS)));
        }
        if self.closed.is_none() {
            self.closed = Some(self.look());
        }
        let counted = self.plan.produce.is_some_and(|produce| produce.records_max.is_some());
        let done_ns = self.consumers_done_ns.or(sent_all_ns.filter(|_| counted));
        let to_ns = done_ns.unwrap_or(u64::MAX).min(measure_to_ns);
        self.measured_ns = to_ns.saturating_sub(measure_from_ns).max(1);
        match self.failure.take() {
            Some(error) => Err(self.explain(error)),
            None => Ok(()),
        }
    }

    fn until_is_known(&self) -> bool {
        self.plan.consume.as_ref().is_some_and(|consume| consume.until.is_some())
    }

    /// Whether consumers may end: everything sent has come, or will not.
    fn is_over(&self, now: u64, times: Times, sent_all_ns: Option<u64>) -> bool {
        let Some(sent_all_ns) = sent_all_ns else { return false };
        let Some(consume) = &self.plan.consume else { return true };
        if consume.until.is_some() {
            return self.consumers_done_ns.is_some() || now >= times.measure_to_ns;
        }
        if self.plan.produce.is_none() {
            return now >= times.measure_to_ns;
        }
        if self.plan.workload.acks == 0 || !consume.follows {
            return now >= sent_all_ns + GRACE_NS;
        }
        // What threads noted last may still be on its way.
        let settled = now >= sent_all_ns + SECOND_NS / 3;
        (settled && self.join.is_complete()) || now >= times.drain_to_ns.max(sent_all_ns + GRACE_NS)
    }

    /// Nothing is stored and every request refused.
    fn hopeless(&mut self) -> bool {
        let hopeless = self.whole.failed > 1000 && self.whole.acked.records == 0;
        if hopeless && self.failure.is_none() {
            self.failure = self.whole.first_failure.clone().map(Error::Answer);
        }
        hopeless
    }

    fn take(&mut self, wait: Duration) {
        let mut next = self.events.recv_timeout(wait);
        loop {
            match next {
                Ok(Event::Ready { thread_id }) => self.thread_ids.push(thread_id),
                Ok(Event::Noted(interval)) => self.gather(*interval),
                Ok(Event::Produced) => self.produced += 1,
                Ok(Event::Consumed) => self.consumed += 1,
                Ok(Event::Ended(outcome)) => {
                    self.ended += 1;
                    if let Err(error) = outcome {
                        self.failure.get_or_insert(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = self.threads;
                    return;
                }
            }
            next = self.events.try_recv().map_err(|_| RecvTimeoutError::Timeout);
        }
    }

    fn gather(&mut self, mut interval: Interval) {
        for placed in interval.placed.drain(..) {
            self.join.placed(placed);
        }
        for seen in interval.seen.drain(..) {
            self.join.seen(seen);
        }
        self.acknowledged.append(&mut interval.acknowledged);
        self.checked.append(&mut interval.checked);
        // The very last interval is handed over when the run's seconds are over: it belongs to the last of them.
        let last = self.series.len().saturating_sub(1);
        let at = if interval.second == 0 && last > 0 { last } else { interval.second as usize };
        while self.series.len() <= at {
            self.series.push(Second::default());
        }
        let of_second = self.join.take_second();
        let second = &mut self.series[at];
        second.produced.add(interval.acked);
        second.consumed.add(interval.consumed);
        for latencies in [&interval.publish, &interval.publish_outside] {
            second.publish.add(latencies).expect("histograms of equal bounds");
        }
        second.end_to_end.add(of_second).expect("histograms of equal bounds");
        self.whole.add(interval);
    }

    /// Who has used how much processor time until now.
    fn look(&self) -> (u64, Vec<f64>, Option<Sample>) {
        let threads = self.thread_ids.iter().map(|&id| process::thread_cpu_seconds(id)).collect();
        (self.plan.clock.ns(), threads, self.setup.broker_pid.and_then(Sample::of))
    }

    fn live(&self, now: u64, times: Times) -> Live {
        let empty = Second::default();
        let last = self.series.len().checked_sub(2).map_or(&empty, |at| &self.series[at]);
        let counted = self.plan.produce.is_some_and(|produce| produce.records_max.is_some());
        let total_ns = if counted { 0 } else { times.measure_to_ns - times.start_ns };
        Live {
            elapsed_seconds: now.saturating_sub(times.start_ns) as f64 / 1e9,
            total_seconds: total_ns as f64 / 1e9,
            produced: last.produced,
            consumed: last.consumed,
            p99_ms: last.publish.value_at_quantile(0.99) as f64 / 1000.0,
        }
    }

    /// Says of a lost connection what became of the broker, if that can be seen from here.
    fn explain(&self, error: Error) -> Error {
        let Some(times) = self.times.get() else { return error };
        let seconds = self.plan.clock.ns().saturating_sub(times.start_ns) as f64 / 1e9;
        match (&error, self.setup.broker_pid) {
            (Error::Closed, Some(pid)) if !process::is_alive(pid) => Error::Wrong(format!(
                "the broker (process {pid}) ended {seconds:.1} s into the run; its own log says why"
            )),
            (Error::Closed, _) => Error::Wrong(format!(
                "the broker closed a connection {seconds:.1} s into the run; its own log says why"
            )),
            _ => error,
        }
    }

    fn finish(mut self) -> Outcome {
        let (from_ns, threads_from, broker_from) = self.begun.take().unwrap_or_else(|| self.look());
        let (to_ns, threads_to, broker_to) = self.closed.take().unwrap_or_else(|| self.look());
        let elapsed = (to_ns.saturating_sub(from_ns) as f64 / 1e9).max(1e-9);
        let generator_busy = threads_from.iter().zip(&threads_to).map(|(from, to)| (to - from) / elapsed).collect();
        let broker = match (self.setup.broker_pid, broker_from, broker_to) {
            (Some(pid), Some(from), Some(to)) => Some(from.until(&to, elapsed, pid)),
            _ => None,
        };
        let findings =
            self.plan.identities.is_some().then(|| {
                judge(&self.acknowledged, std::mem::take(&mut self.checked), self.plan.workload.subscriptions)
            });
        let whole = self.whole;
        Outcome {
            publish: whole.publish,
            send_delay: whole.send_delay,
            end_to_end: self.join.end_to_end,
            series: self.series,
            produced: whole.acked_measured,
            consumed: whole.consumed_measured,
            consumed_total: whole.consumed,
            measured_seconds: self.measured_ns as f64 / 1e9,
            due_and_acked: whole.due_and_acked,
            failed: whole.failed,
            unanswered: whole.unanswered,
            first_failure: whole.first_failure,
            never_consumed: self.never_consumed,
            findings,
            generator_busy,
            broker,
        }
    }
}
