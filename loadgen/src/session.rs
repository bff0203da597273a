//! One workload against one broker that is there: makes the topics, runs the phases, and turns what they found into
//! the numbers of a report.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use corelane::runtime::clock;

use crate::{
    brokers::Spec,
    cluster::Cluster,
    error::Error,
    generator::{
        Consume, Identities, Live, Outcome, Payload, Plan, Produce, Setup, Templates, execute, measure::Clock,
    },
    report::data::{
        ACHIEVED_MIN, BROKER_BUSY_MIN, Backlog, BrokerInfo, GENERATOR_BUSY_MAX, Latencies, Rates, RunReport,
        SecondReport,
    },
    workload::Workload,
};

/// A backlog is written for at most so long.
const BACKLOG_SECONDS_MAX: f64 = 3600.0;

/// Of what is produced: consumers that get less fall behind.
const CONSUMED_MIN: f64 = 0.9;

/// Where a workload runs.
#[derive(Clone, Debug)]
pub struct Target {
    pub label: String,
    pub address: SocketAddr,
    pub pid: Option<u32>,
    pub version: String,
    pub broker_cores: Option<String>,
    pub threads: usize,
    pub cores: Vec<usize>,
}

/// Runs a workload. `watch` gets the name of the phase and how it goes.
pub fn run(target: &Target, workload: &Workload, watch: &mut dyn FnMut(&str, &Live)) -> Result<RunReport, Error> {
    workload.check()?;
    let names = topic_names(workload);
    let cluster = Cluster::prepare(target.address, &names, workload.partitions)?;
    let result = run_on(target, workload, &cluster, watch);
    // A topic of the user's own stays.
    let deleted = if workload.topic.is_none() && !workload.keep_topics { cluster.delete_topics() } else { Ok(()) };
    let mut report = result?;
    if let Err(error) = deleted {
        report.warnings.push(format!("the topics of the run were not deleted: {error}"));
    }
    Ok(report)
}

fn run_on(
    target: &Target,
    workload: &Workload,
    cluster: &Cluster,
    watch: &mut dyn FnMut(&str, &Live),
) -> Result<RunReport, Error> {
    let from = cluster.end_offsets()?;
    let payload = Payload::new(workload)?;
    let templates = Templates::new(workload, &payload)?;
    let identities = workload.verify.then(|| Arc::new(Identities::new(workload, payload)));
    let setup = Setup {
        threads: target.threads,
        cores: target.cores.clone(),
        broker_pid: target.pid,
        warm_up_seconds: workload.warm_up_seconds,
        seconds: workload.seconds,
        drain_seconds: workload.drain_seconds,
    };
    let mut plan = Plan {
        workload: workload.clone(),
        cluster: cluster.clone(),
        templates,
        identities,
        produce: (workload.producers > 0).then_some(Produce { rate: workload.rate, records_max: None }),
        consume: None,
        clock: Clock(clock::now()),
    };
    let reads = workload.consumers > 0 && workload.subscriptions > 0;
    if workload.backlog_bytes > 0 {
        return run_backlog(target, plan, &setup, from, watch);
    }
    if workload.reread_bytes > 0 {
        let window;
        (plan, _, window) = write_first(plan, &setup, &from, workload.reread_bytes, watch)?;
        plan.consume = Some(Consume { from, until: None, window: Some(window), follows: false });
    } else if reads {
        plan.consume = Some(Consume { from, until: None, window: None, follows: workload.acks != 0 });
    }
    let plan = Arc::new(plan);
    let outcome = execute(&plan, &setup, &mut |live| watch("running", live))?;
    Ok(summarize(target, &plan, &setup, &outcome))
}

