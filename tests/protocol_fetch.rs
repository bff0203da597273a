//! Fetch on the wire: where it starts and stops, how long it waits, its sessions, topics by id.

use std::time::{Duration, Instant};

use kafka_protocol::messages::{FetchResponse, fetch_request, fetch_response};

use crate::harness::Broker;
use crate::harness::batch::{Batch, batches};
use crate::harness::broker::is_kafka;
use crate::harness::client::create_topic;
use crate::harness::wire::{
    FetchOptions, Wire, fetch, fetch_request, fetched, metadata, produce, topic_id, topic_name,
};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// A broker with topic `t` that holds three batches: offsets 0-2, 3-4 and 5-9.
fn start() -> (Broker, Wire) {
    start_with(&[])
}

fn start_with(settings: &[(&str, &str)]) -> (Broker, Wire) {
    let broker = Broker::start(settings);
    create_topic(&broker, "t", 2, &[]);
    let mut wire = Wire::connect(&broker);
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"0", b"1", b"2"]).bytes()), (0, 0));
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"3", b"4"]).bytes()), (0, 3));
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"5", b"6", b"7", b"8", b"9"]).bytes()), (0, 5));
    (broker, wire)
}

fn base_offsets(data: &fetch_response::PartitionData) -> Vec<i64> {
    batches(data.records.as_deref().unwrap_or_default()).iter().map(|batch| batch.base_offset).collect()
}

#[test]
fn every_version_of_fetch_returns_whole_batches_from_the_one_that_holds_the_offset() {
    let (_broker, mut wire) = start();
    let id = topic_id(&mut wire, "t");
    for version in 4..=18 {
        for (offset, bases) in [
            (0, vec![0, 3, 5]),
            (1, vec![0, 3, 5]),
            (2, vec![0, 3, 5]),
            (3, vec![3, 5]),
            (4, vec![3, 5]),
            (9, vec![5]),
            (10, vec![]),
        ] {
            let mut request = fetch_request("t", &[(0, offset)], FetchOptions::default());
            if version >= 13 {
                request.topics[0].topic_id = id;
            }
            let response = wire.call(&request, version);
            let data = fetched(&response);
            assert_eq!(data.error_code, 0);
            assert_eq!(base_offsets(data), bases, "version {version} from offset {offset}");
            assert_eq!((data.high_watermark, data.last_stable_offset), (10, 10));
            if version >= 5 {
                assert_eq!(data.log_start_offset, 0);
            }
        }
    }
}

