//! One connection: a task that reads requests, lets them start in order, and sends their answers in order.
//!
//! Concurrent requests run side by side, within bounds. An exclusive one starts when all before it are answered, and
//! nothing behind it is looked at until it is. What is not looked at stays in the kernel's socket buffer, which is how
//! a peer learns to wait.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use super::{
    answers::{Outbox, Sending},
    frame::{Framer, Stage},
    gate::Place,
    server::Net,
    service::{Answer, Call, ConnectionInfo, End, Service},
};
use crate::runtime::{
    self, Task,
    net::{Filling, RecvChunk, TcpStream},
    sync::{Acquire, Permit},
};

/// A request that was started, or, for an exclusive one, will be.
struct Running {
    task: Task<Answer>,
    memory: Permit,
}

struct Held {
    call: Call,
    memory: Permit,
}

pub(super) struct Connection<S: Service> {
    net: Rc<Net<S>>,
    info: Rc<ConnectionInfo>,
    stream: Rc<TcpStream>,
    _place: Place,
    framer: Framer,
    /// What arrived and was not looked at yet.
    chunk: Option<RecvChunk>,
    /// The rest of a large request on its way into place.
    filling: Option<Filling>,
    /// Memory for the request that is arriving.
    admission: Option<Box<Acquire>>,
    memory: Option<Permit>,
    /// In the order in which the requests came.
    running: VecDeque<Running>,
    running_bytes: usize,
    /// The only one in `running` is an exclusive request.
    exclusive: bool,
    /// An exclusive request that waits for those before it.
    held: Option<Box<Held>>,
    outbox: Outbox,
    sending: Option<Sending>,
    sending_left: usize,
    /// Memory of answers that are not sent yet, as counted for the shard.
    unsent: usize,
    /// No request is read any more.
    end: Option<End>,
    paused: bool,
}

impl<S: Service> Connection<S> {
    pub fn new(net: Rc<Net<S>>, info: Rc<ConnectionInfo>, stream: TcpStream, place: Place) -> Connection<S> {
        Connection {
            net,
            info,
            stream: Rc::new(stream),
            _place: place,
            framer: Framer::new(),
            chunk: None,
            filling: None,
            admission: None,
            memory: None,
            running: VecDeque::new(),
            running_bytes: 0,
            exclusive: false,
            held: None,
            outbox: Outbox::default(),
            sending: None,
            sending_left: 0,
            unsent: 0,
            end: None,
            paused: false,
        }
    }

    /// Serves the connection to its end.
    pub async fn run(mut self) -> End {
        let end = poll_fn(|cx| self.poll(cx)).await;
        self.info.close();
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.listen(cx);
        let ended = self.info.ended.borrow_mut().take();
        if let Some(end) = ended {
            // A drained connection still answers; every other end from outside is now.
            if end != End::Drained {
                return Poll::Ready(end);
            }
            self.stop(end);
        }
        loop {
            let Ok(mut moved) = self.poll_send(cx) else { return Poll::Ready(End::Peer) };
            moved |= self.poll_answers(cx);
            moved |= self.start_held();
            moved |= self.start_send();
            moved |= self.poll_requests(cx);
            if let Some(end) = self.finished() {
                return Poll::Ready(end);
            }
            if !moved {
                break;
            }
        }
        self.info.busy.set(!self.running.is_empty());
        if let Some(sending) = &self.sending
            && (!self.outbox.is_empty() || (self.end.is_some() && self.running.is_empty()))
        {
            sending.hurry();
        }
        if let Some(chunk) = &mut self.chunk {
            // It waits for other requests; the shard's buffer shall not.
            chunk.detach();
        }
        Poll::Pending
    }

    /// Keeps the means by which others wake this task.
    fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.info.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    /// Reads no more requests. Those that run are answered.
    fn stop(&mut self, end: End) {
        if end == End::Drained {
            self.info.drained.set(true);
        } else {
            self.held = None;
        }
        if self.end.is_none() {
            self.end = Some(end);
        }
        self.admission = None;
        self.memory = None;
        self.chunk = None;
        self.filling = None;
        self.info.close();
    }

    /// Whether all is said.
    fn finished(&mut self) -> Option<End> {
        let quiet = self.running.is_empty() && self.held.is_none() && self.outbox.is_empty() && self.sending.is_none();
        if quiet { self.end.take() } else { None }
    }

