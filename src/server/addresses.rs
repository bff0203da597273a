//! From configured listeners to the socket addresses that shards bind.
//!
//! Every address is probed with a plain bind first: shards bind with SO_REUSEPORT, and with it a second broker would
//! not fail but take half of the first one's connections.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use super::StartError;
use crate::config::{BrokerConfig, HostPort, Listener, ShardListeners};
use crate::runtime::{clock, threads};

/// How long a port may stay taken after the process that had it was killed.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// A listener with its ports known: what shards bind and what clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// What every shard binds, with SO_REUSEPORT.
    pub address: SocketAddr,
    pub advertised_host: String,
    pub advertised_port: u16,
    /// With per-core listeners, what each shard binds alone, in the order of shards; its port is the advertised one.
    pub shards: Vec<SocketAddr>,
}

/// The endpoints of all listeners, in their order.
pub fn probe(config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
    // Held until all are known, so that no free port is given out twice.
    let mut held = Vec::new();
    config.listeners.iter().map(|listener| endpoint(config, listener, &mut held)).collect()
}

/// A listener for the admin port, which is no shard's.
pub fn bind_admin(address: &HostPort) -> Result<TcpListener, StartError> {
    bind("admin.listener", address)
}

fn endpoint(config: &BrokerConfig, listener: &Listener, held: &mut Vec<TcpListener>) -> Result<Endpoint, StartError> {
    let mut take = |address: &HostPort| -> Result<SocketAddr, StartError> {
        let socket = bind(&listener.name, address)?;
        let bound = socket.local_addr().map_err(|error| unusable(&listener.name, address, error))?;
        held.push(socket);
        Ok(bound)
    };
    let address = take(&listener.bind)?;
    let own = if config.shard_listeners == ShardListeners::PerCore { config.shards } else { 0 };
    let shards = (0..own)
        .map(|shard| take(&HostPort { host: address.ip().to_string(), port: listener.shard_port(shard) }))
        .collect::<Result<Vec<_>, _>>()?;
    let advertised = &listener.advertised;
    Ok(Endpoint {
        name: listener.name.clone(),
        address,
        advertised_host: advertised.host.clone(),
        advertised_port: if advertised.port == 0 { address.port() } else { advertised.port },
        shards,
    })
}

fn bind(listener: &str, wanted: &HostPort) -> Result<TcpListener, StartError> {
    let candidates: Vec<SocketAddr> = if wanted.host.is_empty() {
        // Every interface: IPv6, which takes IPv4 along, or IPv4 alone where the kernel has no IPv6.
        [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
            .map(|ip| SocketAddr::new(ip, wanted.port))
            .to_vec()
    } else {
        let resolved = (wanted.host.as_str(), wanted.port).to_socket_addrs();
        resolved.map_err(|error| unusable(listener, wanted, error))?.collect()
    };
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in candidates {
        match bind_patiently(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                let in_use = error.kind() == ErrorKind::AddrInUse;
                last = error;
                if in_use {
                    break;
                }
            }
        }
    }
    Err(unusable(listener, wanted, last))
}

/// The kernel closes what a ring held after its process has ended: for some milliseconds the port of a broker that
/// was killed is still taken, and a restart must not fail for that.
fn bind_patiently(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = clock::now() + RELEASE_MAX;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && clock::now() < deadline => {
                threads::block_for(Duration::from_millis(10));
            }
            bound => return bound,
        }
    }
}

fn unusable(listener: &str, address: &HostPort, error: io::Error) -> StartError {
    let (listener, address) = (listener.to_owned(), address.to_string());
    match error.kind() {
        ErrorKind::AddrInUse => StartError::PortBusy { listener, address },
        ErrorKind::PermissionDenied => StartError::PortForbidden { listener, address },
        _ => StartError::AddressUnusable { listener, address, error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Settings, Sources};

    fn config(sets: &[&str]) -> BrokerConfig {
        let sources = Sources { sets: sets.iter().map(|&set| set.to_owned()).collect(), ..Sources::default() };
        let (settings, _) = Settings::load(&sources).expect("it loads");
        let machine = Machine { cores: 3, host_name: "box".to_owned() };
        BrokerConfig::new(settings, &machine).expect("it is valid")
    }

    #[test]
    fn free_ports_are_advertised() {
        let config = config(&["listeners=PLAINTEXT://127.0.0.1:0", "shard.listeners=per-core"]);
        let endpoints = probe(&config).expect("ports are free");
        let [endpoint] = &endpoints[..] else { panic!("one listener") };
        assert_eq!(
            (endpoint.advertised_host.as_str(), endpoint.advertised_port),
            ("127.0.0.1", endpoint.address.port())
        );
        let mut ports: Vec<u16> = endpoint.shards.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 3);
        ports.push(endpoint.address.port());
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = taken.local_addr().expect("it is bound");
        let error = probe(&config(&[&format!("listeners=PLAINTEXT://{address}")])).expect_err("it is taken");
        assert_eq!(error.exit_code(), 82);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_unusable() {
        let error = probe(&config(&["listeners=PLAINTEXT://192.0.2.1:0"])).expect_err("it is not ours");
        assert_eq!(error.exit_code(), 83);
    }

    #[test]
    fn an_empty_host_is_every_interface() {
        let endpoints = probe(&config(&["listeners=PLAINTEXT://:0"])).expect("ports are free");
        assert!(endpoints.iter().all(|endpoint| endpoint.address.ip().is_unspecified()));
        assert_eq!(endpoints[0].advertised_host, "box");
    }
}
