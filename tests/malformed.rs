//! Frames that no client would send: the broker stays up, claims no memory for what they claim to hold, and serves
//! the next connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest,
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, create_partitions_request, create_topics_request,
    describe_configs_request, describe_topic_partitions_request, list_offsets_request, metadata_request,
    offset_commit_request, offset_fetch_request, offset_for_leader_epoch_request,
};
use kafka_protocol::protocol::StrBytes;
use rand::Rng;

use crate::harness::batch::Batch;
use crate::harness::broker::is_kafka;
use crate::harness::client::{PATIENCE, create_topic, produce, read_all};
use crate::harness::wire::{FetchOptions, Wire, fetch_request, frame, produce_request, raw_frame, topic_name};
use crate::harness::{Broker, seeded};

/// What the broker may grow by while it is fed with rubbish: buffers and caches, not what a frame claims.
const GROWTH_BYTES_MAX: u64 = 96 << 20;

/// Sends bytes on a connection of their own, says that no more will come, and reads until the broker closes.
fn feed(broker: &Broker, bytes: &[u8]) {
    let mut stream = broker.connect();
    // Apache Kafka forgets to close some of them.
    let patience = if is_kafka() { Duration::from_millis(300) } else { PATIENCE };
    stream.set_read_timeout(Some(patience)).expect("a read timeout");
    // The broker may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_close(&mut stream, bytes);
}

fn read_to_close(stream: &mut TcpStream, sent: &[u8]) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => {
                panic!("the broker neither answers nor closes ({error}) after {:02x?}", &sent[..sent.len().min(200)])
            }
        }
    }
}

fn is_well(broker: &mut Broker) {
    assert!(broker.is_running(), "the broker has ended");
    let response = Wire::connect(broker).call(&ApiVersionsRequest::default(), 0);
    assert_eq!(response.error_code, 0);
}

fn warmed_up() -> (Broker, u64) {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    produce(&broker, "t", 0, &[vec![b'x'; 100_000]]);
    assert_eq!(read_all(&broker, "t", 0).len(), 1);
    let resident = broker.resident_bytes();
    (broker, resident)
}

fn assert_no_growth(broker: &Broker, before: u64) {
    let after = broker.resident_bytes();
    // A JVM's heap grows as it likes.
    assert!(is_kafka() || after < before + GROWTH_BYTES_MAX, "{before} bytes resident before, {after} after");
}

/// One valid request of each API, in a flexible version and in one before those.
fn valid_frames() -> Vec<(String, BytesMut)> {
    let text = StrBytes::from_static_str;
    let mut frames = Vec::new();
    macro_rules! frame {
        ($request:expr, $($version:literal),+) => {
            $( frames.push((format!("{} v{}", stringify!($request).split(['(', ':', '.']).next().unwrap_or(""), $version),
                frame(&$request, $version, 100))); )+
        };
    }
    let metadata = MetadataRequest::default()
        .with_topics(Some(vec![metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name("t")))]));
    frame!(metadata, 1);
    let metadata = metadata.with_allow_auto_topic_creation(false);
    frame!(metadata, 8, 12);
    let versions =
        ApiVersionsRequest::default().with_client_software_name(text("tests")).with_client_software_version(text("1"));
    frame!(versions, 3);
    let produce = produce_request("t", 0, 1, Batch::of(&[b"fuzz", b"ed"]).bytes());
    frame!(produce, 3, 8, 9);
    let fetch = fetch_request("t", &[(0, 0)], FetchOptions::default());
    frame!(fetch, 4, 11, 12);
    let list = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![
        list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![list_offsets_request::ListOffsetsPartition::default().with_timestamp(-1)]),
    ]);
    frame!(list, 1, 5, 8);
    let create = CreateTopicsRequest::default().with_timeout_ms(1_000).with_validate_only(true).with_topics(vec![
        create_topics_request::CreatableTopic::default()
            .with_name(topic_name("u"))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(vec![
                create_topics_request::CreatableTopicConfig::default()
                    .with_name(text("retention.ms"))
                    .with_value(Some(text("1000"))),
            ]),
    ]);
    frame!(create, 4, 7);
    let delete = DeleteTopicsRequest::default().with_timeout_ms(1_000).with_topic_names(vec![topic_name("gone")]);
    frame!(delete, 1, 5);
    let grow = CreatePartitionsRequest::default().with_timeout_ms(1_000).with_validate_only(true).with_topics(vec![
        create_partitions_request::CreatePartitionsTopic::default()
            .with_name(topic_name("t"))
            .with_count(2)
            .with_assignments(None),
    ]);
    frame!(grow, 0, 3);
    let init = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000);
    frame!(init, 0, 4);
    let configs = DescribeConfigsRequest::default().with_resources(vec![
        describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configuration_keys(Some(vec![text("retention.ms")])),
    ]);
    frame!(configs, 1, 4);
    frame!(DescribeClusterRequest::default(), 0, 1);
    let partitions = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![describe_topic_partitions_request::TopicRequest::default().with_name(topic_name("t"))])
        .with_response_partition_limit(10);
    frame!(partitions, 0);
    let epochs = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![
        offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(topic_name("t"))
            .with_partitions(vec![offset_for_leader_epoch_request::OffsetForLeaderPartition::default()]),
    ]);
    frame!(epochs, 3, 4);
    frame!(DescribeLogDirsRequest::default().with_topics(None), 1, 4);
    frame!(FindCoordinatorRequest::default().with_key(text("g")), 0, 3);
    frame!(FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]), 4);
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            offset_commit_request::OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(
                vec![
                    offset_commit_request::OffsetCommitRequestPartition::default()
                        .with_committed_metadata(Some(text("m"))),
                ],
            ),
        ]);
    frame!(commit, 7, 8);
    let offsets = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(Some(vec![
        offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(topic_name("t"))
            .with_partition_indexes(vec![0]),
    ]));
    frame!(offsets, 5, 7);
    frames
}

