//! The numbers of a report, as they stand in `report.json`.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::{
    calibrate::Limits,
    generator::{Findings, Second},
    process::Usage,
    workload::Workload,
};

/// Of a generator thread's core: above it, the generator may be what limits a run.
pub const GENERATOR_BUSY_MAX: f64 = 0.8;
/// Of its cores: a broker below it had something left.
pub const BROKER_BUSY_MIN: f64 = 0.9;
/// Of the rate asked for: less, and the run did not measure what it was to measure.
pub const ACHIEVED_MIN: f64 = 0.99;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Of this format.
    pub format: u32,
    pub title: String,
    pub manifest: Manifest,
    pub limits: Option<Limits>,
    pub runs: Vec<RunReport>,
    pub ratios: Vec<Ratio>,
    pub notes: Vec<String>,
}

/// One workload against one broker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunReport {
    pub broker: BrokerInfo,
    pub workload: Workload,
    /// Which repetition, from 1.
    pub round: u32,
    pub measured_seconds: f64,
    pub produced: Rates,
    pub consumed: Rates,
    pub publish: Option<Latencies>,
    pub end_to_end: Option<Latencies>,
    pub send_delay: Option<Latencies>,
    pub series: Vec<SecondReport>,
    /// The share of the rate asked for that was answered within the measured time: what came later, while the rest was
    /// waited for, hides no overload. None without a schedule.
    pub achieved: Option<f64>,
    /// The share of its core that the busiest generator thread used, and all of them together.
    pub generator_busy: f64,
    pub generator_cores: f64,
    pub generator_cpu_seconds_per_gb: Option<f64>,
    pub broker_usage: Option<Usage>,
    /// For each GB of values, produced and consumed.
    pub broker_cpu_seconds_per_gb: Option<f64>,
    /// Bytes to the device for each byte of batches produced.
    pub written_per_produced: Option<f64>,
    pub backlog: Option<Backlog>,
    pub generator_bound: bool,
    pub failed: u64,
    pub unanswered: u64,
    pub never_consumed: u64,
    pub findings: Option<Findings>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BrokerInfo {
    pub label: String,
    pub version: String,
    pub address: String,
    pub pid: Option<u32>,
    pub cores: Option<String>,
    /// What an acknowledgement of acks=all promises.
    pub durability: String,
    pub settings: Vec<(String, String)>,
}

#[allow(clippy::struct_field_names)] // the unit belongs in the name
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub records_per_second: f64,
    /// 10^6 bytes of values a second.
    pub mb_per_second: f64,
    /// 10^6 bytes of batches a second, compressed as they are.
    pub wire_mb_per_second: f64,
    pub requests_per_second: f64,
}

/// Milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    pub count: u64,
    pub mean: f64,
    pub p50: f64,
    pub p75: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub p9999: f64,
    pub max: f64,
    /// Quantile, value, and how many were at or below it.
    pub curve: Vec<(f64, f64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct SecondReport {
    pub second: u64,
    pub measured: bool,
    pub produced_records: u64,
    pub produced_mb: f64,
    pub consumed_records: u64,
    pub consumed_mb: f64,
    pub publish_p50: f64,
    pub publish_p99: f64,
    pub publish_max: f64,
    pub end_to_end_p50: f64,
    pub end_to_end_p99: f64,
    pub end_to_end_max: f64,
}

/// Reading what was written before.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Backlog {
    pub bytes: u64,
    pub records: u64,
    pub written_in_seconds: f64,
    pub read_in_seconds: f64,
    pub read_completely: bool,
    pub page_cache_dropped: bool,
}

