//! The command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use corelane::runtime::threads;

use crate::{
    brokers::{self, EmbeddedOptions, Running, Spec},
    calibrate, compare,
    error::Error,
    interrupt,
    process::parse_cores,
    produce,
    progress::Progress,
    quick,
    report::{self, Manifest, Report},
    session::{self, Target},
    sink,
    workload::{Flags, NAMED, Workload, parse_bytes},
};

/// Something was done wrong with a record: lost, duplicated, reordered or altered.
const EXIT_NOT_VERIFIED: u8 = 2;

/// Measures brokers that speak Kafka's protocol: throughput and latency from the intended send time, beside the
/// machine's own limits.
///
/// Without a command: a short tour against a broker of its own (or --bootstrap), with a report in ./loadgen-report.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    quick: quick::Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one workload: against --bootstrap, or a broker of its own
    Run(Box<RunOptions>),
    /// Measure this machine: loopback, device, checksum, memory
    Calibrate(CalibrateOptions),
    /// Run workloads against several brokers in turn, repeatedly, and lay them side by side
    Compare(Box<compare::Options>),
    /// Make one page of several reports
    Report(ReportOptions),
    /// List the named workloads
    Workloads,
    /// Connections that each keep one produce request in flight: the cost of a request, beside idle connections too
    Produce(produce::Options),
    /// A bare server that takes the same requests and does next to nothing for them: what a broker is measured against
    Sink(sink::Options),
    /// A broker that ends with its standard input (what the other commands start)
    #[command(hide = true)]
    EmbeddedBroker(EmbeddedOptions),
}

/// Which broker, and where the generator runs.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// A broker that runs already; without, one of our own is started
    #[arg(long, short, value_name = "HOST:PORT")]
    pub bootstrap: Option<String>,
    /// A setting of the broker that is started; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", conflicts_with = "bootstrap")]
    pub set: Vec<String>,
    /// Where brokers that are started keep their data
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Generator threads [default: one for each core of --pin, else half of the cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Cores to pin generator threads to, such as 1 or 2-3
    #[arg(long, value_name = "CORES")]
    pub pin: Option<String>,
    /// Cores to pin brokers to that are started
    #[arg(long, value_name = "CORES")]
    pub broker_cores: Option<String>,
    /// Where the report goes
    #[arg(long, short, value_name = "DIR", default_value = "loadgen-report")]
    pub out: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct RunOptions {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    flags: Flags,
    /// Leave the machine's limits out
    #[arg(long)]
    no_calibration: bool,
}

#[derive(Args, Clone, Debug)]
struct CalibrateOptions {
    /// The directory whose device is measured [default: where brokers would keep their data]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Instead of all else: 4 KiB to each of so many files, then made durable once; may be repeated
    #[arg(long, value_name = "COUNT", conflicts_with = "write_rate")]
    files: Vec<usize>,
    /// Instead of all else: cold reads beside flushed writes of 64 KiB, so many bytes of them a second
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    write_rate: Option<u64>,
    /// With --write-rate: so many bytes are read a second [default: as many as the device gives]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "write_rate")]
    read_rate: Option<u64>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
struct ReportOptions {
    /// report.json files, or the directories that hold them
    #[arg(required = true)]
    reports: Vec<PathBuf>,
    /// Where the joined report goes
    #[arg(long, short, value_name = "DIR", default_value = "loadgen-report")]
    out: PathBuf,
}

impl Place {
    pub fn cores(&self) -> Result<Vec<usize>, Error> {
        if let Some(cores) = &self.broker_cores {
            cores_that_are_there("--broker-cores", cores)?;
        }
        self.pin.as_deref().map_or(Ok(Vec::new()), |cores| cores_that_are_there("--pin", cores))
    }

    pub fn thread_count(&self) -> Result<usize, Error> {
        let cores = self.cores()?.len();
        let half = std::thread::available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
        match self.threads {
            None => Ok(if cores > 0 { cores } else { half }),
            Some(threads @ 1..=1024) => Ok(threads),
            Some(threads) => Err(Error::Wrong(format!("--threads lies between 1 and 1024, not {threads}"))),
        }
    }

    /// Refuses what could not be done, before anything is.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(set) = self.set.iter().find(|set| !set.contains('=')) {
            return Err(Error::Wrong(format!("--set is KEY=VALUE, a setting of the broker, not {set:?}")));
        }
        self.thread_count().map(|_| ())
    }

    pub fn spec(&self) -> Spec {
        match &self.bootstrap {
            Some(address) => Spec::running(address),
            None => Spec::corelane(&self.set),
        }
    }

    pub fn target(&self, spec: &Spec, running: &Running) -> Result<Target, Error> {
        Ok(Target {
            label: spec.label.clone(),
            address: running.address(),
            pid: running.pid(),
            version: running.version().to_owned(),
            broker_cores: matches!(running, Running::Ours(_)).then(|| self.broker_cores.clone()).flatten(),
            threads: self.thread_count()?,
            cores: self.cores()?,
        })
    }

    pub fn manifest(&self, directory: &Path) -> Manifest {
        Manifest {
            generator_cores: self.pin.clone(),
            broker_cores: self.broker_cores.clone(),
            ..Manifest::new(directory)
        }
    }
}

