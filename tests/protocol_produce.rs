//! Produce on the wire: what is refused and how, sequences of idempotent producers, answers in order.

use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, produce_request};

use crate::harness::Broker;
use crate::harness::batch::{self, ATTRIBUTES_AT, Batch, CRC_AT, LAST_OFFSET_DELTA_AT, RECORD_COUNT_AT, seal};
use crate::harness::broker::is_kafka;
use crate::harness::client::{PATIENCE, create_topic, read_all, values, watermarks};
use crate::harness::wire::{Wire, fetch, produce, produce_request, produced, topic_id, topic_name};

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REQUIRED_ACKS: i16 = 21;
const INVALID_TIMESTAMP: i16 = 32;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// A broker with topic `t` of one partition, and a connection.
fn start() -> (Broker, Wire) {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let wire = Wire::connect(&broker);
    (broker, wire)
}

fn producer_id(wire: &mut Wire) -> (i64, i16) {
    let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    // COORDINATOR_LOAD_IN_PROGRESS is a fair first answer.
    for _ in 0..200 {
        let response = wire.call(&request, 4);
        if response.error_code == 0 {
            return (response.producer_id.0, response.producer_epoch);
        }
        assert_eq!(response.error_code, 14);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("no producer id");
}

#[test]
fn every_version_of_produce_takes_a_batch() {
    let (broker, mut wire) = start();
    for version in 3..=13_i16 {
        let records = Batch::of(&[format!("v{version}").as_bytes()]).bytes();
        let mut request = produce_request("t", 0, -1, records);
        if version >= 13 {
            let id = topic_id(&mut wire, "t");
            request.topic_data[0].topic_id = id;
        }
        let response = wire.call(&request, version);
        let answer = produced(&response);
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(version - 3)), "version {version}");
        assert_eq!(answer.log_append_time_ms, -1);
        if version >= 5 {
            assert_eq!(answer.log_start_offset, 0);
        }
    }
    assert_eq!(read_all(&broker, "t", 0).len(), 11);
}

#[test]
fn base_offset_and_leader_epoch_are_stamped_and_nothing_else_changes() {
    let (_broker, mut wire) = start();
    let first = Batch::of(&[b"a", b"b", b"c"]).bytes();
    let mut second = Batch::of(&[b"d"]).bytes_mut();
    // What a client puts there is of no account: it lies outside the checksum.
    second[12..16].copy_from_slice(&55_i32.to_be_bytes());
    assert_eq!(produce(&mut wire, "t", 0, first.clone()), (0, 0));
    assert_eq!(produce(&mut wire, "t", 0, second.clone().freeze()), (0, 3));
    let fetched = fetch(&mut wire, "t", 0, 0);
    let records = fetched.records.expect("records");
    let epoch = crate::harness::wire::metadata(&mut wire, "t").topics[0].partitions[0].leader_epoch;
    assert!(epoch >= 0);
    let found = batch::batches(&records);
    assert_eq!(found.iter().map(|b| (b.base_offset, b.last_offset)).collect::<Vec<_>>(), [(0, 2), (3, 3)]);
    assert!(found.iter().all(|b| b.crc_ok && b.leader_epoch == epoch));
    assert_eq!(records[CRC_AT..first.len()], first[CRC_AT..]);
    assert_eq!(records[first.len() + CRC_AT..], second[CRC_AT..]);
    assert_eq!(fetched.high_watermark, 4);
    assert_eq!(fetched.last_stable_offset, 4);
}

