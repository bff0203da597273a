//! The answers of a connection: they leave in the order of their requests, each when all it waits for is done.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use corelane::runtime::net::TcpStream;

use crate::error::Error;

/// Requests of one connection that are not answered yet. A client that sends more is not answered at all.
const ANSWERS_MAX: usize = 16 * 1024;

#[derive(Default)]
pub struct Answers {
    queue: RefCell<VecDeque<Rc<Answer>>>,
    writer: RefCell<Option<Waker>>,
    ended: Cell<bool>,
}

pub struct Answer {
    of: Rc<Answers>,
    parts: RefCell<Vec<Bytes>>,
    /// What it waits for: its own making, and each of its batches.
    left: Cell<usize>,
}

impl Answers {
    /// Takes the place of the next answer.
    pub fn open(self: &Rc<Answers>) -> Result<Rc<Answer>, Error> {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= ANSWERS_MAX {
            return Err(Error::Answer(format!("more than {ANSWERS_MAX} requests without an answer")));
        }
        let answer = Rc::new(Answer { of: Rc::clone(self), parts: RefCell::default(), left: Cell::new(1) });
        queue.push_back(Rc::clone(&answer));
        Ok(answer)
    }

    /// No more will be opened, and what is open is not sent.
    pub fn end(&self) {
        self.ended.set(true);
        self.queue.borrow_mut().clear();
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.borrow_mut().take() {
            writer.wake();
        }
    }

    fn take_ready(&self) -> Vec<Bytes> {
        let mut queue = self.queue.borrow_mut();
        let mut ready = Vec::new();
        while queue.front().is_some_and(|answer| answer.left.get() == 0) {
            let Some(answer) = queue.pop_front() else { break };
            ready.append(&mut answer.parts.borrow_mut());
        }
        ready
    }

    /// Sends what is ready, until the end.
    pub async fn write(&self, stream: &TcpStream) -> Result<(), Error> {
        loop {
            let parts = poll_fn(|cx| {
                let parts = self.take_ready();
                if parts.is_empty() && !self.ended.get() {
                    *self.writer.borrow_mut() = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(parts)
            })
            .await;
            if parts.is_empty() {
                return Ok(());
            }
            let mut send = stream.send_lazy(parts);
            poll_fn(|cx| {
                if let Poll::Ready(sent) = Pin::new(&mut send).poll(cx) {
                    return Poll::Ready(sent);
                }
                // What gets ready meanwhile wants to follow.
                *self.writer.borrow_mut() = Some(cx.waker().clone());
                if self.queue.borrow().front().is_some_and(|answer| answer.left.get() == 0) {
                    send.hurry();
                }
                Poll::Pending
            })
            .await
            .map_err(|error| Error::Io("sending", error))?;
            stream.recycle(&mut send);
        }
    }
}

impl Answer {
    /// It waits for one thing more.
    pub fn wait_for_one(&self) {
        self.left.set(self.left.get() + 1);
    }

    /// One of the things it waited for is done.
    pub fn done(&self) {
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.of.wake();
        }
    }

    /// These are its bytes.
    pub fn made(&self, parts: Vec<Bytes>) {
        *self.parts.borrow_mut() = parts;
        self.done();
    }
}
