//! `sendfile(2)`: from the page cache to the socket without a copy of ours.
//!
//! Not as an operation of the ring: splice always goes to a worker thread there, and was measured slower than this. The
//! socket is non-blocking, and POLLOUT is waited for on the ring. What is not in the page cache blocks the shard, so
//! the caller looks first.

use std::{io, os::fd::AsRawFd, os::fd::OwnedFd, rc::Rc, sync::Arc};

use crate::runtime::{executor::Shard, file::RawFile, op::Op, ops::poll::Poll, send_share::PIECE_BYTES_MAX};

pub(super) async fn sendfile(
    shard: &Rc<Shard>,
    socket: &Rc<OwnedFd>,
    file: &Arc<RawFile>,
    mut position: u64,
    mut len: u64,
) -> io::Result<()> {
    while len > 0 {
        let mut offset = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = len.min(PIECE_BYTES_MAX as u64) as usize;
        shard.sends.room(count).await;
        // SAFETY: both descriptors are open and owned by us, and `offset` outlives the call.
        let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, count) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error());
        if let Ok(sent @ 1..) = sent {
            position += sent as u64;
            len -= sent as u64;
            continue;
        }
        let Err(error) = sent else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN) => Op::start(shard, Poll { on: Rc::clone(socket), events: libc::POLLOUT }).await?,
            _ => return Err(error),
        }
    }
    Ok(())
}
