//! What a topic or a version of Produce allows.

use super::*;
use crate::error_code::ErrorCode;
use crate::record::header::write_crc;

fn keyed(options: BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    builder.append(50, Some(b"k"), Some(b"v"), &[]).append(60, Some(b"l"), Some(b"w"), &[]);
    builder.build().to_vec()
}

fn code(batch: &[u8], rules: &ProduceRules) -> ErrorCode {
    validate_produce(batch, rules).map_or_else(|error| error.error_code(), |_| ErrorCode::None)
}

#[test]
fn compacted_topics_want_keys() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
        builder.append(0, Some(b"k"), None, &[]).append(0, None, Some(b"v"), &[]).append(0, Some(b""), None, &[]);
        builder.append(0, None, None, &[]);
        let batch = builder.build();
        assert!(validate_produce(&batch, &lenient()).is_ok());
        let error = validate_produce(&batch, &ProduceRules { compacted: true, ..lenient() }).unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
        assert_eq!(error.record_errors().iter().map(|e| e.batch_index).collect::<Vec<_>>(), [1, 3]);
    }
}

#[test]
fn many_bad_records_are_named_in_part() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..1000 {
        builder.append(0, None, None, &[]);
    }
    let error = validate_produce(&builder.build(), &ProduceRules { compacted: true, ..lenient() }).unwrap_err();
    assert_eq!(error.record_errors().len(), 100);
}

#[test]
fn timestamps_have_bounds() {
    let now_ms = 1_000_000;
    let rules = ProduceRules { now_ms, timestamp_before_max_ms: 1_000, timestamp_after_max_ms: 10, ..lenient() };
    for (timestamp, right) in [
        (now_ms, true),
        (now_ms - 1_000, true),
        (now_ms - 1_001, false),
        (now_ms + 10, true),
        (now_ms + 11, false),
        (NO_TIMESTAMP, true),
        (-2, false),
        (i64::MAX, false),
    ] {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
            builder.append(now_ms, None, None, &[]).append(timestamp, None, None, &[]);
            let batch = builder.build();
            let expected = if right { ErrorCode::None } else { ErrorCode::InvalidTimestamp };
            assert_eq!(code(&batch, &rules), expected, "{timestamp}");
            if !right {
                assert_eq!(validate_produce(&batch, &rules).unwrap_err().record_errors()[0].batch_index, 1);
            }
            let append_time = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules };
            assert_eq!(code(&batch, &append_time), ErrorCode::None, "the broker's clock counts");
        }
    }
    // Kafka's default: an hour ahead at most, any age.
    let rules = ProduceRules { now_ms, ..ProduceRules::default() };
    for (timestamp, right) in [(0, true), (now_ms + 3_600_000, true), (now_ms + 3_600_001, false)] {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.append(timestamp, None, None, &[]);
        assert_eq!(code(&builder.build(), &rules) == ErrorCode::None, right);
    }
}

#[test]
fn an_overflowing_timestamp_is_refused() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(i64::MAX, None, None, &[]).append(i64::MIN, None, None, &[]);
    assert_eq!(code(&builder.build(), &lenient()), ErrorCode::InvalidRecord);
}

#[test]
fn clients_do_not_say_when_the_append_was() {
    let batch = keyed(BatchOptions { append_time_ms: Some(70), ..BatchOptions::default() });
    assert_eq!(code(&batch, &lenient()), ErrorCode::InvalidTimestamp);
}

#[test]
fn what_a_batch_may_not_be() {
    let good = keyed(BatchOptions::default());
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        write_crc(&mut batch);
        batch
    };
    assert_eq!(code(&good, &lenient()), ErrorCode::None);
    assert_eq!(code(&[], &lenient()), ErrorCode::InvalidRecord);
    assert_eq!(code(&with(0, &1i64.to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "base offset");
    assert_eq!(code(&with(8, &0i32.to_be_bytes()), &lenient()), ErrorCode::CorruptMessage, "length");
    assert_eq!(code(&with(8, &(-1i32).to_be_bytes()), &lenient()), ErrorCode::CorruptMessage, "length");
    assert_eq!(code(&with(8, &i32::MAX.to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "cut off");
    assert_eq!(code(&with(16, &[1]), &lenient()), ErrorCode::InvalidRecord, "magic 1");
    assert_eq!(code(&with(16, &[0]), &lenient()), ErrorCode::InvalidRecord, "magic 0");
    assert_eq!(code(&with(16, &[3]), &lenient()), ErrorCode::CorruptMessage, "magic 3");
    assert_eq!(code(&with(22, &[0x20]), &lenient()), ErrorCode::InvalidRecord, "a control batch");
    assert_eq!(code(&with(22, &[0x10]), &lenient()), ErrorCode::InvalidRecord, "transactional without a producer id");
    assert_eq!(code(&with(23, &2i32.to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "last offset delta");
    assert_eq!(code(&with(23, &(-1i32).to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "last offset delta");
    assert_eq!(code(&with(43, &7i64.to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "no sequence");
    assert_eq!(code(&with(57, &0i32.to_be_bytes()), &lenient()), ErrorCode::InvalidRecord, "no records");
    let mut bad = good.clone();
    bad[70] ^= 1;
    assert_eq!(code(&bad, &lenient()), ErrorCode::CorruptMessage, "CRC");
    let small = ProduceRules { max_message_bytes: good.len() as u64 - 1, ..lenient() };
    assert_eq!(code(&good, &small), ErrorCode::MessageTooLarge);
    assert_eq!(code(&bad, &small), ErrorCode::MessageTooLarge, "the size comes before the CRC");
}

#[test]
fn zstd_needs_produce_7() {
    let batch = keyed(BatchOptions { codec: Codec::Zstd, ..BatchOptions::default() });
    for version in 0..=13 {
        let expected = if version < 7 { ErrorCode::UnsupportedCompressionType } else { ErrorCode::None };
        assert_eq!(code(&batch, &ProduceRules { version, ..lenient() }), expected);
    }
    let lz4 = keyed(BatchOptions { codec: Codec::Lz4, ..BatchOptions::default() });
    assert_eq!(code(&lz4, &ProduceRules { version: 3, ..lenient() }), ErrorCode::None);
}

#[test]
fn a_producers_batch_tells_who_and_what() {
    let producer = Producer { id: ProducerId(9), epoch: 2, base_sequence: i32::MAX };
    let batch = keyed(BatchOptions { producer, transactional: true, ..BatchOptions::default() });
    let info = validate_produce(&batch, &lenient()).unwrap();
    assert_eq!((info.producer_id, info.producer_epoch, info.base_sequence), (ProducerId(9), 2, i32::MAX));
    assert_eq!(info.last_sequence(), 0);
    assert!(info.transactional && info.has_producer_id());
}
