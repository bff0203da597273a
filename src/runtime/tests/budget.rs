//! The budget of system calls: a request that is received, written, flushed and answered.

use std::{
    cell::RefCell,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    file::{RawFile, fdatasync, writev_at},
    fs::OpenFlags,
    net::{BindOptions, TcpListener, TcpStream},
    sync::{Event, oneshot},
    *,
};

const REQUEST_BYTES: usize = 512;

/// Commits whatever came in while the last commit was under way: one write, one flush.
#[derive(Default)]
struct Appender {
    waiting: RefCell<Vec<(Bytes, oneshot::Sender<()>)>>,
    wake: Event,
}

async fn append(appender: Rc<Appender>, file: Arc<RawFile>) {
    let mut position = 0;
    loop {
        let listener = appender.wake.listen();
        if appender.waiting.borrow().is_empty() {
            listener.await;
        }
        // Everybody who has something this turn shall have said so.
        end_of_turn().await;
        let (buffers, done): (Vec<Bytes>, Vec<_>) = appender.waiting.take().into_iter().unzip();
        let (written, buffers) = writev_at(&file, buffers, position).await;
        let bytes: usize = buffers.iter().map(Bytes::len).sum();
        assert_eq!(written.unwrap(), bytes);
        position += bytes as u64;
        fdatasync(&file).await.unwrap();
        for done in done {
            let _ = done.send(());
        }
    }
}

async fn serve(stream: TcpStream, appender: Rc<Appender>) {
    let mut request = Vec::new();
    loop {
        while request.len() < REQUEST_BYTES {
            let chunk = stream.recv().await.unwrap();
            if chunk.is_empty() {
                return;
            }
            request.extend_from_slice(&chunk);
        }
        let (sender, receiver) = oneshot::channel();
        appender.waiting.borrow_mut().push((Bytes::from(std::mem::take(&mut request)), sender));
        appender.wake.notify_all();
        receiver.await.unwrap();
        stream.send_lazy(vec![Bytes::from_static(b"done")]).await.unwrap();
    }
}

/// Enters for each request, with so many connections that each have one request in flight.
fn enters_per_request(connections: usize, requests: usize) -> f64 {
    let (ready, address) = std::sync::mpsc::channel();
    let server = threads::spawn("server", None, move || {
        Runtime::new(&options()).unwrap().block_on(async move {
            let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
            let file = Arc::new(fs::open(&dir.path().join("segment"), OpenFlags::CREATE).unwrap());
            fs::fallocate(&file, 0, (connections * requests * REQUEST_BYTES) as u64, false).unwrap();
            let appender = Rc::new(Appender::default());
            drop(spawn(append(Rc::clone(&appender), file)));
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = TcpListener::bind(any, &BindOptions::default()).unwrap();
            ready.send(listener.local_addr()).unwrap();
            let mut streams = Vec::new();
            for _ in 0..connections {
                streams.push(listener.accept().await.unwrap());
            }
            let before = stats().enters;
            let tasks: Vec<_> = streams.into_iter().map(|stream| spawn(serve(stream, Rc::clone(&appender)))).collect();
            for task in tasks {
                task.await;
            }
            stats().enters - before
        })
    })
    .unwrap();
    let address = address.recv().unwrap();
    let mut sockets: Vec<_> = (0..connections).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for _ in 0..requests {
        for socket in &mut sockets {
            socket.write_all(&[7; REQUEST_BYTES]).unwrap();
        }
        for socket in &mut sockets {
            socket.read_exact(&mut [0; 4]).unwrap();
        }
    }
    drop(sockets);
    let enters = server.join().unwrap() as f64 / (connections * requests) as f64;
    println!("{connections} connections: {enters:.3} enters a request");
    enters
}

#[test]
fn a_flushed_request_costs_at_most_four_enters_alone() {
    // Three: the send goes with the wait for the next request.
    assert!(enters_per_request(1, 200) <= 4.0);
}

#[test]
fn flushed_requests_share_their_enters() {
    assert!(enters_per_request(16, 50) < 1.0);
    assert!(enters_per_request(256, 20) < 0.3);
}