#[test]
fn an_offset_outside_the_log_is_out_of_range_and_tells_where_the_log_starts() {
    let (_broker, mut wire) = start();
    for offset in [11, 1_000, i64::MAX] {
        let data = fetch(&mut wire, "t", 0, offset);
        assert_eq!(data.error_code, OFFSET_OUT_OF_RANGE, "offset {offset}");
        // Apache Kafka leaves it at -1 here.
        assert!(is_kafka() || data.log_start_offset == 0);
        assert!(data.records.is_none_or(|records| records.is_empty()));
    }
    assert_eq!(fetch(&mut wire, "t", 0, -5).error_code, OFFSET_OUT_OF_RANGE);
    assert_eq!(fetch(&mut wire, "t", 7, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(fetch(&mut wire, "never", 0, 0).error_code, UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn the_first_batch_is_whole_even_if_it_is_larger_than_every_limit() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 3, &[]);
    let mut wire = Wire::connect(&broker);
    let big = vec![b'x'; 200_000];
    for partition in 0..3 {
        for _ in 0..3 {
            assert_eq!(produce(&mut wire, "t", partition, Batch::of(&[&big]).bytes()).0, 0);
        }
    }
    for (max_bytes, partition_max_bytes) in [(1, 1), (50_000, 50_000), (1 << 20, 100), (100, 1 << 20), (0, 0)] {
        let options = FetchOptions { max_bytes, partition_max_bytes, ..FetchOptions::default() };
        let response = wire.call(&fetch_request("t", &[(0, 0), (1, 0), (2, 0)], options), 12);
        let partitions = &response.responses[0].partitions;
        let whole: Vec<_> = partitions.iter().map(|p| base_offsets(p).len()).collect();
        assert_eq!(
            whole[0], 1,
            "limits {max_bytes} and {partition_max_bytes}: one whole batch, so that readers advance"
        );
        let rest: usize = partitions[1..].iter().map(|p| p.records.as_ref().map_or(0, bytes::Bytes::len)).sum();
        assert!(
            rest <= 2 * 100,
            "limits {max_bytes} and {partition_max_bytes}: the rest keeps within them, not {rest}"
        );
    }
    // The limit of the whole request counts over its partitions.
    let options = FetchOptions { max_bytes: 500_000, ..FetchOptions::default() };
    let response = wire.call(&fetch_request("t", &[(0, 0), (1, 0), (2, 0)], options), 12);
    let total: usize =
        response.responses[0].partitions.iter().map(|p| p.records.as_ref().map_or(0, bytes::Bytes::len)).sum();
    assert!((400_000..=500_000).contains(&total), "{total} bytes for a limit of 500,000");
}

#[test]
fn a_fetch_waits_for_its_bytes_or_its_time() {
    let (broker, mut wire) = start();
    let options = FetchOptions { max_wait_ms: 300, min_bytes: 1, ..FetchOptions::default() };
    let started = Instant::now();
    let response = wire.call(&fetch_request("t", &[(1, 0)], options), 12);
    assert!(base_offsets(fetched(&response)).is_empty());
    assert!(started.elapsed() >= Duration::from_millis(280), "answered after {:?}", started.elapsed());

    let options = FetchOptions { max_wait_ms: 30_000, min_bytes: 200, ..FetchOptions::default() };
    let waiting = wire.send(&fetch_request("t", &[(1, 0)], options), 12);
    let mut other = Wire::connect(&broker);
    assert_eq!(produce(&mut other, "t", 1, Batch::of(&[b"small"]).bytes()).0, 0);
    assert!(wire.is_silent_for(Duration::from_millis(300)), "one small batch is not enough");
    let started = Instant::now();
    assert_eq!(produce(&mut other, "t", 1, Batch::of(&[&[b'x'; 300]]).bytes()).0, 0);
    let response: FetchResponse = wire.receive(waiting, 12);
    assert_eq!(base_offsets(fetched(&response)), [0, 1]);
    assert!(started.elapsed() < Duration::from_secs(15));

    // An error is told at once.
    let options = FetchOptions { max_wait_ms: 30_000, min_bytes: 1 << 20, ..FetchOptions::default() };
    let started = Instant::now();
    let response = wire.call(&fetch_request("t", &[(1, 0), (0, 99)], options), 12);
    assert_eq!(response.responses[0].partitions[1].error_code, OFFSET_OUT_OF_RANGE);
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_waiting_fetch_ends_with_its_connection() {
    let (broker, _) = start();
    for _ in 0..200 {
        let mut wire = Wire::connect(&broker);
        let options = FetchOptions { max_wait_ms: 600_000, ..FetchOptions::default() };
        wire.send(&fetch_request("t", &[(1, 0)], options), 12);
    }
    let mut wire = Wire::connect(&broker);
    assert_eq!(produce(&mut wire, "t", 1, Batch::of(&[b"x"]).bytes()).0, 0);
    assert_eq!(base_offsets(&fetch(&mut wire, "t", 1, 0)), [0]);

    // The broker notices, whichever way it receives: it closes its side long before the wait is over.
    let mut wire = Wire::connect(&broker);
    let options = FetchOptions { max_wait_ms: 600_000, ..FetchOptions::default() };
    wire.send(&fetch_request("t", &[(1, 1)], options), 12);
    wire.end();
    assert!(wire.read_frame().is_none());
}

#[test]
fn a_session_tells_what_changed_and_nothing_else() {
    // Each shard has its own sessions, and which of them takes a connection is the kernel's choice.
    let (broker, mut wire) = start_with(&[("shards", "1")]);
    let options = |session_id, session_epoch| FetchOptions { session_id, session_epoch, ..FetchOptions::default() };
    let response = wire.call(&fetch_request("t", &[(0, 0), (1, 0)], options(0, 0)), 12);
    let session = response.session_id;
    assert_ne!(session, 0, "a full fetch with epoch 0 opens a session");
    assert_eq!(response.responses[0].partitions.len(), 2);

    // Partition 0 goes on at 10; 1 stays as it was asked for before.
    let response = wire.call(&fetch_request("t", &[(0, 10)], options(session, 1)), 12);
    assert_eq!((response.error_code, response.session_id), (0, session));
    assert!(response.responses.is_empty(), "no news");
    assert_eq!(produce(&mut wire, "t", 1, Batch::of(&[b"news"]).bytes()).0, 0);
    let response = wire.call(&fetch_request("t", &[], options(session, 2)), 12);
    assert_eq!(response.responses.len(), 1);
    assert_eq!(response.responses[0].partitions.len(), 1, "only the partition with news");
    assert_eq!(response.responses[0].partitions[0].partition_index, 1);
    assert_eq!(base_offsets(&response.responses[0].partitions[0]), [0]);

    // Forgetting partition 1 takes it out.
    assert_eq!(produce(&mut wire, "t", 1, Batch::of(&[b"more"]).bytes()).0, 0);
    let forgotten = fetch_request::ForgottenTopic::default().with_topic(topic_name("t")).with_partitions(vec![1]);
    let request = fetch_request("t", &[], options(session, 3)).with_forgotten_topics_data(vec![forgotten]);
    assert!(wire.call(&request, 12).responses.is_empty());

    // A session belongs to no connection, and an epoch out of step is refused on any.
    let mut other = Wire::connect(&broker);
    for (id, epoch, code) in [
        (session, 9, INVALID_FETCH_SESSION_EPOCH),
        (session, 2, INVALID_FETCH_SESSION_EPOCH),
        (session ^ 0x5555, 1, FETCH_SESSION_ID_NOT_FOUND),
    ] {
        let response = other.call(&fetch_request("t", &[], options(id, epoch)), 12);
        assert_eq!(response.error_code, code, "session {id} epoch {epoch}");
        assert!(response.responses.is_empty());
    }
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"0 again"]).bytes()).0, 0);
    let response = other.call(&fetch_request("t", &[], options(session, 4)), 12);
    assert_eq!(response.error_code, 0);
    assert_eq!(base_offsets(&response.responses[0].partitions[0]), [10]);

    // Epoch -1 closes it.
    let response = wire.call(&fetch_request("t", &[(0, 0)], options(session, -1)), 12);
    assert_eq!((response.error_code, response.session_id), (0, 0));
    let response = wire.call(&fetch_request("t", &[], options(session, 5)), 12);
    assert_eq!(response.error_code, FETCH_SESSION_ID_NOT_FOUND);
}

