//! What peers cannot do: ask for too much, hold too much, stay too long.

use std::net::Shutdown;

use super::*;
use crate::net::connection;

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

/// What an idle connection costs in memory of ours: its task, its state, its socket's state. Buffers come and go.
#[test]
fn an_idle_connection_is_small() {
    let connection = size_of::<connection::Connection<Latches>>();
    println!("{connection} bytes a connection");
    assert!(connection < 1024);
}
