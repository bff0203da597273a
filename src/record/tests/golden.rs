//! Batches as real clients sent them: librdkafka 2.16, kafka-python 3.0 and Kafka's Java client 4.3.1, taken from the
//! segments of an Apache Kafka 4.3.1 broker, which stamps offset 0 and leader epoch 0 and leaves the rest alone.

use super::*;

macro_rules! golden {
    ($($client:literal: $($codec:ident $name:literal),*;)*) => {
        &[$($(($client, Codec::$codec, include_bytes!(concat!("golden/", $client, "-", $name, ".batch")))),*),*]
    };
}

const SMALL: &[(&str, Codec, &[u8])] = golden! {
    "librdkafka": None "none", Gzip "gzip", Snappy "snappy", Lz4 "lz4", Zstd "zstd";
    "kafka-python": None "none", Gzip "gzip", Snappy "snappy", Lz4 "lz4", Zstd "zstd";
    "java": None "none", Gzip "gzip", Snappy "snappy", Lz4 "lz4", Zstd "zstd";
};

/// More than one block of each codec, from an idempotent producer.
const LARGE: &[(&str, Codec, &[u8])] = golden! {
    "java-large": Gzip "gzip", Snappy "snappy", Lz4 "lz4", Zstd "zstd";
};

const T0: i64 = 1_700_000_000_000;

fn record(offset_delta: i32, after_t0: i64, key: Option<&str>, value: Option<String>) -> Owned {
    Owned {
        offset_delta,
        timestamp: T0 + after_t0,
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(String::into_bytes),
        headers: vec![],
    }
}

/// What each client was given to send.
fn sent(client: &str) -> Vec<Owned> {
    // kafka-python has no null values of headers.
    let null = if client == "kafka-python" { Some(vec![]) } else { None };
    let mut records = vec![
        record(0, 0, Some("key-1"), Some("value 1 ".repeat(12))),
        record(1, 5, None, Some("no key ".repeat(3))),
        record(2, 3, Some("key-3"), None),
    ];
    records[0].headers = vec![(b"h1".to_vec(), Some(b"x".to_vec())), (b"h2".to_vec(), null)];
    records[2].headers = vec![(b"h1".to_vec(), Some(vec![]))];
    for i in 4..40 {
        let value = format!("the value of record {i} ").repeat(3);
        records.push(record(i - 1, i64::from(i), Some(&format!("key-{i}")), Some(value)));
    }
    records
}

#[test]
fn batches_of_real_clients_are_read() {
    for (client, codec, batch) in SMALL {
        let info = validate_produce(batch, &lenient()).unwrap_or_else(|e| panic!("{client} {codec}: {e}"));
        assert_eq!((info.codec, info.count, info.max_timestamp), (*codec, 39, T0 + 39), "{client}");
        assert!(!info.max_timestamp_differs && !info.has_producer_id());
        assert_eq!(read(batch).unwrap(), sent(client), "{client} {codec}");
    }
    for (client, codec, batch) in LARGE {
        let info = validate_produce(batch, &lenient()).unwrap_or_else(|e| panic!("{client} {codec}: {e}"));
        assert_eq!((info.codec, info.count, info.base_sequence), (*codec, 3, 0), "{client}");
        assert!(info.has_producer_id());
        let records: Vec<Owned> = (0..3)
            .map(|i| {
                let value = format!("the value of record {i} ").repeat(5000);
                record(i, i64::from(i), Some(&format!("k{i}")), Some(value))
            })
            .collect();
        assert!(read(batch).unwrap() == records, "{client} {codec}");
    }
}

/// What has one form only must come out byte for byte.
#[test]
fn we_write_what_the_java_client_writes() {
    for (client, codec, golden) in SMALL.iter().filter(|(client, ..)| *client == "java") {
        let options = BatchOptions { leader_epoch: LeaderEpoch(0), codec: *codec, ..BatchOptions::default() };
        let ours = build(options, &sent(client));
        if *codec == Codec::None {
            assert_eq!(ours, *golden);
        } else {
            // Compressors differ; the framing of the first block does not.
            let same = if *codec == Codec::Gzip { 61 + 3 } else { 61 + 4 };
            assert_eq!(ours[61..same], golden[61..same], "{codec}");
        }
    }
}

#[test]
fn corrupted_bytes_of_real_batches_are_caught() {
    for (client, codec, batch) in SMALL.iter().chain(LARGE) {
        for at in (0..batch.len()).step_by(7) {
            let mut bad = batch.to_vec();
            bad[at] ^= 0x10;
            assert_eq!(validate_produce(&bad, &lenient()).is_ok(), (12..16).contains(&at), "{client} {codec} {at}");
            header::write_crc(&mut bad);
            if let Ok(info) = validate_produce(&bad, &lenient()) {
                assert_eq!(read(&bad).unwrap().len(), info.count as usize);
            }
        }
    }
}
