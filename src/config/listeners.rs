//! `listeners`, `advertised.listeners`, `listener.security.protocol.map` and `shard.port.base`, taken together.

use std::collections::HashMap;
use std::fmt;

use super::{ConfigError, Machine, Settings};

/// A host and a port. The host may be a name, an address, or empty (every interface).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, `[::1]:port` or `:port`.
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())?,
            None if host.contains([':', '/', ' ', '[', ']']) => return None,
            None => host,
        };
        Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
    }

    /// Whether the host is none at all: empty, 0.0.0.0 or [::].
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One listener for clients. It speaks PLAINTEXT: others are refused so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In capitals, as in `listeners`.
    pub name: String,
    /// Port 0 takes a free one.
    pub bind: HostPort,
    /// Where clients are told to connect to. Port 0 stands for the port that was bound.
    pub advertised: HostPort,
    /// With `shard.listeners=per-core`, the port of shard 0, bound and advertised; shard i has this + i. 0 takes free
    /// ports.
    pub shard_port_base: u16,
}

impl Listener {
    /// The port of a shard's own listener, 0 for a free one.
    pub fn shard_port(&self, shard: usize) -> u16 {
        // The configuration was checked: no shard's port passes 65535.
        if self.shard_port_base == 0 { 0 } else { self.shard_port_base.saturating_add(shard as u16) }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.name, self.bind)
    }
}

/// The first of `controller.listener.names`, and where other nodes reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerListener {
    /// In capitals.
    pub name: String,
    /// The host is `localhost` where the configuration names none, as for `kafka-storage format --standalone`.
    pub address: HostPort,
}

/// Of the configuration of a node that is controller too. `None` without one, or with a port that only Kafka would
/// choose.
pub(super) fn controller(settings: &Settings) -> Result<Option<ControllerListener>, ConfigError> {
    let Some(name) = settings.items("controller.listener.names").next().map(str::to_ascii_uppercase) else {
        return Ok(None);
    };
    // As Kafka: what is advertised, or else what is bound.
    let mut listeners = parse_list(settings, "advertised.listeners")?;
    listeners.extend(parse_list(settings, "listeners")?);
    let found = listeners.into_iter().find(|(other, _)| *other == name).map(|(_, address)| address);
    Ok(found.filter(|address| address.port != 0).map(|address| {
        let host = if address.is_wildcard() { "localhost".to_owned() } else { address.host };
        ControllerListener { name, address: HostPort { host, port: address.port } }
    }))
}

const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// The listeners to open, in the order of `listeners`, without those of the controller. `shards` is the number of
/// ports each needs with per-core listeners, 0 without.
pub(super) fn listeners(settings: &Settings, machine: &Machine, shards: usize) -> Result<Vec<Listener>, ConfigError> {
    let controllers: Vec<String> = settings.items("controller.listener.names").map(str::to_ascii_uppercase).collect();
    let protocols = protocol_map(settings)?;
    let bound = parse_list(settings, "listeners")?;
    check_unique(settings, &bound)?;
    let mut advertised: HashMap<String, HostPort> = HashMap::new();
    for (name, address) in parse_list(settings, "advertised.listeners")? {
        if controllers.contains(&name) {
            continue;
        }
        if !bound.iter().any(|(other, _)| *other == name) {
            let expected = format!("the names of `listeners` only, and {name} is not one of them");
            return Err(settings.bad_value("advertised.listeners", expected));
        }
        advertised.insert(name, address);
    }
    let bases = shard_port_bases(settings, &bound)?;
    let mut listeners = Vec::new();
    for (name, bind) in bound {
        if controllers.contains(&name) {
            continue;
        }
        check_protocol(settings, &name, &protocols)?;
        let advertised = match advertised.remove(&name) {
            Some(address) if address.host.is_empty() => HostPort { host: machine.host_name.clone(), ..address },
            Some(address) => address,
            None if bind.host.is_empty() => HostPort { host: machine.host_name.clone(), port: bind.port },
            None => bind.clone(),
        };
        if advertised.is_wildcard() {
            let key =
                if settings.origin("advertised.listeners").is_some() { "advertised.listeners" } else { "listeners" };
            let expected = format!(
                "an address that clients can reach for {name}, and {} is none: set advertised.listeners",
                advertised.host
            );
            return Err(settings.bad_value(key, expected));
        }
        let after = if bind.port == 0 { 0 } else { bind.port.saturating_add(1) };
        let base = bases.get(&name).or_else(|| bases.get("")).copied();
        listeners.push(Listener { name, shard_port_base: base.unwrap_or(after), bind, advertised });
    }
    if listeners.is_empty() {
        return Err(settings.bad_value("listeners", "a listener for clients, next to those of the controller"));
    }
    check_inter_broker(settings, &listeners)?;
    check_shard_ports(settings, &listeners, shards)?;
    Ok(listeners)
}

