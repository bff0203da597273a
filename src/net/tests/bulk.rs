//! Large requests, whose rest is received straight into place.

use std::net::Shutdown;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

#[test]
fn large_and_small_requests_come_whole_in_any_mixture() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    run(|| async move {
        let mut random = StdRng::seed_from_u64(seed);
        let rig = Rig::new(small());
        for _ in 0..5 {
            let mut client = rig.client().await;
            let requests: Vec<Vec<u8>> = (0..30)
                .map(|_| {
                    let bytes = match random.random_range(0..3) {
                        0 => random.random_range(1..200),
                        1 => random.random_range(30_000..70_000),
                        _ => random.random_range(100_000..1_000_000),
                    };
                    let mut request = vec![b'e'];
                    request.extend((0..bytes).map(|_| random.random::<u8>()));
                    request
                })
                .collect();
            let wire: Vec<u8> = requests.iter().flat_map(|request| framed(request)).collect();
            let mut rest = &wire[..];
            let mut answers = requests.iter();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.random_range(1..=300_000).min(rest.len()));
                rest = behind;
                client.send_raw(piece).await;
                if random.random_bool(0.3) {
                    rig.settle().await;
                }
                if random.random_bool(0.3) && wire.len() - rest.len() > 2_000_000 {
                    let Some(expected) = answers.next() else { break };
                    assert!(client.recv().await.unwrap() == *expected);
                }
            }
            for expected in answers {
                assert!(client.recv().await.unwrap() == *expected);
            }
        }
        assert_eq!(rig.metrics.request_bytes.get(), 0);
    });
}

#[test]
fn a_large_request_that_stops_amid_is_not_served() {
    run(|| async {
        let rig = Rig::new(small());
        for whole in [0, 1, 2] {
            let mut cut = rig.client().await;
            let large = framed(&vec![b'e'; 500_000]);
            for _ in 0..whole {
                cut.send_raw(&large).await;
                assert_eq!(cut.recv().await.unwrap().len(), 500_000);
            }
            cut.send_raw(&large[..400_000]).await;
            rig.settle().await;
            cut.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(cut.recv().await, None);
        }
        assert_eq!(rig.started().len(), 3);
        assert_eq!(rig.metrics.request_bytes.get(), 0);
    });
}