#[test]
fn more_sessions_than_there_are_slots_do_no_harm() {
    let broker = Broker::start(&[("max.incremental.fetch.session.cache.slots", "20")]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[b"x"]).bytes()).0, 0);
    for _ in 0..100 {
        let options = FetchOptions { session_id: 0, session_epoch: 0, ..FetchOptions::default() };
        let response = wire.call(&fetch_request("t", &[(0, 0)], options), 12);
        assert_eq!(response.error_code, 0);
        assert_eq!(base_offsets(&response.responses[0].partitions[0]), [0], "with a session or without");
    }
}

#[test]
fn topics_are_fetched_by_id_and_an_unknown_id_says_so() {
    let (_broker, mut wire) = start();
    let id = topic_id(&mut wire, "t");
    let mut request = fetch_request("t", &[(0, 4)], FetchOptions::default());
    request.topics[0].topic_id = id;
    let response = wire.call(&request, 16);
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(base_offsets(fetched(&response)), [3, 5]);
    request.topics[0].topic_id = uuid::Uuid::from_u128(0xfeed);
    let response = wire.call(&request, 16);
    assert_eq!(fetched(&response).error_code, UNKNOWN_TOPIC_ID);
}

#[test]
fn a_leader_epoch_that_does_not_fit_is_fenced() {
    let (_broker, mut wire) = start();
    let epoch = metadata(&mut wire, "t").topics[0].partitions[0].leader_epoch;
    let mut code = |current_leader_epoch| {
        let options = FetchOptions { current_leader_epoch, ..FetchOptions::default() };
        fetched(&wire.call(&fetch_request("t", &[(0, 0)], options), 12)).error_code
    };
    assert_eq!(code(epoch), 0);
    assert_eq!(code(-1), 0);
    assert_eq!(code(epoch + 1), UNKNOWN_LEADER_EPOCH);
    if epoch > 0 {
        assert_eq!(code(epoch - 1), FENCED_LEADER_EPOCH);
    }
}
