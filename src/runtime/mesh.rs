//! Messages between shards: a bounded single-producer single-consumer ring for each pair and direction.
//!
//! A message that wants an answer reserves the slot of its answer before it is sent: of each pair there are as many
//! request slots as answer slots, a request counts as open until its answer was received, and no more may be open than
//! there are slots. So an answer always finds room and never waits, and two shards whose queues are both full cannot
//! wait for each other.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    task::{Poll, Waker},
};

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::{
    executor::{self, Shard},
    remote::Remote,
};
use crate::types::ShardId;

/// Messages under way from one shard to another, of each kind: more than a connection limit of requests in flight, and
/// at 64 shards and 128 bytes a message 8 MiB a shard.
const CAPACITY: usize = 1024;

/// What the two ends of one direction share beside the rings.
#[derive(Default)]
struct Link {
    /// The sender waits for room.
    blocked: AtomicBool,
}

struct Peer<M> {
    requests_out: Producer<M>,
    answers_out: Producer<M>,
    requests_in: Consumer<M>,
    answers_in: Consumer<M>,
    /// Of the direction from here to the peer, and back.
    link_out: Arc<Link>,
    link_in: Arc<Link>,
    /// Requests sent that are not answered yet.
    open: usize,
    /// Requests received that are not answered yet; only for asserting.
    owed: usize,
}

/// One shard's end of a mesh. It is made anywhere, moved to its shard's thread, and used there.
pub struct Endpoint<M> {
    id: ShardId,
    capacity: usize,
    peers: RefCell<Vec<Option<Peer<M>>>>,
    /// Messages to ourselves.
    own: RefCell<VecDeque<(Kind, M)>>,
    next: Cell<usize>,
    /// Where each shard's doorbell is, as soon as it has one.
    remotes: Arc<Vec<OnceLock<Arc<Remote>>>>,
    bound: Cell<Option<usize>>,
    room: RefCell<Vec<Waker>>,
    receiving: RefCell<Option<Waker>>,
}

/// A mesh of `shards` endpoints, in the order of their shards.
pub fn mesh<M: Send>(shards: usize) -> Vec<Endpoint<M>> {
    mesh_with_capacity(shards, CAPACITY)
}

/// As `mesh`, with another bound of messages under way for each pair.
pub fn mesh_with_capacity<M: Send>(shards: usize, capacity: usize) -> Vec<Endpoint<M>> {
    struct Direction<M> {
        requests: (Option<Producer<M>>, Option<Consumer<M>>),
        answers: (Option<Producer<M>>, Option<Consumer<M>>),
        link: Arc<Link>,
    }
    let capacity = capacity.max(1);
    let remotes = Arc::new((0..shards).map(|_| OnceLock::new()).collect::<Vec<_>>());
    let mut directions: Vec<Vec<Direction<M>>> = (0..shards)
        .map(|from| {
            (0..shards)
                .map(|to| {
                    let slots = if from == to { 0 } else { capacity };
                    let (requests_out, requests_in) = RingBuffer::new(slots);
                    let (answers_out, answers_in) = RingBuffer::new(slots);
                    Direction {
                        requests: (Some(requests_out), Some(requests_in)),
                        answers: (Some(answers_out), Some(answers_in)),
                        link: Arc::default(),
                    }
                })
                .collect()
        })
        .collect();
    (0..shards)
        .map(|here| {
            let peers = (0..shards)
                .map(|there| {
                    if there == here {
                        return None;
                    }
                    let out = &mut directions[here][there];
                    let (requests_out, answers_out) = (out.requests.0.take()?, out.answers.0.take()?);
                    let link_out = Arc::clone(&out.link);
                    let back = &mut directions[there][here];
                    let (requests_in, answers_in) = (back.requests.1.take()?, back.answers.1.take()?);
                    let link_in = Arc::clone(&back.link);
                    Some(Peer {
                        requests_out,
                        answers_out,
                        requests_in,
                        answers_in,
                        link_out,
                        link_in,
                        open: 0,
                        owed: 0,
                    })
                })
                .collect();
            Endpoint {
                id: ShardId(here as u16),
                capacity,
                peers: RefCell::new(peers),
                own: RefCell::default(),
                next: Cell::new(0),
                remotes: Arc::clone(&remotes),
                bound: Cell::new(None),
                room: RefCell::default(),
                receiving: RefCell::default(),
            }
        })
        .collect()
}