/// Two brokers beside each other, over all rounds of a workload.
#[allow(clippy::struct_field_names)] // as they are called in report.json
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ratio {
    pub workload: String,
    /// What is compared, such as "MB/s produced" or "publish p99, ms".
    pub measure: String,
    pub higher_is_better: bool,
    pub a: Spread,
    pub b: Spread,
    /// Of the pairs of each round, a divided by b: the median. None where a run was bound by the generator, or where it
    /// would compare what is not the same work.
    pub ratio: Option<f64>,
    pub ratio_min: Option<f64>,
    pub ratio_max: Option<f64>,
    pub note: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    pub label: String,
    pub values: Vec<f64>,
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn new(label: String, values: Vec<f64>) -> Spread {
        let (min, max) = values.iter().fold((f64::INFINITY, 0.0_f64), |(min, max), &v| (min.min(v), max.max(v)));
        Spread { label, median: median(&values), min: if values.is_empty() { 0.0 } else { min }, max, values }
    }
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// What two runs of one workload are compared by, where both have it.
struct Measure {
    name: &'static str,
    higher_is_better: bool,
    of: fn(&RunReport) -> Option<f64>,
}

const CPU_PER_GB: &str = "broker CPU-s per GB";

const MEASURES: [Measure; 8] = [
    Measure { name: "MB/s produced", higher_is_better: true, of: |run| run.flowing(run.produced.mb_per_second) },
    Measure { name: "MB/s consumed", higher_is_better: true, of: |run| run.flowing(run.consumed.mb_per_second) },
    Measure { name: "publish p50, ms", higher_is_better: false, of: |run| run.timed(run.publish.as_ref(), |l| l.p50) },
    Measure { name: "publish p99, ms", higher_is_better: false, of: |run| run.timed(run.publish.as_ref(), |l| l.p99) },
    Measure {
        name: "publish p99.9, ms",
        higher_is_better: false,
        of: |run| run.timed(run.publish.as_ref(), |l| l.p999),
    },
    Measure {
        name: "end-to-end p50, ms",
        higher_is_better: false,
        of: |run| run.timed(run.end_to_end.as_ref(), |l| l.p50),
    },
    Measure {
        name: "end-to-end p99, ms",
        higher_is_better: false,
        of: |run| run.timed(run.end_to_end.as_ref(), |l| l.p99),
    },
    Measure { name: CPU_PER_GB, higher_is_better: false, of: |run| run.broker_cpu_seconds_per_gb },
];

/// Compares runs of one workload by two brokers, round by round.
pub fn ratios(a: &[&RunReport], b: &[&RunReport]) -> Vec<Ratio> {
    let (Some(first_a), Some(first_b)) = (a.first(), b.first()) else { return Vec::new() };
    let mut all = Vec::new();
    for measure in &MEASURES {
        let values = |runs: &[&RunReport]| runs.iter().filter_map(|run| (measure.of)(run)).collect::<Vec<_>>();
        let (values_a, values_b) = (values(a), values(b));
        if values_a.is_empty() || values_b.is_empty() {
            continue;
        }
        // A run that the generator held back says how fast the generator is. What a broker's processor time was for a
        // gigabyte is true all the same.
        let counts = |run: &RunReport| !run.generator_bound || measure.name == CPU_PER_GB;
        // A round that one of them did not finish has no pair.
        let pairs: Vec<f64> = a
            .iter()
            .filter_map(|a| b.iter().find(|b| b.round == a.round).map(|b| (a, b)))
            .filter(|(a, b)| counts(a) && counts(b) && a.workload.is_same_work(&b.workload))
            // Under overload a latency is how long the run went on.
            .filter(|(a, b)| {
                measure.higher_is_better || measure.name == CPU_PER_GB || !(a.is_overloaded() || b.is_overloaded())
            })
            .filter_map(|(a, b)| Some((measure.of)(a)? / (measure.of)(b)?))
            .filter(|ratio| ratio.is_finite())
            .collect();
        let both = [(a, first_a), (b, first_b)];
        let those = |is: &dyn Fn(&RunReport) -> bool| {
            let found = both.iter().filter(|(runs, _)| runs.iter().any(|run| is(run)));
            found.map(|(_, first)| first.broker.label.as_str()).collect::<Vec<_>>().join(" and ")
        };
        let bound = those(&|run| !counts(run));
        let overloaded = those(&RunReport::is_overloaded);
        let mut remarks = Vec::new();
        if !first_a.workload.is_same_work(&first_b.workload) {
            remarks.push("not the same work".to_owned());
        }
        if !bound.is_empty() {
            remarks.push(format!("generator-bound: {bound}"));
        }
        if !overloaded.is_empty() {
            remarks.push(format!("did not keep the rate: {overloaded}"));
        }
        let note = remarks.join("; ");
        let of_pairs = Spread::new(String::new(), pairs);
        let known = |value: f64| (!of_pairs.values.is_empty()).then_some(value);
        all.push(Ratio {
            workload: first_a.workload.name.clone(),
            measure: measure.name.to_owned(),
            higher_is_better: measure.higher_is_better,
            a: Spread::new(first_a.broker.label.clone(), values_a),
            b: Spread::new(first_b.broker.label.clone(), values_b),
            ratio: known(of_pairs.median),
            ratio_min: known(of_pairs.min),
            ratio_max: known(of_pairs.max),
            note,
        });
    }
    all
}

impl RunReport {
    fn flowing(&self, rate: f64) -> Option<f64> {
        // By a schedule both get what is asked for: nothing to compare.
        (!self.workload.is_open_loop() && rate > 0.0).then_some(rate)
    }

    fn timed(&self, latencies: Option<&Latencies>, of: fn(&Latencies) -> f64) -> Option<f64> {
        // At full speed latency is queue length: it says how much was in flight.
        latencies.filter(|_| self.workload.is_open_loop()).map(of)
    }

    /// Whether a schedule was not kept.
    pub fn is_overloaded(&self) -> bool {
        self.achieved.is_some_and(|achieved| achieved < ACHIEVED_MIN)
    }

    pub fn label(&self) -> String {
        let round = if self.round > 1 { format!(" #{}", self.round) } else { String::new() };
        format!("{} on {}{round}", self.workload.name, self.broker.label)
    }

    pub fn is_clean(&self) -> bool {
        self.findings.as_ref().is_none_or(Findings::is_clean)
    }
}

impl Latencies {
    /// From microseconds. None of nothing.
    pub fn new(histogram: &Histogram<u64>) -> Option<Latencies> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let mut below = 0;
        let mut curve = Vec::new();
        for step in histogram.iter_quantiles(5) {
            below += step.count_since_last_iteration();
            curve.push((step.quantile(), step.value_iterated_to() as f64 / 1000.0, below));
        }
        Some(Latencies {
            count: histogram.len(),
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max() as f64 / 1000.0,
            curve,
        })
    }
}