/// Writes so many bytes of values, as fast as the broker takes them; then the plan has its schedule, or nobody produces.
/// Gives what it came to, and how many records each partition got.
fn write_first(
    mut plan: Plan,
    setup: &Setup,
    from: &[i64],
    bytes: u64,
    watch: &mut dyn FnMut(&str, &Live),
) -> Result<(Plan, Outcome, Vec<i64>), Error> {
    let records = (bytes as f64 / plan.workload.record_bytes_mean()).ceil() as u64;
    plan.produce = Some(Produce { rate: 0.0, records_max: Some(records) });
    let plan = Arc::new(plan);
    let writing = Setup { warm_up_seconds: 0.0, seconds: BACKLOG_SECONDS_MAX, ..setup.clone() };
    let written = execute(&plan, &writing, &mut |live| watch("writing the backlog", live))?;
    if written.failed > 0 {
        return Err(Error::Answer(written.first_failure.unwrap_or_else(|| "the backlog was refused".to_owned())));
    }
    let until = plan.cluster.end_offsets()?;
    let mut plan = Arc::into_inner(plan).ok_or_else(|| Error::Wrong("a generator thread did not end".to_owned()))?;
    let scheduled = plan.workload.is_open_loop() && plan.workload.producers > 0;
    plan.produce = scheduled.then_some(Produce { rate: plan.workload.rate, records_max: None });
    Ok((plan, written, until.iter().zip(from).map(|(until, from)| until - from).collect()))
}

/// Writes first, then reads what was written.
fn run_backlog(
    target: &Target,
    plan: Plan,
    setup: &Setup,
    from: Vec<i64>,
    watch: &mut dyn FnMut(&str, &Live),
) -> Result<RunReport, Error> {
    let workload = plan.workload.clone();
    let (mut plan, written, lengths) = write_first(plan, setup, &from, workload.backlog_bytes, watch)?;
    let dropped = workload.drop_page_cache && drop_page_cache();
    let total: i64 = lengths.iter().sum();
    let until = from.iter().zip(&lengths).map(|(from, length)| from + length).collect();
    plan.consume = Some(Consume { from, until: Some(until), window: None, follows: false });
    let plan = Arc::new(plan);
    let setup = Setup { warm_up_seconds: 0.0, drain_seconds: workload.drain_seconds, ..setup.clone() };
    let outcome = execute(&plan, &setup, &mut |live| watch("reading the backlog", live))?;
    let mut report = summarize(target, &plan, &setup, &outcome);
    let expected = total as u64 * u64::from(workload.subscriptions);
    let read_completely = outcome.consumed_total.records >= expected;
    report.backlog = Some(Backlog {
        bytes: outcome.consumed_total.bytes,
        records: outcome.consumed_total.records,
        written_in_seconds: written.measured_seconds,
        read_in_seconds: report.measured_seconds,
        read_completely,
        page_cache_dropped: dropped,
    });
    if workload.drop_page_cache && !dropped {
        report.warnings.push("the page cache could not be emptied (that needs root): the read was not cold".to_owned());
    }
    if !read_completely {
        let read = outcome.consumed_total.records;
        report.warnings.push(format!("only {read} of {expected} records were read in the time given (--duration)"));
    }
    Ok(report)
}

fn topic_names(workload: &Workload) -> Vec<String> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    if let Some(topic) = &workload.topic {
        return vec![topic.clone()];
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    (0..workload.topics).map(|topic| format!("loadgen-{now}-{run}-{topic}")).collect()
}

