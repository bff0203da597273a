//! The connections of one shard: accepting, sweeping, draining, and what they share.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use slab::Slab;

use super::{
    connection::Connection,
    gate::{Gate, Refusal},
    log_limit::LogLimit,
    options::NetOptions,
    service::{ConnectionInfo, End, Service},
};
use crate::{
    metrics::ShardMetrics,
    runtime::{
        self,
        net::{TcpListener, TcpStream},
        sync::{Event, Semaphore},
    },
};

/// How often connections are looked over for idle and stalled ones.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a listener waits when the process has no place, or no descriptor, for one more connection.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// What is known of a connection outside its task.
struct Listed {
    info: Rc<ConnectionInfo>,
    /// When anything last came, or left.
    moved: Instant,
    /// It holds memory for a request that is arriving.
    holding: bool,
    /// It holds memory of answers that are not sent.
    owing: bool,
}

/// Up to this a request is small: it holds a batch of a producer's default size.
const SMALL_REQUEST_BYTES_MAX: usize = 1 << 20;

/// How the memory for requests is divided between small and large ones. Each part holds the largest of its kind. Little
/// memory is not divided: all requests share it.
fn request_memory(options: &NetOptions) -> (usize, usize) {
    if !is_divided(options) {
        return (0, options.queued_request_bytes_max.max(options.request_bytes_max));
    }
    let half = options.queued_request_bytes_max / 2;
    (half.max(SMALL_REQUEST_BYTES_MAX), half.max(options.request_bytes_max))
}

fn is_divided(options: &NetOptions) -> bool {
    options.queued_request_bytes_max >= 16 * SMALL_REQUEST_BYTES_MAX
}

/// The connections of a shard.
pub struct Net<S: Service> {
    pub(super) options: NetOptions,
    pub(super) service: Rc<S>,
    /// Memory for requests up to `SMALL_REQUEST_BYTES_MAX`, and for larger ones: whoever claims large requests and does
    /// not send them keeps no small one waiting.
    small_requests: Semaphore,
    large_requests: Semaphore,
    gate: Arc<Gate>,
    metrics: Arc<ShardMetrics>,
    connections: RefCell<Slab<Listed>>,
    next_id: Cell<u64>,
    unsent: Cell<usize>,
    draining: Cell<bool>,
    /// Notified when the shard starts to drain, and whenever a connection has ended.
    changed: Event,
    log_limit: LogLimit,
}

impl<S: Service> Net<S> {
    /// The connections of the running shard. `gate` is shared by all shards.
    pub fn new(options: NetOptions, gate: Arc<Gate>, metrics: Arc<ShardMetrics>, service: Rc<S>) -> Rc<Net<S>> {
        let (small, large) = request_memory(&options);
        let net = Rc::new(Net {
            options,
            service,
            small_requests: Semaphore::new(small),
            large_requests: Semaphore::new(large),
            gate,
            metrics,
            connections: RefCell::default(),
            next_id: Cell::new(0),
            unsent: Cell::new(0),
            draining: Cell::new(false),
            changed: Event::new(),
            log_limit: LogLimit::new(runtime::now()),
        });
        let weak = Rc::downgrade(&net);
        drop(runtime::spawn(async move {
            loop {
                runtime::sleep(SWEEP_EVERY).await;
                match weak.upgrade() {
                    Some(net) => net.sweep(runtime::now()),
                    None => return,
                }
            }
        }));
        net
    }

    /// Open connections of this shard.
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Accepts on a listener until the shard drains. Its connections carry `number`.
    pub fn serve(self: &Rc<Self>, listener: TcpListener, number: usize) {
        let net = Rc::clone(self);
        drop(runtime::spawn(async move { net.accept(listener, number).await }));
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, number: usize) {
        while !self.draining.get() {
            let stream = match self.next_stream(&listener).await {
                None => return,
                Some(Ok(stream)) => stream,
                Some(Err(error)) => {
                    if self.log_limit.allows(runtime::now()) {
                        tracing::warn!("no connection can be accepted on {}: {error}", listener.local_addr());
                    }
                    runtime::sleep(FULL_PAUSE).await;
                    continue;
                }
            };
            let Some(mut place) = self.place().await else { return };
            self.metrics.connections_accepted.increment();
            match place.take(stream.peer_addr().ip()) {
                Ok(()) => self.open(stream, number, place),
                Err(Refusal::Address { max }) => {
                    self.metrics.connections_rejected_per_ip.increment();
                    if self.log_limit.allows(runtime::now()) {
                        tracing::warn!(
                            "a connection of {} was closed: the address has {max} already (max.connections.per.ip)",
                            stream.peer_addr()
                        );
                    }
                }
            }
        }
    }

    /// A place for a connection. As in Kafka, who comes when `max.connections` is reached waits, and those behind in the
    /// backlog; every shard has one at most that waits, so that each gets its share of the places. `None` when the shard
    /// drains.
    async fn place(&self) -> Option<super::gate::Place> {
        let mut told = false;
        loop {
            if self.draining.get() {
                return None;
            }
            if let Some(place) = self.gate.reserve() {
                return Some(place);
            }
            if !std::mem::replace(&mut told, true) && self.log_limit.allows(runtime::now()) {
                tracing::warn!("max.connections is reached: new connections wait");
            }
            runtime::sleep(FULL_PAUSE).await;
        }
    }