impl SecondReport {
    pub fn new(second: u64, measured: bool, of: &Second) -> SecondReport {
        let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        SecondReport {
            second,
            measured,
            produced_records: of.produced.records,
            produced_mb: of.produced.bytes as f64 / 1e6,
            consumed_records: of.consumed.records,
            consumed_mb: of.consumed.bytes as f64 / 1e6,
            publish_p50: ms(&of.publish, 0.5),
            publish_p99: ms(&of.publish, 0.99),
            publish_max: of.publish.max() as f64 / 1000.0,
            end_to_end_p50: ms(&of.end_to_end, 0.5),
            end_to_end_p99: ms(&of.end_to_end, 0.99),
            end_to_end_max: of.end_to_end.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::measure::histogram;

    #[test]
    fn a_curve_ends_with_the_largest_and_counts_all() {
        let mut latencies = histogram();
        for micros in 1..=10_000 {
            latencies.record(micros).unwrap();
        }
        let figures = Latencies::new(&latencies).unwrap();
        let last = figures.curve.last().unwrap();
        assert_eq!((last.0, last.2), (1.0, 10_000));
        assert!((figures.p50 - 5.0).abs() < 0.01 && (figures.p99 - 9.9).abs() < 0.02, "{figures:?}");
        assert!(Latencies::new(&histogram()).is_none());
    }

    #[test]
    fn a_run_bound_by_the_generator_gives_no_ratio() {
        let a = [run("a", 1, 100.0, false), run("a", 2, 300.0, true)];
        let b = [run("b", 1, 50.0, false), run("b", 2, 60.0, false)];
        let all = ratios(&[&a[0], &a[1]], &[&b[0], &b[1]]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!((all[0].ratio, all[0].a.values.len()), (Some(2.0), 2), "the second round does not count");
        let bound = ratios(&[&a[1]], &[&b[1]]);
        assert_eq!(bound[0].ratio, None);
        assert!(bound[0].note.contains("generator-bound: a"));
    }

    #[test]
    fn latencies_of_an_overloaded_broker_give_no_ratio() {
        let timed = |label: &str, achieved: f64| {
            let mut run = run(label, 1, 100.0, false);
            run.workload.rate = 1000.0;
            run.achieved = Some(achieved);
            run.broker_cpu_seconds_per_gb = Some(2.0);
            run.publish = Some(Latencies { p50: 1.0, p99: 1.0, p999: 1.0, ..Latencies::default() });
            run
        };
        let (a, b) = (timed("a", 1.0), timed("b", 0.9));
        let all = ratios(&[&a], &[&b]);
        let shown: Vec<_> = all.iter().map(|ratio| ratio.ratio).collect();
        assert_eq!(shown, [None, None, None, Some(1.0)], "three latencies, and processor time");
        assert!(all.iter().all(|ratio| ratio.note == "did not keep the rate: b"), "{all:?}");
        assert_eq!(ratios(&[&a], &[&a])[0].ratio, Some(1.0));
    }

    #[test]
    fn only_runs_of_one_round_are_a_pair() {
        let a = [run("a", 2, 100.0, false), run("a", 3, 400.0, false)];
        let b = [run("b", 1, 1.0, false), run("b", 2, 50.0, false)];
        let all = ratios(&[&a[0], &a[1]], &[&b[0], &b[1]]);
        assert_eq!(
            (all[0].ratio, all[0].ratio_max),
            (Some(2.0), Some(2.0)),
            "round 1 of a and round 3 of b are missing"
        );
    }

    #[test]
    fn different_work_gives_no_ratio() {
        let (a, mut b) = (run("a", 1, 100.0, false), run("b", 1, 50.0, false));
        b.workload.record_bytes_max = 10;
        let all = ratios(&[&a], &[&b]);
        assert_eq!((all[0].ratio, all[0].note.as_str()), (None, "not the same work"));
        b.workload = Workload { seconds: 1.0, name: "other".to_owned(), ..a.workload.clone() };
        assert_eq!(ratios(&[&a], &[&b])[0].ratio, Some(2.0), "how long it went on is not part of the work");
    }

    fn run(label: &str, round: u32, rate: f64, generator_bound: bool) -> RunReport {
        RunReport {
            broker: BrokerInfo { label: label.to_owned(), ..BrokerInfo::default() },
            produced: Rates { mb_per_second: rate, ..Rates::default() },
            round,
            generator_bound,
            ..RunReport::default()
        }
    }

    #[test]
    fn a_spread_has_the_middle_of_its_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let spread = Spread::new("x".to_owned(), vec![3.0, 1.0]);
        assert_eq!((spread.min, spread.max, spread.median), (1.0, 3.0, 2.0));
    }
}
