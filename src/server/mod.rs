//! A whole broker: checks, banner, start, ready, stop.
//!
//! `run` is the life of the process. What needs the shards is `broker::start`; everything around it is here, so that a
//! start fails before it touches data wherever it can.

mod addresses;
pub mod admin;
mod banner;
pub mod broker;
mod directory;
mod exit;
mod loading;
mod logging;
mod notify;
mod reserve;
mod service;
mod shard_thread;

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

pub use addresses::Endpoint;
pub use directory::{Directory, when_free};
pub use exit::{EXIT_IMPATIENT, StartError};
pub use loading::load_error;

use crate::config::{BrokerConfig, ConfigNote, IoMode, LogFormat, Machine};
use crate::limits;
use crate::metrics::{BrokerInfo, Metrics};
use crate::protocol::ApiKey;
use crate::runtime::{fs, signals, threads};
use admin::{Admin, Health, Phase};

/// Everything `broker::start` gets.
#[derive(Debug)]
pub struct Start {
    pub config: BrokerConfig,
    /// Locked for this process while `Start` lives.
    pub directory: Directory,
    /// How segments are written: `log.io` where the file system can.
    pub io: IoMode,
    /// One for each of `config.listeners`, with ports known and just found free.
    pub endpoints: Vec<Endpoint>,
    /// The cores the process may run on, ascending; shard i belongs on core i modulo their count.
    pub cores: Vec<usize>,
    /// The limit of open files, raised to the hard one.
    pub descriptors: usize,
    pub metrics: Arc<Metrics>,
    /// Ends the broker: whoever finds that it cannot go on says why.
    pub ending: Ending,
}

/// The way to end the broker from inside.
#[derive(Clone, Debug)]
pub struct Ending(Sender<End>);

#[derive(Debug)]
enum End {
    Signal(&'static str),
    Failure(StartError),
}

impl Ending {
    /// Asks for a clean stop, after which the process ends with this error. The first one counts.
    pub fn fail(&self, error: StartError) {
        // Nobody listens any more only when the broker is stopping already.
        let _ = self.0.send(End::Failure(error));
    }
}

/// Facts of this machine that the configuration's defaults depend on.
pub fn machine() -> Machine {
    Machine { cores: cores().len(), host_name: host_name() }
}

/// Runs a broker until it is told to stop by SIGTERM or SIGINT, or cannot go on.
pub fn run(config: BrokerConfig, notes: &[ConfigNote]) -> Result<(), StartError> {
    let began = Instant::now();
    logging::start(&config)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    let notifier = notify::Notifier::from_environment();
    let (ending, ended) = watch_signals()?;
    let (start, admin_socket) = prepare(config, ending)?;
    let health = Arc::new(Health::default());
    let admin = admin_socket
        .map(|socket| Admin::start(socket, Arc::clone(&start.metrics), Arc::clone(&health)))
        .transpose()
        .map_err(|error| StartError::Internal { what: format!("the admin port does not start ({error})") })?;
    say_banner(&start, admin.as_ref());

    let broker = broker::start(&start)?;

    let ready = ready_line(&start, &broker.summary(), began.elapsed().as_secs_f64());
    say(&start.config, &ready);
    health.set(Phase::Ready);
    notifier.ready(&ready);

    let end = ended.recv();
    health.set(Phase::Stopping);
    notifier.stopping();
    match &end {
        Ok(End::Signal(name)) => tracing::info!("{name}: stopping"),
        Ok(End::Failure(error)) => tracing::error!("{error} Stopping"),
        Err(_) => tracing::error!("Nobody can end the broker any more: stopping"),
    }
    let stopping = Instant::now();
    broker.stop()?;
    tracing::info!("Stopped in {:.2} s", stopping.elapsed().as_secs_f64());
    match end {
        Ok(End::Failure(error)) => Err(error),
        _ => Ok(()),
    }
}

/// A broker inside another program: no banner, signals or logging of its own, and no admin port.
pub struct Embedded {
    start: Start,
    broker: broker::Broker,
    ended: Receiver<End>,
}

impl Embedded {
    pub fn start(config: BrokerConfig) -> Result<Embedded, StartError> {
        let (sender, ended) = channel();
        let (start, _) = prepare(config, Ending(sender))?;
        let broker = broker::start(&start)?;
        Ok(Embedded { start, broker, ended })
    }

    /// Where clients connect to.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.start.endpoints
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.start.metrics
    }

