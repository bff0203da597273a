//! `loadgen compare`: each workload against each broker in turn, A B A B, every time from a fresh start, so that a slow
//! minute of the machine falls on all of them. Only one broker runs at a time, and each gets the same cores.

use std::time::Duration;

use clap::Args;

use crate::{
    brokers::Spec,
    calibrate,
    cli::{Place, explain, scratch},
    error::Error,
    progress::Progress,
    report::{self, Report, RunReport, data},
    session,
    workload::{Flags, Workload, find},
};

/// Equal durability beside equal durability: neither waits for the device, then both do.
const PAIRS: [&str; 4] = ["corelane-none", "kafka", "corelane", "kafka-flush"];
/// For finding out how much a broker takes.
const PROBE_SECONDS: f64 = 6.0;
/// A virtual machine compiles its hot code as it goes: measured cold, Apache Kafka would look slower than it is.
const WARM_UP_SECONDS: f64 = 8.0;

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    flags: Flags,
    /// Brokers in pairs (but see --beside): corelane, corelane-none, kafka, kafka-flush, a bare sink (sink, sink-none, echo,
    /// echo-none, send), HOST:PORT or a script, each with ,KEY=VALUE behind it
    /// [default: corelane-none kafka, corelane kafka-flush]
    #[arg(long, num_args = 1.., value_name = "BROKER")]
    brokers: Vec<String>,
    /// Compare the first broker with each of the others, all by turns in each round, instead of pairs
    #[arg(long)]
    beside: bool,
    /// Named workloads or files; flags change each of them
    #[arg(long, num_args = 1.., value_name = "NAME|FILE", default_values_t = ["throughput".to_owned(), "throughput-16".to_owned()])]
    workloads: Vec<String>,
    /// Leave the machine's limits out
    #[arg(long)]
    no_calibration: bool,
    /// How often each is measured
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Schedule half of the most that the second broker of each pair takes (with --beside the second of all)
    #[arg(long, conflicts_with = "rate")]
    half_rate: bool,
}

pub fn run(options: &Options) -> Result<bool, Error> {
    let place = &options.place;
    place.check()?;
    if place.bootstrap.is_some() || !place.set.is_empty() {
        return Err(Error::Wrong(
            "--bootstrap and --set name one broker; compare takes its pairs by --brokers HOST:PORT corelane,KEY=VALUE"
                .to_owned(),
        ));
    }
    if options.rounds == 0 || options.rounds > 1000 {
        return Err(Error::Wrong(format!("--rounds lies between 1 and 1000, not {}", options.rounds)));
    }
    let words: Vec<&str> =
        if options.brokers.is_empty() { PAIRS.to_vec() } else { options.brokers.iter().map(String::as_str).collect() };
    let mut specs = words.iter().map(|word| Spec::parse(word)).collect::<Result<Vec<_>, _>>()?;
    for at in 1..specs.len() {
        // A broker beside itself shows how much a ratio means here.
        let first = if options.beside { 0 } else { at - at % 2 };
        if specs[first..at].iter().any(|other| other.label == specs[at].label) {
            specs[at].label.push_str(" again");
        }
    }
    let group = if options.beside { specs.len() } else { 2 };
    if options.half_rate && specs.len() < 2 {
        return Err(Error::Wrong("--half-rate needs a second broker, whose most it halves".to_owned()));
    }
    if specs.len() % group != 0 {
        return Err(Error::Wrong(format!(
            "{} brokers are no pairs: each is compared with the one behind it (or with --beside the first with all others)",
            specs.len()
        )));
    }
    let mut workloads = Vec::new();
    for name in &options.workloads {
        let mut workload = find(name)?;
        workload.warm_up_seconds = workload.warm_up_seconds.max(WARM_UP_SECONDS);
        options.flags.apply(&mut workload)?;
        workload.check()?;
        workloads.push(workload);
    }
    let scratch = scratch(place.dir.as_deref())?;
    let mut progress = Progress::new();
    let mut limits = None;
    if !options.no_calibration {
        progress.begin("the machine's limits");
        limits = Some(calibrate::calibrate(scratch.path(), Duration::from_millis(500), &mut |_| ())?);
    }
    let mut report = Report {
        format: 1,
        title: title(&specs, group),
        manifest: place.manifest(scratch.path()),
        limits,
        notes: notes(&specs),
        ..Report::default()
    };
    let mut all_ran = true;
    for workload in &workloads {
        for pair in specs.chunks(group) {
            all_ran &= compare(options, workload, pair, scratch.path(), &mut progress, &mut report);
            // Whatever comes later, what is there is not lost.
            report::write(&report, &place.out)?;
        }
    }
    progress.end();
    report.notes.extend(report.manifest.cautions());
    println!("{}", report::summary_table(&report.runs, report.limits.as_ref()));
    println!("{}", report::comparison_table(&report));
    for note in &report.notes {
        println!("note: {note}");
    }
    report::write(&report, &place.out)?;
    println!("report: {}", place.out.join("report.html").display());
    if !all_ran {
        return Err(Error::Wrong("some of the runs failed: the notes above say which, and why".to_owned()));
    }
    Ok(report.runs.iter().all(RunReport::is_clean))
}

