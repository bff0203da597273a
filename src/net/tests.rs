//! Connections against a service that does as its requests say.
//!
//! A request is an order byte and an argument; see [`Order`].

use std::{
    cell::RefCell,
    collections::HashSet,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    metrics::ShardMetrics,
    runtime::{
        self, FeatureSet, Runtime, RuntimeOptions, fs,
        net::{BindOptions, TcpListener, TcpStream},
        sync::Event,
    },
};

/// Echoes requests whose order is one of these; the argument names a latch or says how much.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Order {
    /// Echo at once, side by side with others.
    Echo = b'e',
    /// Echo when the latch of this name is open, side by side with others.
    Wait = b'w',
    /// The same, alone.
    WaitAlone = b'a',
    /// No answer.
    Silent = b's',
    /// Close the connection.
    Quit = b'q',
    /// Answer with a range of a file between two bits of memory.
    File = b'f',
    /// Answer with so many megabytes.
    Large = b'l',
}

#[derive(Default)]
struct Latches {
    open: RefCell<HashSet<u8>>,
    changed: Event,
    /// Requests in the order in which their work started.
    started: RefCell<Vec<Vec<u8>>>,
    closed: RefCell<u32>,
    file: RefCell<Option<FileRange>>,
}

impl Latches {
    fn open(&self, name: u8) {
        self.open.borrow_mut().insert(name);
        self.changed.notify_all();
    }

    async fn wait(&self, name: u8) {
        loop {
            let changed = self.changed.listen();
            if self.open.borrow().contains(&name) {
                return;
            }
            changed.await;
        }
    }
}

fn framed(body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(&(body.len() as i32).to_be_bytes()[..]);
    bytes.extend_from_slice(body);
    bytes.freeze()
}

async fn answer(latches: Rc<Latches>, connection: Rc<ConnectionInfo>, request: BytesMut) -> Answer {
    latches.started.borrow_mut().push(request.to_vec());
    let argument = request.get(1).copied().unwrap_or(0);
    match request[0] {
        b'w' | b'a' => {
            let closed = connection.closed();
            let mut closed = std::pin::pin!(closed);
            let mut wait = std::pin::pin!(latches.wait(argument));
            std::future::poll_fn(|cx| {
                use std::{future::Future, task::Poll};
                if closed.as_mut().poll(cx).is_ready() {
                    *latches.closed.borrow_mut() += 1;
                    return Poll::Ready(());
                }
                wait.as_mut().poll(cx)
            })
            .await;
            Answer::Bytes(framed(&request))
        }
        b's' => Answer::Nothing,
        b'q' => Answer::Close("it was asked for".to_owned()),
        b'f' => {
            let range = latches.file.borrow().clone().unwrap();
            let len = 4 + range.len as i32;
            let mut head = BytesMut::from(&len.to_be_bytes()[..]);
            head.extend_from_slice(b"<<>>");
            Answer::spliced(head, [(6, vec![SendPart::File(range)])])
        }
        b'l' => {
            let len = usize::from(argument) << 20;
            let mut bytes = BytesMut::from(&(len as i32).to_be_bytes()[..]);
            bytes.resize(4 + len, argument);
            Answer::Bytes(bytes.freeze())
        }
        _ => Answer::Bytes(framed(&request)),
    }
}

impl Service for Latches {
    fn call(self: &Rc<Self>, connection: &Rc<ConnectionInfo>, request: BytesMut) -> Call {
        let alone = request[0] == b'a';
        let work = answer(Rc::clone(self), Rc::clone(connection), request);
        if alone { Call::exclusive(work) } else { Call::concurrent(work) }
    }
}

struct Rig {
    net: Rc<Net<Latches>>,
    latches: Rc<Latches>,
    gate: Arc<Gate>,
    metrics: Arc<ShardMetrics>,
    address: SocketAddr,
}

impl Rig {
    fn new(options: NetOptions) -> Rig {
        Rig::with_gate(options, Gate::new(1000, |_| 1000))
    }

