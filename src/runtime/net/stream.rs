//! A TCP connection.

use std::{
    cell::RefCell,
    future::Future,
    io,
    net::{Shutdown, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

use super::{listener::peer_address, sendfile};
use crate::runtime::{
    executor::{self, Shard},
    file::RawFile,
    op::Op,
    ops::{
        self,
        connect::Connect,
        fill::Fill,
        recv::Receive,
        sendmsg::{Message, SendMsg},
        writev::PIECES_MAX,
    },
    options::Feature,
    recv_buffers::RecvChunk,
    send_share::{Claim, PIECE_BYTES_MAX},
};

/// What one operation receives into place when it has to wait for the peer: so often its progress can be seen.
const WAITED_BYTES_MAX: usize = 256 * 1024;

/// A connection of the running shard. Dropping it closes it, as soon as no operation uses it any more.
pub struct TcpStream {
    shard: Rc<Shard>,
    socket: Rc<OwnedFd>,
    receive: Rc<Receive>,
    peer: SocketAddr,
    message: RefCell<Option<Box<Message>>>,
}

impl TcpStream {
    pub(super) fn new(shard: &Rc<Shard>, socket: OwnedFd, peer: SocketAddr) -> TcpStream {
        let socket = Rc::new(socket);
        let receive = Receive::new(Rc::clone(&socket), &shard.driver, shard.recv_buffers().cloned());
        TcpStream { shard: Rc::clone(shard), socket, receive, peer, message: RefCell::default() }
    }

    /// Connects to an address.
    pub async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
        let shard = executor::current();
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = Rc::new(socket::socket(family, SockType::Stream, flags, None)?);
        socket::setsockopt(&*socket, sockopt::TcpNoDelay, &true)?;
        let connect = Connect { socket: Rc::clone(&socket), to: Box::new(SockaddrStorage::from(to)) };
        Op::start(&shard, connect).await?;
        let peer = peer_address(&socket)?;
        let receive = Receive::new(Rc::clone(&socket), &shard.driver, shard.recv_buffers().cloned());
        Ok(TcpStream { shard, socket, receive, peer, message: RefCell::default() })
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// What arrived next; empty when the peer has closed its side. Cancel-safe. For one task at a time.
    pub async fn recv(&self) -> io::Result<RecvChunk> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<RecvChunk>> {
        self.receive.poll(&self.shard.driver, cx.waker())
    }

    /// Whether nothing more will come. For who does not receive just now but wants to know that the peer is gone.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.receive.poll_end(&self.shard.driver, cx.waker())
    }

    /// Large requests are expected one after the other, of which the rest is to be received by `fill`; or no longer so.
    pub fn expect_bulk(&self, bulk: bool) {
        self.receive.set_bulk(bulk);
    }

    /// Whether `fill` may receive what comes next. If not, `poll_recv` has it, or is to get it.
    pub fn poll_may_fill(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.receive.poll_idle(&self.shard.driver, cx.waker())
    }

    /// Receives up to `bytes` bytes behind those in `buffer`, which it does not grow, when `poll_may_fill` allows it. No
    /// other receive may start before it is done. Nothing received means that the peer has closed its side.
    pub fn fill(&self, buffer: BytesMut, bytes: usize) -> Filling {
        Filling(Op::start(&self.shard, Fill::new(Rc::clone(&self.socket), buffer, bytes.min(WAITED_BYTES_MAX))))
    }

    /// Sends all of the buffers, one behind the other. The next send may start when this one is done.
    pub async fn send(&self, buffers: Vec<Bytes>) -> io::Result<()> {
        let send = self.send_lazy(buffers);
        send.hurry();
        send.await
    }

    /// As `send`, for when nobody waits for its end in a hurry: the shard may sleep before the outcome is known, and
    /// learns it with its next event. Saves the completion, and with it an `io_uring_enter`, of each send that the
    /// socket's buffer takes at once. Call `hurry` when it turns out that something is to follow.
    pub fn send_lazy(&self, buffers: Vec<Bytes>) -> LazySend {
        let message = self.message.borrow_mut().take().unwrap_or_default();
        let mut send = LazySend {
            shard: Rc::clone(&self.shard),
            socket: Rc::clone(&self.socket),
            step: Step::Done,
            left: buffers.iter().map(Bytes::len).sum(),
            spare: None,
        };
        send.next(buffers, message);
        send
    }

    /// Keeps what a finished lazy send had allocated, for the next.
    pub fn recycle(&self, send: &mut LazySend) {
        if let Some(message) = send.spare.take() {
            *self.message.borrow_mut() = Some(message);
        }
    }

    /// Sends a range of a file by sendfile(2), waiting on the ring for the socket to take it.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the range does.
    pub async fn sendfile(&self, file: &Arc<RawFile>, position: u64, len: u64) -> io::Result<()> {
        sendfile::sendfile(&self.shard, &self.socket, file, position, len).await
    }

    /// Ends one or both directions. Receiving sees the end as if the peer had closed.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        Ok(socket::shutdown(self.socket.as_raw_fd(), how)?)
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        self.receive.discard(&self.shard.driver);
    }
}

