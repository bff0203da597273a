//! Listening sockets.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};

use super::stream::TcpStream;
use crate::runtime::{
    executor::{self, Shard},
    ops::accept::Accept,
};

/// How a listener binds.
#[derive(Clone, Copy, Debug)]
pub struct BindOptions {
    /// Several sockets share the port, and the kernel spreads the connections over them.
    pub reuse_port: bool,
    /// Connections the kernel keeps before they are accepted (Kafka's `socket.listen.backlog.size`).
    pub backlog: i32,
    /// Buffer sizes of accepted connections; `None` leaves them to the kernel.
    pub send_buffer_bytes: Option<usize>,
    pub recv_buffer_bytes: Option<usize>,
}

impl Default for BindOptions {
    fn default() -> Self {
        BindOptions { reuse_port: false, backlog: 1024, send_buffer_bytes: None, recv_buffer_bytes: None }
    }
}

/// A listening socket of the running shard.
pub struct TcpListener {
    shard: Rc<Shard>,
    accept: Rc<Accept>,
    address: SocketAddr,
}

impl TcpListener {
    /// Binds and listens. Port 0 takes a free one, see `local_addr`.
    pub fn bind(address: SocketAddr, options: &BindOptions) -> io::Result<TcpListener> {
        let shard = executor::current();
        let socket = bind(address, options)?;
        let backlog = Backlog::new(options.backlog.clamp(1, 65_535)).unwrap_or(Backlog::MAXCONN);
        socket::listen(&socket, backlog)?;
        let address = local_address(&socket)?;
        let accept = Accept::new(socket, &shard.driver);
        Ok(TcpListener { shard, accept, address })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. An error does not end the listener: EMFILE and its like may pass.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        loop {
            let socket = std::future::poll_fn(|cx| self.accept.poll(&self.shard.driver, cx.waker())).await?;
            // A peer that is gone already has no address; take the next.
            match peer_address(&socket) {
                Ok(peer) => return Ok(TcpStream::new(&self.shard, socket, peer)),
                Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.accept.stop(&self.shard.driver);
    }
}

/// Whether a port is free: binds it without sharing, for a moment. With SO_REUSEPORT alone, a second broker would bind
/// it too and take half of the first one's connections.
pub fn probe_port(address: SocketAddr) -> io::Result<()> {
    let socket = bind(address, &BindOptions::default())?;
    socket::listen(&socket, Backlog::new(1)?)?;
    Ok(())
}

fn bind(address: SocketAddr, options: &BindOptions) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if options.reuse_port {
        socket::setsockopt(&socket, sockopt::ReusePort, &true)?;
    }
    // Accepted sockets inherit these, and the window scale is fixed at the handshake, so they are set here.
    if let Some(bytes) = options.send_buffer_bytes {
        socket::setsockopt(&socket, sockopt::SndBuf, &bytes)?;
    }
    if let Some(bytes) = options.recv_buffer_bytes {
        socket::setsockopt(&socket, sockopt::RcvBuf, &bytes)?;
    }
    // So is this one: it saves a system call for each connection.
    socket::setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    to_address(&socket::getsockname::<SockaddrStorage>(socket.as_raw_fd())?)
}

pub(super) fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    to_address(&socket::getpeername::<SockaddrStorage>(socket.as_raw_fd())?)
}

fn to_address(storage: &SockaddrStorage) -> io::Result<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        Ok(SocketAddr::V4((*v4).into()))
    } else if let Some(v6) = storage.as_sockaddr_in6() {
        Ok(SocketAddr::V6((*v6).into()))
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}