fn parse_list(settings: &Settings, key: &str) -> Result<Vec<(String, HostPort)>, ConfigError> {
    settings
        .items(key)
        .map(|item| {
            item.split_once("://")
                .filter(|(name, _)| !name.is_empty())
                .and_then(|(name, address)| Some((name.to_ascii_uppercase(), HostPort::parse(address)?)))
                .ok_or_else(|| settings.bad_value(key, "NAME://host:port, separated by commas"))
        })
        .collect()
}

fn check_unique(settings: &Settings, bound: &[(String, HostPort)]) -> Result<(), ConfigError> {
    for (i, (name, address)) in bound.iter().enumerate() {
        for (other, its_address) in &bound[..i] {
            if name == other {
                return Err(settings.bad_value("listeners", format!("each name once, and {name} comes twice")));
            }
            if address.port != 0 && address == its_address {
                return Err(settings.bad_value("listeners", format!("each address once, and {address} comes twice")));
            }
        }
    }
    Ok(())
}

/// `listener.security.protocol.map`; a listener whose name is a protocol speaks it even if the map leaves it out.
fn protocol_map(settings: &Settings) -> Result<HashMap<String, String>, ConfigError> {
    let key = "listener.security.protocol.map";
    settings
        .items(key)
        .map(|item| {
            item.split_once(':')
                .map(|(name, protocol)| (name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase()))
                .filter(|(_, protocol)| PROTOCOLS.contains(&protocol.as_str()))
                .ok_or_else(|| {
                    let expected =
                        "NAME:PROTOCOL, separated by commas, with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL as PROTOCOL";
                    settings.bad_value(key, expected)
                })
        })
        .collect()
}

fn check_protocol(settings: &Settings, name: &str, map: &HashMap<String, String>) -> Result<(), ConfigError> {
    let protocol = match map.get(name) {
        Some(protocol) => protocol.as_str(),
        None if PROTOCOLS.contains(&name) => name,
        None => {
            let expected = format!("a protocol for the listener {name} as well, as in {name}:PLAINTEXT");
            return Err(settings.bad_value("listener.security.protocol.map", expected));
        }
    };
    if protocol == "PLAINTEXT" {
        return Ok(());
    }
    let expected = format!("PLAINTEXT listeners only, and {name} speaks {protocol}: TLS and SASL are not there yet");
    Err(settings.bad_value("listeners", expected))
}