/// A receive under way. Dropping it loses what it has received, so that nothing may follow it.
#[must_use = "what is received shows when it is awaited"]
pub struct Filling(Op<Fill>);

impl Future for Filling {
    /// How many bytes came, and the buffer that holds them.
    type Output = (io::Result<usize>, BytesMut);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// A send under way. Dropping it leaves unsent what the socket has not taken yet, so that nothing may follow it.
#[must_use = "the outcome of a send shows when it is awaited"]
pub struct LazySend {
    shard: Rc<Shard>,
    socket: Rc<OwnedFd>,
    step: Step,
    left: usize,
    spare: Option<Box<Message>>,
}

/// Where a send is with its next piece.
enum Step {
    /// It waits for its turn among the shard's sends.
    Turn(Rc<Claim>, Vec<Bytes>, Box<Message>),
    /// The kernel has it.
    Piece(Op<SendMsg>, usize),
    /// The socket took no more of it.
    Room(Op<ops::poll::Poll<OwnedFd>>, Vec<Bytes>, Box<Message>),
    Done,
}

impl LazySend {
    /// Goes on with what is left.
    fn next(&mut self, buffers: Vec<Bytes>, message: Box<Message>) {
        if self.left == 0 {
            self.spare = Some(message);
            return;
        }
        match self.shard.sends.claim(self.left.min(PIECE_BYTES_MAX)) {
            None => self.send_piece(buffers, message),
            Some(claim) => self.step = Step::Turn(claim, buffers, message),
        }
    }

    fn send_piece(&mut self, buffers: Vec<Bytes>, message: Box<Message>) {
        let bytes = match self.left.min(PIECE_BYTES_MAX) {
            bytes if buffers.len() <= PIECES_MAX => bytes,
            bytes => buffers.iter().take(PIECES_MAX).map(Bytes::len).sum::<usize>().min(bytes),
        };
        // WAITALL makes the kernel go on after a short send; with DONTWAIT it gives up instead of waiting, and says so: who
        // waits for the socket does not send before it is its turn again.
        let flags = (libc::MSG_WAITALL | libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as u32;
        let socket = Rc::clone(&self.socket);
        let operation = SendMsg { socket, buffers, message, bytes_max: bytes, flags };
        let op = if self.shard.driver.has(Feature::CqeSkip) {
            // SAFETY: a send with DONTWAIT is executed while the kernel takes its entry: it never waits for the socket.
            unsafe { Op::start_silent(&self.shard, operation, bytes as u32) }
        } else {
            Op::start(&self.shard, operation)
        };
        self.step = Step::Piece(op, bytes);
        if bytes < self.left {
            self.hurry();
        }
    }

    /// Bytes that the socket has not taken, as far as is known.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Something is to follow this send: the shard shall not sleep before its outcome is known.
    pub fn hurry(&self) {
        if matches!(self.step, Step::Piece(..)) {
            self.shard.driver.hurry();
        }
    }
}

impl Future for LazySend {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.step {
                Step::Turn(claim, ..) => ready!(claim.poll(cx)),
                Step::Room(op, ..) => {
                    if let Err(error) = ready!(Pin::new(op).poll(cx)) {
                        this.step = Step::Done;
                        return Poll::Ready(Err(error));
                    }
                }
                Step::Piece(op, bytes) => {
                    let (result, mut buffers, message) = ready!(Pin::new(op).poll(cx));
                    let bytes = *bytes;
                    this.step = Step::Done;
                    let sent = match result {
                        Ok(sent) => sent,
                        // The socket's buffer is full.
                        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => 0,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    this.left = this.left.saturating_sub(sent);
                    skip(&mut buffers, sent);
                    if sent < bytes {
                        let room = ops::poll::Poll { on: Rc::clone(&this.socket), events: libc::POLLOUT };
                        this.step = Step::Room(Op::start(&this.shard, room), buffers, message);
                    } else {
                        this.next(buffers, message);
                        this.hurry();
                    }
                    continue;
                }
                Step::Done => return Poll::Ready(Ok(())),
            }
            match std::mem::replace(&mut this.step, Step::Done) {
                Step::Turn(_, buffers, message) => this.send_piece(buffers, message),
                Step::Room(_, buffers, message) => this.next(buffers, message),
                Step::Piece(..) | Step::Done => unreachable!("only these two get here"),
            }
            // Whoever asked for its end in a hurry did so for the piece that was under way then, and a piece that goes well
            // wakes nobody: the shard would sleep on it.
            this.hurry();
        }
    }
}

/// Drops the first `count` bytes of the buffers.
fn skip(buffers: &mut Vec<Bytes>, mut count: usize) {
    let mut gone = 0;
    for buffer in buffers.iter_mut() {
        let part = count.min(buffer.len());
        buffer.advance(part);
        count -= part;
        if !buffer.is_empty() {
            break;
        }
        gone += 1;
    }
    buffers.drain(..gone);
}