#[test]
fn sizes_that_are_negative_zero_or_huge_close_the_connection() {
    let (mut broker, before) = warmed_up();
    for size in [-1_i32, i32::MIN, 0, 1, 7, i32::MAX, 0x7fff_0000, 104_857_601, 0x4745_5420] {
        feed(&broker, &size.to_be_bytes());
        feed(&broker, &[size.to_be_bytes().as_slice(), &[0; 10]].concat());
        let mut stream = broker.connect();
        stream.write_all(&size.to_be_bytes()).expect("four bytes");
        if !(1..=104_857_600).contains(&size) {
            // Without waiting for the rest, which would never come.
            stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
            if !(is_kafka() && size == 0) {
                read_to_close(&mut stream, &size.to_be_bytes());
            }
        }
    }
    feed(&broker, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    feed(&broker, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    feed(&broker, b"");
    is_well(&mut broker);
    assert_no_growth(&broker, before);
}

#[test]
fn a_frame_claimed_to_be_large_takes_memory_only_as_it_arrives() {
    if is_kafka() {
        return; // Apache Kafka allocates what a frame claims.
    }
    let (mut broker, before) = warmed_up();
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = broker.connect();
        stream.write_all(&100_000_000_i32.to_be_bytes()).expect("a size");
        stream.write_all(&[0, 0, 0, 9, 0, 0, 0, 1]).expect("the begin of a header");
        held.push(stream);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_no_growth(&broker, before);
    is_well(&mut broker);
    drop(held);
    is_well(&mut broker);
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_answered() {
    let (mut broker, _) = warmed_up();
    for (what, frame) in valid_frames().into_iter().filter(|(what, _)| what.starts_with("metadata")) {
        let mut wire = Wire::connect(&broker);
        for byte in &frame {
            wire.send_bytes(&[*byte]);
        }
        assert!(wire.read_frame().is_some(), "{what}");
    }
    is_well(&mut broker);
}

#[test]
fn many_requests_in_one_packet_are_all_answered() {
    let (broker, _) = warmed_up();
    let mut wire = Wire::connect(&broker);
    let mut all = BytesMut::new();
    for _ in 0..500 {
        all.extend_from_slice(&wire.frame(&ApiVersionsRequest::default(), 0));
    }
    wire.send_bytes(&all);
    for n in 0..500 {
        assert!(wire.read_frame().is_some(), "answer {n}");
    }
}

#[test]
fn truncated_requests_are_answered_or_closed() {
    let (mut broker, before) = warmed_up();
    for (_, frame) in valid_frames() {
        for end in 4..frame.len() {
            // The size says what is really there, so that the fields are what is cut.
            let mut cut = BytesMut::from(&frame[..end]);
            let size = (end - 4) as u32;
            cut[..4].copy_from_slice(&size.to_be_bytes());
            feed(&broker, &cut);
        }
        // And the connection cut inside a frame that claims all of it.
        feed(&broker, &frame[..frame.len() / 2]);
        feed(&broker, &frame[..frame.len() - 1]);
    }
    is_well(&mut broker);
    assert_no_growth(&broker, before);
}

#[test]
fn lengths_of_2_to_the_31_at_any_place_are_answered_or_closed() {
    let (mut broker, before) = warmed_up();
    let claims: [&[u8]; 5] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0x00, 0x00, 0x00],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    let started = Instant::now();
    for (_, frame) in valid_frames() {
        for claim in claims {
            for at in 8..frame.len().saturating_sub(claim.len()) {
                let mut spoilt = frame.clone();
                spoilt[at..at + claim.len()].copy_from_slice(claim);
                feed(&broker, &spoilt);
            }
        }
    }
    println!("took {:?}", started.elapsed());
    is_well(&mut broker);
    assert_no_growth(&broker, before);
}

#[test]
fn array_lengths_written_by_hand_are_not_believed() {
    let (mut broker, before) = warmed_up();
    let huge = i32::MAX.to_be_bytes();
    let varint: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0x0f];
    let produce_head: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0x75, 0x30];
    let frames = [
        raw_frame(ApiKey::Metadata, 1, 1, false, &huge),
        raw_frame(ApiKey::Metadata, 12, 1, true, varint),
        raw_frame(ApiKey::Produce, 3, 1, false, &[produce_head, &huge].concat()),
        raw_frame(ApiKey::Produce, 9, 1, true, &[&[0, 0xff, 0xff, 0, 0, 0x75, 0x30], varint].concat()),
        raw_frame(ApiKey::Fetch, 4, 1, false, &[&[0xff; 4][..], &[0; 13], &huge].concat()),
        raw_frame(ApiKey::Fetch, 12, 1, true, &[&[0xff; 4][..], &[0; 21], varint].concat()),
        raw_frame(ApiKey::ListOffsets, 1, 1, false, &[&[0xff; 4][..], &huge].concat()),
        raw_frame(ApiKey::CreateTopics, 2, 1, false, &huge),
        raw_frame(ApiKey::CreateTopics, 7, 1, true, varint),
        raw_frame(ApiKey::DescribeConfigs, 1, 1, false, &huge),
        raw_frame(ApiKey::FindCoordinator, 4, 1, true, &[&[0], varint].concat()),
        // Tagged fields: two billion of them, and one that claims two billion bytes.
        raw_frame(ApiKey::ApiVersions, 3, 1, true, &[&[2, b'a', 2, b'b'], varint].concat()),
        raw_frame(ApiKey::ApiVersions, 3, 1, true, &[&[2, b'a', 2, b'b', 1, 0], varint].concat()),
    ];
    for frame in frames {
        feed(&broker, &frame);
    }
    is_well(&mut broker);
    assert_no_growth(&broker, before);
}

