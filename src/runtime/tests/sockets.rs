use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    fs::OpenFlags,
    net::{BindOptions, TcpListener, TcpStream, probe_port},
    *,
};

fn listen() -> TcpListener {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &BindOptions::default()).unwrap()
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen();
    let client = spawn(TcpStream::connect(listener.local_addr()));
    let server = listener.accept().await.unwrap();
    (client.await.unwrap(), server)
}

/// Receives `count` bytes; what arrived beyond them stays in `rest`.
async fn recv_from(stream: &TcpStream, rest: &mut Vec<u8>, count: usize) -> Vec<u8> {
    while rest.len() < count {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "ended after {} of {count} bytes", rest.len());
        rest.extend_from_slice(&chunk);
    }
    let behind = rest.split_off(count);
    std::mem::replace(rest, behind)
}

async fn recv_exactly(stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut rest = Vec::new();
    let bytes = recv_from(stream, &mut rest, count).await;
    assert!(rest.is_empty());
    bytes
}

async fn echo(stream: TcpStream) {
    loop {
        let Ok(chunk) = stream.recv().await else { return };
        if chunk.is_empty() {
            return;
        }
        let copy = Bytes::copy_from_slice(&chunk);
        drop(chunk);
        if stream.send(vec![copy]).await.is_err() {
            return;
        }
    }
}

fn echo_server() -> SocketAddr {
    let listener = listen();
    let address = listener.local_addr();
    drop(spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap();
            drop(spawn(echo(stream)));
        }
    }));
    address
}