    fn touch(&self, now: Instant) {
        self.net.touch(self.info.slot, now);
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> std::io::Result<bool> {
        let Some(sending) = &mut self.sending else { return Ok(false) };
        match sending.poll(&self.stream, cx) {
            Poll::Pending => {
                let left = sending.left();
                if left != self.sending_left {
                    self.sending_left = left;
                    self.touch(runtime::now());
                }
                Ok(false)
            }
            Poll::Ready(Ok(())) => {
                let (bytes, memory_bytes) = (sending.bytes, sending.memory_bytes);
                self.sending = None;
                self.net.sent(bytes);
                self.release_unsent(memory_bytes);
                self.touch(runtime::now());
                Ok(true)
            }
            Poll::Ready(Err(error)) => {
                tracing::debug!("connection {} of {} broke: {error}", self.info.id, self.info.peer);
                Err(error)
            }
        }
    }

    fn release_unsent(&mut self, bytes: usize) {
        self.unsent -= bytes;
        self.net.add_unsent(0, bytes);
        if self.unsent == 0 {
            self.net.set_owing(self.info.slot, false);
        }
    }

    fn start_send(&mut self) -> bool {
        if self.sending.is_some() || self.outbox.is_empty() {
            return false;
        }
        let sending = self.outbox.send(&self.stream);
        self.sending_left = sending.left();
        self.sending = Some(sending);
        // Polled once, so that it knows whom to wake.
        true
    }

    /// Takes the answers that are there, as far as they are in order.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while let Some(first) = self.running.front_mut() {
            let Poll::Ready(answer) = Pin::new(&mut first.task).poll(cx) else { break };
            if let Some(done) = self.running.pop_front() {
                self.running_bytes -= done.memory.permits();
                drop(done);
                self.net.requests_in_flight(-1);
            }
            self.exclusive = false;
            moved = true;
            self.take_answer(answer);
        }
        if self.running.is_empty() && self.running.capacity() > 8 {
            self.running = VecDeque::new();
        }
        moved
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Bytes(bytes) => self.push(bytes.into()),
            Answer::Parts(parts) => parts.into_iter().for_each(|part| self.push(part)),
            Answer::Nothing => {}
            Answer::Close(reason) => {
                // Whatever came behind it is answered to nobody.
                self.abandon();
                self.stop(End::Refused(reason));
            }
        }
    }

    fn push(&mut self, part: crate::runtime::net::SendPart) {
        if let crate::runtime::net::SendPart::Mem(bytes) = &part {
            if self.unsent == 0 {
                self.net.set_owing(self.info.slot, true);
            }
            self.unsent += bytes.len();
            self.net.add_unsent(bytes.len(), 0);
        }
        self.outbox.push(part);
    }

    fn start_held(&mut self) -> bool {
        if !self.running.is_empty() {
            return false;
        }
        let Some(held) = self.held.take() else { return false };
        self.exclusive = true;
        self.start(held.call, held.memory);
        true
    }

    fn start(&mut self, call: Call, memory: Permit) {
        call.starter.start();
        self.running_bytes += memory.permits();
        self.running.push_back(Running { task: call.task, memory });
        self.net.requests_in_flight(1);
    }

    /// Whether the next request may be read.
    fn may_read(&self) -> bool {
        let options = &self.net.options;
        self.end.is_none()
            && self.held.is_none()
            && !self.exclusive
            && self.running.len() < options.requests_in_flight_max
            && (self.running.is_empty() || self.running_bytes < options.request_bytes_in_flight_max)
            // Who owes the shard memory takes its answers before it asks again.
            && (self.unsent == 0 || !self.net.short_of_answer_memory())
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if !self.may_read() {
                // What an exclusive request waits for (a fetch: for records) may be long in coming, and its client gone.
                if self.exclusive && self.end.is_none() && self.stream.poll_end(cx).is_ready() {
                    self.stop(End::Peer);
                    return true;
                }
                if self.end.is_none() && !std::mem::replace(&mut self.paused, true) {
                    self.net.paused();
                }
                return moved;
            }
            self.paused = false;
            let go_on = match self.framer.stage() {
                Stage::Body if self.chunk.is_none() => self.poll_body(cx),
                Stage::Size | Stage::Body => self.poll_bytes(cx),
                Stage::Admission(bytes) => self.poll_admission(bytes, cx),
                Stage::Complete => {
                    self.take_request();
                    true
                }
            };
            if !go_on {
                return moved;
            }
            moved = true;
        }
    }

    /// Takes more of a request: a large rest straight into place.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> bool {
        if self.filling.is_none() {
            if !self.framer.may_lend() {
                return self.poll_bytes(cx);
            }
            match self.stream.poll_may_fill(cx) {
                Poll::Pending => return false,
                Poll::Ready(false) => return self.poll_bytes(cx),
                Poll::Ready(true) => {}
            }
            let (body, bytes) = self.framer.lend();
            self.filling = Some(self.stream.fill(body, bytes));
        }
        let Some(filling) = &mut self.filling else { return false };
        let Poll::Ready((received, body)) = Pin::new(filling).poll(cx) else { return false };
        self.filling = None;
        self.framer.give_back(body);
        self.note_received(received);
        true
    }

    /// Takes note of how much came; nothing is the end.
    fn note_received(&mut self, received: std::io::Result<usize>) {
        match received {
            Ok(0) => {
                if self.framer.is_amid() {
                    tracing::debug!("connection {} of {} ended amid a request", self.info.id, self.info.peer);
                }
                self.stop(End::Peer);
            }
            Ok(bytes) => {
                self.net.received(bytes as u64);
                self.touch(runtime::now());
            }
            Err(error) => {
                tracing::debug!("connection {} of {} broke: {error}", self.info.id, self.info.peer);
                self.stop(End::Peer);
            }
        }
    }

    /// Takes what has arrived into the frame.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> bool {
        if self.chunk.is_none() {
            let Poll::Ready(received) = self.stream.poll_recv(cx) else { return false };
            let received = received.map(|chunk| {
                let bytes = chunk.len();
                self.chunk = Some(chunk);
                bytes
            });
            self.note_received(received);
            if self.end.is_some() {
                return true;
            }
        }
        let Some(chunk) = &mut self.chunk else { return false };
        let options = &self.net.options;
        match self.framer.feed(chunk, options.request_bytes_min, options.request_bytes_max) {
            Ok(taken) => {
                chunk.advance(taken);
                if chunk.is_empty() {
                    self.chunk = None;
                }
            }
            Err(error) => self.stop(End::Malformed(error.to_string())),
        }
        true
    }

    /// Waits until the shard has memory for a request, in the order in which its connections ask.
    fn poll_admission(&mut self, bytes: usize, cx: &mut Context<'_>) -> bool {
        let permit = if let Some(admission) = &mut self.admission {
            let Poll::Ready(permit) = Pin::new(&mut **admission).poll(cx) else { return false };
            self.admission = None;
            permit
        } else if let Some(permit) = self.net.request_memory(bytes).try_acquire(bytes) {
            permit
        } else {
            self.admission = Some(Box::new(self.net.request_memory(bytes).acquire(bytes)));
            self.net.paused();
            return true;
        };
        self.net.set_holding(self.info.slot, true);
        self.memory = Some(permit);
        self.framer.admit();
        true
    }

    fn take_request(&mut self) {
        let request = self.framer.take();
        self.stream.expect_bulk(Framer::is_bulk(&request));
        let Some(memory) = self.memory.take() else { return };
        self.net.set_holding(self.info.slot, false);
        let call = self.net.service.call(&self.info, request);
        if call.concurrent {
            self.start(call, memory);
        } else if self.running.is_empty() {
            self.exclusive = true;
            self.start(call, memory);
        } else {
            self.held = Some(Box::new(Held { call, memory }));
        }
    }
}

impl<S: Service> Connection<S> {
    /// Waits for no request any more. The work goes on.
    fn abandon(&mut self) {
        let count = self.running.len();
        self.running.clear();
        self.running_bytes = 0;
        self.memory = None;
        self.held = None;
        self.net.requests_in_flight(-(count as i64));
    }
}

impl<S: Service> Drop for Connection<S> {
    fn drop(&mut self) {
        self.abandon();
        self.net.add_unsent(0, self.unsent);
        self.info.close();
    }
}
