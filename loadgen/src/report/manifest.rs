//! Where a report was made: without this, its numbers are of no use to anybody else.

use std::{fs, path::Path, process::Command};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub when: String,
    pub command_line: String,
    pub loadgen_version: String,
    /// Of the source that is there, if it is.
    pub git_commit: Option<String>,
    pub host: String,
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    /// Of the directory that brokers write to.
    pub directory: String,
    pub file_system: String,
    pub device: String,
    /// Runnable processes on average over the last minute, when the first run began.
    pub load_at_start: f64,
    pub generator_cores: Option<String>,
    pub broker_cores: Option<String>,
}

impl Manifest {
    pub fn new(directory: &Path) -> Manifest {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let kilobytes: f64 = meminfo.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0.0);
        let (file_system, device) = mount_of(directory);
        let load = read("/proc/loadavg");
        Manifest {
            when: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default(),
            command_line: std::env::args().collect::<Vec<_>>().join(" "),
            loadgen_version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: output(
                "git",
                &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            ),
            host: read("/proc/sys/kernel/hostname"),
            kernel: format!("{} {}", read("/proc/sys/kernel/ostype"), read("/proc/sys/kernel/osrelease")),
            cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: kilobytes / f64::from(1 << 20),
            directory: directory.display().to_string(),
            file_system,
            device,
            load_at_start: load.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            generator_cores: None,
            broker_cores: None,
        }
    }

    /// Words of caution, where others were using the machine or the binary is not what users run.
    pub fn cautions(&self) -> Vec<String> {
        let debug = "loadgen, and the broker in it, were built without optimisation: nothing here says how fast either is \
                     (cargo run --release)";
        let debug = cfg!(debug_assertions).then(|| debug.to_owned());
        let busy = (self.load_at_start > self.cores as f64 / 2.0).then(|| {
            format!(
                "{:.1} processes wanted to run on average in the minute before the first run, on {} cores: latencies are those of \
                 a machine that is busy with other things; ratios of runs by turns suffer less",
                self.load_at_start, self.cores
            )
        });
        debug.into_iter().chain(busy).collect()
    }

    /// What a reader sees, line by line.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("When", self.when.clone()),
            ("Command", self.command_line.clone()),
            ("loadgen", self.loadgen_version.clone()),
            ("Host", self.host.clone()),
            ("Kernel", self.kernel.clone()),
            ("Processor", format!("{} cores, {}", self.cores, self.cpu)),
            ("Memory", format!("{:.1} GiB", self.memory_gib)),
            ("Data directory", format!("{} ({} on {})", self.directory, self.file_system, self.device)),
            ("Load before the first run", format!("{:.2}", self.load_at_start)),
        ];
        if let Some(commit) = &self.git_commit {
            rows.insert(3, ("Git commit", commit.clone()));
        }
        if let Some(cores) = &self.generator_cores {
            rows.push(("Generator on cores", cores.clone()));
        }
        if let Some(cores) = &self.broker_cores {
            rows.push(("Brokers on cores", cores.clone()));
        }
        rows
    }
}

/// File system and device of a directory, from the longest mount point above it.
fn mount_of(directory: &Path) -> (String, String) {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut best = (0, "?".to_owned(), "?".to_owned());
    for line in mounts.lines() {
        let mut fields = line.split_whitespace();
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
        if directory.starts_with(point) && point.len() >= best.0 {
            best = (point.len(), kind.to_owned(), device.to_owned());
        }
    }
    let cache = cache_of(&best.2).map_or(String::new(), |cache| format!(", {cache} cache"));
    (best.1, format!("{}{cache}", best.2))
}

/// What the kernel knows of a device's write cache: behind "write through" a flush costs next to nothing.
fn cache_of(device: &str) -> Option<String> {
    let real = fs::canonicalize(device).ok()?;
    let sys = fs::canonicalize(Path::new("/sys/class/block").join(real.file_name()?)).ok()?;
    // A partition has no queue of its own; the disk it lies on is the directory above.
    let queues = [sys.join("queue/write_cache"), sys.parent()?.join("queue/write_cache")];
    queues.iter().find_map(|path| fs::read_to_string(path).ok()).map(|text| text.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
