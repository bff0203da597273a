//! What `loadgen` does without a command: the machine's limits, a few short runs, one table, one report.

use std::time::Duration;

use clap::Args;

use crate::{
    calibrate::{self, FLUSH_P50, Limit, Limits},
    cli::{Place, explain, scratch},
    error::Error,
    progress::Progress,
    report::{self, Report, RunReport},
    session,
    workload::{Workload, named},
};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    place: Place,
    /// Seconds that each workload is measured
    #[arg(long, default_value_t = 4.0, allow_negative_numbers = true)]
    seconds: f64,
}

/// The workloads of the tour.
const TOUR: [&str; 4] = ["throughput", "throughput-16", "small", "latency"];

pub fn run(options: &Options) -> Result<bool, Error> {
    if options.seconds.is_nan() || options.seconds <= 0.0 || options.seconds > 86_400.0 {
        return Err(Error::Wrong(format!("--seconds is more than 0 and at most 86400, not {}", options.seconds)));
    }
    let place = &options.place;
    place.check()?;
    let scratch = scratch(place.dir.as_deref())?;
    let mut progress = Progress::new();
    let mut report = Report { format: 1, manifest: place.manifest(scratch.path()), ..Report::default() };
    let each = Duration::from_secs_f64((options.seconds / 8.0).min(1.0));
    let limits = calibrate::calibrate(scratch.path(), each, &mut |what| {
        progress.begin(&format!("the machine's limits: {what}"));
    })?;
    let spec = place.spec();
    progress.begin("starting the broker");
    let running = spec.start(scratch.path(), place.broker_cores.as_deref())?;
    let target = place.target(&spec, &running)?;
    // A broker that was not started here does not say its version.
    let name = if running.version().is_empty() { &spec.label } else { running.version() };
    report.title = format!("A short tour of {name}");
    for name in TOUR {
        let base = named(name).ok_or_else(|| Error::Wrong(format!("no workload {name}")))?;
        let workload = Workload { warm_up_seconds: (options.seconds / 4.0).min(1.0), seconds: options.seconds, ..base };
        progress.begin(&workload.name);
        let run = session::run(&target, &workload, &mut |phase, live| progress.show(phase, live))
            .map_err(|error| explain(error, &running))?;
        report.runs.push(run);
    }
    drop(running);
    progress.end();
    println!("{}", report::summary_table(&report.runs, Some(&limits)));
    for (run, warning) in report.runs.iter().flat_map(|run| run.warnings.iter().map(move |warning| (run, warning))) {
        println!("warning, {}: {warning}", run.workload.name);
    }
    println!("{}", report::limits_line(&limits));
    report.notes.extend(report.manifest.cautions());
    for note in &report.notes {
        println!("note: {note}");
    }
    report.limits = Some(limits);
    report::write(&report, &place.out)?;
    println!("\nreport: {}", place.out.join("report.html").display());
    Ok(true)
}

/// How near a run came to what the machine can do.
pub fn beside_limits(run: &RunReport, limits: &Limits) -> String {
    let share = |rate: f64, what: &str, limit: Option<&Limit>| {
        limit.filter(|_| rate > 0.0).map(|limit| {
            let share = rate / limit.value;
            let (name, limit) = (&limit.name, report::rate(limit.value));
            if share > 1.0 {
                return format!(
                    "{what} more than the limit as it was measured, {limit} ({name}): the machine was not quiet then"
                );
            }
            format!("{what} at {:.0} % of the limit, which is {limit} ({name})", share * 100.0)
        })
    };
    let mut parts = Vec::new();
    if run.workload.is_open_loop() {
        if let (Some(publish), Some(flush)) = (&run.publish, limits.get(FLUSH_P50).filter(|flush| *flush > 0.0)) {
            parts.push(format!(
                "publish p50 is {:.1} times the time of a write and flush alone, which is {flush:.3} ms",
                publish.p50 / flush
            ));
        }
    } else {
        parts.extend(share(run.produced.wire_mb_per_second, "produced", limits.of_produce()));
        parts.extend(share(run.consumed.wire_mb_per_second, "consumed", limits.of_consume()));
    }
    if parts.is_empty() { "no limit to hold it against".to_owned() } else { parts.join("; ") }
}