/// What a received message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Sent by `send`, or by `request` and then owed an answer.
    Request,
    /// Sent by `answer`.
    Answer,
}

impl<M: Send> Endpoint<M> {
    pub fn shard(&self) -> ShardId {
        self.id
    }

    /// How many shards the mesh has.
    pub fn shards(&self) -> usize {
        self.remotes.len()
    }

    fn notify(&self, to: ShardId) {
        // A shard that has not bound its endpoint yet looks at its queues when it does.
        fence(Ordering::SeqCst);
        if let Some(remote) = self.remotes.get(to.index()).and_then(OnceLock::get) {
            remote.notify_inbox();
        }
    }

    /// Makes the running shard the one that this endpoint's doorbell wakes.
    fn bind(&self) -> std::rc::Rc<Shard> {
        let shard = executor::current();
        if self.bound.get().is_none() {
            self.bound.set(Some(shard.add_inbox()));
            if let Some(slot) = self.remotes.get(self.id.index()) {
                let ours = slot.get_or_init(|| Arc::clone(&shard.remote));
                assert!(Arc::ptr_eq(ours, &shard.remote), "an endpoint stays with one shard");
            }
            fence(Ordering::SeqCst);
        }
        shard
    }

    fn push(&self, to: ShardId, message: M, wants_answer: bool) -> Result<(), M> {
        if to == self.id {
            let mut own = self.own.borrow_mut();
            if own.len() >= self.capacity {
                return Err(message);
            }
            own.push_back((Kind::Request, message));
            drop(own);
            let waker = self.receiving.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
            return Ok(());
        }
        let mut peers = self.peers.borrow_mut();
        let peer = peers.get_mut(to.index()).and_then(Option::as_mut).expect("the shard is one of the mesh");
        if wants_answer && peer.open >= self.capacity {
            return Err(message);
        }
        match peer.requests_out.push(message) {
            Ok(()) => {
                if wants_answer {
                    peer.open += 1;
                }
                drop(peers);
                self.notify(to);
                Ok(())
            }
            Err(PushError::Full(message)) => Err(message),
        }
    }

    /// Sends if there is room; else the message comes back.
    pub fn try_send(&self, to: ShardId, message: M) -> Result<(), M> {
        self.push(to, message, false)
    }

    /// As `try_send`, and reserves the slot of the answer.
    pub fn try_request(&self, to: ShardId, message: M) -> Result<(), M> {
        self.push(to, message, true)
    }

