//! What a start says: what runs, where, how durable, and for whom. Plain and aligned, coloured on a terminal only.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::addresses::Endpoint;
use crate::config::{BrokerConfig, FlushAcks, IoMode, ShardListeners};

/// What the banner shows beside the configuration.
#[derive(Clone, Debug)]
pub struct Facts {
    pub directory: String,
    pub file_system: &'static str,
    pub available_bytes: u64,
    pub io: IoMode,
    /// Why `io` is not what was asked for.
    pub io_reason: Option<&'static str>,
    /// The cores the process may run on.
    pub cores: Vec<usize>,
    /// The limit of open files, raised.
    pub descriptors: u64,
    pub endpoints: Vec<Endpoint>,
    pub admin: Option<String>,
}

/// The banner, with its line breaks.
pub fn render(config: &BrokerConfig, facts: &Facts, color: bool) -> String {
    let paint = |style: Style| if color { style } else { Style::new() };
    let (title, label) = (paint(Style::new().bold()), paint(AnsiColor::Cyan.on_default()));
    let warning = paint(AnsiColor::Yellow.on_default());
    let mut out = format!("\n  {title}Corelane {}{title:#}\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str, is_warning: bool| {
        let style = if is_warning { warning } else { Style::new() };
        let _ = writeln!(out, "  {label}{name:<11}{label:#} {style}{value}{style:#}");
    };
    line(
        "directory",
        &format!("{} ({}, {} free)", facts.directory, facts.file_system, gib(facts.available_bytes)),
        false,
    );
    let unsafe_acks = config.log.flush_acks == FlushAcks::None;
    line("durability", durability(config.log.flush_acks), unsafe_acks);
    line("I/O", &io(facts), facts.io_reason.is_some());
    line("shards", &shards(config, &facts.cores), false);
    line("node", &format!("{}, profile {}", config.node_id, config.profile()), false);
    for endpoint in &facts.endpoints {
        line("listening", &listening(endpoint), false);
    }
    if let Some(admin) = &facts.admin {
        line("admin", &format!("http://{admin}/metrics"), false);
    }
    line("open files", &facts.descriptors.to_string(), false);
    out
}

/// One sentence of what an acknowledgement promises.
pub fn durability(acks: FlushAcks) -> &'static str {
    match acks {
        FlushAcks::All => "log.flush.acks=all: what acks=all acknowledged survives a power cut",
        FlushAcks::None => "log.flush.acks=none: a power cut may take back what was acknowledged",
    }
}

fn io(facts: &Facts) -> String {
    match facts.io_reason {
        Some(reason) => format!("{} ({reason})", facts.io.name()),
        None => facts.io.name().to_owned(),
    }
}

fn shards(config: &BrokerConfig, cores: &[usize]) -> String {
    let plural = if cores.len() == 1 { "core" } else { "cores" };
    let listeners = match config.shard_listeners {
        ShardListeners::Shared => "one port for all",
        ShardListeners::PerCore => "a port for each",
    };
    format!("{} on {plural} {}, {listeners}", config.shards, ranges(cores))
}

fn listening(endpoint: &Endpoint) -> String {
    let advertised = format!("{}:{}", endpoint.advertised_host, endpoint.advertised_port);
    let mut text = format!("{}://{}", endpoint.name, endpoint.address);
    if let (Some(first), Some(last)) = (endpoint.shards.first(), endpoint.shards.last()) {
        let (first, last) = (first.port(), last.port());
        let _ = if last > first && usize::from(last - first) + 1 == endpoint.shards.len() {
            write!(text, ", shards at ports {first}-{last}")
        } else {
            let ports = endpoint.shards.iter().map(|shard| shard.port().to_string()).collect::<Vec<_>>();
            write!(text, ", shards at ports {}", ports.join(", "))
        };
    }
    if advertised != endpoint.address.to_string() {
        let _ = write!(text, ", advertised as {advertised}");
    }
    text
}

/// `0-3, 6` for 0, 1, 2, 3 and 6.
fn ranges(cores: &[usize]) -> String {
    let mut out = String::new();
    for run in cores.chunk_by(|a, b| a + 1 == *b) {
        let comma = if out.is_empty() { "" } else { ", " };
        let _ = match run {
            [one] => write!(out, "{comma}{one}"),
            [first, .., last] => write!(out, "{comma}{first}-{last}"),
            [] => Ok(()),
        };
    }
    out
}

fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / f64::from(1 << 30);
    if gib >= 10.0 { format!("{gib:.0} GiB") } else { format!("{gib:.1} GiB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Settings, Sources};

    fn config(sets: &[&str]) -> BrokerConfig {
        let sources = Sources { sets: sets.iter().map(|&set| set.to_owned()).collect(), ..Sources::default() };
        let (settings, _) = Settings::load(&sources).expect("it loads");
        BrokerConfig::new(settings, &Machine { cores: 2, host_name: "box".to_owned() }).expect("it is valid")
    }

    fn facts() -> Facts {
        Facts {
            directory: "/data".to_owned(),
            file_system: "ext4",
            available_bytes: 55 << 30,
            io: IoMode::Direct,
            io_reason: None,
            cores: vec![0, 1],
            descriptors: 20_000,
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                address: "127.0.0.1:9092".parse().expect("an address"),
                advertised_host: "127.0.0.1".to_owned(),
                advertised_port: 9092,
                shards: Vec::new(),
            }],
            admin: None,
        }
    }

    #[test]
    fn the_banner_is_aligned_and_plain() {
        let version = env!("CARGO_PKG_VERSION");
        let want = format!(
            "
  Corelane {version}

  directory   /data (ext4, 55 GiB free)
  durability  log.flush.acks=all: what acks=all acknowledged survives a power cut
  I/O         direct
  shards      2 on cores 0-1, one port for all
  node        1, profile balanced
  listening   PLAINTEXT://127.0.0.1:9092
  open files  20000
"
        );
        assert_eq!(render(&config(&[]), &facts(), false), want);
        assert!(render(&config(&[]), &facts(), true).contains('\x1b'));
    }

    #[test]
    fn what_is_not_the_default_is_said() {
        let mut facts = facts();
        facts.io = IoMode::Buffered;
        facts.io_reason = Some("why");
        facts.admin = Some("127.0.0.1:9644".to_owned());
        facts.endpoints[0].advertised_host = "broker".to_owned();
        facts.endpoints[0].shards = vec!["127.0.0.1:9093".parse().expect("x"), "127.0.0.1:9094".parse().expect("x")];
        let config = config(&["log.flush.acks=none", "shard.listeners=per-core"]);
        let text = render(&config, &facts, false);
        for part in [
            "a power cut may take back",
            "buffered (why)",
            "a port for each",
            "PLAINTEXT://127.0.0.1:9092, shards at ports 9093-9094, advertised as broker:9092",
            "http://127.0.0.1:9644/metrics",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }

    #[test]
    fn cores_are_shown_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 6]), "0-3, 6");
        assert_eq!(ranges(&[5]), "5");
    }
}
