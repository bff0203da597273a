//! `corelane check`: looks at a data directory while no broker runs on it, and repairs it if asked.

mod inspect;
mod output;
mod progress;
mod repair;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::log::LoadError;
use crate::log::check::Severity;
use crate::log::check::root::lock_for_reading;
use crate::server::{StartError, load_error, when_free};

use inspect::{inspect, recognize};
use progress::Progress;
use repair::{Wanted, default_save_to};

/// The exit code where something was found.
const EXIT_FOUND: u8 = 1;

/// Verify a data directory, of Corelane or of Apache Kafka, while no broker runs on it
///
/// Reads every batch of every partition and holds all else against them: CRCs, offsets, leader epochs, indexes, producer
/// snapshots, checkpoints, the catalog and its snapshots, committed offsets. Nothing is changed without --repair, and a
/// medium that nobody can write to will do.
///
/// An error is damage to acknowledged records, or what keeps a broker from starting. A warning is something wrong that
/// loses no record: it can be made anew. A note is what a crash or an ordinary run leaves, such as a torn tail, which the
/// next start cuts away; nothing of it was acknowledged.
///
/// Exit codes: 0 nothing found, or notes alone; 1 an error or a warning was found (with --repair: is left); 2 a wrong
/// command line; 73 no data directory; 74 it cannot be read; 77 not allowed; 80 a broker runs on it.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The data directory (log.dirs)
    dir: PathBuf,
    /// Decode every record too, compressed ones included
    #[arg(long)]
    deep: bool,
    /// Put in order what can be: torn tails are cut off, indexes, epochs, producer snapshots and checkpoints made anew,
    /// leftovers removed, and the directory is left as after a clean stop, for Corelane or Apache Kafka to start on.
    /// A damaged partition is left as it is, unless --drop-damaged is given. May be run again after it was cut off
    #[arg(long)]
    repair: bool,
    /// Take damaged bytes out of partitions. Every valid batch stays at its offset, also those behind the damage; the
    /// offsets that are lost are said, and never given to other records. Only the catalog is cut at its first damage
    #[arg(long, requires = "repair")]
    drop_damaged: bool,
    /// Where the bytes that are dropped are kept [default: DIR.dropped, beside it]
    #[arg(long, value_name = "DIR", requires = "drop_damaged")]
    save_dropped: Option<PathBuf>,
    /// Don't keep the bytes that are dropped
    #[arg(long, requires = "drop_damaged", conflicts_with = "save_dropped")]
    discard_dropped: bool,
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// A line per finding, and one at the end
    #[default]
    Table,
    /// One object
    Json,
}

/// Runs the check; what it found goes to the standard output.
pub fn run(args: &CheckArgs) -> Result<ExitCode, StartError> {
    let directory = recognize(&args.dir)?;
    let progress = Progress::new();
    let result;
    let (found, done);
    let left;
    if args.repair {
        let _lock = repair::lock(&directory)?;
        repair::settle(&directory)?;
        found = inspect(&directory, args.deep, &progress)?;
        let save_dropped = match (&args.save_dropped, args.discard_dropped) {
            (_, true) => None,
            (Some(to), _) => Some(to.clone()),
            (None, _) => Some(default_save_to(&directory)),
        };
        done = repair::repair(&found, &Wanted { drop_damaged: args.drop_damaged, save_dropped })?;
        left = inspect(&directory, false, &progress)?;
        result = output::Result { inspection: &left, deep: args.deep, repair: Some((&found, &done)) };
    } else {
        let _lock = when_free(|| lock_for_reading(&directory)).map_err(|error| match error {
            LoadError::Locked { path } => StartError::DirectoryLocked { path },
            other => load_error(&directory, other),
        })?;
        left = inspect(&directory, args.deep, &progress)?;
        result = output::Result { inspection: &left, deep: args.deep, repair: None };
    }
    progress.end();
    let text = match args.output {
        Output::Table => output::table(&result, io::stdout().is_terminal()),
        Output::Json => output::json(&result),
    };
    super::print(&text);
    let inspection = result.inspection;
    let wrong = inspection.count(Severity::Error) + inspection.count(Severity::Warning);
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FOUND) })
}