    /// The next connection, or `None` when the shard drains.
    async fn next_stream(&self, listener: &TcpListener) -> Option<io::Result<TcpStream>> {
        let mut changed = self.changed.listen();
        let mut accept = std::pin::pin!(listener.accept());
        std::future::poll_fn(|cx| {
            use std::{future::Future, pin::Pin, task::Poll};
            if let Poll::Ready(stream) = accept.as_mut().poll(cx) {
                return Poll::Ready(Some(stream));
            }
            while Pin::new(&mut changed).poll(cx).is_ready() {
                changed = self.changed.listen();
            }
            if self.draining.get() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    fn open(self: &Rc<Self>, stream: TcpStream, listener: usize, place: super::gate::Place) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let info = {
            let mut connections = self.connections.borrow_mut();
            let entry = connections.vacant_entry();
            let info = ConnectionInfo::new(id, entry.key(), stream.peer_addr(), listener);
            entry.insert(Listed { info: Rc::clone(&info), moved: runtime::now(), holding: false, owing: false });
            info
        };
        self.metrics.connections.add(1);
        let connection = Connection::new(Rc::clone(self), Rc::clone(&info), stream, place);
        let net = Rc::clone(self);
        drop(runtime::spawn(async move {
            let end = connection.run().await;
            net.ended(&info, &end);
        }));
    }

    fn ended(&self, info: &ConnectionInfo, end: &End) {
        self.connections.borrow_mut().try_remove(info.slot);
        self.metrics.connections.sub(1);
        let peer = info.peer;
        match end {
            End::Peer | End::Drained => {}
            End::Idle => {
                self.metrics.connections_idle_closed.increment();
                tracing::debug!("the connection of {peer} was idle for connections.max.idle.ms and is closed");
            }
            End::Stalled => {
                self.metrics.connections_idle_closed.increment();
                if self.log_limit.allows(runtime::now()) {
                    tracing::warn!(
                        "the connection of {peer} held memory that others wait for and did not move: closed"
                    );
                }
            }
            End::Malformed(why) => {
                self.metrics.connections_malformed_closed.increment();
                if self.log_limit.allows(runtime::now()) {
                    tracing::warn!("the connection of {peer} is closed: {why}");
                }
            }
            End::Refused(why) => {
                if self.log_limit.allows(runtime::now()) {
                    tracing::info!("the connection of {peer} is closed: {why}");
                }
            }
        }
        self.changed.notify_all();
    }

    /// Ends connections that are idle, or that stand still while others wait for the memory they hold.
    fn sweep(&self, now: Instant) {
        let requests_wait = self.large_requests.available() < self.options.request_bytes_max
            || (is_divided(&self.options) && self.small_requests.available() < SMALL_REQUEST_BYTES_MAX);
        let answers_wait = self.short_of_answer_memory();
        for (_, listed) in self.connections.borrow().iter() {
            let still = now.saturating_duration_since(listed.moved);
            if self.options.idle_max.is_some_and(|max| still >= max) && !listed.info.busy.get() {
                listed.info.end(End::Idle);
            } else if still >= self.options.stalled_max
                && ((requests_wait && listed.holding) || (answers_wait && listed.owing))
            {
                listed.info.end(End::Stalled);
            }
        }
    }

    /// Stops accepting, lets the requests that run be answered, and closes every connection, at the latest when
    /// `at_most` is over. Gives how many had to be cut off.
    pub async fn drain(&self, at_most: Duration) -> usize {
        self.draining.set(true);
        self.changed.notify_all();
        self.end_all(&End::Drained);
        let all_gone = async {
            loop {
                let changed = self.changed.listen();
                if self.connections() == 0 {
                    return;
                }
                changed.await;
            }
        };
        let in_time = runtime::timeout(at_most, all_gone).await.is_ok();
        if in_time {
            return 0;
        }
        let left = self.connections();
        self.end_all(&End::Peer);
        for _ in 0..2 {
            runtime::yield_now().await;
        }
        left
    }

    fn end_all(&self, why: &End) {
        for (_, listed) in self.connections.borrow().iter() {
            listed.info.end(why.clone());
        }
    }

    fn with_listed(&self, slot: usize, change: impl FnOnce(&mut Listed)) {
        if let Some(listed) = self.connections.borrow_mut().get_mut(slot) {
            change(listed);
        }
    }

    pub(super) fn touch(&self, slot: usize, now: Instant) {
        self.with_listed(slot, |listed| listed.moved = now);
    }

    pub(super) fn set_holding(&self, slot: usize, holding: bool) {
        self.with_listed(slot, |listed| listed.holding = holding);
    }

    pub(super) fn set_owing(&self, slot: usize, owing: bool) {
        self.with_listed(slot, |listed| listed.owing = owing);
    }

    pub(super) fn add_unsent(&self, more: usize, less: usize) {
        let unsent = self.unsent.get() + more - less;
        self.unsent.set(unsent);
        self.metrics.response_bytes.set(unsent as i64);
    }

    /// Where a request of so many bytes gets its memory.
    pub(super) fn request_memory(&self, bytes: usize) -> &Semaphore {
        if bytes <= SMALL_REQUEST_BYTES_MAX && is_divided(&self.options) {
            &self.small_requests
        } else {
            &self.large_requests
        }
    }

    pub(super) fn short_of_answer_memory(&self) -> bool {
        self.unsent.get() > self.options.queued_response_bytes_max
    }

    pub(super) fn requests_in_flight(&self, change: i64) {
        self.metrics.requests_in_flight.add(change);
        let (small, large) = request_memory(&self.options);
        let free = self.small_requests.available() + self.large_requests.available();
        self.metrics.request_bytes.set((small + large).saturating_sub(free) as i64);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.metrics.received_bytes.add(bytes);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.metrics.sent_bytes.add(bytes);
    }

    pub(super) fn paused(&self) {
        self.metrics.receive_pauses.increment();
    }
}