    fn with_gate(options: NetOptions, gate: Arc<Gate>) -> Rig {
        let latches = Rc::new(Latches::default());
        let metrics = Arc::new(ShardMetrics::default());
        let net = Net::new(options, Arc::clone(&gate), Arc::clone(&metrics), Rc::clone(&latches));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any, &BindOptions::default()).unwrap();
        let address = listener.local_addr();
        net.serve(listener, 7);
        Rig { net, latches, gate, metrics, address }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap(), rest: Vec::new() }
    }

    /// Lets the shard run until nothing of it is ready, kernel included.
    async fn settle(&self) {
        for _ in 0..3 {
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn until(&self, mut holds: impl FnMut(&Rig) -> bool) {
        while !holds(self) {
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }

    fn started(&self) -> Vec<String> {
        self.latches.started.borrow().iter().map(|request| String::from_utf8_lossy(request).into_owned()).collect()
    }
}

struct Client {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Client {
    async fn send(&self, order: Order, argument: &[u8]) {
        let mut body = vec![order as u8];
        body.extend_from_slice(argument);
        self.send_raw(&framed(&body)).await;
    }

    async fn send_raw(&self, bytes: &[u8]) {
        self.stream.send(vec![Bytes::copy_from_slice(bytes)]).await.unwrap();
    }

    /// The next answer, or `None` if the connection is closed.
    async fn recv(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((size, rest)) = self.rest.split_first_chunk::<4>() {
                let size = i32::from_be_bytes(*size) as usize;
                if let Some(body) = rest.get(..size) {
                    let body = body.to_vec();
                    self.rest.drain(..4 + size);
                    return Some(body);
                }
            }
            match self.stream.recv().await {
                Ok(chunk) if !chunk.is_empty() => self.rest.extend_from_slice(&chunk),
                _ => {
                    assert!(self.rest.is_empty(), "an answer was cut off");
                    return None;
                }
            }
        }
    }

    async fn recv_text(&mut self) -> String {
        String::from_utf8(self.recv().await.expect("the connection is open")).unwrap()
    }
}

fn small() -> NetOptions {
    NetOptions { request_bytes_min: 1, request_bytes_max: 1 << 20, ..NetOptions::default() }
}

/// Runs a test with everything the kernel has and with every ring feature masked.
fn run<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for disable in [FeatureSet::NONE, FeatureSet::all()] {
        println!("masked: {disable}");
        let options = RuntimeOptions { disable, recv_buffers: 16, shards: 8, ..RuntimeOptions::default() };
        Runtime::new(&options).unwrap().block_on(test());
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        for n in 0..200 {
            client.send(Order::Echo, format!("{n}").as_bytes()).await;
        }
        for n in 0..200 {
            assert_eq!(client.recv_text().await, format!("e{n}"));
        }
        assert_eq!(rig.metrics.requests_in_flight.get(), 0);
        assert_eq!(rig.metrics.connections.get(), 1);
    });
}

#[test]
fn concurrent_requests_start_at_once_and_their_answers_keep_the_order() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        client.send(Order::Wait, b"1").await;
        client.send(Order::Wait, b"2").await;
        client.send(Order::Silent, b"x").await;
        client.send(Order::Echo, b"3").await;
        rig.until(|rig| rig.started().len() == 4).await;
        assert_eq!(rig.started(), ["w1", "w2", "sx", "e3"]);
        rig.latches.open(b'2');
        rig.settle().await;
        assert!(runtime::timeout(Duration::ZERO, client.stream.recv()).await.is_err(), "the first is not done");
        rig.latches.open(b'1');
        for expected in ["w1", "w2", "e3"] {
            assert_eq!(client.recv_text().await, expected);
        }
    });
}

