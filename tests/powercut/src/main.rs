//! Power cuts of the real broker on real file systems.
//!
//! A small FUSE server offers one file, a loop device has that file as its backing, and ext4, XFS or btrfs lies on
//! the loop device: so every block write and every flush that the file system makes is seen and recorded
//! (`device`, `oplog`). The broker's binary serves on it under load, with rolls, topics that come and go, committed
//! offsets, and a crash of its process in between, and every thing that a client is told is noted with how far the
//! recording was (`load`, `facts`, `record`). Then disks are rebuilt as cuts at random moments leave them (`image`),
//! mounted, and the broker is started on each: what was acknowledged with acks=all, what a consumer saw, what was
//! committed and which topics were made has to be there, once and unaltered (`verify`, `cut`), and after a clean stop
//! the directory has to be in order (`files`). Most runs start on a disk that a cut of the run before left, so that
//! cuts fall into recoveries too.
//!
//! ```sh
//! tests/powercut/run                                   # CI's share, with new seeds, and the proofs that it bites
//! tests/powercut/run --ext4 200 --xfs 50               # a long run
//! tests/powercut/run --ext4 20 --set log.flush.acks=none --expect-loss
//! tests/powercut/run --ext4 20 --lies 3 --expect-loss  # a disk that lies about the last three flushes
//! tests/powercut/run --replay DIR --position N --cut-seed S
//! ```
//!
//! A cut that fails says its moment and seed and leaves the recording, which replays it. Needs root, /dev/fuse, loop
//! devices and setpriv.

mod broker;
mod cut;
mod device;
mod facts;
mod files;
mod image;
mod load;
mod mounts;
mod oplog;
mod payload;
mod record;
mod verify;
mod wire;

/// Batches written by hand, which the integration tests use too.
#[path = "../../harness/batch.rs"]
#[allow(dead_code)]
mod batch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::mount::{MsFlags, mount};
use rand::Rng;

use crate::cut::{Bench, Moment, Outcome};
use crate::facts::known_at;
use crate::image::{Flushes, Survival, Sweep};
use crate::mounts::FileSystem;
use crate::record::{Before, Recording};

/// Runs on one disk, one after the other, each but the last ended by a cut.
const GENERATIONS_MAX: u64 = 3;

/// Retention looks often, and at once.
const BROKER_SETTINGS: [&str; 4] = [
    "shards=3",
    "offsets.topic.num.partitions=4",
    "log.retention.check.interval.ms=300",
    "log.initial.task.delay.ms=100",
];

/// Cuts on a lying disk until one loses something. One commit is up to three flushes on XFS, and nothing that was not
/// flushed survives these.
const BITES_MAX: usize = 20;
const LIES_OF_A_BITE: usize = 16;

/// Cuts power of a broker on recorded disks, and looks at what is left.
#[derive(Debug, Parser)]
#[command(name = "powercut")]
struct Arguments {
    /// Cuts on ext4
    #[arg(long, default_value_t = 0)]
    ext4: usize,
    /// Cuts on XFS
    #[arg(long, default_value_t = 0)]
    xfs: usize,
    /// Cuts on btrfs
    #[arg(long, default_value_t = 0)]
    btrfs: usize,
    /// Cuts of one recorded run
    #[arg(long, default_value_t = 25)]
    cuts_per_run: usize,
    /// Seconds of load in one recorded run
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Decides everything but what threads do side by side; unset, a new one
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's binary
    #[arg(long)]
    binary: PathBuf,
    /// Settings for the broker, KEY=VALUE
    #[arg(long = "set")]
    settings: Vec<String>,
    /// Cut the first run of each file system again, on a disk that lies about its last flushes; one has to lose
    #[arg(long)]
    bite: bool,
    /// The disk lies about its last flushes before each cut, this many
    #[arg(long, default_value_t = 0)]
    lies: usize,
    /// Losses are what is looked for: it fails if no cut loses anything
    #[arg(long)]
    expect_loss: bool,
    /// One loss is enough, and needed: it ends with the first
    #[arg(long, requires = "expect_loss")]
    until_loss: bool,
    /// Where recordings of failed cuts go, and all else that is made
    #[arg(long)]
    work: PathBuf,
    /// Keep every recording
    #[arg(long)]
    keep: bool,
    /// Cut a saved recording again
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Of the cut to replay
    #[arg(long, requires = "replay", requires = "cut_seed")]
    position: Option<usize>,
    /// Of the cut to replay
    #[arg(long, requires = "position")]
    cut_seed: Option<u64>,
}

/// What all cuts so far came to.
#[derive(Default)]
struct Totals {
    runs: usize,
    cuts: usize,
    failed: usize,
    /// Those of them in which the broker started and had not everything: not only a file system that is broken.
    lost: usize,
    records: usize,
    acknowledged: usize,
    cut_time: Duration,
    ready_longest: Duration,
}

