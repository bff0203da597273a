//! Batches there and back, with the crate `kafka-protocol` as oracle and real clients' bytes.

mod golden;
mod hostile;
mod oracle;
mod rules;

use proptest::prelude::*;

use super::control::{self, ControlRecordType};
use super::*;
use crate::types::{LeaderEpoch, Offset, ProducerId};

/// The same cases each time; `PROPTEST_RNG_SEED` of the environment does not reach these.
pub fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: proptest::test_runner::RngSeed::Fixed(0x0c0f_fee0),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A record that owns its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    pub offset_delta: i32,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Owned {
    pub fn of(view: &RecordView<'_>) -> Owned {
        Owned {
            offset_delta: view.offset_delta,
            timestamp: view.timestamp,
            key: view.key.map(<[u8]>::to_vec),
            value: view.value.map(<[u8]>::to_vec),
            headers: view.headers.clone().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    pub fn append_to(&self, builder: &mut BatchBuilder) {
        let headers: Vec<RecordHeader<'_>> =
            self.headers.iter().map(|(key, value)| RecordHeader { key, value: value.as_deref() }).collect();
        builder.append(self.timestamp, self.key.as_deref(), self.value.as_deref(), &headers);
    }
}

/// Runs and noise, so that codecs find something to compress and something that they can't; now and then past the
/// 32 and 64 KiB of their blocks.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (any::<u8>(), 0usize..5000).prop_map(|(byte, len)| vec![byte; len]),
        1 => (any::<u64>(), 0usize..80_000).prop_map(|(seed, len)| noise(seed, len)),
    ]
}

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

pub fn any_records() -> impl Strategy<Value = Vec<Owned>> {
    let header = ("[a-z]{0,9}".prop_map(String::into_bytes), prop::option::of(any_bytes()));
    let record = (
        0i64..2_000_000_000_000,
        prop::option::of(any_bytes()),
        prop::option::of(any_bytes()),
        prop::collection::vec(header, 0..3),
    );
    prop::collection::vec(record, 1..12).prop_map(|records| {
        records
            .into_iter()
            .enumerate()
            .map(|(i, (timestamp, key, value, headers))| Owned {
                offset_delta: i as i32,
                timestamp,
                key,
                value,
                headers,
            })
            .collect()
    })
}

pub fn any_codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(Codec::ALL.to_vec())
}

pub fn build(options: BatchOptions, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for record in records {
        record.append_to(&mut builder);
    }
    builder.build().to_vec()
}

pub fn read(batch: &[u8]) -> Result<Vec<Owned>, BatchError> {
    let mut iter = RecordIter::new(batch)?;
    let mut out = Vec::new();
    while let Some(view) = iter.next_record()? {
        out.push(Owned::of(&view));
    }
    Ok(out)
}

/// Rules that any of `any_records` keeps.
pub fn lenient() -> ProduceRules {
    ProduceRules { max_message_bytes: u64::MAX, timestamp_after_max_ms: i64::MAX, ..ProduceRules::default() }
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn what_is_built_is_valid_and_reads_back(records in any_records(), codec in any_codec()) {
        let batch = build(BatchOptions { codec, ..BatchOptions::default() }, &records);
        let info = validate_produce(&batch, &lenient()).unwrap();
        prop_assert_eq!(info.size, batch.len());
        prop_assert_eq!(info.count as usize, records.len());
        prop_assert_eq!(info.codec, codec);
        prop_assert_eq!(info.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
        prop_assert!(!info.max_timestamp_differs);
        let plain = build(BatchOptions::default(), &records);
        prop_assert_eq!(info.records_bytes as usize, plain.len() - BATCH_HEADER_BYTES);
        prop_assert_eq!(read(&batch).unwrap(), records);
    }

    #[test]
    fn recompressing_changes_the_codec_alone(records in any_records(), from in any_codec(), to in any_codec()) {
        let batch = build(BatchOptions { codec: from, ..BatchOptions::default() }, &records);
        let again = recompress(&batch, to, None, u64::MAX).unwrap();
        let direct = build(BatchOptions { codec: to, ..BatchOptions::default() }, &records);
        prop_assert_eq!(again.to_vec(), direct);
        let refused = recompress(&batch, to, None, 3);
        prop_assert_eq!(refused.is_err(), from != Codec::None, "an uncompressed batch is as large as it is");
    }

    #[test]
    fn stamping_keeps_the_crc(records in any_records(), codec in any_codec(), offset in 0i64..1 << 40, epoch in 0..9) {
        let mut batch = build(BatchOptions { codec, ..BatchOptions::default() }, &records);
        stamp(&mut batch, Offset(offset), LeaderEpoch(epoch));
        prop_assert!(crc_ok(&batch));
        let header = BatchHeader::parse(&batch).unwrap();
        prop_assert_eq!((header.base_offset, header.leader_epoch), (Offset(offset), LeaderEpoch(epoch)));
        prop_assert_eq!(header.last_offset(), Offset(offset + records.len() as i64 - 1));
        let last = for_each_record(&batch, |record| if record.offset == header.last_offset() {
            std::ops::ControlFlow::Break(record.offset_delta)
        } else {
            std::ops::ControlFlow::Continue(())
        });
        prop_assert_eq!(last, Ok(Some(records.len() as i32 - 1)));
    }

    #[test]
    fn records_are_found_by_time(records in any_records(), codec in any_codec(), pick in any::<prop::sample::Index>()) {
        let batch = build(BatchOptions { codec, base_offset: Offset(700), ..BatchOptions::default() }, &records);
        let wanted = pick.get(&records).timestamp;
        let first = records.iter().find(|r| r.timestamp >= wanted).map(|r| (Offset(700 + i64::from(r.offset_delta)), r.timestamp));
        prop_assert_eq!(first_record_at_or_after(&batch, wanted).unwrap(), first);
        let max = records.iter().map(|r| r.timestamp).max().unwrap();
        prop_assert_eq!(first_record_at_or_after(&batch, max + 1).unwrap(), None);
        let found = record_of_max_timestamp(&batch).unwrap().unwrap();
        let first = records.iter().find(|r| r.timestamp == max).unwrap();
        prop_assert_eq!(found, (Offset(700 + i64::from(first.offset_delta)), max));
    }
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(5, None, Some(b"a"), &[]).append(7, None, Some(b"b"), &[]);
    let mut batch = builder.build();
    let mut info = validate_produce(&batch, &lenient()).unwrap();
    info.assign(&mut batch, Offset(10), LeaderEpoch(3), Some(1_000));
    assert!(crc_ok(&batch));
    assert_eq!(info.max_timestamp, 1_000);
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!((header.base_timestamp, header.max_timestamp), (5, 1_000), "deltas stay");
    assert!(read(&batch).unwrap().iter().all(|record| record.timestamp == 1_000));
    assert_eq!(first_record_at_or_after(&batch, 8), Ok(Some((Offset(10), 1_000))));
    assert_eq!(record_of_max_timestamp(&batch), Ok(Some((Offset(10), 1_000))));
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(5, None, Some(b"a"), &[]).append(9, None, Some(b"b"), &[]).append(7, None, Some(b"c"), &[]);
    let right = builder.build();
    let mut batch = right.clone();
    set_max_timestamp(&mut batch, 6);
    let mut info = validate_produce(&batch, &lenient()).unwrap();
    assert!(info.max_timestamp_differs);
    assert_eq!(info.max_timestamp, 9);
    info.assign(&mut batch, Offset::ZERO, LeaderEpoch::UNKNOWN, None);
    assert_eq!(batch, right);
}

#[test]
fn records_without_timestamps() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(NO_TIMESTAMP, None, Some(b"a"), &[]);
    let batch = builder.build();
    let info = validate_produce(&batch, &ProduceRules { now_ms: 1 << 40, ..ProduceRules::default() }).unwrap();
    assert_eq!(info.max_timestamp, NO_TIMESTAMP);
    assert_eq!(record_of_max_timestamp(&batch), Ok(None));
    assert_eq!(first_record_at_or_after(&batch, 0), Ok(None));
}

