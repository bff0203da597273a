//! In which order requests start and answers leave, and how connections end.

use std::net::Shutdown;

use super::*;
use crate::runtime::fs;

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
        if !runtime::features().has(runtime::Feature::MultishotRecv) {
            // Then the end of an exclusive request's client shows with the answer.
            rig.latches.open(b'1');
            rig.until(|rig| rig.net.connections() == 0).await;
            return;
        }
        rig.until(|rig| *rig.latches.closed.borrow() == 1 && rig.net.connections() == 0).await;
        let client = rig.client().await;
        client.send(Order::Wait, b"1").await;
        rig.until(|rig| rig.started().len() == 2).await;
        drop(client);
        rig.until(|rig| *rig.latches.closed.borrow() == 2 && rig.net.connections() == 0).await;
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