struct Session {
    arguments: Arguments,
    options: broker::Options,
    with_check: bool,
    /// This process's own directory, gone with it.
    dir: PathBuf,
    seed: u64,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("FAIL powercut: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    mounts::enter_namespace()?;
    fs::create_dir_all(&arguments.work)?;
    mounts::remove_leftovers(&arguments.work)?;
    let work = arguments.work.canonicalize()?;
    let dir = work.join(format!("pid-{}", std::process::id()));
    for name in ["images", "mounted"] {
        fs::create_dir_all(dir.join(name))?;
    }
    // In memory, since every cut writes a disk and removes it again.
    let none: Option<&str> = None;
    mount(Some("powercut"), &dir.join("images"), Some("tmpfs"), MsFlags::empty(), none).context("mounting tmpfs")?;
    let seed = arguments.seed.unwrap_or_else(|| rand::rng().random());
    let mut settings = BROKER_SETTINGS.map(str::to_owned).to_vec();
    settings.extend(arguments.settings.iter().cloned());
    let binary = arguments.binary.canonicalize().context("the broker's binary")?;
    let options = broker::Options { binary, settings };
    let with_check = has_check(&options.binary);
    let session = Session { arguments, options, with_check, dir, seed };
    let passed = match &session.arguments.replay {
        Some(recording) => session.replay(recording),
        None => session.all(),
    };
    mounts::clean_up(&session.dir)?;
    passed
}

fn has_check(binary: &Path) -> bool {
    let mut command = Command::new(binary);
    command.args(["check", "--help"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Session {
    fn all(&self) -> Result<bool> {
        println!("seed {}, {} check", self.seed, if self.with_check { "with corelane" } else { "without corelane" });
        let wanted = [
            (FileSystem::Ext4, self.arguments.ext4),
            (FileSystem::Xfs, self.arguments.xfs),
            (FileSystem::Btrfs, self.arguments.btrfs),
        ];
        let mut passed = true;
        for (file_system, count) in wanted.into_iter().filter(|(_, count)| *count > 0) {
            passed &= self.file_system(file_system, count)?;
        }
        Ok(passed)
    }

    fn file_system(&self, file_system: FileSystem, count: usize) -> Result<bool> {
        let name = file_system.name();
        if let Some(reason) = mounts::missing(file_system) {
            println!("SKIPPED {count} power cuts on {name}: {reason}. NOTHING WAS SHOWN.");
            return Ok(true);
        }
        let started = Instant::now();
        let mut passed = true;
        let mut totals = Totals::default();
        let mut before: Option<Before> = None;
        while totals.cuts < count && !self.has_enough(&totals) {
            let seed = self.seed.wrapping_add(1_000_003 * totals.runs as u64).wrapping_add(file_system as u64);
            let kind = match &before {
                Some(before) => record::Kind { seed, generation: before.kind.generation + 1, ..before.kind.clone() },
                None => record::new_kind(file_system, seed),
            };
            let load_time = Duration::from_secs_f64(self.arguments.seconds);
            let recording = record::record(kind, before.take(), &self.options, &self.dir, load_time)
                .with_context(|| format!("recording on {name} with seed {seed}"))?;
            totals.runs += 1;
            describe(&recording);
            let cuts = self.arguments.cuts_per_run.min(count - totals.cuts);
            let moments = cut::choose(&recording, cuts, seed);
            let failed_before = totals.failed;
            before = self.cuts(&recording, &moments, self.arguments.lies, &mut totals)?;
            if self.arguments.bite && totals.runs == 1 {
                passed &= self.bites(&recording, seed)?;
            }
            let failed = totals.failed > failed_before && !self.arguments.expect_loss;
            if failed || self.arguments.keep {
                let kept = self.arguments.work.join(format!("recording-{name}-{seed}"));
                recording.save(&kept)?;
                println!("the recording is in {}", kept.display());
            }
            if totals.failed > 0 || recording.kind.generation + 1 >= GENERATIONS_MAX {
                before = None;
            }
        }
        passed &= self.conclude(name, &totals, started.elapsed());
        Ok(passed)
    }

    /// Shows that a disk that does not keep what it flushed is found out.
    fn bites(&self, recording: &Recording, seed: u64) -> Result<bool> {
        let name = recording.kind.file_system.name();
        let mut totals = Totals::default();
        for moment in cut::choose(recording, BITES_MAX, !seed) {
            self.cuts(recording, &[moment], LIES_OF_A_BITE, &mut totals)?;
            if totals.lost > 0 {
                println!("PASS a disk that lies about its last {LIES_OF_A_BITE} flushes is found out on {name}");
                return Ok(true);
            }
        }
        println!("FAIL {BITES_MAX} cuts of a disk that lies lost nothing on {name}: the rig does not bite");
        Ok(false)
    }

    fn conclude(&self, name: &str, totals: &Totals, took: Duration) -> bool {
        let summary = format!(
            "{} power cuts on {name} of {} runs: {} records read, {} acknowledged or seen, in {:.0} s ({:.2} s a cut, \
             broker ready after {:.2} s at most)",
            totals.cuts,
            totals.runs,
            totals.records,
            totals.acknowledged,
            took.as_secs_f64(),
            totals.cut_time.as_secs_f64() / totals.cuts.max(1) as f64,
            totals.ready_longest.as_secs_f64(),
        );
        let passed = if self.arguments.expect_loss { totals.lost > 0 } else { totals.failed == 0 };
        let sign = if passed { "PASS" } else { "FAIL" };
        if self.arguments.expect_loss {
            println!("{sign} {summary}; {} lost something, as they should", totals.lost);
        } else {
            println!("{sign} {summary}; {} of them failed", totals.failed);
        }
        passed
    }

    fn has_enough(&self, totals: &Totals) -> bool {
        self.arguments.until_loss && totals.lost > 0
    }

    /// Tries all moments of a recording, which are in order; the disk that one of them left, for a run after it.
    fn cuts(
        &self,
        recording: &Recording,
        moments: &[Moment],
        lies: usize,
        totals: &mut Totals,
    ) -> Result<Option<Before>> {
        let flushes = Flushes::of(&recording.log);
        let mut sweep = Sweep::new(&recording.log, record::sparse_copy(&recording.base));
        let mut left = None;
        let heir = moments.len() * 2 / 3;
        for (number, moment) in moments.iter().enumerate() {
            if self.has_enough(totals) {
                break;
            }
            let started = Instant::now();
            sweep.advance(flushes.truth_before(moment.position, lies));
            let (mut survival, mut random) = moment.survival();
            if lies > self.arguments.lies {
                survival = Survival::Nothing;
            }
            let cut = sweep.cut(moment.position, survival, &recording.kind.atoms(), &mut random);
            let image = self.dir.join("images/disk");
            let _ = fs::remove_file(&image);
            cut.write_to(&image)?;
            let outcome = self.bench().try_cut(&recording.kind, &image, &recording.noted, moment.position);
            totals.cuts += 1;
            totals.records += outcome.records;
            totals.acknowledged += outcome.acknowledged;
            totals.ready_longest = totals.ready_longest.max(outcome.ready_after);
            totals.cut_time += started.elapsed();
            if !outcome.violations.is_empty() {
                totals.failed += 1;
                totals.lost += usize::from(outcome.compared);
                let what = format!("{} unflushed, {} pieces left, {survival:?}", cut.unflushed, cut.survived());
                self.report(*moment, &what, &outcome, self.arguments.expect_loss || lies > 0);
            }
            fs::remove_file(&image)?;
            if number == heir && lies == 0 {
                left = Some(Before {
                    kind: recording.kind.clone(),
                    image: cut.to_vec(),
                    known: known_at(&recording.noted, moment.position as u64),
                });
            }
        }
        Ok(left)
    }

    fn bench(&self) -> Bench<'_> {
        Bench {
            options: &self.options,
            with_check: self.with_check,
            mountpoint: self.dir.join("mounted"),
            broker_log: self.dir.join("broker.log"),
        }
    }

    fn report(&self, moment: Moment, what: &str, outcome: &Outcome, expected: bool) {
        let sign = if expected { "loss" } else { "FAIL" };
        println!("{sign} --position {} --cut-seed {}: {what}", moment.position, moment.seed);
        let shown = if expected { 2 } else { 12 };
        for violation in outcome.violations.iter().take(shown) {
            println!("     | {violation}");
        }
        if outcome.violations.len() > shown {
            println!("     | and {} more", outcome.violations.len() - shown);
        }
        if !expected {
            let log = fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default();
            for line in log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev() {
                println!("     > {line}");
            }
        }
    }

    /// One cut of a saved recording, or as many as a run has.
    fn replay(&self, dir: &Path) -> Result<bool> {
        let recording = Recording::load(dir)?;
        describe(&recording);
        let started = Instant::now();
        let moments = match (self.arguments.position, self.arguments.cut_seed) {
            (Some(position), Some(seed)) => {
                ensure!(position <= recording.log.events.len(), "the recording ends before {position}");
                vec![Moment { position, seed }]
            }
            _ => cut::choose(&recording, self.arguments.cuts_per_run, self.seed),
        };
        let mut totals = Totals { runs: 1, ..Totals::default() };
        self.cuts(&recording, &moments, self.arguments.lies, &mut totals)?;
        Ok(self.conclude(recording.kind.file_system.name(), &totals, started.elapsed()))
    }
}

fn describe(recording: &Recording) {
    let kind = &recording.kind;
    let counts = recording.log.counts();
    println!(
        "recorded on {} ({}, sectors of {}) with seed {}, generation {}: {} writes of {} MiB, {} flushes ({} beside \
         writes), {} discards; {} things told",
        kind.file_system.name(),
        if kind.mount_options.is_empty() { "default options" } else { &kind.mount_options },
        kind.sector_bytes,
        kind.seed,
        kind.generation,
        counts.writes,
        recording.log.data.len() >> 20,
        counts.flushes,
        counts.flushes_beside_writes,
        counts.zeroed,
        recording.noted.len(),
    );
}
