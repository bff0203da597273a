//! What a connection asks of the layers below: a request in, an answer out.

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    net::SocketAddr,
    rc::Rc,
    task::Waker,
};

use bytes::{Bytes, BytesMut};

use crate::runtime::{self, Starter, Task, net::SendPart, sync::Event};

/// Answers requests.
pub trait Service: 'static {
    /// Takes one request, the bytes behind its size. Called in the order of arrival, as soon as the request is there:
    /// this looks at it and makes the work to be done, but does not do it. The work starts in order of arrival, too.
    fn call(self: &Rc<Self>, connection: &Rc<ConnectionInfo>, request: BytesMut) -> Call;
}

/// The work that answers a request.
pub struct Call {
    pub(super) concurrent: bool,
    pub(super) starter: Starter,
    pub(super) task: Task<Answer>,
}

impl Call {
    /// Work that may start while earlier requests of its connection still run, and that lets later ones start: what
    /// comes of it must not depend on how they end.
    ///
    /// It runs to its end even if the connection is closed meanwhile.
    pub fn concurrent(work: impl Future<Output = Answer> + 'static) -> Call {
        let (starter, task) = runtime::prepare(work);
        Call { concurrent: true, starter, task }
    }

    /// Work that starts when all earlier requests are answered, and that later ones wait for, as on Kafka's muted
    /// channel.
    ///
    /// It runs to its end even if the connection is closed meanwhile; what waits for long (a fetch) should end when
    /// [`ConnectionInfo::closed`] says so.
    pub fn exclusive(work: impl Future<Output = Answer> + 'static) -> Call {
        let (starter, task) = runtime::prepare(work);
        Call { concurrent: false, starter, task }
    }
}

/// What becomes of a request. Answers carry their own size in front, as they stand on the wire.
#[derive(Debug)]
pub enum Answer {
    Bytes(Bytes),
    Parts(Vec<SendPart>),
    /// None is sent (a produce request with acks=0).
    Nothing,
    /// Close the connection once the earlier answers are sent. The reason is logged.
    Close(String),
}

impl Answer {
    /// An answer from bytes with gaps: at each position, which must ascend, the parts are put in.
    pub fn spliced(bytes: BytesMut, inserts: impl IntoIterator<Item = (usize, Vec<SendPart>)>) -> Answer {
        let mut rest = bytes.freeze();
        let mut parts = Vec::new();
        let mut done = 0;
        for (position, inserted) in inserts {
            let before = rest.split_to(position.saturating_sub(done).min(rest.len()));
            done += before.len();
            if !before.is_empty() {
                parts.push(SendPart::Mem(before));
            }
            parts.extend(inserted.into_iter().filter(|part| !part.is_empty()));
        }
        if parts.is_empty() {
            return Answer::Bytes(rest);
        }
        if !rest.is_empty() {
            parts.push(SendPart::Mem(rest));
        }
        Answer::Parts(parts)
    }
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it, or it broke.
    Peer,
    /// Nothing came for `connections.max.idle.ms`.
    Idle,
    /// Others wait for memory that it holds without moving.
    Stalled,
    /// A frame that is no request.
    Malformed(String),
    /// The service wants it closed.
    Refused(String),
    /// The broker stops.
    Drained,
}

/// A connection, as the service knows it.
pub struct ConnectionInfo {
    /// Unique on its shard, for good.
    pub id: u64,
    /// Its place in the shard's list.
    pub(super) slot: usize,
    pub peer: SocketAddr,
    /// The number that the server gave to the listener it came in by.
    pub listener: usize,
    pub(super) closed: Cell<bool>,
    /// It is closed as soon as what it has asked is answered.
    pub(super) drained: Cell<bool>,
    /// Requests of it are being answered.
    pub(super) busy: Cell<bool>,
    closing: OnceCell<Event>,
    state: RefCell<Option<Box<dyn Any>>>,
    /// Set from outside its task: end now, for this reason.
    pub(super) ended: RefCell<Option<End>>,
    pub(super) waker: RefCell<Option<Waker>>,
}

impl ConnectionInfo {
    pub(super) fn new(id: u64, slot: usize, peer: SocketAddr, listener: usize) -> Rc<ConnectionInfo> {
        Rc::new(ConnectionInfo {
            id,
            slot,
            peer,
            listener,
            closed: Cell::new(false),
            drained: Cell::new(false),
            busy: Cell::new(false),
            closing: OnceCell::new(),
            state: RefCell::default(),
            ended: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    /// Whether the peer is gone, or the connection is about to be closed.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether it is about to be closed because the broker stops: its peer is still there for an answer.
    pub fn is_drained(&self) -> bool {
        self.drained.get()
    }

    /// Waits until the connection is closed.
    pub async fn closed(&self) {
        while !self.closed.get() {
            self.closing.get_or_init(Event::new).listen().await;
        }
    }

    /// What the service keeps for this connection (the client's name, its principal), made when first asked for.
    pub fn with_state<T: Default + 'static, R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.state.borrow_mut();
        let slot = state.get_or_insert_with(|| Box::<T>::default());
        if !slot.is::<T>() {
            *slot = Box::<T>::default();
        }
        use_it(slot.downcast_mut::<T>().expect("it was just made to be one"))
    }

    pub(super) fn close(&self) {
        if !self.closed.replace(true)
            && let Some(event) = self.closing.get()
        {
            event.notify_all();
        }
    }

    /// Has the connection's task end it.
    pub(super) fn end(&self, why: End) {
        {
            let mut ended = self.ended.borrow_mut();
            if ended.is_none() {
                *ended = Some(why);
            }
        }
        self.wake();
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: &'static [u8]) -> SendPart {
        SendPart::Mem(Bytes::from_static(bytes))
    }

    fn joined(answer: Answer) -> Vec<u8> {
        match answer {
            Answer::Bytes(bytes) => bytes.to_vec(),
            Answer::Parts(parts) => parts
                .into_iter()
                .flat_map(|part| match part {
                    SendPart::Mem(bytes) => bytes.to_vec(),
                    SendPart::File(_) => unreachable!("none was put in"),
                })
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_are_put_in_at_their_positions() {
        let bytes = || BytesMut::from(&b"abcdef"[..]);
        assert_eq!(joined(Answer::spliced(bytes(), [])), b"abcdef");
        let inserts =
            [(0, vec![part(b"1")]), (2, vec![part(b"2"), part(b""), part(b"3")]), (2, vec![]), (6, vec![part(b"4")])];
        assert_eq!(joined(Answer::spliced(bytes(), inserts)), b"1ab23cdef4");
        assert_eq!(joined(Answer::spliced(bytes(), [(99, vec![part(b"x")])])), b"abcdefx");
    }
}