/// One workload on two brokers or more, by turns. False if one of the runs failed.
fn compare(
    options: &Options,
    workload: &Workload,
    pair: &[Spec],
    scratch: &std::path::Path,
    progress: &mut Progress,
    report: &mut Report,
) -> bool {
    let mut workload = workload.clone();
    if options.half_rate {
        let probe = Workload {
            name: format!("{} probe", workload.name),
            rate: 0.0,
            seconds: PROBE_SECONDS,
            consumers: 0,
            ..workload.clone()
        };
        let Some(run) = once(options, &probe, &pair[1], scratch, progress, report) else { return false };
        workload.rate = (run.produced.records_per_second / 2.0).max(1.0).round();
        report.notes.push(format!(
            "{}: {} took {:.0} records a second at most; the schedule has {:.0}",
            workload.name, pair[1].label, run.produced.records_per_second, workload.rate
        ));
    }
    let (first, mut all_ran) = (report.runs.len(), true);
    for round in 1..=options.rounds {
        for spec in pair {
            if let Some(mut run) = once(options, &workload, spec, scratch, progress, report) {
                run.round = round;
                progress.print(&format!("{}\n{}", run.label(), report::run_table(&run)));
                report.runs.push(run);
            } else {
                all_ran = false;
            }
        }
    }
    let by =
        |label: &str| report.runs[first..].iter().filter(|run| run.broker.label == label).collect::<Vec<&RunReport>>();
    let ratios: Vec<_> =
        pair[1..].iter().flat_map(|other| data::ratios(&by(&pair[0].label), &by(&other.label))).collect();
    report.ratios.extend(ratios);
    all_ran
}

/// One run from a fresh start. A broker that fails is a note in the report, and the others go on.
fn once(
    options: &Options,
    workload: &Workload,
    spec: &Spec,
    scratch: &std::path::Path,
    progress: &mut Progress,
    report: &mut Report,
) -> Option<RunReport> {
    let place = &options.place;
    progress.begin(&format!("{} on {}", workload.name, spec.label));
    let outcome = spec.start(scratch, place.broker_cores.as_deref()).and_then(|running| {
        let target = place.target(spec, &running)?;
        let run = session::run(&target, workload, &mut |phase, live| progress.show(phase, live));
        run.map_err(|error| explain(error, &running))
    });
    match outcome {
        Ok(run) => Some(run),
        Err(error) => {
            let note = format!("{} on {}: {error}", workload.name, spec.label);
            progress.print(&format!("loadgen: {note}"));
            report.notes.push(note);
            None
        }
    }
}

fn title(specs: &[Spec], group: usize) -> String {
    let beside = |group: &[Spec]| {
        if group.len() == 1 {
            return group[0].label.clone();
        }
        let others: Vec<&str> = group[1..].iter().map(|spec| spec.label.as_str()).collect();
        format!("{} beside {}", group[0].label, others.join(" and "))
    };
    specs.chunks_exact(group).map(beside).collect::<Vec<_>>().join(", ")
}

fn notes(specs: &[Spec]) -> Vec<String> {
    let mut notes = Vec::new();
    if specs.iter().any(Spec::is_kafka_with_flush) {
        notes.push(
            "Apache Kafka with log.flush.interval.messages=1 flushes at each append, under the log's lock; its high \
             watermark does not wait for that, so consumers may see records that are not flushed yet"
                .to_owned(),
        );
    }
    notes.push("brokers were started afresh for each run, one at a time, in the order A B A B".to_owned());
    notes
}
