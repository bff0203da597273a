//! `sendfile(2)`: from the page cache to the socket without a copy of ours.
//!
//! Not as an operation of the ring: splice always goes to a worker thread there, and was measured slower than this. The
//! socket is non-blocking, and POLLOUT is waited for on the ring. What is not in the page cache blocks the shard, so
//! the caller looks first.

use std::{io, os::fd::AsRawFd, os::fd::OwnedFd, rc::Rc, sync::Arc};

use crate::runtime::{
    executor::{self, Shard},
    file::RawFile,
    op::Op,
    ops::poll::Poll,
};

/// Sent before other tasks get their turn.
const BURST_BYTES_MAX: u64 = 1024 * 1024;

pub(super) async fn sendfile(
    shard: &Rc<Shard>,
    socket: &Rc<OwnedFd>,
    file: &Arc<RawFile>,
    mut position: u64,
    mut len: u64,
) -> io::Result<()> {
    let mut burst = 0;
    while len > 0 {
        let mut offset = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = len.min(BURST_BYTES_MAX) as usize;
        // SAFETY: both descriptors are open and owned by us, and `offset` outlives the call.
        let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, count) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error());
        if let Ok(sent @ 1..) = sent {
            position += sent as u64;
            len -= sent as u64;
            burst += sent as u64;
            if burst >= BURST_BYTES_MAX && len > 0 {
                burst = 0;
                executor::yield_now().await;
            }
            continue;
        }
        let Err(error) = sent else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN) => {
                burst = 0;
                Op::start(shard, Poll { on: Rc::clone(socket), events: libc::POLLOUT }).await?;
            }
            _ => return Err(error),
        }
    }
    Ok(())
}