    /// Stops cleanly, and says if the broker had failed before.
    pub fn stop(self) -> Result<(), StartError> {
        self.broker.stop()?;
        match self.ended.try_recv() {
            Ok(End::Failure(error)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// All that can fail before data is touched, the cheapest first.
fn prepare(mut config: BrokerConfig, ending: Ending) -> Result<(Start, Option<std::net::TcpListener>), StartError> {
    let limit = threads::raise_open_files_limit()
        .map_err(|error| StartError::Internal { what: format!("the limit of open files is not known ({error})") })?;
    let needed = limits::descriptors_reserved(config.shards) as u64 + limits::OPEN_FILES_MIN as u64;
    if limit < needed {
        return Err(StartError::TooFewDescriptors { limit, needed });
    }
    let directory = Directory::open(&config.directory)?;
    // Absolute from here on: what is written about a path should not depend on where one stands.
    config.directory.clone_from(&directory.path);
    let (io, _) = directory.io_mode(config.log.io);
    let endpoints = addresses::probe(&config)?;
    let admin_socket = config.admin.as_ref().map(addresses::bind_admin).transpose()?;
    let info = BrokerInfo {
        version: env!("CARGO_PKG_VERSION"),
        node_id: config.node_id,
        profile: config.profile(),
        flush_acks: config.log.flush_acks.name(),
        io: io.name(),
        file_system: directory.file_system,
    };
    let api_names = ApiKey::ALL.iter().map(|&key| (key as i16, key.name())).collect();
    let metrics = Metrics::new(config.shards, info, api_names);
    let descriptors = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok((Start { config, directory, io, endpoints, cores: cores(), descriptors, metrics, ending }, admin_socket))
}

/// Starts to wait for signals. It has to come before any thread, for threads inherit what is held back.
fn watch_signals() -> Result<(Ending, Receiver<End>), StartError> {
    let internal = |error| StartError::Internal { what: format!("signals cannot be waited for ({error})") };
    signals::hold_stop_signals().map_err(internal)?;
    let (sender, receiver) = channel();
    let ending = Ending(sender.clone());
    threads::spawn("corelane-signal", None, move || {
        let Ok(first) = signals::wait_for_stop_blocking() else { return };
        let _ = sender.send(End::Signal(first));
        // Whoever asks twice does not want to wait.
        if let Ok(second) = signals::wait_for_stop_blocking() {
            tracing::warn!("{second} again: the stop is not clean");
            std::process::exit(EXIT_IMPATIENT);
        }
    })
    .map_err(internal)?;
    Ok((ending, receiver))
}

fn say_banner(start: &Start, admin: Option<&Admin>) {
    let (config, directory) = (&start.config, &start.directory);
    let (io, io_reason) = directory.io_mode(config.log.io);
    let facts = banner::Facts {
        directory: directory.path.display().to_string(),
        file_system: directory.file_system,
        available_bytes: directory.available_bytes,
        io,
        io_reason,
        cores: start.cores.clone(),
        descriptors: start.descriptors as u64,
        endpoints: start.endpoints.clone(),
        admin: admin.map(|admin| admin.address.to_string()),
    };
    if config.logging.format == LogFormat::Json {
        let listeners: Vec<String> = facts.endpoints.iter().map(|e| format!("{}://{}", e.name, e.address)).collect();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            directory = facts.directory,
            file_system = facts.file_system,
            log_flush_acks = config.log.flush_acks.name(),
            log_io = io.name(),
            shards = config.shards,
            cores = ?facts.cores,
            node_id = config.node_id,
            profile = config.profile(),
            listeners = listeners.join(","),
            admin = facts.admin,
            open_files = facts.descriptors,
            "Corelane starts"
        );
    } else {
        let mut out = std::io::stdout().lock();
        let text = banner::render(config, &facts, logging::is_colored(&out));
        // A start does not fail for want of somebody to read about it.
        let _ = writeln!(out, "{text}");
    }
}

/// `Ready` with the addresses that clients connect to.
fn ready_line(start: &Start, summary: &str, seconds: f64) -> String {
    let listeners: Vec<String> = start.endpoints.iter().map(|e| format!("{}://{}", e.name, e.address)).collect();
    let comma = if summary.is_empty() { "" } else { ", " };
    format!("Ready after {seconds:.2} s{comma}{summary}: {}", listeners.join(", "))
}

fn say(config: &BrokerConfig, line: &str) {
    if config.logging.format == LogFormat::Json {
        tracing::info!("{line}");
    } else {
        let _ = writeln!(std::io::stdout().lock(), "  {line}");
    }
}

fn cores() -> Vec<usize> {
    // Where the mask cannot be read, one core is there for sure.
    threads::affinity().ok().filter(|cores| !cores.is_empty()).unwrap_or_else(|| vec![0])
}

/// The name this machine goes by. Kafka asks the resolver for the canonical one; what the administrator set is nearer.
fn host_name() -> String {
    let name = fs::read_bounded("/proc/sys/kernel/hostname", 256).unwrap_or_default();
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    if name.is_empty() || name == "(none)" { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use crate::config::keys::{Kind, broker_key};
    use crate::runtime::Feature;

    #[test]
    fn runtime_disable_takes_the_features_of_the_runtime() {
        let Some(Kind::ListOf(names)) = broker_key("runtime.disable").map(|key| key.kind) else {
            panic!("it is a list of names")
        };
        let features: Vec<_> = std::iter::once("all").chain(Feature::ALL.map(Feature::name)).collect();
        assert_eq!(names, features);
    }
}
