//! Brokers that a run starts itself: each a process of its own, so that what it uses can be told from what we use.
//!
//! A broker is started by a command with a small contract, kept by our own `embedded-broker` and by the scripts in
//! `benches/compare`: it prints `ready HOST:PORT PID VERSION` once clients may come, runs until its standard input ends,
//! then stops and removes its data directory. So nothing is left behind, however we end.

mod embedded;
mod spec;

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use corelane::runtime::threads;

pub use embedded::{EmbeddedOptions, serve};
pub use spec::{Running, Spec};

use crate::{cluster::resolve, error::Error, interrupt};

/// A broker may have to be downloaded first.
const START_PATIENCE: Duration = Duration::from_secs(300);
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// A running broker of ours. Dropping it stops it.
pub struct LocalBroker {
    pub address: SocketAddr,
    pub pid: u32,
    pub version: String,
    child: Child,
    log: PathBuf,
}

impl LocalBroker {
    /// Starts a command that keeps the contract. What it says on its standard error goes to `log`.
    pub fn start(mut command: Command, what: &str, log: &Path) -> Result<LocalBroker, Error> {
        let log_file = std::fs::File::create(log).map_err(|error| Error::file(log, &error))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log_file);
        // A Ctrl-C at our terminal is for us; the broker then sees its input end.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| Error::Wrong(format!("{what} cannot be started: {error}")))?;
        let child_id = child.id();
        if let Some(stdin) = child.stdin.take() {
            // Its end is the sign to stop.
            interrupt::hold(child_id, stdin);
        }
        let stdout = child.stdout.take().ok_or_else(|| Error::Wrong(format!("{what} has no output")))?;
        let (sender, lines) = channel();
        threads::spawn("loadgen-broker", None, move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Once the broker is ready nobody listens any more, and its output is read all the same.
                let _ = sender.send(line);
            }
        })
        .map_err(|error| Error::Io("starting a thread", error))?;
        let deadline = Instant::now() + START_PATIENCE;
        let ready = loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(ready) = line.strip_prefix("ready ") {
                        break ready.to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    interrupt::let_go(child_id);
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Error::Wrong(format!("{what} was not ready within 5 minutes{}", tail(log))));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    interrupt::let_go(child_id);
                    let status = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                    return Err(Error::Wrong(format!("{what} ended at its start ({status}){}", tail(log))));
                }
            }
        };
        let mut words = ready.split_whitespace();
        let address = resolve(words.next().unwrap_or_default())?;
        let pid = words.next().and_then(|pid| pid.parse().ok()).unwrap_or_else(|| child.id());
        let version = words.collect::<Vec<_>>().join(" ");
        Ok(LocalBroker { address, pid, version, child, log: log.to_path_buf() })
    }

    /// The end of what it said, for when it died.
    pub fn last_words(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for LocalBroker {
    fn drop(&mut self) {
        interrupt::let_go(self.child.id());
        let deadline = Instant::now() + STOP_PATIENCE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The last lines of a log, as the end of a sentence.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    if last.is_empty() {
        String::new()
    } else {
        format!("; the end of its log ({}):\n  {}", log.display(), last.join("\n  "))
    }
}
