//! What a client sends comes back the same: every codec, idempotent or not, keys, headers, timestamps, large records.

use rand::Rng;
use rdkafka::Timestamp;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use crate::harness::client::{Producer, create_topic, produce, read_all, values};
use crate::harness::{Broker, batch, seeded, wire};

/// The number that a batch's attributes carry for each codec.
const CODECS: [(&str, i16); 5] = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

/// Text that compresses, with random parts so that batches differ.
fn lines(count: usize) -> Vec<Vec<u8>> {
    let mut random = seeded();
    (0..count)
        .map(|i| {
            let words = random.random_range(0..40);
            let number: u64 = random.random();
            format!("{i:06} {number:016x} {}", "the quick brown fox ".repeat(words)).into_bytes()
        })
        .collect()
}

#[test]
fn every_codec_comes_back_as_it_was_sent_and_stays_that_codec_on_disk() {
    let broker = Broker::start(&[]);
    let sent = lines(2_000);
    for (codec, attribute) in CODECS {
        for idempotent in ["false", "true"] {
            let topic = format!("{codec}-{idempotent}");
            create_topic(&broker, &topic, 1, &[]);
            let settings =
                [("compression.type", codec), ("enable.idempotence", idempotent), ("acks", "all"), ("linger.ms", "20")];
            let producer = Producer::new(&broker, &settings);
            for (tag, value) in sent.iter().enumerate() {
                producer.send_value(tag, &topic, 0, value);
            }
            let reports = producer.finish_ok();
            let offsets: Vec<i64> = reports.iter().map(|report| report.result.expect("checked")).collect();
            assert_eq!(offsets, (0..sent.len() as i64).collect::<Vec<_>>(), "{topic}: offsets are gapless, in order");

            let read = read_all(&broker, &topic, 0);
            assert!(values(&read) == sent, "{topic}: the values come back in order");

            let mut wire = wire::Wire::connect(&broker);
            let fetched = wire::fetch(&mut wire, &topic, 0, 0);
            let batches = batch::batches(fetched.records.as_deref().unwrap_or_default());
            assert!(!batches.is_empty());
            for batch in batches {
                assert_eq!(batch.attributes & 7, attribute, "{topic}: the batch kept its codec");
                assert!(batch.crc_ok, "{topic}: the checksum holds");
                assert_eq!(batch.producer_id >= 0, idempotent == "true");
            }
        }
    }
}

#[test]
fn keys_headers_and_timestamps_come_back() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let producer = Producer::new(&broker, &[]);
    let headers = || {
        OwnedHeaders::new()
            .insert(Header { key: "a", value: Some("1") })
            .insert(Header { key: "nothing", value: None::<&str> })
            .insert(Header { key: "a", value: Some("again") })
            .insert(Header { key: "empty", value: Some("") })
    };
    producer.send(0, BaseRecord::to("t").partition(0).key(b"key".as_slice()).payload(b"value".as_slice()).timestamp(5));
    producer.send(1, BaseRecord::to("t").partition(0).payload(b"no key".as_slice()).timestamp(1_700_000_000_123));
    // A tombstone: a key and no value.
    producer.send(2, BaseRecord::to("t").partition(0).key(b"gone".as_slice()).timestamp(7));
    producer.send(3, BaseRecord::to("t").partition(0).key(b"".as_slice()).payload(b"".as_slice()).headers(headers()));
    producer.finish_ok();

    let read = read_all(&broker, "t", 0);
    assert_eq!(read.len(), 4);
    assert_eq!((read[0].key(), read[0].payload()), (Some(b"key".as_slice()), Some(b"value".as_slice())));
    assert_eq!(read[0].timestamp(), Timestamp::CreateTime(5));
    assert_eq!((read[1].key(), read[1].payload()), (None, Some(b"no key".as_slice())));
    assert_eq!(read[1].timestamp(), Timestamp::CreateTime(1_700_000_000_123));
    assert_eq!((read[2].key(), read[2].payload()), (Some(b"gone".as_slice()), None));
    assert_eq!((read[3].key(), read[3].payload()), (Some(b"".as_slice()), Some(b"".as_slice())));
    let got = read[3].headers().expect("headers");
    let pairs: Vec<_> = got.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect();
    let want = [("a", Some("1")), ("nothing", None), ("a", Some("again")), ("empty", Some(""))];
    assert_eq!(pairs, want.map(|(key, value)| (key.to_owned(), value.map(|v| v.as_bytes().to_vec()))));
}

#[test]
fn log_append_time_replaces_the_clients_timestamps() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let producer = Producer::new(&broker, &[("compression.type", "lz4")]);
    for tag in 0..10 {
        producer.send(tag, BaseRecord::to("t").partition(0).payload(b"x".as_slice()).timestamp(5));
    }
    producer.finish_ok();
    for record in read_all(&broker, "t", 0) {
        match record.timestamp() {
            Timestamp::LogAppendTime(at) => assert!(at > 1_600_000_000_000, "{at} is a time of today"),
            other => panic!("{other:?} is not the append time"),
        }
    }
    let mut wire = wire::Wire::connect(&broker);
    let fetched = wire::fetch(&mut wire, "t", 0, 0);
    for batch in batch::batches(fetched.records.as_deref().unwrap_or_default()) {
        assert_eq!(batch.attributes & 8, 8, "the batch says which clock it carries");
        assert!(batch.crc_ok, "the checksum covers the timestamp and was made anew");
    }
}

