//! One power cut: which moment and which unflushed blocks, and what the broker makes of the disk that is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::broker::{self, Broker, free_address};
use crate::facts::{Noted, moments};
use crate::files;
use crate::image::{Flushes, Survival};
use crate::mounts::LoopDevice;
use crate::record::{Kind, Recording};
use crate::verify::{Expected, compare};

/// A moment of a recorded run, and the seed that decides what survives of the unflushed blocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub position: usize,
    pub seed: u64,
}

/// Random moments in their order: any, during the first start (which is a recovery when the run before ended in a
/// cut), just before a flush is answered, and just after a client was told something.
pub fn choose(recording: &Recording, count: usize, seed: u64) -> Vec<Moment> {
    let mut random = StdRng::seed_from_u64(seed);
    let end = recording.log.events.len();
    let flushes = Flushes::of(&recording.log);
    let told = moments(&recording.noted);
    let mut chosen: Vec<Moment> = (0..count)
        .map(|_| {
            let position = match random.random_range(0..20) {
                0..=2 => random.random_range(0..=recording.kind.ready_at as usize),
                3..=6 if !flushes.positions().is_empty() => {
                    flushes.positions()[random.random_range(0..flushes.positions().len())]
                }
                7..=14 if !told.is_empty() => {
                    let kind = &told[random.random_range(0..told.len())];
                    kind[random.random_range(0..kind.len())] as usize
                }
                _ => random.random_range(0..=end),
            };
            Moment { position: position.min(end), seed: random.random() }
        })
        .collect();
    chosen.sort_by_key(|moment| moment.position);
    chosen
}

impl Moment {
    /// What decides the rest of this cut.
    pub fn random(self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }

    pub fn survival(self) -> (Survival, StdRng) {
        let mut random = self.random();
        (Survival::random(&mut random), random)
    }
}

/// Where a cut is tried, and with what.
pub struct Bench<'a> {
    pub options: &'a broker::Options,
    /// `corelane check` is there and has to agree.
    pub with_check: bool,
    pub mountpoint: PathBuf,
    pub broker_log: PathBuf,
}

/// What became of a cut.
#[derive(Default, Debug)]
pub struct Outcome {
    pub records: usize,
    pub acknowledged: usize,
    /// The broker started, and what it has was compared.
    pub compared: bool,
    pub violations: Vec<String>,
    pub ready_after: Duration,
}

impl Bench<'_> {
    /// Mounts the image that a cut left, starts the broker on it and compares; a few records more, a clean stop, and
    /// the directory is looked at.
    pub fn try_cut(&self, kind: &Kind, image: &Path, noted: &[Noted], position: usize) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = self.tried(kind, image, noted, position, &mut outcome) {
            outcome.violations.push(format!("{error:#}"));
        }
        outcome
    }

    fn tried(&self, kind: &Kind, image: &Path, noted: &[Noted], position: usize, outcome: &mut Outcome) -> Result<()> {
        let _ = fs::remove_file(&self.broker_log);
        let device = LoopDevice::attach(image, kind.sector_bytes, false)?;
        let mounted = device.mount(kind.file_system, &self.mountpoint, &kind.mount_options)?;
        let data = self.mountpoint.join("data");
        fs::create_dir_all(&data).context("the data directory")?;
        let address = free_address()?;
        let before = Instant::now();
        let broker = Broker::start(self.options, &data, address, &self.broker_log)?;
        outcome.ready_after = before.elapsed();
        let expected = Expected::at(noted, position as u64, false, kind.retention_bytes);
        outcome.acknowledged = expected.acknowledged();
        let found = compare(address, expected, true)?;
        outcome.records = found.records;
        outcome.compared = true;
        outcome.violations.extend(found.violations);
        broker.stop()?;
        outcome.violations.extend(files::check(&data));
        if self.with_check {
            self.run_check(&data, outcome)?;
        }
        mounted.unmount()
    }

    fn run_check(&self, data: &Path, outcome: &mut Outcome) -> Result<()> {
        let output =
            Command::new(&self.options.binary).arg("check").arg(data).stdin(Stdio::null()).output().context("check")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            outcome.violations.push(format!("corelane check: {}: {}", output.status, broker::last_lines(&text)));
        }
        Ok(())
    }
}