fn pattern(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    StdRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

#[test]
fn many_connections_are_echoed() {
    run_masked(|| async {
        let address = echo_server();
        let clients: Vec<_> = (0..100u64)
            .map(|n| {
                spawn(async move {
                    let stream = TcpStream::connect(address).await.unwrap();
                    for round in 0..5 {
                        let sent = pattern(n * 10 + round, 1 + (n as usize * 37 + 100) % 5000);
                        stream.send(vec![Bytes::from(sent.clone())]).await.unwrap();
                        assert_eq!(recv_exactly(&stream, sent.len()).await, sent);
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
    });
}

#[test]
fn what_exceeds_every_buffer_arrives_whole() {
    run_masked(|| async {
        let (client, server) = pair().await;
        let sent = pattern(1, 20 << 20);
        let parts: Vec<Bytes> = Bytes::from(sent.clone()).chunks(9999).map(Bytes::copy_from_slice).collect();
        assert!(parts.len() > 1024);
        let sender = spawn(async move {
            client.send(parts).await.unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client.recv().await.unwrap().len()
        });
        assert_eq!(recv_exactly(&server, sent.len()).await, sent);
        assert!(server.recv().await.unwrap().is_empty());
        assert!(server.recv().await.unwrap().is_empty(), "the end stays the end");
        drop(server);
        assert_eq!(sender.await, 0);
    });
}

#[test]
fn lazy_sends_keep_their_order_and_full_sockets_are_waited_for() {
    run_masked(|| async {
        let (client, server) = pair().await;
        let sent = pattern(2, 8 << 20);
        let whole = Bytes::from(sent.clone());
        let sender = spawn(async move {
            for part in whole.chunks(100_000).map(|part| whole.slice_ref(part)) {
                let mut send = client.send_lazy(vec![part]);
                send.hurry();
                (&mut send).await.unwrap();
                client.recycle(&mut send);
            }
            client
        });
        // Nothing is received at first, so that the socket's buffers fill up.
        sleep(Duration::from_millis(20)).await;
        assert_eq!(recv_exactly(&server, sent.len()).await, sent);
        drop(sender.await);
    });
}

#[test]
fn a_long_send_goes_on_where_nothing_else_wakes_its_shard() {
    const SENDS: usize = 200;
    const BYTES: usize = 512 << 10;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    // Not waited for: a shard that sleeps on its send would never end.
    std::thread::spawn(move || {
        Runtime::new(&RuntimeOptions::default()).unwrap().block_on(async {
            let stream = TcpStream::connect(to).await.unwrap();
            for _ in 0..SENDS {
                stream.send(vec![Bytes::from(vec![1; BYTES / 8]); 8]).await.unwrap();
            }
        });
    });
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let (mut buffer, mut left) = (vec![0; 100_000], SENDS * BYTES);
    while left > 0 {
        let count = std::io::Read::read(&mut stream, &mut buffer).expect("the sender sleeps");
        assert!(count > 0);
        left -= count;
    }
}

#[test]
fn a_lazy_send_leaves_without_anybody_waiting() {
    run_masked(|| async {
        let (client, server) = pair().await;
        let waiting = spawn(async move {
            let bytes = recv_exactly(&server, 5).await;
            drop(server);
            bytes
        });
        drop(client.send_lazy(vec![Bytes::from_static(b"hello")]));
        assert_eq!(waiting.await, b"hello");
        assert!(client.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_peer_that_is_not_read_does_not_starve_the_others() {
    run_masked(|| async {
        let lazy: Vec<_> = {
            let mut lazy = Vec::new();
            for _ in 0..8 {
                let (client, server) = pair().await;
                // Reads once, then never again.
                drop(spawn(client.send_lazy(vec![Bytes::from(vec![1u8; 300_000])])));
                let first = server.recv().await.unwrap().len();
                lazy.push((client, server, first));
            }
            lazy
        };
        let address = echo_server();
        let stream = TcpStream::connect(address).await.unwrap();
        for round in 0..20 {
            let sent = pattern(round, 50_000);
            stream.send(vec![Bytes::from(sent.clone())]).await.unwrap();
            assert_eq!(recv_exactly(&stream, sent.len()).await, sent);
        }
        for (_client, server, first) in &lazy {
            let rest = recv_exactly(server, 300_000 - first).await;
            assert!(rest.iter().all(|byte| *byte == 1));
        }
    });
}

#[test]
fn chunks_that_are_kept_starve_only_until_they_are_dropped() {
    run_masked(|| async {
        let (client, server) = pair().await;
        let sender = spawn(async move {
            client.send(vec![Bytes::from(pattern(3, 1 << 20))]).await.unwrap();
            client
        });
        let mut kept = Vec::new();
        let mut bytes = Vec::new();
        while bytes.len() < 1 << 20 {
            let Ok(chunk) = timeout(Duration::from_millis(5), server.recv()).await else {
                // All buffers are in our hands.
                kept.clear();
                continue;
            };
            let chunk = chunk.unwrap();
            assert!(!chunk.is_empty());
            bytes.extend_from_slice(&chunk);
            kept.push(chunk);
        }
        assert_eq!(bytes, pattern(3, 1 << 20));
        drop(sender.await);
    });
}

#[test]
fn a_range_of_a_file_is_sent_from_the_page_cache() {
    run_masked(|| async {
        let dir = tempfile::tempdir().unwrap();
        let content = pattern(4, 3 << 20);
        let path = dir.path().join("segment");
        fs::write_synced(&path, &content).unwrap();
        let file = Arc::new(fs::open(&path, OpenFlags::READ).unwrap());
        let (client, server) = pair().await;
        let sender = spawn(async move {
            client.send(vec![Bytes::from_static(b"head")]).await.unwrap();
            client.sendfile(&file, 100, (3 << 20) - 200).await.unwrap();
            let error = client.sendfile(&file, (3 << 20) - 10, 20).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        });
        sleep(Duration::from_millis(10)).await;
        let rest = &mut Vec::new();
        assert_eq!(recv_from(&server, rest, 4).await, b"head");
        assert!(recv_from(&server, rest, content.len() - 200).await == content[100..content.len() - 100]);
        assert_eq!(recv_from(&server, rest, 10).await, content[content.len() - 10..]);
        sender.await;
    });
}

#[test]
fn accepting_waits_its_turn_and_goes_on_after_a_burst() {
    run_masked(|| async {
        let listener = listen();
        let address = listener.local_addr();
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(spawn(TcpStream::connect(address)));
        }
        let mut servers = Vec::new();
        for n in 0..200 {
            if n % 50 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            servers.push(listener.accept().await.unwrap());
        }
        for client in clients {
            client.await.unwrap();
        }
        drop(listener);
        yield_now().await;
        sleep(Duration::from_millis(1)).await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_taken_port_shows() {
    run(async {
        let options = BindOptions { reuse_port: true, ..BindOptions::default() };
        let first = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options).unwrap();
        let second = TcpListener::bind(first.local_addr(), &options);
        assert!(second.is_ok());
        assert_eq!(probe_port(first.local_addr()).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        let alone = TcpListener::bind(first.local_addr(), &BindOptions::default());
        assert!(alone.is_err());
        drop((first, second));
    });
}

#[test]
fn a_connection_that_cannot_be_made_fails() {
    run_masked(|| async {
        let address = listen().local_addr();
        sleep(Duration::from_millis(1)).await;
        let error = TcpStream::connect(address).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

/// Random sends, receives, half-read connections and dropped futures; at the end nothing is left in flight.
#[test]
fn a_soak_of_random_drops_leaves_nothing_behind() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    run_masked(|| async move {
        let idle = stats().in_flight;
        let address = echo_server();
        let clients: Vec<_> = (0..32u64)
            .map(|n| {
                spawn(async move {
                    let mut random = StdRng::seed_from_u64(seed ^ n);
                    for _ in 0..10 {
                        let Ok(stream) = TcpStream::connect(address).await else { continue };
                        let stream = Rc::new(stream);
                        for _ in 0..random.random_range(0..8) {
                            let bytes = Bytes::from(vec![n as u8; random.random_range(0..30_000)]);
                            match random.random_range(0..6) {
                                0 => drop(stream.send_lazy(vec![bytes.clone(), bytes])),
                                1 => drop(timeout(Duration::ZERO, stream.recv()).await),
                                2 => drop(timeout(Duration::from_micros(50), stream.send(vec![bytes])).await),
                                3 => yield_now().await,
                                4 => {
                                    let other = Rc::clone(&stream);
                                    let reader = spawn(async move { other.recv().await.map(|chunk| chunk.len()) });
                                    yield_now().await;
                                    reader.cancel().await;
                                }
                                _ => {
                                    let chunk = timeout(Duration::from_micros(200), stream.recv()).await;
                                    if let Ok(Ok(chunk)) = chunk {
                                        assert!(chunk.iter().all(|byte| *byte == n as u8));
                                    }
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for client in clients {
            client.await;
        }
        // The echoes end with their connections, and only the listener's accept stays.
        while stats().in_flight > idle + 1 {
            sleep(Duration::from_millis(1)).await;
        }
    });
}