#[test]
fn requests_with_random_damage_do_no_harm() {
    let (mut broker, before) = warmed_up();
    let mut random = seeded();
    let frames = valid_frames();
    for _ in 0..4_000 {
        let (_, frame) = &frames[random.random_range(0..frames.len())];
        let mut spoilt = frame.clone();
        for _ in 0..random.random_range(1..6) {
            // Not the key, so that each API's own decoder gets its share.
            let at = random.random_range(6..spoilt.len());
            spoilt[at] = random.random();
        }
        if random.random_bool(0.2) {
            let end = random.random_range(8..spoilt.len());
            spoilt.truncate(end);
        }
        let size = (spoilt.len() - 4) as u32;
        spoilt[..4].copy_from_slice(&size.to_be_bytes());
        feed(&broker, &spoilt);
    }
    is_well(&mut broker);
    assert_no_growth(&broker, before);
    assert_eq!(produce(&broker, "after", 0, &[b"still serving".to_vec()]), [0]);
}

#[test]
fn record_batches_with_random_damage_are_refused_and_leave_the_log_readable() {
    let (broker, before) = warmed_up();
    let mut random = seeded();
    let mut wire = Wire::connect(&broker);
    let good = Batch::of(&[b"alpha", b"beta", b"gamma"]).bytes_mut();
    for round in 0..2_000 {
        let mut spoilt = good.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(8..spoilt.len());
            spoilt[at] = random.random();
        }
        if random.random_bool(0.3) {
            let end = random.random_range(0..spoilt.len());
            spoilt.truncate(end);
        }
        // A checksum that fits, half of the time, so that what lies behind it is looked at too. Apache Kafka lets some
        // of those in, such as a transactional batch of no transaction, behind which readers then wait for ever.
        if !is_kafka() && random.random_bool(0.5) && spoilt.len() > 61 {
            crate::harness::batch::seal(&mut spoilt);
        }
        let records: Bytes = spoilt.freeze();
        wire.send(&produce_request("t", 0, -1, records), 9);
        if wire.read_frame().is_none() {
            wire = Wire::connect(&broker);
        }
        if round % 500 == 499 {
            assert!(!read_all(&broker, "t", 0).is_empty());
        }
    }
    assert_no_growth(&broker, before);
    assert!(!read_all(&broker, "t", 0).is_empty());
}