#[test]
fn keyed_records_spread_over_partitions_and_keep_their_order() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 6, &[]);
    let producer = Producer::new(&broker, &[("compression.type", "zstd"), ("enable.idempotence", "true")]);
    for tag in 0..3_000_usize {
        let key = format!("key-{}", tag % 50);
        producer.send(tag, BaseRecord::to("t").key(key.as_bytes()).payload(tag.to_string().as_bytes()));
    }
    producer.finish_ok();
    let mut total = 0;
    let mut used = 0;
    for partition in 0..6 {
        let records = read_all(&broker, "t", partition);
        total += records.len();
        used += usize::from(!records.is_empty());
        let mut last = std::collections::HashMap::new();
        for record in &records {
            let key = record.key().expect("a key").to_vec();
            let value: usize =
                std::str::from_utf8(record.payload().expect("a value")).expect("digits").parse().expect("");
            assert!(last.insert(key, value).is_none_or(|before| before < value), "a key's records keep their order");
        }
    }
    assert_eq!(total, 3_000);
    assert!(used >= 4, "50 keys are spread over 6 partitions");
}

#[test]
fn a_record_of_nearly_the_limit_fits_and_one_above_it_is_refused() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    create_topic(&broker, "wide", 1, &[("max.message.bytes", "9000000")]);
    let settings = [("message.max.bytes", "10000000"), ("linger.ms", "0")];
    let producer = Producer::new(&broker, &settings);
    // 1,048,588 is the default of max.message.bytes; a batch of one record adds less than 200 bytes.
    let fits = vec![b'x'; 1_048_000];
    let too_large = vec![b'y'; 1_100_000];
    let wide = vec![b'z'; 8_000_000];
    producer.send_value(0, "t", 0, &fits);
    assert!(producer.finish_ok().len() == 1);
    producer.send_value(1, "t", 0, &too_large);
    let refused = producer.finish();
    assert_eq!(refused[0].result, Err(RDKafkaErrorCode::MessageSizeTooLarge));
    producer.send_value(2, "wide", 0, &wide);
    producer.finish_ok();

    assert_eq!(values(&read_all(&broker, "t", 0)), [fits]);
    assert_eq!(values(&read_all(&broker, "wide", 0)), [wide], "larger than a fetch's usual limit, and still whole");
    // The producer goes on after a refusal.
    producer.send_value(3, "t", 0, b"after");
    assert_eq!(producer.finish_ok()[0].result, Ok(1));
}

#[test]
fn acks_of_0_and_1_arrive_too() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    for acks in ["0", "1"] {
        let producer = Producer::new(&broker, &[("acks", acks), ("enable.idempotence", "false")]);
        for tag in 0..500 {
            producer.send_value(tag, "t", 0, format!("{acks}-{tag}").as_bytes());
        }
        producer.finish_ok();
    }
    // With acks=0 the client knows no more than that the bytes left; they were sent before those of acks=1, but on
    // another connection, so the order between both is not given.
    let deadline = std::time::Instant::now() + crate::harness::client::PATIENCE;
    loop {
        let mut read = values(&read_all(&broker, "t", 0));
        if read.len() == 1_000 {
            read.sort();
            let mut sent: Vec<_> = (0..1_000).map(|i| format!("{}-{}", i / 500, i % 500).into_bytes()).collect();
            sent.sort();
            assert!(read == sent);
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{} of 1000 records arrived", read.len());
    }
}

#[test]
fn records_outlive_a_clean_stop_across_several_segments() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", 2, &[("segment.bytes", "1048576"), ("index.interval.bytes", "4096")]);
    let mut random = seeded();
    let sent: Vec<Vec<u8>> = (0..4_000)
        .map(|_| {
            let length = random.random_range(0..2_000);
            (0..length).map(|_| random.random::<u8>()).collect()
        })
        .collect();
    let offsets = produce(&broker, "t", 1, &sent);
    let segments = |broker: &Broker| {
        std::fs::read_dir(broker.data_dir().join("t-1"))
            .expect("the partition's directory")
            .filter(|entry| entry.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "log")))
            .count()
    };
    assert!(segments(&broker) >= 3, "4 MB in segments of 1 MiB");
    for _ in 0..2 {
        broker.restart();
        let read = read_all(&broker, "t", 1);
        assert!(values(&read) == sent, "every record is there after a restart");
        assert_eq!(read.iter().map(Message::offset).collect::<Vec<_>>(), offsets);
        assert!(read_all(&broker, "t", 0).is_empty());
    }
    assert_eq!(produce(&broker, "t", 1, &[b"next".to_vec()]), [sent.len() as i64]);
}
