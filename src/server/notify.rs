//! systemd's notification protocol (`sd_notify(3)`): one datagram to the socket that NOTIFY_SOCKET names.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A service manager that waits to hear from us, or none.
#[derive(Debug)]
pub struct Notifier(Option<SocketAddr>);

impl Notifier {
    /// From the environment. An address that is none is logged and done without.
    pub fn from_environment() -> Notifier {
        Notifier(std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            address(&name)
                .inspect_err(|error| tracing::warn!("NOTIFY_SOCKET={} is not used: {error}", name.display()))
                .ok()
        }))
    }

    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=Stopping");
    }

    fn send(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        if let Err(error) = sent {
            tracing::warn!("The service manager could not be notified: {error}");
        }
    }
}

/// A path, or with `@` before it a name in the abstract namespace.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it has to begin with / or @")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a datagram is there");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_path_is_notified() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("it binds");
        let notifier = Notifier(Some(address(&path.into_os_string()).expect("an address")));
        notifier.ready("Ready\nnow");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=Ready now");
        notifier.stopping();
        assert!(heard(&socket).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn an_abstract_name_is_notified() {
        let name = format!("corelane-test-{}", std::process::id());
        let bound = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&bound).expect("it binds");
        Notifier(Some(address(&format!("@{name}").into()).expect("an address"))).ready("x");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=x");
    }

    #[test]
    fn nobody_and_nonsense_are_no_errors() {
        Notifier(None).ready("x");
        assert!(address(&"relative".into()).is_err());
    }
}
