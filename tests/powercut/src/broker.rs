//! The broker's own binary, started, stopped and killed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(60);

/// How brokers are started, the same for a load and for what comes after its cuts.
#[derive(Clone, Debug)]
pub struct Options {
    pub binary: PathBuf,
    pub settings: Vec<String>,
}

pub struct Broker {
    child: Option<Child>,
    log: PathBuf,
}

impl Broker {
    /// Starts a broker on `data` and waits until it is ready. What it prints is added to the file `log`.
    pub fn start(options: &Options, data: &Path, address: SocketAddr, log: &Path) -> Result<Broker> {
        let output = File::options().create(true).append(true).open(log).context("the broker's log file")?;
        let seen = output.metadata()?.len();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&options.binary).arg("serve");
        command.arg("--set").arg(format!("log.dirs={}", data.display()));
        command.arg("--set").arg(format!("listeners=PLAINTEXT://{address}"));
        for setting in &options.settings {
            command.arg("--set").arg(setting);
        }
        // Not in the mounted directory, which could not be unmounted then.
        command.current_dir("/").stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("starting the broker")?;
        let mut broker = Broker { child: Some(child), log: log.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        while !read_from(log, seen).contains("Ready after") {
            if let Some(child) = &mut broker.child
                && let Some(status) = child.try_wait()?
            {
                broker.child = None;
                bail!("the broker did not start, it ended with {status}: {}", last_lines(&read_from(log, seen)));
            }
            ensure!(Instant::now() < deadline, "the broker was not ready within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(broker)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
    }

    /// Stops it as an operator does.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while let Some(child) = &mut self.child {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                ensure!(status.success(), "a clean stop ended with {status}: {}", last_lines(&read_from(&self.log, 0)));
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the broker did not stop within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(2));
        }
        bail!("the broker was not running")
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

fn read_from(path: &Path, position: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path)
        && file.seek(SeekFrom::Start(position)).is_ok()
    {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join(" / ")
}

/// An address that nobody listens at, below the ephemeral ports, so that no outgoing connection takes it meanwhile.
pub fn free_address() -> Result<SocketAddr> {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(7, Ordering::Relaxed);
        let port = FIRST + (u32::from(start) + u32::from(step)).rem_euclid(u32::from(COUNT)) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}