#[test]
fn compaction_leaves_gaps_and_empty_batches() {
    let options = BatchOptions {
        codec: Codec::Zstd,
        delete_horizon_ms: Some(5_000),
        producer: Producer { id: ProducerId(4), epoch: 1, base_sequence: i32::MAX - 1 },
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append_at(2, 100, Some(b"k"), None, &[]).append_at(5, 90, Some(b"l"), None, &[]).extend_to(9);
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.count, header.last_offset_delta, header.delete_horizon_ms()), (2, 9, Some(5_000)));
    assert_eq!(header.last_sequence(), 7);
    let records = read(&batch).unwrap();
    assert_eq!(records.iter().map(|r| (r.offset_delta, r.timestamp)).collect::<Vec<_>>(), [(2, 100), (5, 90)]);

    let mut builder = BatchBuilder::new(BatchOptions { codec: Codec::Lz4, ..options });
    builder.extend_to(4);
    let empty = builder.build();
    assert_eq!(empty.len(), BATCH_HEADER_BYTES);
    assert!(crc_ok(&empty));
    assert_eq!(BatchHeader::parse(&empty).unwrap().next_offset(), Offset(5));
    assert_eq!(read(&empty), Ok(vec![]));
}

#[test]
fn control_records_name_their_type() {
    let mut builder = BatchBuilder::new(BatchOptions { control: true, ..BatchOptions::default() });
    builder.append_control(9, ControlRecordType::LeaderChange, &control::leader_change(1, &[1, 2], &[1]));
    let batch = builder.build();
    assert!(BatchHeader::parse(&batch).unwrap().attributes.is_control());
    let records = read(&batch).unwrap();
    assert_eq!(ControlRecordType::of_key(records[0].key.as_ref().unwrap()), Some(ControlRecordType::LeaderChange));
    assert_eq!(
        records[0].value.as_ref().unwrap(),
        &[0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 0, 0]
    );
    for kind in [0, 1, 2, 3, 4, 5, 6, 700].map(|n: i16| ControlRecordType::of_key(&[0, 0, (n >> 8) as u8, n as u8])) {
        let kind = kind.unwrap();
        assert_eq!(ControlRecordType::of_key(&kind.key()), Some(kind));
    }
    assert_eq!(ControlRecordType::of_key(&[0, 0, 1]), None);
    assert_eq!(control::parse_end_txn_marker(&control::end_txn_marker(77)), Some(77));
    assert_eq!(control::parse_end_txn_marker(&[0, 0, 0]), None);
}

#[test]
fn a_builder_knows_its_size() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let headers = [RecordHeader { key: b"h", value: None }, RecordHeader { key: b"i", value: Some(b"vv") }];
    for i in 0..300 {
        let value = vec![1u8; i * 3];
        let before = builder.uncompressed_bytes();
        builder.append(1 << 41, Some(b"key"), Some(&value), &headers);
        let grown = builder.uncompressed_bytes() - before;
        let bound = BatchBuilder::record_bytes_max(Some(b"key"), Some(&value), &headers);
        assert!(grown <= bound && bound <= grown + 20, "{grown} {bound}");
    }
    let size = builder.uncompressed_bytes();
    assert_eq!(builder.build().len(), size);
}