/// Writes dirty pages out and lets the kernel forget the clean ones.
fn drop_page_cache() -> bool {
    let synced = std::process::Command::new("sync").status().is_ok_and(|status| status.success());
    synced && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn summarize(target: &Target, plan: &Plan, setup: &Setup, outcome: &Outcome) -> RunReport {
    let workload = &plan.workload;
    let seconds = outcome.measured_seconds.max(1e-9);
    let rates = |counts: crate::generator::measure::Counts| Rates {
        records_per_second: counts.records as f64 / seconds,
        mb_per_second: counts.bytes as f64 / 1e6 / seconds,
        wire_mb_per_second: counts.wire_bytes as f64 / 1e6 / seconds,
        requests_per_second: counts.requests as f64 / seconds,
    };
    let moved_gb = (outcome.produced.bytes + outcome.consumed.bytes) as f64 / 1e9;
    let per_gb = |cpu: f64| (moved_gb > 0.001).then(|| cpu / moved_gb);
    let generator_cores: f64 = outcome.generator_busy.iter().sum();
    let generator_busy = outcome.generator_busy.iter().copied().fold(0.0, f64::max);
    let achieved = plan
        .produce
        .filter(|produce| produce.rate > 0.0)
        .map(|produce| outcome.due_and_acked.min(outcome.produced.records) as f64 / (produce.rate * seconds));
    let measured = |second: usize| {
        let (from, to) = (setup.warm_up_seconds, setup.warm_up_seconds + setup.seconds);
        (second as f64) >= from && (second as f64) < to
    };
    let series = outcome.series.iter().enumerate();
    let mut report = RunReport {
        broker: BrokerInfo {
            label: target.label.clone(),
            version: version(target, &plan.cluster),
            address: target.address.to_string(),
            pid: target.pid,
            cores: target.broker_cores.clone(),
            durability: Spec::durability(&plan.cluster.settings),
            settings: plan.cluster.settings.clone(),
        },
        workload: workload.clone(),
        round: 1,
        measured_seconds: seconds,
        produced: rates(outcome.produced),
        consumed: rates(outcome.consumed),
        publish: Latencies::new(&outcome.publish),
        end_to_end: Latencies::new(&outcome.end_to_end),
        send_delay: Latencies::new(&outcome.send_delay).filter(|_| workload.is_open_loop()),
        series: series.map(|(at, second)| SecondReport::new(at as u64, measured(at), second)).collect(),
        achieved,
        generator_busy,
        generator_cores,
        generator_cpu_seconds_per_gb: per_gb(generator_cores * seconds),
        broker_usage: outcome.broker,
        broker_cpu_seconds_per_gb: outcome.broker.and_then(|usage| per_gb(usage.cpu_seconds)),
        written_per_produced: outcome
            .broker
            .filter(|_| outcome.produced.wire_bytes > 1 << 20)
            .map(|usage| usage.written_bytes as f64 / outcome.produced.wire_bytes as f64),
        backlog: None,
        generator_bound: generator_busy > GENERATOR_BUSY_MAX
            && outcome.broker.is_some_and(|usage| usage.busy() < BROKER_BUSY_MIN),
        failed: outcome.failed,
        unanswered: outcome.unanswered,
        never_consumed: outcome.never_consumed,
        findings: outcome.findings.clone(),
        warnings: Vec::new(),
    };
    warn(&mut report, outcome);
    report
}

fn warn(report: &mut RunReport, outcome: &Outcome) {
    let mut warnings = Vec::new();
    if let Some(achieved) = report.achieved
        && achieved < ACHIEVED_MIN
    {
        warnings.push(format!(
            "only {:.1} % of the rate asked for was reached: these are the latencies of an overloaded system",
            achieved * 100.0
        ));
    }
    if report.generator_bound {
        warnings.push(format!(
            "generator-bound: its busiest thread used {:.0} % of a core while the broker used {:.0} % of its own; the \
             broker can do more than this",
            report.generator_busy * 100.0,
            report.broker_usage.map_or(0.0, |usage| usage.busy()) * 100.0
        ));
    }
    if report.generator_busy > GENERATOR_BUSY_MAX && report.broker_usage.is_none() {
        warnings.push(format!(
            "the generator's busiest thread used {:.0} % of a core and the broker's processor time is not known: the generator \
             may be what limits this run",
            report.generator_busy * 100.0
        ));
    }
    if outcome.failed > 0 {
        let first = outcome.first_failure.as_deref().unwrap_or("no reason given");
        warnings.push(format!("{} records were refused: {first}", outcome.failed));
    }
    if outcome.unanswered > 0 {
        warnings.push(format!(
            "{} records had no answer until the end; they count with the time they had waited then",
            outcome.unanswered
        ));
    }
    if outcome.never_consumed > 0 {
        warnings.push(format!("{} acknowledged records were not consumed until the end", outcome.never_consumed));
    }
    let due = report.produced.records_per_second * f64::from(report.workload.subscriptions);
    if report.workload.consumers > 0 && due > 0.0 && report.consumed.records_per_second < due * CONSUMED_MIN {
        warnings.push(format!(
            "consumers got {:.0} % of what was produced in the measured time: their latencies are those of a backlog that grows",
            report.consumed.records_per_second / due * 100.0
        ));
    }
    if report.workload.consumers > 0 && report.workload.acks == 0 {
        warnings.push("acks=0: nobody says where records are stored, so there is no end-to-end latency".to_owned());
    }
    report.warnings.append(&mut warnings);
}

fn version(target: &Target, cluster: &Cluster) -> String {
    match (target.version.as_str(), cluster.metadata_level) {
        ("", Some(level)) => format!("metadata.version level {level}"),
        ("", None) => "unknown".to_owned(),
        (version, _) => version.to_owned(),
    }
}
