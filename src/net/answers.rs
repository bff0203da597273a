//! Answers on their way out: gathered while a send is under way, then sent together.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::runtime::net::{LazySend, SendPart, TcpStream};

/// Answers that wait for the send before them.
#[derive(Default)]
pub(super) struct Outbox {
    parts: Vec<SendPart>,
    memory_bytes: usize,
    bytes: u64,
    has_file: bool,
}

impl Outbox {
    pub fn push(&mut self, part: SendPart) {
        self.bytes += part.len();
        match &part {
            SendPart::Mem(bytes) => self.memory_bytes += bytes.len(),
            SendPart::File(_) => self.has_file = true,
        }
        self.parts.push(part);
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Starts to send all of it.
    pub fn send(&mut self, stream: &Rc<TcpStream>) -> Sending {
        let Outbox { parts, memory_bytes, bytes, has_file } = std::mem::take(self);
        let way = if has_file {
            Way::Parts(Box::pin(send_parts(Rc::clone(stream), parts)))
        } else {
            Way::Memory(stream.send_lazy(parts.into_iter().filter_map(into_memory).collect()))
        };
        Sending { way, memory_bytes, bytes }
    }
}

fn into_memory(part: SendPart) -> Option<Bytes> {
    match part {
        SendPart::Mem(bytes) => Some(bytes),
        SendPart::File(_) => None,
    }
}

/// One send, of one or many answers.
pub(super) struct Sending {
    way: Way,
    /// Of it, in memory.
    pub memory_bytes: usize,
    pub bytes: u64,
}

enum Way {
    Memory(LazySend),
    Parts(Pin<Box<dyn Future<Output = io::Result<()>>>>),
}

impl Sending {
    pub fn poll(&mut self, stream: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Memory(send) => {
                let result = Pin::new(&mut *send).poll(cx);
                if result.is_ready() {
                    stream.recycle(send);
                }
                result
            }
            Way::Parts(send) => send.as_mut().poll(cx),
        }
    }

    /// Somebody waits for the end of this send.
    pub fn hurry(&self) {
        if let Way::Memory(send) = &self.way {
            send.hurry();
        }
    }

    /// Bytes not yet taken by the socket, where that shows.
    pub fn left(&self) -> usize {
        match &self.way {
            Way::Memory(send) => send.left(),
            Way::Parts(_) => 0,
        }
    }
}

/// Sends memory and ranges of files one behind the other.
async fn send_parts(stream: Rc<TcpStream>, parts: Vec<SendPart>) -> io::Result<()> {
    let mut memory = Vec::new();
    for part in parts {
        match part {
            SendPart::Mem(bytes) => memory.push(bytes),
            SendPart::File(range) => {
                if !memory.is_empty() {
                    stream.send(std::mem::take(&mut memory)).await?;
                }
                stream.sendfile(&range.file, range.position, range.len).await?;
            }
        }
    }
    if !memory.is_empty() {
        stream.send(memory).await?;
    }
    Ok(())
}
