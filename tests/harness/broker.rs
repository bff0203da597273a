//! A broker of its own for a test: the real binary, a temporary directory, free ports.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long a start or a clean stop may take; generous, since the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ports that one broker may use: its own and, with `shard.listeners=per-core`, the following for its shards.
const PORTS_PER_BROKER: u16 = 16;

pub struct Broker {
    process: Process,
    dir: TempDir,
    data_dir: PathBuf,
    port: u16,
    settings: Vec<(String, String)>,
}

enum Process {
    None,
    Corelane(Child),
    /// Started by a script, so no child of ours.
    Kafka(Pid),
}

impl Broker {
    /// Starts a broker with `settings` on top of the harness's own and waits until it is ready.
    pub fn start(settings: &[(&str, &str)]) -> Broker {
        let mut broker = Broker::prepare(settings);
        broker.launch();
        broker
    }

    /// A broker that isn't started yet, so that a test can lay out its directory first.
    pub fn prepare(settings: &[(&str, &str)]) -> Broker {
        // Not /tmp, which may be a file system without direct I/O.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the broker");
        let mut all = Vec::new();
        if let Ok(io) = std::env::var("CORELANE_TEST_IO") {
            all.push(("log.io".to_owned(), io));
        }
        if let Ok(extra) = std::env::var("CORELANE_TEST_SETTINGS") {
            for pair in extra.split(';').filter(|pair| !pair.trim().is_empty()) {
                let (key, value) = pair.split_once('=').expect("CORELANE_TEST_SETTINGS is k=v;k=v");
                all.push((key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let data_dir = dir.path().join("data");
        Broker { process: Process::None, dir, data_dir, port: free_ports(), settings: all }
    }

    /// A broker whose data lie elsewhere, such as on a file system of its own.
    pub fn prepare_at(data_dir: PathBuf, settings: &[(&str, &str)]) -> Broker {
        let mut broker = Broker::prepare(settings);
        broker.data_dir = data_dir;
        broker
    }

    /// Starts the process on the same directory and ports, and waits until it is ready.
    pub fn launch(&mut self) {
        assert!(matches!(self.process, Process::None), "the broker runs already");
        if is_kafka() {
            self.process = Process::Kafka(self.launch_kafka());
            return;
        }
        let seen = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        let mut child = self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while !self.log_since(seen).lines().any(is_ready_line) {
            if let Some(status) = child.try_wait().expect("the broker's state") {
                panic!("the broker stopped at its start with {status}:\n{}", self.log_since(seen));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("no ready line within {PATIENCE:?}:\n{}", self.log_since(seen));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.process = Process::Corelane(child);
    }

    /// Starts the process and ends it as a crash does, wherever its start has come to by then.
    pub fn launch_and_kill(&mut self, after: Duration) {
        assert!(matches!(self.process, Process::None) && !is_kafka(), "the broker runs already");
        self.process = Process::Corelane(self.spawn());
        thread::sleep(after);
        self.kill();
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the broker's log file");
        self.command()
            .stdout(log.try_clone().expect("a second descriptor of the log"))
            .stderr(log)
            .spawn()
            .expect("the broker's binary starts")
    }

    /// The command that starts this broker, without where its output goes.
    pub fn command(&self) -> Command {
        let binary = std::env::var_os("CORELANE_TEST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_corelane").into());
        let mut command = Command::new(binary);
        command.arg("serve").current_dir(self.dir.path()).stdin(Stdio::null());
        if let Ok(profile) = std::env::var("CORELANE_TEST_PROFILE") {
            command.args(["--profile", &profile]);
        }
        for (key, value) in self.own_settings().iter().chain(&self.settings) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }

    fn own_settings(&self) -> [(String, String); 2] {
        [
            ("log.dirs".to_owned(), self.data_dir().display().to_string()),
            ("listeners".to_owned(), format!("PLAINTEXT://{}", self.address())),
        ]
    }

    fn launch_kafka(&self) -> Pid {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/kafka/start.sh");
        let output = Command::new(script)
            .arg(self.dir.path())
            .arg(self.port.to_string())
            .args(self.settings.iter().filter(|(key, _)| known_to_kafka(key)).map(|(k, v)| format!("{k}={v}")))
            .stderr(Stdio::inherit())
            .output()
            .expect("start.sh runs");
        assert!(output.status.success(), "Kafka did not start");
        let pid = String::from_utf8(output.stdout).expect("a process id");
        Pid::from_raw(pid.trim().parse().expect("a process id"))
    }

    /// Stops the broker as an operator does, with SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        kill(self.pid(), Signal::SIGTERM).expect("SIGTERM is delivered");
        self.wait_for_end()
    }

    /// Ends the broker as a crash does; what it has not written is gone.
    pub fn kill(&mut self) {
        if !matches!(self.process, Process::None) {
            let _ = kill(self.pid(), Signal::SIGKILL);
            self.wait_for_end();
        }
    }

    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.is_none_or(|s| s.success()), "a clean stop ended with {status:?}:\n{}", self.log());
        self.launch();
    }

    fn wait_for_end(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = match &mut self.process {
                Process::None => return None,
                Process::Corelane(child) => child.try_wait().expect("the broker's state").map(Some),
                Process::Kafka(pid) => (!Path::new(&format!("/proc/{pid}")).exists()).then_some(None),
            };
            if let Some(status) = ended {
                self.process = Process::None;
                return status;
            }
            assert!(Instant::now() < deadline, "the broker did not end within {PATIENCE:?}:\n{}", self.log());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// True until the process has ended by itself.
    pub fn is_running(&mut self) -> bool {
        match &mut self.process {
            Process::None => false,
            Process::Corelane(child) => child.try_wait().expect("the broker's state").is_none(),
            Process::Kafka(pid) => Path::new(&format!("/proc/{pid}")).exists(),
        }
    }

    fn pid(&self) -> Pid {
        match &self.process {
            Process::None => panic!("the broker does not run"),
            Process::Corelane(child) => Pid::from_raw(child.id().cast_signed()),
            Process::Kafka(pid) => *pid,
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `host:port`, as clients want it in `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.address().to_string()
    }

    /// Adds settings that need this broker's ports, before it is launched.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).expect("a connection to the broker")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    /// All that the broker has printed since it was first started.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    fn log_since(&self, position: u64) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            let _ = file.seek(SeekFrom::Start(position));
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the broker's /proc/PID/status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("kibibytes") * 1024
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the end of the broker's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
        if !matches!(self.process, Process::None) {
            let _ = kill(self.pid(), Signal::SIGKILL);
            if let Process::Corelane(child) = &mut self.process {
                let _ = child.wait();
            }
        }
    }
}

/// Whether the tests run against Apache Kafka; the few that show what only Corelane has return early then.
pub fn is_kafka() -> bool {
    std::env::var("CORELANE_TEST_BROKER").is_ok_and(|broker| broker == "kafka")
}

fn known_to_kafka(key: &str) -> bool {
    let ours = ["corelane.", "shard", "runtime.", "log.io", "log.flush.acks", "admin."];
    !ours.iter().any(|prefix| key.starts_with(prefix))
}

fn is_ready_line(line: &str) -> bool {
    line.to_ascii_lowercase().contains("ready")
}

/// The first port of a range that nobody listens on. The range lies below the ephemeral ports, so that no outgoing
/// connection takes one meanwhile, and differs between test processes that run side by side.
fn free_ports() -> u16 {
    const FIRST: u16 = 12_000;
    const RANGES: u16 = (32_000 - FIRST) / PORTS_PER_BROKER;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % u32::from(RANGES)) as u16;
    for _ in 0..RANGES {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = FIRST + (start.wrapping_add(step) % RANGES) * PORTS_PER_BROKER;
        let ports = first..first + PORTS_PER_BROKER;
        if ports.into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no free range of {PORTS_PER_BROKER} ports");
}