fn check_inter_broker(settings: &Settings, listeners: &[Listener]) -> Result<(), ConfigError> {
    let Some(name) = settings.get("inter.broker.listener.name") else { return Ok(()) };
    if listeners.iter().any(|listener| listener.name.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(settings.bad_value("inter.broker.listener.name", "the name of a listener of `listeners`"))
}

/// `shard.port.base` by listener; a number alone stands under the empty name.
fn shard_port_bases(settings: &Settings, bound: &[(String, HostPort)]) -> Result<HashMap<String, u16>, ConfigError> {
    let key = "shard.port.base";
    let bad = || settings.bad_value(key, "a port, or NAME:port for each listener, separated by commas");
    let mut bases = HashMap::new();
    for item in settings.items(key) {
        let (name, port) = item.split_once(':').map_or(("", item), |(name, port)| (name.trim(), port.trim()));
        let name = name.to_ascii_uppercase();
        if !name.is_empty() && !bound.iter().any(|(other, _)| *other == name) {
            return Err(
                settings.bad_value(key, format!("the names of `listeners` only, and {name} is not one of them"))
            );
        }
        bases.insert(name, port.parse().map_err(|_| bad())?);
    }
    Ok(bases)
}

/// With per-core listeners, no port is taken twice and none passes the last one.
fn check_shard_ports(settings: &Settings, listeners: &[Listener], shards: usize) -> Result<(), ConfigError> {
    if shards == 0 {
        return Ok(());
    }
    let mut taken: HashMap<u16, String> = HashMap::new();
    for listener in listeners.iter().filter(|listener| listener.bind.port != 0) {
        taken.insert(listener.bind.port, format!("the listener {}", listener.name));
    }
    for listener in listeners.iter().filter(|listener| listener.shard_port_base != 0) {
        for shard in 0..shards {
            let Ok(port) = u16::try_from(usize::from(listener.shard_port_base) + shard) else {
                let expected = format!("room for {shards} ports below 65536 for {}", listener.name);
                return Err(settings.bad_value("shard.port.base", expected));
            };
            let owner = format!("shard {shard} of {}", listener.name);
            if let Some(other) = taken.insert(port, owner.clone()) {
                let expected = format!("ports that nothing else has, and {port} would be {other} and {owner}");
                return Err(settings.bad_value("shard.port.base", expected));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn parse(file: &str, shards: usize) -> Result<Vec<Listener>, String> {
        let sources = Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() };
        let (settings, _) = Settings::load(&sources).map_err(|error| error.to_string())?;
        let machine = Machine { cores: 2, host_name: "box.example".to_owned() };
        listeners(&settings, &machine, shards).map_err(|error| error.to_string())
    }

    fn shown(file: &str) -> Vec<String> {
        let show = |listener: &Listener| format!("{listener} {}", listener.advertised);
        parse(file, 0).expect("it is valid").iter().map(show).collect()
    }

    fn sentence(file: &str, shards: usize) -> String {
        parse(file, shards).expect_err("it is not valid")
    }

    #[test]
    fn advertised_addresses_follow_the_listeners() {
        assert_eq!(shown(""), ["PLAINTEXT://127.0.0.1:9092 127.0.0.1:9092"]);
        assert_eq!(shown("listeners=PLAINTEXT://:9092"), ["PLAINTEXT://:9092 box.example:9092"]);
        assert_eq!(
            shown("listeners=PLAINTEXT://0.0.0.0:9092\nadvertised.listeners=PLAINTEXT://broker:19092"),
            ["PLAINTEXT://0.0.0.0:9092 broker:19092"]
        );
        assert_eq!(shown("listeners=plaintext://[::1]:9092"), ["PLAINTEXT://[::1]:9092 [::1]:9092"]);
        assert_eq!(shown("listeners=PLAINTEXT://localhost:0"), ["PLAINTEXT://localhost:0 localhost:0"]);
    }

    #[test]
    fn controller_listeners_are_taken_and_not_opened() {
        let file = "listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ncontroller.listener.names=CONTROLLER\n\
                    advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                    listener.security.protocol.map=CONTROLLER:SSL,PLAINTEXT:PLAINTEXT\n\
                    inter.broker.listener.name=PLAINTEXT";
        assert_eq!(shown(file), ["PLAINTEXT://:9092 localhost:9092"]);
        assert_eq!(
            sentence("listeners=CONTROLLER://:9093", 0),
            "listeners=CONTROLLER://:9093 (s.properties, line 1) is not valid: expected a listener for clients, next to \
             those of the controller."
        );
    }

    #[test]
    fn the_controller_is_where_kafka_would_have_it() {
        let controller = |file: &str| {
            let sources = Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() };
            let (settings, _) = Settings::load(&sources).expect("it is valid");
            let found = controller(&settings).expect("it is valid");
            found.map(|found| format!("{}://{}", found.name, found.address))
        };
        let names = "controller.listener.names=CONTROLLER,OTHER\nlisteners=PLAINTEXT://:9092,OTHER://:1,";
        assert_eq!(controller(""), None);
        assert_eq!(controller("controller.listener.names=CONTROLLER"), None);
        assert_eq!(controller(&format!("{names}CONTROLLER://:9093")).as_deref(), Some("CONTROLLER://localhost:9093"));
        assert_eq!(controller(&format!("{names}controller://box:7")).as_deref(), Some("CONTROLLER://box:7"));
        assert_eq!(controller(&format!("{names}CONTROLLER://:0")), None);
        let advertised = format!("{names}CONTROLLER://:9093\nadvertised.listeners=CONTROLLER://[2001:db8::1]:19093");
        assert_eq!(controller(&advertised).as_deref(), Some("CONTROLLER://[2001:db8::1]:19093"));
    }

    #[test]
    fn several_listeners_with_names_of_their_own() {
        let file = "listeners=IN://127.0.0.1:9092,OUT://:9094\nadvertised.listeners=IN://127.0.0.1:9092,OUT://example.org:443\n\
                    listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT";
        assert_eq!(shown(file), ["IN://127.0.0.1:9092 127.0.0.1:9092", "OUT://:9094 example.org:443"]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let cases = [
            ("listeners=9092", "expected NAME://host:port, separated by commas."),
            ("listeners=PLAINTEXT://x:99999", "expected NAME://host:port, separated by commas."),
            ("listeners=PLAINTEXT://::1:9092", "expected NAME://host:port, separated by commas."),
            ("listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "expected each name once, and PLAINTEXT comes twice."),
            (
                "listeners=A://a:1,B://a:1\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT",
                "expected each address once, and a:1 comes twice.",
            ),
            (
                "listeners=PLAINTEXT://0.0.0.0:9092",
                "expected an address that clients can reach for PLAINTEXT, and 0.0.0.0 is none: set advertised.listeners.",
            ),
            (
                "advertised.listeners=PLAINTEXT://0.0.0.0:9092",
                "expected an address that clients can reach for PLAINTEXT, and 0.0.0.0 is none: set advertised.listeners.",
            ),
            (
                "advertised.listeners=OTHER://x:9092",
                "expected the names of `listeners` only, and OTHER is not one of them.",
            ),
            (
                "listeners=SSL://x:9093",
                "expected PLAINTEXT listeners only, and SSL speaks SSL: TLS and SASL are not there yet.",
            ),
            ("listeners=X://x:9093", "expected a protocol for the listener X as well, as in X:PLAINTEXT."),
            ("inter.broker.listener.name=X", "expected the name of a listener of `listeners`."),
            (
                "listener.security.protocol.map=X=Y",
                "expected NAME:PROTOCOL, separated by commas, with PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL as PROTOCOL.",
            ),
        ];
        for (file, end) in cases {
            let sentence = sentence(file, 0);
            assert!(sentence.ends_with(end), "{file}: {sentence}");
        }
    }

    #[test]
    fn each_shard_has_its_port() {
        let ports = |file: &str| -> Vec<u16> {
            let listeners = parse(file, 3).expect("it is valid");
            listeners.iter().flat_map(|listener| (0..3).map(|shard| listener.shard_port(shard))).collect()
        };
        assert_eq!(ports(""), [9093, 9094, 9095]);
        assert_eq!(ports("shard.port.base=20000"), [20000, 20001, 20002]);
        assert_eq!(ports("listeners=PLAINTEXT://127.0.0.1:0"), [0, 0, 0]);
        let two = "listeners=A://a:9092,B://a:9192\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n";
        assert_eq!(ports(two), [9093, 9094, 9095, 9193, 9194, 9195]);
        assert_eq!(ports(&format!("{two}shard.port.base=a:1000,B:2000")), [1000, 1001, 1002, 2000, 2001, 2002]);
    }

    #[test]
    fn ports_of_shards_collide_with_nothing() {
        let two = "listeners=A://a:9092,B://a:9094\nlistener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT\n";
        let cases = [
            (two, "expected ports that nothing else has, and 9094 would be the listener B and shard 1 of A."),
            ("shard.port.base=65534", "expected room for 3 ports below 65536 for PLAINTEXT."),
            ("shard.port.base=x", "expected a port, or NAME:port for each listener, separated by commas."),
            ("shard.port.base=X:1", "expected the names of `listeners` only, and X is not one of them."),
        ];
        for (file, end) in cases {
            let sentence = sentence(file, 3);
            assert!(sentence.ends_with(end), "{file}: {sentence}");
        }
        assert!(parse(two, 0).is_ok());
    }
}
