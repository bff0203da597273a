//! Which brokers to run against, as words on the command line.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::LocalBroker;
use crate::{cluster::resolve, error::Error, interrupt::BROKER_PREFIX, process};

/// A broker to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub label: String,
    kind: Kind,
    settings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// This binary's own.
    Corelane,
    /// Apache Kafka, by the script in `benches/compare`.
    Kafka,
    /// Our own bare sink; its settings are its flags.
    Sink,
    /// Any other command that keeps the contract.
    Command(PathBuf),
    /// One that runs already.
    Running(String),
}

/// A broker that is there, started by us or not.
pub enum Running {
    Ours(LocalBroker),
    Theirs { address: SocketAddr, pid: Option<u32> },
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        match self {
            Running::Ours(broker) => broker.address,
            Running::Theirs { address, .. } => *address,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match self {
            Running::Ours(broker) => Some(broker.pid),
            Running::Theirs { pid, .. } => *pid,
        }
    }

    pub fn version(&self) -> &str {
        match self {
            Running::Ours(broker) => &broker.version,
            Running::Theirs { .. } => "",
        }
    }

    /// What it said at its end, if it was ours.
    pub fn last_words(&self) -> String {
        match self {
            Running::Ours(broker) => broker.last_words(),
            Running::Theirs { .. } => String::new(),
        }
    }
}

impl Spec {
    /// `corelane`, `corelane-none`, `kafka`, `kafka-flush`, a bare sink (`sink`, `sink-none`, `echo`, `echo-none`, `send`),
    /// `HOST:PORT` or a script, each with `,KEY=VALUE...` behind, and
    /// `LABEL=` before if it shall be called otherwise.
    pub fn parse(text: &str) -> Result<Spec, Error> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let mut settings: Vec<String> = parts.map(str::to_owned).collect();
        let (label, name) = match first.split_once('=') {
            Some((label, name)) => (label.to_owned(), name),
            None => (text.to_owned(), first),
        };
        let kind = match name {
            "corelane" => Kind::Corelane,
            "corelane-none" => {
                settings.insert(0, "log.flush.acks=none".to_owned());
                Kind::Corelane
            }
            "sink" | "echo" | "send" => {
                let mode = if name == "sink" { "write" } else { name };
                settings.insert(0, format!("mode={mode}"));
                Kind::Sink
            }
            "sink-none" | "echo-none" => {
                let mode = if name == "sink-none" { "write" } else { "echo" };
                settings.splice(0..0, [format!("mode={mode}"), "flush=none".to_owned()]);
                Kind::Sink
            }
            "kafka" => Kind::Kafka,
            "kafka-flush" => {
                settings.insert(0, "log.flush.interval.messages=1".to_owned());
                Kind::Kafka
            }
            address if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                if !settings.is_empty() {
                    return Err(Error::Wrong(format!("{address} runs already: it takes no settings here")));
                }
                Kind::Running(address.to_owned())
            }
            path if Path::new(path).is_file() => {
                Kind::Command(std::fs::canonicalize(path).unwrap_or_else(|_| path.into()))
            }
            other => {
                return Err(Error::Wrong(format!(
                    "there is no broker {other:?}: corelane, corelane-none, kafka, kafka-flush, the bare sinks sink, \
                     sink-none, echo, echo-none and send, HOST:PORT, or a script as in benches/compare"
                )));
            }
        };
        Ok(Spec { label, kind, settings })
    }

    pub fn corelane(settings: &[String]) -> Spec {
        Spec { label: "corelane".to_owned(), kind: Kind::Corelane, settings: settings.to_vec() }
    }

    pub fn running(address: &str) -> Spec {
        Spec { label: address.to_owned(), kind: Kind::Running(address.to_owned()), settings: Vec::new() }
    }

    pub fn is_kafka_with_flush(&self) -> bool {
        self.kind == Kind::Kafka && self.settings.iter().any(|set| set.starts_with("log.flush.interval.messages"))
    }

    /// What an acknowledgement of acks=all promises, as far as these settings and the broker's own words tell.
    pub fn durability(settings: &[(String, String)]) -> String {
        let value = |key: &str| settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        match (value("log.flush.acks"), value("log.flush.interval.messages")) {
            (Some("all"), _) => "flushed to the device before the answer".to_owned(),
            (Some(_), _) => "written, not flushed, before the answer".to_owned(),
            (None, Some("1")) => "flushed at each append, under the log's lock".to_owned(),
            (None, Some(_)) => "in the page cache; the kernel flushes when it likes".to_owned(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// Starts it (or finds it) with its data under `directory`, on these cores.
    pub fn start(&self, directory: &Path, cores: Option<&str>) -> Result<Running, Error> {
        let (program, mut arguments): (PathBuf, Vec<String>) = match &self.kind {
            Kind::Running(address) => {
                let address = resolve(address)?;
                let pid = address.ip().is_loopback().then(|| process::listener_on(address.port())).flatten();
                return Ok(Running::Theirs { address, pid });
            }
            Kind::Corelane => {
                let own = std::env::current_exe().map_err(|error| Error::Io("finding this binary", error))?;
                (own, vec!["embedded-broker".to_owned(), "--dir".to_owned()])
            }
            Kind::Sink => {
                let own = std::env::current_exe().map_err(|error| Error::Io("finding this binary", error))?;
                (own, vec!["sink".to_owned(), "--with-input".to_owned(), "--dir".to_owned()])
            }
            Kind::Kafka => (kafka_script()?, Vec::new()),
            Kind::Command(path) => (path.clone(), Vec::new()),
        };
        let data = tempfile::Builder::new()
            .prefix(BROKER_PREFIX)
            .tempdir_in(directory)
            .map_err(|error| Error::file(directory, &error))?
            // It removes the directory itself at its end.
            .keep();
        arguments.push(data.display().to_string());
        for setting in &self.settings {
            match self.kind {
                Kind::Corelane => arguments.extend(["--set".to_owned(), setting.clone()]),
                Kind::Sink => arguments.push(format!("--{setting}")),
                _ => arguments.push(setting.clone()),
            }
        }
        let mut command = match cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cores]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.args(arguments);
        let log = directory.join(format!("{}.log", self.label.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
        let started = LocalBroker::start(command, &self.label, &log);
        if started.is_err() {
            std::fs::remove_dir_all(&data).ok();
        }
        started.map(Running::Ours)
    }
}

fn kafka_script() -> Result<PathBuf, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/compare/kafka");
    let script = std::env::var_os("LOADGEN_KAFKA").map_or(script, PathBuf::from);
    if script.is_file() {
        return Ok(script);
    }
    let path = script.display();
    Err(Error::Wrong(format!("{path}, which starts Apache Kafka, is not there: LOADGEN_KAFKA names another place")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_by_their_words() {
        let none = Spec::parse("corelane-none,shards=2").unwrap();
        assert_eq!(none.settings, ["log.flush.acks=none", "shards=2"]);
        let echo = Spec::parse("bare=echo-none,port=9").unwrap();
        assert_eq!((echo.label.as_str(), &echo.kind), ("bare", &Kind::Sink));
        assert_eq!(echo.settings, ["mode=echo", "flush=none", "port=9"]);
        let kafka = Spec::parse("mine=kafka,num.io.threads=2").unwrap();
        assert_eq!((kafka.label.as_str(), &kafka.kind), ("mine", &Kind::Kafka));
        assert!(matches!(Spec::parse("127.0.0.1:9092").unwrap().kind, Kind::Running(_)));
        assert!(Spec::parse("rabbit").unwrap_err().to_string().contains("corelane-none"));
    }
}
