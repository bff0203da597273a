//! A broker of its own for a test, and runs of the load generator against it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use tempfile::TempDir;

pub struct Broker {
    pub port: u16,
    pub pid: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    dir: TempDir,
}

impl Broker {
    /// Starts one that clients reach at `advertised`, if that is not where it listens.
    pub fn start(advertised: Option<u16>) -> Broker {
        // Not /tmp, which may be a file system without direct I/O.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the broker");
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.arg("embedded-broker").arg("--dir").arg(dir.path().join("broker"));
        if let Some(port) = advertised {
            command.arg("--set").arg(format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"));
        }
        Broker::ready(command, dir)
    }

    /// A bare sink instead.
    pub fn sink(arguments: &[&str]) -> Broker {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the sink");
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(["sink", "--with-input", "--files-bytes", "80M", "--set-bytes", "2M", "--dir"]);
        command.arg(dir.path().join("sink")).args(arguments);
        Broker::ready(command, dir)
    }

    /// Bytes that it has written to a device since its start.
    pub fn written(&self) -> u64 {
        let counters = std::fs::read_to_string(format!("/proc/{}/io", self.pid)).unwrap_or_default();
        let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    }

    /// Whether it has left nothing of its data, after its input has ended.
    pub fn leaves_nothing(mut self) -> bool {
        self.stdin = None;
        let _ = self.child.wait();
        std::fs::read_dir(self.dir.path()).is_ok_and(|mut entries| entries.next().is_none())
    }

    fn ready(mut command: Command, dir: TempDir) -> Broker {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.starts_with("ready ")).expect("the broker gets ready");
        let mut words = ready.split_whitespace().skip(1);
        let address = words.next().expect("an address");
        let pid = words.next().and_then(|pid| pid.parse().ok()).expect("a process id");
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
        let stdin = child.stdin.take();
        Broker { port, pid, child, stdin, dir }
    }

    /// Sends it a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid)]).status().expect("sh runs");
        assert!(status.success(), "the signal {name} was not sent");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -CONT {} 2>&-", self.pid)]).status();
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// `loadgen run` against a port, with its report in `out`.
pub fn loadgen(port: u16, out: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(["run", "--no-calibration", "--bootstrap", &format!("127.0.0.1:{port}"), "--out"]).arg(out);
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn text(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub fn report(out: &Path) -> serde_json::Value {
    let json = std::fs::read_to_string(out.join("report.json")).expect("a report was written");
    serde_json::from_str(&json).expect("it is JSON")
}