#[test]
fn an_exclusive_request_waits_for_those_before_and_holds_those_behind() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        for (order, name) in
            [(Order::Wait, b"1"), (Order::WaitAlone, b"2"), (Order::Echo, b"3"), (Order::WaitAlone, b"4")]
        {
            client.send(order, name).await;
        }
        rig.settle().await;
        assert_eq!(rig.started(), ["w1"]);
        rig.latches.open(b'1');
        assert_eq!(client.recv_text().await, "w1");
        rig.settle().await;
        assert_eq!(rig.started(), ["w1", "a2"]);
        rig.latches.open(b'2');
        assert_eq!(client.recv_text().await, "a2");
        assert_eq!(client.recv_text().await, "e3");
        rig.latches.open(b'4');
        assert_eq!(client.recv_text().await, "a4");
        assert_eq!(rig.started(), ["w1", "a2", "e3", "a4"]);
    });
}

#[test]
fn requests_in_flight_are_bounded_by_number_and_bytes() {
    run(|| async {
        let rig = Rig::new(NetOptions { requests_in_flight_max: 3, ..small() });
        let mut client = rig.client().await;
        for _ in 0..10 {
            client.send(Order::Wait, b"1").await;
        }
        rig.settle().await;
        assert_eq!(rig.started().len(), 3);
        rig.latches.open(b'1');
        for _ in 0..10 {
            assert_eq!(client.recv_text().await, "w1");
        }

        let rig = Rig::new(NetOptions { request_bytes_in_flight_max: 100, ..small() });
        let mut client = rig.client().await;
        for _ in 0..5 {
            client.send(Order::Wait, &[b'1'; 80]).await;
        }
        rig.settle().await;
        assert_eq!(rig.started().len(), 2);
        rig.latches.open(b'1');
        for _ in 0..5 {
            assert_eq!(client.recv().await.unwrap().len(), 81);
        }
        assert!(rig.metrics.receive_pauses.get() > 0);
    });
}

#[test]
fn sizes_that_are_no_requests_close_the_connection() {
    run(|| async {
        let rig = Rig::new(small());
        for size in [-1, i32::MIN, 0, (1 << 20) + 1, i32::MAX] {
            let mut client = rig.client().await;
            client.send(Order::Echo, b"good").await;
            client.send_raw(&size.to_be_bytes()).await;
            client.send(Order::Echo, b"behind").await;
            assert_eq!(client.recv_text().await, "egood", "what came before is answered");
            assert_eq!(client.recv().await, None);
        }
        assert_eq!(rig.metrics.connections_malformed_closed.get(), 5);
        rig.until(|rig| rig.net.connections() == 0).await;
        assert_eq!(rig.gate.connections(), 0);
        assert_eq!(rig.metrics.connections.get(), 0);
    });
}

#[test]
fn a_request_that_comes_byte_by_byte_is_served_and_one_that_stops_amid_is_not() {
    run(|| async {
        let rig = Rig::new(small());
        let mut slow = rig.client().await;
        for byte in &framed(b"eslowly") {
            slow.send_raw(&[*byte]).await;
            runtime::yield_now().await;
        }
        assert_eq!(slow.recv_text().await, "eslowly");

        let mut cut = rig.client().await;
        cut.send_raw(&framed(b"enever complete")[..9]).await;
        cut.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(cut.recv().await, None);
        assert_eq!(rig.started(), ["eslowly"]);
        assert_eq!(rig.metrics.request_bytes.get(), 0);
    });
}

#[test]
fn a_large_request_is_received_through_small_buffers() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        let body = vec![b'x'; (1 << 20) - 1];
        for _ in 0..4 {
            client.send(Order::Echo, &body).await;
        }
        for _ in 0..4 {
            assert_eq!(client.recv().await.unwrap().len(), 1 << 20);
        }
    });
}

#[test]
fn answers_that_the_peer_left_behind_are_still_sent() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        client.send(Order::Echo, b"1").await;
        client.send(Order::Large, &[3]).await;
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.recv_text().await, "e1");
        assert_eq!(client.recv().await.unwrap().len(), 3 << 20);
        assert_eq!(client.recv().await, None);
    });
}

