//! What the crate `kafka-protocol` makes of our batches, and we of its.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType as OracleType,
};

use super::*;

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// The oracle keeps headers in a map and reads a timestamp delta as 32 bits.
fn within_the_oracles_means(mut records: Vec<Owned>) -> Vec<Owned> {
    for record in &mut records {
        record.timestamp = 1_700_000_000_000 + record.timestamp % (1 << 30);
        let mut seen = std::collections::HashSet::new();
        record.headers.retain(|(key, _)| seen.insert(key.clone()));
    }
    records
}

fn of_oracle(record: &Record, base_offset: i64) -> Owned {
    Owned {
        offset_delta: (record.offset - base_offset) as i32,
        timestamp: record.timestamp,
        key: record.key.as_ref().map(|b| b.to_vec()),
        value: record.value.as_ref().map(|b| b.to_vec()),
        headers: record.headers.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_ref().map(|b| b.to_vec()))).collect(),
    }
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn the_oracle_reads_our_batches(records in any_records(), codec in any_codec()) {
        let records = within_the_oracles_means(records);
        let producer = Producer { id: ProducerId(90), epoch: 3, base_sequence: 12 };
        let options = BatchOptions { codec, base_offset: Offset(5), producer, ..BatchOptions::default() };
        let mut batch = Bytes::from(build(options, &records));
        let set = RecordBatchDecoder::decode(&mut batch).unwrap();
        prop_assert_eq!(set.compression, compression(codec));
        prop_assert_eq!(set.records.iter().map(|r| of_oracle(r, 5)).collect::<Vec<_>>(), records);
        for (i, record) in set.records.iter().enumerate() {
            prop_assert_eq!((record.producer_id, record.producer_epoch), (90, 3));
            prop_assert_eq!(record.sequence, 12 + i as i32);
        }
    }

    #[test]
    fn we_read_the_oracles_batches(records in any_records(), codec in any_codec()) {
        let records = within_the_oracles_means(records);
        let theirs: Vec<Record> = records.iter().map(|record| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: 7,
            producer_epoch: 0,
            timestamp_type: OracleType::Creation,
            offset: i64::from(record.offset_delta),
            sequence: record.offset_delta,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record.headers.iter().map(|(key, value)| (
                StrBytes::from_string(String::from_utf8(key.clone()).unwrap()),
                value.clone().map(Bytes::from),
            )).collect::<IndexMap<_, _>>(),
        }).collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: compression(codec) };
        RecordBatchEncoder::encode(&mut batch, &theirs, &options).unwrap();
        // The oracle counts deltas from the least timestamp.
        let info = validate_produce(&batch, &lenient()).unwrap();
        prop_assert_eq!(info.count as usize, records.len());
        prop_assert_eq!((info.producer_id, info.base_sequence), (ProducerId(7), 0));
        prop_assert_eq!(read(&batch).unwrap(), records);
    }
}