    async fn push_waiting(&self, to: ShardId, message: M, wants_answer: bool) {
        let shard = self.bind();
        let mut message = Some(message);
        std::future::poll_fn(|cx| {
            let Some(taken) = message.take() else { return Poll::Ready(()) };
            let Err(back) = self.push(to, taken, wants_answer) else { return Poll::Ready(()) };
            // Say that we wait, then look again: the peer takes, then looks whether we wait.
            if let Some(Some(peer)) = self.peers.borrow().get(to.index()) {
                peer.link_out.blocked.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
            }
            match self.push(to, back, wants_answer) {
                Ok(()) => Poll::Ready(()),
                Err(back) => {
                    message = Some(back);
                    let mut room = self.room.borrow_mut();
                    if !room.iter().any(|other| other.will_wake(cx.waker())) {
                        room.push(cx.waker().clone());
                    }
                    self.listen(&shard, cx.waker());
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Sends, waiting for room. Needs a task of the same shard that receives, or at the peer; tasks that wait for room
    /// are served in no certain order.
    pub async fn send(&self, to: ShardId, message: M) {
        self.push_waiting(to, message, false).await;
    }

    /// Sends a message that will be answered, waiting for room for both.
    pub async fn request(&self, to: ShardId, message: M) {
        self.push_waiting(to, message, true).await;
    }

    /// Answers a message that came by `request`. Never waits: the slot was reserved.
    ///
    /// # Panics
    /// If the peer has no request open.
    pub fn answer(&self, to: ShardId, message: M) {
        if to == self.id {
            // Our own requests take no slots from anybody, so their answers need none reserved.
            self.own.borrow_mut().push_back((Kind::Answer, message));
            let waker = self.receiving.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
        {
            let mut peers = self.peers.borrow_mut();
            let peer = peers.get_mut(to.index()).and_then(Option::as_mut).expect("the shard is one of the mesh");
            peer.owed = peer.owed.saturating_sub(1);
            assert!(peer.answers_out.push(message).is_ok(), "an answer's slot is reserved by its request");
        }
        self.notify(to);
    }

    /// The next message, if there is one: answers before requests, and the peers in turn.
    pub fn try_recv(&self) -> Option<(ShardId, M)> {
        self.take().map(|(from, _, message)| (from, message))
    }

    fn take(&self) -> Option<(ShardId, Kind, M)> {
        let own = self.own.borrow_mut().pop_front();
        if let Some((kind, message)) = own {
            self.wake_room();
            return Some((self.id, kind, message));
        }
        let mut peers = self.peers.borrow_mut();
        let count = peers.len();
        let first = self.next.get();
        for step in 0..count {
            let index = (first + step) % count;
            let Some(Some(peer)) = peers.get_mut(index) else { continue };
            let from = ShardId(index as u16);
            if let Ok(message) = peer.answers_in.pop() {
                peer.open = peer.open.saturating_sub(1);
                self.next.set(index + 1);
                drop(peers);
                self.wake_room();
                return Some((from, Kind::Answer, message));
            }
            if let Ok(message) = peer.requests_in.pop() {
                peer.owed += 1;
                self.next.set(index + 1);
                fence(Ordering::SeqCst);
                let blocked =
                    peer.link_in.blocked.load(Ordering::Relaxed) && peer.link_in.blocked.swap(false, Ordering::AcqRel);
                drop(peers);
                if blocked {
                    self.notify(from);
                }
                return Some((from, Kind::Request, message));
            }
        }
        None
    }

    fn wake_room(&self) {
        if self.room.borrow().is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut *self.room.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has a waiting task woken when a peer filled or emptied one of our queues.
    fn listen(&self, shard: &Shard, waker: &Waker) {
        if let Some(key) = self.bound.get() {
            shard.wait_inbox(key, waker);
        }
    }

    /// Waits for the next message. For one task of the shard.
    pub async fn recv(&self) -> (ShardId, M) {
        let (from, _, message) = self.recv_kind().await;
        (from, message)
    }

    /// As `recv`, and says whether it is an answer.
    pub async fn recv_kind(&self) -> (ShardId, Kind, M) {
        let shard = self.bind();
        std::future::poll_fn(|cx| {
            if let Some(taken) = self.take() {
                return Poll::Ready(taken);
            }
            *self.receiving.borrow_mut() = Some(cx.waker().clone());
            self.listen(&shard, cx.waker());
            // Filled between the look and the listening?
            match self.take() {
                Some(taken) => Poll::Ready(taken),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl<M> Drop for Endpoint<M> {
    fn drop(&mut self) {
        if let Some(key) = self.bound.get()
            && let Some(shard) = executor::try_current()
            && self.remotes.get(self.id.index()).and_then(OnceLock::get).is_some_and(executor::is_current)
        {
            shard.remove_inbox(key);
        }
    }
}