#[test]
fn a_closed_connection_ends_what_waits_for_its_sake() {
    run(|| async {
        let rig = Rig::new(small());
        let client = rig.client().await;
        client.send(Order::WaitAlone, b"1").await;
        rig.until(|rig| rig.started().len() == 1).await;
        drop(client);
        // An exclusive request blocks reading, so the end shows only to what is sent; a concurrent one sees it.
        let client = rig.client().await;
        client.send(Order::Wait, b"1").await;
        rig.until(|rig| rig.started().len() == 2).await;
        drop(client);
        rig.until(|rig| *rig.latches.closed.borrow() >= 1).await;
        rig.latches.open(b'1');
        rig.until(|rig| rig.net.connections() == 0).await;
    });
}

#[test]
fn the_service_can_close_a_connection_behind_its_answers() {
    run(|| async {
        let rig = Rig::new(small());
        let mut client = rig.client().await;
        client.send(Order::Wait, b"1").await;
        client.send(Order::Quit, b"").await;
        client.send(Order::Echo, b"behind").await;
        rig.until(|rig| rig.started().len() == 3).await;
        rig.latches.open(b'1');
        assert_eq!(client.recv_text().await, "w1");
        assert_eq!(client.recv().await, None);
        rig.until(|rig| rig.net.connections() == 0).await;
        assert_eq!(rig.metrics.requests_in_flight.get(), 0);
    });
}

#[test]
fn ranges_of_files_go_out_in_their_place() {
    run(|| async {
        let rig = Rig::new(small());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let content: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        fs::write_synced(&path, &content).unwrap();
        let file = Arc::new(fs::open(&path, fs::OpenFlags::READ).unwrap());
        *rig.latches.file.borrow_mut() = Some(FileRange { file, position: 5, len: 900_000 });
        let mut client = rig.client().await;
        for _ in 0..3 {
            client.send(Order::Echo, b"before").await;
            client.send(Order::File, b"").await;
            client.send(Order::Echo, b"after").await;
        }
        for _ in 0..3 {
            assert_eq!(client.recv_text().await, "ebefore");
            let answer = client.recv().await.unwrap();
            assert!(answer[..2] == *b"<<" && answer[2..900_002] == content[5..900_005] && answer[900_002..] == *b">>");
            assert_eq!(client.recv_text().await, "eafter");
        }
    });
}

#[test]
fn a_reader_that_lags_holds_back_itself_alone() {
    run(|| async {
        let rig = Rig::new(NetOptions { queued_response_bytes_max: 4 << 20, ..small() });
        let mut lagging = rig.client().await;
        for _ in 0..40 {
            lagging.send(Order::Large, &[1]).await;
        }
        rig.settle().await;
        let started = rig.started().len();
        assert!(started < 40, "{started} answers of a megabyte are held for who reads none");
        let mut other = rig.client().await;
        other.send(Order::Echo, b"alive").await;
        assert_eq!(other.recv_text().await, "ealive");
        for _ in 0..40 {
            assert_eq!(lagging.recv().await.unwrap().len(), 1 << 20);
        }
        rig.until(|rig| rig.metrics.response_bytes.get() == 0).await;
    });
}

#[test]
fn memory_for_requests_is_bounded_over_all_connections() {
    run(|| async {
        let options = NetOptions { request_bytes_max: 1000, queued_request_bytes_max: 2500, ..small() };
        let rig = Rig::new(options);
        let mut clients = Vec::new();
        for _ in 0..10 {
            let client = rig.client().await;
            client.send(Order::Wait, &[b'1'; 999]).await;
            clients.push(client);
        }
        rig.until(|rig| rig.started().len() == 2).await;
        rig.settle().await;
        assert_eq!(rig.started().len(), 2);
        assert_eq!(rig.metrics.request_bytes.get(), 2000);
        rig.latches.open(b'1');
        for client in &mut clients {
            assert_eq!(client.recv().await.unwrap().len(), 1000);
        }
        rig.settle().await;
        assert_eq!(rig.metrics.request_bytes.get(), 0);
    });
}

