//! Connections against a service that does as its requests say.
//!
//! A request is an order byte and an argument; see [`Order`].

use std::{
    cell::RefCell,
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    metrics::ShardMetrics,
    runtime::{
        self, FeatureSet, Runtime, RuntimeOptions,
        net::{BindOptions, TcpListener, TcpStream},
        sync::Event,
    },
};

mod bounds;
mod bulk;
mod order;

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