/// A core that cannot be had would leave a thread where the report says it is not.
fn cores_that_are_there(flag: &str, text: &str) -> Result<Vec<usize>, Error> {
    let cores = parse_cores(text).map_err(|what| Error::Wrong(format!("{flag}: {what}")))?;
    let there = threads::affinity().map_err(|error| Error::Io("asking for this machine's cores", error))?;
    match cores.iter().find(|core| !there.contains(core)) {
        None => Ok(cores),
        Some(core) => {
            let there: Vec<String> = there.iter().map(usize::to_string).collect();
            Err(Error::Wrong(format!("{flag} {text}: there is no core {core} here, only {}", there.join(", "))))
        }
    }
}

/// Where brokers keep their data for the time of a run: on a real disk, and gone afterwards.
pub fn scratch(asked: Option<&Path>) -> Result<tempfile::TempDir, Error> {
    let temporary = std::env::temp_dir();
    let in_memory = |path: &Path| Manifest::new(path).file_system == "tmpfs";
    let parent = match asked {
        Some(asked) => asked.to_path_buf(),
        None if in_memory(&temporary) => PathBuf::from("."),
        None => temporary,
    };
    std::fs::create_dir_all(&parent).map_err(|error| Error::file(&parent, &error))?;
    let parent = std::fs::canonicalize(&parent).map_err(|error| Error::file(&parent, &error))?;
    let directory = tempfile::Builder::new().prefix("loadgen-").tempdir_in(&parent);
    let directory = directory.map_err(|error| Error::file(&parent, &error))?;
    interrupt::remember(directory.path());
    Ok(directory)
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    if !matches!(cli.command, Some(Command::EmbeddedBroker(_))) {
        interrupt::watch();
    }
    let outcome = match cli.command {
        None => quick::run(&cli.quick),
        Some(Command::Run(options)) => run(&options),
        Some(Command::Calibrate(options)) => calibrate(&options),
        Some(Command::Compare(options)) => compare::run(&options),
        Some(Command::Report(options)) => join(&options),
        Some(Command::Workloads) => {
            for (name, what) in NAMED {
                println!("{name:16} {what}");
            }
            Ok(true)
        }
        Some(Command::Produce(options)) => produce::run(&options).map(|()| true),
        Some(Command::Sink(options)) => sink::serve(&options).map(|()| true),
        Some(Command::EmbeddedBroker(options)) => brokers::serve(&options).map(|()| true),
    };
    interrupt::end_here_if_interrupted();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_NOT_VERIFIED),
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Help is printed as it is; what is wrong is one line, and never the exit code that `--verify` has.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("loadgen: {}", in_one_line(&error.to_string()));
    ExitCode::FAILURE
}

fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said).replace(" For more information, try '--help'.", "");
    format!("{said} (see --help)")
}

/// True unless records were not as they should be.
fn run(options: &RunOptions) -> Result<bool, Error> {
    options.place.check()?;
    let workload = options.flags.workload(Workload::default())?;
    let scratch = scratch(options.place.dir.as_deref())?;
    let mut progress = Progress::new();
    let mut report = Report {
        format: 1,
        title: format!("{}: {}", workload.name, workload.summary()),
        manifest: options.place.manifest(scratch.path()),
        ..Report::default()
    };
    if !options.no_calibration {
        progress.begin("the machine's limits");
        report.limits = Some(calibrate::calibrate(scratch.path(), Duration::from_millis(500), &mut |_| ())?);
    }
    let spec = options.place.spec();
    let running = spec.start(scratch.path(), options.place.broker_cores.as_deref())?;
    let target = options.place.target(&spec, &running)?;
    progress.begin(&format!("{} on {}", workload.name, spec.label));
    let result = session::run(&target, &workload, &mut |phase, live| progress.show(phase, live));
    progress.end();
    let run = result.map_err(|error| explain(error, &running))?;
    println!("{}\n{}", report.title, report::run_table(&run));
    if let Some(limits) = &report.limits {
        println!("{}", quick::beside_limits(&run, limits));
    }
    let clean = run.is_clean();
    report.runs.push(run);
    report.notes.extend(report.manifest.cautions());
    for note in &report.notes {
        println!("note: {note}");
    }
    report::write(&report, &options.place.out)?;
    println!("report: {}", options.place.out.join("report.html").display());
    Ok(clean)
}

/// Adds what a broker of ours said when it died.
pub fn explain(error: Error, running: &Running) -> Error {
    match running.pid() {
        Some(pid) if !crate::process::is_alive(pid) => Error::Wrong(format!("{error}{}", running.last_words())),
        _ => error,
    }
}

fn calibrate(options: &CalibrateOptions) -> Result<bool, Error> {
    if options.seconds.is_nan() || options.seconds <= 0.0 || options.seconds > 600.0 {
        return Err(Error::Wrong(format!("--seconds is more than 0 and at most 600, not {}", options.seconds)));
    }
    let scratch = scratch(options.dir.as_deref())?;
    let mut progress = Progress::new();
    let each = Duration::from_secs_f64(options.seconds);
    let mut say = |what: &str| progress.begin(&format!("measuring {what}"));
    let limits = match options.write_rate {
        Some(0) => return Err(Error::Wrong("--write-rate is more than 0".to_owned())),
        Some(writes) => {
            let reads = options.read_rate.filter(|rate| *rate > 0).map(|rate| rate as f64);
            say("reads beside writes");
            calibrate::calibrate_mixed(scratch.path(), each, calibrate::Rates { writes: writes as f64, reads })?
        }
        None if !options.files.is_empty() => {
            calibrate::calibrate_files(scratch.path(), each, &options.files, &mut say)?
        }
        None => calibrate::calibrate(scratch.path(), each, &mut say)?,
    };
    progress.end();
    if options.json {
        println!("{}", serde_json::to_string_pretty(&limits).map_err(|error| Error::Wrong(error.to_string()))?);
    } else {
        println!("{}", report::limits_table(&limits));
    }
    Ok(true)
}

fn join(options: &ReportOptions) -> Result<bool, Error> {
    let mut reports = Vec::new();
    for path in &options.reports {
        reports.push((path.display().to_string(), report::read(path)?));
    }
    let joined = report::join(reports);
    println!("{}", report::summary_table(&joined.runs, joined.limits.as_ref()));
    if !joined.ratios.is_empty() {
        println!("{}", report::comparison_table(&joined));
    }
    report::write(&joined, &options.out)?;
    println!("report: {}", options.out.join("report.html").display());
    Ok(true)
}
