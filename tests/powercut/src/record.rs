//! One recorded run: a file system on the recorded disk, the broker on it under load, killed and started again once
//! or twice.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::broker::{self, Broker, free_address};
use crate::device::RecordedDisk;
use crate::facts::{self, Notebook, Noted};
use crate::image::Atoms;
use crate::load::Load;
use crate::mounts::{FileSystem, LoopDevice, run};
use crate::oplog::OpLog;
use crate::verify::{Expected, compare};

/// XFS is not made smaller than 300 MiB.
const DISK_BYTES: u64 = 320 << 20;
const CHUNK_BYTES: usize = 64 * 1024;

/// Small segments, so that many cuts fall into a roll.
const SEGMENT_BYTES: &str = "131072";
const RETENTION_BYTES: u64 = 512 << 10;

/// What a run is besides its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kind {
    pub file_system: FileSystem,
    pub mount_options: String,
    /// The loop device's logical block: what a cut leaves whole.
    pub sector_bytes: u32,
    pub seed: u64,
    /// Runs before it on the same disk, each ended by a cut.
    pub generation: u64,
    pub retention_bytes: Option<u64>,
    /// Where the broker was ready for the first time.
    pub ready_at: u64,
}

impl Kind {
    /// What a cut leaves whole: the device's blocks, as far as the file system can stand it. XFS takes it for granted
    /// that its own blocks are: it replays its log over those only that are older by their first sector, and refuses one
    /// of which the first sector is new and another old.
    pub fn atoms(&self) -> Atoms {
        let sector_bytes = u64::from(self.sector_bytes);
        match self.file_system {
            FileSystem::Ext4 => Atoms { sector_bytes, whole: Some(1024..2048) },
            FileSystem::Xfs | FileSystem::Btrfs => Atoms { sector_bytes: sector_bytes.max(4096), whole: None },
        }
    }
}

pub struct Recording {
    pub kind: Kind,
    pub base: Vec<u8>,
    pub log: OpLog,
    pub noted: Vec<Noted>,
}

/// The disk of an earlier run as a cut left it, and what clients knew then.
pub struct Before {
    pub kind: Kind,
    pub image: Vec<u8>,
    pub known: Vec<Noted>,
}

pub fn new_kind(file_system: FileSystem, seed: u64) -> Kind {
    let mut random = StdRng::seed_from_u64(seed);
    let options: &[&str] = match file_system {
        FileSystem::Ext4 => &["", "discard", "commit=1", "data=journal"],
        FileSystem::Xfs => &["", "discard"],
        FileSystem::Btrfs => &["", "commit=1"],
    };
    Kind {
        file_system,
        mount_options: options[random.random_range(0..options.len())].to_owned(),
        sector_bytes: if file_system == FileSystem::Btrfs || random.random_bool(0.4) { 4096 } else { 512 },
        seed,
        generation: 0,
        retention_bytes: random.random_bool(0.7).then_some(RETENTION_BYTES),
        ready_at: 0,
    }
}