#[test]
fn who_holds_memory_without_moving_makes_room_for_who_waits() {
    run(|| async {
        let options = NetOptions {
            request_bytes_max: 1000,
            queued_request_bytes_max: 1000,
            stalled_max: Duration::ZERO,
            ..small()
        };
        let rig = Rig::new(options);
        let mut holder = rig.client().await;
        holder.send_raw(&1000i32.to_be_bytes()).await;
        rig.settle().await;
        let mut waiting = rig.client().await;
        waiting.send(Order::Echo, &[b'x'; 999]).await;
        assert_eq!(waiting.recv().await.unwrap().len(), 1000);
        assert_eq!(holder.recv().await, None);
    });
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    run(|| async {
        let rig = Rig::new(NetOptions { idle_max: Some(Duration::ZERO), ..small() });
        let mut busy = rig.client().await;
        busy.send(Order::Wait, b"1").await;
        let mut idle = rig.client().await;
        assert_eq!(idle.recv().await, None);
        rig.latches.open(b'1');
        assert_eq!(busy.recv_text().await, "w1");
        assert!(rig.metrics.connections_idle_closed.get() >= 1);
    });
}

#[test]
fn connections_are_bounded_in_all_and_by_address() {
    run(|| async {
        let rig = Rig::with_gate(small(), Gate::new(3, |_| 2));
        let mut first = rig.client().await;
        let mut second = rig.client().await;
        for client in [&mut first, &mut second] {
            client.send(Order::Echo, b"in").await;
            assert_eq!(client.recv_text().await, "ein");
        }
        let mut third = rig.client().await;
        assert_eq!(third.recv().await, None, "the address has two already");
        drop(first);
        rig.until(|rig| rig.net.connections() == 1).await;
        let mut fourth = rig.client().await;
        fourth.send(Order::Echo, b"in").await;
        assert_eq!(fourth.recv_text().await, "ein");
        assert_eq!(rig.metrics.connections_rejected_per_ip.get(), 1);

        let rig = Rig::with_gate(small(), Gate::new(1, |_| 9));
        let first = rig.client().await;
        rig.until(|rig| rig.net.connections() == 1).await;
        let mut second = rig.client().await;
        second.send(Order::Echo, b"in").await;
        rig.settle().await;
        assert_eq!(rig.net.connections(), 1, "who comes too many waits");
        drop(first);
        assert_eq!(second.recv_text().await, "ein");
    });
}

#[test]
fn draining_answers_what_runs_and_closes_the_rest() {
    run(|| async {
        let rig = Rig::new(small());
        let mut idle = rig.client().await;
        let mut busy = rig.client().await;
        busy.send(Order::Large, &[2]).await;
        busy.send(Order::Echo, b"last").await;
        rig.until(|rig| rig.started().len() == 2).await;
        let net = Rc::clone(&rig.net);
        let drained = runtime::spawn(async move { net.drain(Duration::from_secs(60)).await });
        assert_eq!(idle.recv().await, None);
        assert_eq!(busy.recv().await.unwrap().len(), 2 << 20);
        assert_eq!(busy.recv_text().await, "elast");
        assert_eq!(busy.recv().await, None);
        assert_eq!(drained.await, 0);
        assert!(TcpStream::connect(rig.address).await.is_err(), "nobody accepts any more");
    });
}

#[test]
fn a_drain_ends_at_its_deadline() {
    run(|| async {
        let rig = Rig::new(small());
        let stuck = rig.client().await;
        stuck.send(Order::Large, &[60]).await;
        rig.until(|rig| rig.started().len() == 1).await;
        assert_eq!(rig.net.drain(Duration::from_millis(5)).await, 1);
        rig.until(|rig| rig.net.connections() == 0).await;
        while let Ok(chunk) = stuck.stream.recv().await {
            if chunk.is_empty() {
                break;
            }
        }
    });
}

/// What an idle connection costs in memory of ours: its task, its state, its socket's state. Buffers come and go.
#[test]
fn an_idle_connection_is_small() {
    let connection = size_of::<connection::Connection<Latches>>();
    println!("{connection} bytes a connection");
    assert!(connection < 1024);
}
