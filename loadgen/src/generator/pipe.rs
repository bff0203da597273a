//! A connection with several requests under way: what is sent goes out in order, and so do answers come back.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use corelane::runtime::net::{RecvChunk, TcpStream};

use crate::error::Error;

/// An answer longer than this is none to what is asked here.
const RESPONSE_BYTES_MAX: usize = 1 << 30;

/// `T` is what is remembered of a request until its answer.
pub struct Pipe<T> {
    stream: TcpStream,
    state: RefCell<State<T>>,
}

struct State<T> {
    outbox: Vec<Bytes>,
    /// Sent, or about to be, and not answered.
    waiting: VecDeque<T>,
    /// Of requests without an answer: in the outbox, and handed to the socket.
    silent: Vec<T>,
    writer: Option<Waker>,
}

impl<T: 'static> Pipe<T> {
    pub async fn connect(to: SocketAddr) -> Result<Rc<Pipe<T>>, Error> {
        let stream = TcpStream::connect(to)
            .await
            .map_err(|error| Error::Wrong(format!("the broker at {to} cannot be reached: {error}")))?;
        let state = State { outbox: Vec::new(), waiting: VecDeque::new(), silent: Vec::new(), writer: None };
        Ok(Rc::new(Pipe { stream, state: RefCell::new(state) }))
    }

    /// Queues a request that is answered.
    pub fn send(&self, parts: Vec<Bytes>, what: T) {
        let mut state = self.state.borrow_mut();
        state.outbox.extend(parts);
        state.waiting.push_back(what);
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// Queues a request that is not answered; `write` tells when it is with the socket.
    pub fn send_silent(&self, parts: Vec<Bytes>, what: T) {
        let mut state = self.state.borrow_mut();
        state.outbox.extend(parts);
        state.silent.push(what);
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// Writes what is queued, for as long as the connection lives. `gone` gets the silent requests that the socket took.
    pub async fn write(&self, mut gone: impl FnMut(Vec<T>)) -> Result<(), Error> {
        loop {
            let parts = poll_fn(|cx| {
                let mut state = self.state.borrow_mut();
                if state.outbox.is_empty() {
                    state.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(std::mem::take(&mut state.outbox))
            })
            .await;
            let silent = std::mem::take(&mut self.state.borrow_mut().silent);
            let mut send = self.stream.send_lazy(parts);
            let sent = poll_fn(|cx| {
                if let Poll::Ready(sent) = Pin::new(&mut send).poll(cx) {
                    return Poll::Ready(sent);
                }
                let mut state = self.state.borrow_mut();
                state.writer = Some(cx.waker().clone());
                if !state.outbox.is_empty() || !silent.is_empty() {
                    send.hurry();
                }
                Poll::Pending
            })
            .await;
            sent.map_err(|_| Error::Closed)?;
            self.stream.recycle(&mut send);
            if !silent.is_empty() {
                gone(silent);
            }
        }
    }

    /// The next answer, and what was remembered of its request.
    pub async fn answer(&self, frames: &mut Frames) -> Result<(T, BytesMut), Error> {
        let frame = frames.read(&self.stream).await?;
        let what = self.state.borrow_mut().waiting.pop_front();
        what.map(|what| (what, frame)).ok_or_else(|| Error::Answer("the broker answers what was not asked".to_owned()))
    }

    /// What still waits for an answer.
    pub fn take_waiting(&self) -> Vec<T> {
        let mut state = self.state.borrow_mut();
        let mut waiting: Vec<T> = state.waiting.drain(..).collect();
        waiting.append(&mut state.silent);
        waiting
    }
}

/// Puts frames together from what arrives. Its buffer is used again when nobody holds the last frame any more.
#[derive(Default)]
pub struct Frames {
    chunk: Option<RecvChunk>,
    buffer: BytesMut,
}

impl Frames {
    async fn read(&mut self, stream: &TcpStream) -> Result<BytesMut, Error> {
        self.fill(stream, 4).await?;
        let size = self.buffer.split_to(4).first_chunk().map_or(0, |size| u32::from_be_bytes(*size)) as usize;
        if size > RESPONSE_BYTES_MAX {
            return Err(Error::Answer(format!("an answer of {size} bytes")));
        }
        self.fill(stream, size).await?;
        Ok(self.buffer.split_to(size))
    }

    /// Receives until so many bytes are there.
    async fn fill(&mut self, stream: &TcpStream, bytes: usize) -> Result<(), Error> {
        self.buffer.reserve(bytes);
        while self.buffer.len() < bytes {
            let mut arrived = match self.chunk.take() {
                Some(chunk) => chunk,
                None => stream.recv().await.map_err(|_| Error::Closed)?,
            };
            if arrived.is_empty() {
                return Err(Error::Closed);
            }
            let taken = arrived.len().min(bytes - self.buffer.len());
            self.buffer.extend_from_slice(&arrived[..taken]);
            arrived.advance(taken);
            if !arrived.is_empty() {
                self.chunk = Some(arrived);
            }
        }
        Ok(())
    }
}