#[test]
fn spoilt_batches_are_refused_each_with_its_code_and_leave_no_trace() {
    let (broker, mut wire) = start();
    create_topic(&broker, "compacted", 1, &[("cleanup.policy", "compact")]);
    let good = Batch::of(&[b"one", b"two", b"three"]).bytes_mut();
    let resealed = |spoil: &dyn Fn(&mut BytesMut)| {
        let mut batch = good.clone();
        spoil(&mut batch);
        seal(&mut batch);
        batch.freeze()
    };

    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last - 3] ^= 1;
    let two = [good.as_ref(), good.as_ref()].concat();
    let cases: Vec<(&str, Bytes, i16)> = vec![
        ("a flipped bit", flipped.freeze(), CORRUPT_MESSAGE),
        ("two batches", two.into(), INVALID_RECORD),
        ("no batch", Bytes::new(), INVALID_RECORD),
        ("a base offset other than 0", resealed(&|b| b[7] = 77), INVALID_RECORD),
        ("magic 1", resealed(&|b| b[16] = 1), INVALID_RECORD),
        ("magic 0", resealed(&|b| b[16] = 0), INVALID_RECORD),
        ("a control batch", resealed(&|b| b[ATTRIBUTES_AT + 1] |= 0x20), INVALID_RECORD),
        ("a count of records too high", resealed(&|b| b[RECORD_COUNT_AT + 3] = 4), INVALID_RECORD),
        ("a count of records too low", resealed(&|b| b[RECORD_COUNT_AT + 3] = 2), INVALID_RECORD),
        ("a last offset delta too high", resealed(&|b| b[LAST_OFFSET_DELTA_AT + 3] = 9), INVALID_RECORD),
        ("a negative last offset delta", resealed(&|b| b[LAST_OFFSET_DELTA_AT] = 0xff), INVALID_RECORD),
        ("a negative count of records", resealed(&|b| b[RECORD_COUNT_AT] = 0xff), INVALID_RECORD),
    ];
    for (what, records, code) in cases {
        let (got, offset) = produce(&mut wire, "t", 0, records);
        // Kafka has more than one code for a spoilt batch, by which check meets it first; each is permanent to a client.
        let fits =
            got == code || (got != 0 && [CORRUPT_MESSAGE, INVALID_RECORD].contains(&got) && what != "two batches");
        assert!(fits, "{what}: error {got}, not {code}");
        assert_eq!(offset, -1, "{what}");
    }

    let far = i64::MAX / 2;
    let ahead = Batch::of(&[b"x"]).at(far).bytes();
    assert_eq!(produce(&mut wire, "t", 0, ahead).0, INVALID_TIMESTAMP);
    assert_eq!(produce(&mut wire, "compacted", 0, Batch::of(&[b"x"]).bytes()).0, INVALID_RECORD, "no key");
    let keyed = Batch { keys: true, ..Batch::of(&[b"x"]) };
    assert_eq!(produce(&mut wire, "compacted", 0, keyed.bytes()).0, 0);
    let large = vec![b'x'; 1_100_000];
    assert_eq!(produce(&mut wire, "t", 0, Batch::of(&[&large]).bytes()).0, MESSAGE_TOO_LARGE);
    assert_eq!(produce(&mut wire, "never", 0, good.clone().freeze()).0, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(produce(&mut wire, "t", 1, good.clone().freeze()).0, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(produce(&mut wire, "t", -1, good.clone().freeze()).0, UNKNOWN_TOPIC_OR_PARTITION);
    if !is_kafka() {
        // Apache Kafka has transactions and answers otherwise.
        let transactional = Batch { attributes: 0x10, ..Batch::sequenced(&[b"x"], 4, 0, 0) };
        assert_eq!(produce(&mut wire, "t", 0, transactional.bytes()).0, INVALID_TXN_STATE);
    }

    assert_eq!(watermarks(&broker, "t", 0), (0, 0), "nothing of all that was kept");
    assert_eq!(produce(&mut wire, "t", 0, good.freeze()), (0, 0), "and a good batch goes on at offset 0");
}

#[test]
fn compressed_batches_are_looked_into() {
    let (broker, mut wire) = start();
    // Says gzip, and is not.
    let mut fake = Batch { attributes: 1, ..Batch::of(&[b"plain text", b"not gzip at all"]) }.bytes_mut();
    seal(&mut fake);
    let (code, _) = produce(&mut wire, "t", 0, fake.freeze());
    assert!([CORRUPT_MESSAGE, INVALID_RECORD].contains(&code) || (is_kafka() && code != 0), "error {code}");

    // Codec numbers 5 to 7 are nobody's.
    for codec in 5..8 {
        let unknown = Batch { attributes: codec, ..Batch::of(&[b"x"]) };
        let response = {
            let mut own = Wire::connect(&broker);
            let id = own.send(&produce_request("t", 0, -1, unknown.bytes()), 9);
            match own.read_frame() {
                // Apache Kafka cannot even build the answer for these and closes the connection.
                None => continue,
                Some(_) if is_kafka() => continue,
                Some(mut frame) => {
                    use kafka_protocol::protocol::Decodable;
                    let header =
                        kafka_protocol::messages::ResponseHeader::decode(&mut frame, 1).expect("a response header");
                    assert_eq!(header.correlation_id, id);
                    kafka_protocol::messages::ProduceResponse::decode(&mut frame, 9).expect("a response")
                }
            }
        };
        assert_ne!(produced(&response).error_code, 0, "codec {codec}");
    }

    // zstd needs a Produce version of at least 7, since older consumers could not read it.
    let zstd = Batch { attributes: 4, ..Batch::of(&[b"x"]) };
    let response = wire.call(&produce_request("t", 0, -1, zstd.bytes()), 6);
    assert_eq!(produced(&response).error_code, UNSUPPORTED_COMPRESSION_TYPE);
    assert_eq!(watermarks(&broker, "t", 0), (0, 0));
}

#[test]
fn a_batch_that_unpacks_to_gigabytes_takes_no_memory() {
    let (broker, mut wire) = start();
    // 512 MiB of zeros in half a megabyte of gzip, as one record's bytes would be.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let chunk = vec![0_u8; 1 << 20];
    for _ in 0..512 {
        std::io::Write::write_all(&mut encoder, &chunk).expect("memory");
    }
    let bomb = encoder.finish().expect("gzip");
    let template = Batch { attributes: 1, ..Batch::of(&[b"x"]) }.bytes_mut();
    let mut records = BytesMut::from(&template[..batch::HEADER_BYTES]);
    records.put_slice(&bomb);
    let length = (records.len() - 12) as i32;
    records[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut records);
    let before = broker.resident_bytes();
    let (code, _) = produce(&mut wire, "t", 0, records.freeze());
    assert_ne!(code, 0, "zeros are no records");
    let after = broker.resident_bytes();
    assert!(is_kafka() || after < before + (64 << 20), "{before} bytes resident before, {after} after");
}

#[test]
fn acks_other_than_0_1_and_all_are_refused_and_an_error_without_acks_closes_the_connection() {
    let (broker, mut wire) = start();
    let records = || Batch::of(&[b"x"]).bytes();
    for acks in [2, -2, 100] {
        let response = wire.call(&produce_request("t", 0, acks, records()), 9);
        assert_eq!(produced(&response).error_code, INVALID_REQUIRED_ACKS);
    }
    let mut spoilt = Batch::of(&[b"x"]).bytes_mut();
    spoilt[CRC_AT] ^= 1;
    for request in [produce_request("t", 0, 0, spoilt.freeze()), produce_request("never", 0, 0, records())] {
        let mut wire = Wire::connect(&broker);
        wire.send(&request, 9);
        assert!(wire.is_closed(), "the only way to tell a client that asked for no answer");
    }
    // Without an error there is no answer, and the connection goes on.
    wire.send(&produce_request("t", 0, 0, records()), 9);
    let response = wire.call(&produce_request("t", 0, 1, records()), 9);
    assert_eq!((produced(&response).error_code, produced(&response).base_offset), (0, 1));
}

#[test]
fn an_idempotent_producers_batches_are_taken_once_and_in_order() {
    let (mut broker, mut wire) = start();
    let (id, epoch) = producer_id(&mut wire);
    let batch = |sequence: i32| Batch::sequenced(&[b"a", b"b"], id, epoch, sequence).bytes();
    for n in 0..7 {
        assert_eq!(produce(&mut wire, "t", 0, batch(2 * n)), (0, 2 * i64::from(n)));
    }
    // The last five batches are known again, each by its first offset.
    for n in 2..7 {
        assert_eq!(produce(&mut wire, "t", 0, batch(2 * n)), (0, 2 * i64::from(n)), "batch {n} again");
    }
    assert_eq!(produce(&mut wire, "t", 0, batch(0)).0, OUT_OF_ORDER_SEQUENCE_NUMBER, "too old to be known");
    assert_eq!(produce(&mut wire, "t", 0, batch(16)).0, OUT_OF_ORDER_SEQUENCE_NUMBER, "a gap");
    let cut = Batch::sequenced(&[b"a"], id, epoch, 12).bytes();
    assert_eq!(produce(&mut wire, "t", 0, cut).0, OUT_OF_ORDER_SEQUENCE_NUMBER, "not the same batch as before");

    // All of that is known after a restart, clean or not.
    for crash in [false, true] {
        if crash {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
        let mut wire = Wire::connect(&broker);
        assert_eq!(produce(&mut wire, "t", 0, batch(12)), (0, 12), "crash: {crash}");
        assert_eq!(produce(&mut wire, "t", 0, batch(16)).0, OUT_OF_ORDER_SEQUENCE_NUMBER, "crash: {crash}");
    }
    let mut wire = Wire::connect(&broker);
    assert_eq!(produce(&mut wire, "t", 0, batch(14)), (0, 14), "and the next one follows");

    // A new epoch begins at sequence 0 and fences the old one.
    let next = |sequence: i32| Batch::sequenced(&[b"n"], id, epoch + 1, sequence).bytes();
    assert_eq!(produce(&mut wire, "t", 0, next(5)).0, OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_eq!(produce(&mut wire, "t", 0, next(0)), (0, 16));
    assert_eq!(produce(&mut wire, "t", 0, batch(16)).0, INVALID_PRODUCER_EPOCH);

    // A producer that nobody knows is taken at any sequence: it may have expired.
    let stranger = Batch::sequenced(&[b"s"], id + 1_000_000, 0, 40).bytes();
    assert_eq!(produce(&mut wire, "t", 0, stranger), (0, 17));
    let stranger = Batch::sequenced(&[b"s"], id + 1_000_000, 0, 41).bytes();
    assert_eq!(produce(&mut wire, "t", 0, stranger), (0, 18));
    assert_eq!(watermarks(&broker, "t", 0), (0, 19));
}

#[test]
fn producers_that_are_idle_are_forgotten_while_the_broker_runs() {
    let broker =
        Broker::start(&[("producer.id.expiration.ms", "1"), ("producer.id.expiration.check.interval.ms", "50")]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    let (id, epoch) = producer_id(&mut wire);
    let batch = |sequence: i32| Batch::sequenced(&[b"a"], id, epoch, sequence).bytes();
    assert_eq!(produce(&mut wire, "t", 0, batch(0)).0, 0);
    // A gap is taken of one that nobody knows.
    let deadline = Instant::now() + PATIENCE;
    while produce(&mut wire, "t", 0, batch(7)).0 != 0 {
        assert!(Instant::now() < deadline, "the producer is still known");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn sequences_wrap_around() {
    let (_broker, mut wire) = start();
    let batch = |sequence: i32, count: usize| {
        let values = vec![b"v".as_slice(); count];
        Batch::sequenced(&values, 9_000_000, 0, sequence).bytes()
    };
    assert_eq!(produce(&mut wire, "t", 0, batch(i32::MAX - 2, 3)), (0, 0));
    assert_eq!(produce(&mut wire, "t", 0, batch(0, 2)), (0, 3));
    assert_eq!(produce(&mut wire, "t", 0, batch(2, 1)), (0, 5));
    assert_eq!(produce(&mut wire, "t", 0, batch(i32::MAX - 2, 3)), (0, 0), "known again over the wrap");
}

#[test]
fn producer_ids_are_never_given_twice() {
    let (mut broker, _) = start();
    let mut seen = std::collections::HashSet::new();
    for round in 0..4 {
        let mut wire = Wire::connect(&broker);
        for _ in 0..50 {
            let (id, epoch) = producer_id(&mut wire);
            assert_eq!(epoch, 0);
            assert!(seen.insert(id), "id {id} again in round {round}");
        }
        if round % 2 == 0 {
            broker.kill();
            broker.launch();
        } else {
            broker.restart();
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (broker, mut wire) = start();
    create_topic(&broker, "u", 4, &[]);
    let mut expected = Vec::new();
    let count = 300;
    for n in 0..count {
        let value = n.to_string();
        let records = Batch::of(&[value.as_bytes()]).bytes();
        // Partitions of several shards, so that answers become ready in another order than they are due.
        expected.push(wire.send(&produce_request("u", n % 4, if n % 3 == 0 { 1 } else { -1 }, records), 9));
    }
    for (n, id) in expected.into_iter().enumerate() {
        let response: kafka_protocol::messages::ProduceResponse = wire.receive(id, 9);
        let answer = produced(&response);
        assert_eq!((answer.error_code, answer.base_offset), (0, n as i64 / 4), "request {n}");
    }
    for partition in 0..4 {
        let want: Vec<_> = (0..count).filter(|n| n % 4 == partition).map(|n| n.to_string().into_bytes()).collect();
        assert_eq!(values(&read_all(&broker, "u", partition)), want);
    }
}

#[test]
fn one_request_for_many_partitions_gets_an_answer_for_each() {
    let (broker, mut wire) = start();
    create_topic(&broker, "u", 6, &[]);
    let data = |name: &str, partitions: &[i32]| {
        let data = partitions
            .iter()
            .map(|&index| {
                produce_request::PartitionProduceData::default()
                    .with_index(index)
                    .with_records(Some(Batch::of(&[b"x", b"y"]).bytes()))
            })
            .collect();
        produce_request::TopicProduceData::default().with_name(topic_name(name)).with_partition_data(data)
    };
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![
        data("u", &[5, 0, 3, 1, 9]),
        data("t", &[0]),
        data("never", &[0]),
    ]);
    let response = wire.call(&request, 9);
    let mut codes: Vec<_> = response
        .responses
        .iter()
        .flat_map(|topic| {
            topic.partition_responses.iter().map(|p| (topic.name.to_string(), p.index, p.error_code, p.base_offset))
        })
        .collect();
    codes.sort();
    let row = |topic: &str, partition, code, offset| (topic.to_owned(), partition, code, offset);
    assert_eq!(
        codes,
        [
            row("never", 0, UNKNOWN_TOPIC_OR_PARTITION, -1),
            row("t", 0, 0, 0),
            row("u", 0, 0, 0),
            row("u", 1, 0, 0),
            row("u", 3, 0, 0),
            row("u", 5, 0, 0),
            row("u", 9, UNKNOWN_TOPIC_OR_PARTITION, -1),
        ]
    );
}

#[test]
fn an_unknown_topic_id_says_so() {
    let (_broker, mut wire) = start();
    let mut request = produce_request("t", 0, -1, Batch::of(&[b"x"]).bytes());
    request.topic_data[0].topic_id = uuid::Uuid::from_u128(0xdead_beef);
    let response = wire.call(&request, 13);
    assert_eq!(produced(&response).error_code, UNKNOWN_TOPIC_ID);
}