/// Records a run of about `load_time` in the directory `dir`, on a new file system or on the disk of a run before.
pub fn record(
    mut kind: Kind,
    before: Option<Before>,
    options: &broker::Options,
    dir: &Path,
    load_time: Duration,
) -> Result<Recording> {
    let mut random = StdRng::seed_from_u64(kind.seed ^ 0x10ad);
    let (base, known) = match before {
        Some(before) => (before.image, before.known),
        None => (new_file_system(&kind, dir)?, Vec::new()),
    };
    let (fuse, mountpoint, broker_log) = (dir.join("fuse"), dir.join("recorded"), dir.join("recorded.log"));
    fs::create_dir_all(&fuse)?;
    fs::create_dir_all(&mountpoint)?;
    let disk = RecordedDisk::start(sparse_copy(&base), &fuse, kind.seed)?;
    let device = LoopDevice::attach(disk.file(), kind.sector_bytes, true)?;
    let mounted = device.mount(kind.file_system, &mountpoint, &kind.mount_options)?;
    let flushes_before = disk.flushes();
    let probe = File::create(mountpoint.join("probe")).context("a file on the recorded disk")?;
    probe.sync_all()?;
    drop(probe);
    ensure!(disk.flushes() > flushes_before, "an fsync does not reach the recorded disk as a flush");

    let data = mountpoint.join("data");
    fs::create_dir_all(&data)?;
    let address = free_address()?;
    let notebook = Notebook::new(disk.position(), known);
    let mut broker = Some(Broker::start(options, &data, address, &broker_log)?);
    kind.ready_at = disk.position().load(Ordering::SeqCst);
    let stop = Arc::new(AtomicBool::new(false));
    let number = kind.generation + 1;
    let load = Load { address, notebook: notebook.clone(), seed: kind.seed, number, stop: stop.clone() };
    let retention = kind.retention_bytes.map(|bytes| bytes.to_string());
    let mut configs = vec![("internal.segment.bytes", SEGMENT_BYTES)];
    if let Some(bytes) = &retention {
        let delay = if random.random_bool(0.5) { "0" } else { "500" };
        configs.extend([("retention.bytes", bytes.as_str()), ("file.delete.delay.ms", delay)]);
    }
    load.make_static_topics(&configs)?;
    let threads = load.start();
    // Killed in the middle, and now and then stopped cleanly too; the load goes on meanwhile.
    let mut crash = || -> Result<()> {
        let first = load_time.mul_f64(random.random_range(0.2..0.6));
        thread::sleep(first);
        let ending = broker.take().context("a broker that runs")?;
        if random.random_bool(0.3) {
            ending.stop()?;
        } else {
            ending.kill();
        }
        broker = Some(Broker::start(options, &data, address, &broker_log)?);
        thread::sleep(load_time.saturating_sub(first));
        Ok(())
    };
    let mut ran = crash();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        let ended = thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?;
        ran = ran.and(ended);
    }
    if let Err(error) = ran {
        let kept = dir.with_file_name(format!("failed-{}", kind.seed));
        keep(&[&data, &broker_log], &kept)?;
        facts::save(&notebook.take(), &kept.join("noted"))?;
        return Err(error.context(format!("see {}", kept.display())));
    }
    let noted = notebook.take();
    // Without a power cut everything is there, acks=1 too, whatever crashes there were.
    let expected = Expected::at(&noted, u64::MAX, true, kind.retention_bytes);
    for (what, count) in facts::counts(&noted) {
        ensure!(count > 0, "nothing was {what} in this run: the load is not what it is meant to be");
    }
    let found = compare(address, expected, false)?;
    if !found.violations.is_empty() {
        bail!("before any power cut: {}", found.violations.join("; "));
    }
    broker.context("a broker that runs")?.stop()?;
    mounted.unmount()?;
    let log = disk.finish()?;
    let _ = fs::remove_file(broker_log);
    Ok(Recording { kind, base, log, noted })
}

/// Copies what shows why a run failed.
fn keep(paths: &[&Path], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for path in paths {
        run("cp", &["-a", &path.to_string_lossy(), &to.to_string_lossy()])?;
    }
    Ok(())
}

fn new_file_system(kind: &Kind, dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join("new-file-system");
    let file = File::create(&path)?;
    file.set_len(DISK_BYTES)?;
    drop(file);
    kind.file_system.make(&path, kind.sector_bytes)?;
    let image = read_sparse(&path)?;
    fs::remove_file(&path)?;
    Ok(image)
}

/// A copy that takes no memory for zeros that have none.
pub fn sparse_copy(image: &[u8]) -> Vec<u8> {
    let mut copy = vec![0; image.len()];
    for (from, to) in image.chunks(CHUNK_BYTES).zip(copy.chunks_mut(CHUNK_BYTES)) {
        if from.iter().any(|byte| *byte != 0) {
            to.copy_from_slice(from);
        }
    }
    copy
}

fn read_sparse(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut image = vec![0; file.metadata()?.len() as usize];
    let mut chunk = vec![0; CHUNK_BYTES];
    for to in image.chunks_mut(CHUNK_BYTES) {
        let chunk = &mut chunk[..to.len()];
        file.read_exact(chunk)?;
        if chunk.iter().any(|byte| *byte != 0) {
            to.copy_from_slice(chunk);
        }
    }
    Ok(image)
}

impl Recording {
    /// Saves all that a replay of its cuts needs.
    pub fn save(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        self.log.save(dir)?;
        facts::save(&self.noted, &dir.join("noted"))?;
        fs::write(dir.join("kind.json"), serde_json::to_vec_pretty(&self.kind)?)?;
        let base = File::create(dir.join("base"))?;
        base.set_len(self.base.len() as u64)?;
        for (number, chunk) in self.base.chunks(CHUNK_BYTES).enumerate() {
            if chunk.iter().any(|byte| *byte != 0) {
                std::os::unix::fs::FileExt::write_all_at(&base, chunk, (number * CHUNK_BYTES) as u64)?;
            }
        }
        Ok(())
    }

    pub fn load(dir: &Path) -> Result<Recording> {
        let kind = fs::read(dir.join("kind.json")).with_context(|| format!("no recording in {}", dir.display()))?;
        Ok(Recording {
            kind: serde_json::from_slice(&kind)?,
            base: read_sparse(&dir.join("base"))?,
            log: OpLog::load(dir)?,
            noted: facts::load(&dir.join("noted"))?,
        })
    }
}
