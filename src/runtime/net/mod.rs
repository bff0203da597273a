//! TCP on the ring.

mod listener;
mod sendfile;
mod stream;

pub use listener::{BindOptions, TcpListener, probe_port};
pub use stream::{Filling, LazySend, TcpStream};

use super::file::RawFile;
pub use super::recv_buffers::RecvChunk;

use std::sync::Arc;

use bytes::Bytes;

/// A range of a file, which keeps the file open.
#[derive(Clone, Debug)]
pub struct FileRange {
    pub file: Arc<RawFile>,
    pub position: u64,
    pub len: u64,
}

/// A piece of what is sent: memory, or a range that goes from the page cache to the socket without passing through us.
#[derive(Clone, Debug)]
pub enum SendPart {
    Mem(Bytes),
    File(FileRange),
}

impl From<Bytes> for SendPart {
    fn from(bytes: Bytes) -> SendPart {
        SendPart::Mem(bytes)
    }
}

impl SendPart {
    pub fn len(&self) -> u64 {
        match self {
            SendPart::Mem(bytes) => bytes.len() as u64,
            SendPart::File(range) => range.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
