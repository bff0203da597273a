//! Batches that lie.

use super::*;
use crate::error_code::ErrorCode;
use crate::record::header::write_crc;
use crate::record::varint::put_varint;

/// A small batch with all that a record can have, in each codec.
fn samples() -> Vec<Vec<u8>> {
    let records: Vec<Owned> = (0..3)
        .map(|i| Owned {
            offset_delta: i,
            timestamp: 1_000 + i64::from(i),
            key: (i != 1).then(|| b"key".to_vec()),
            value: (i != 2).then(|| vec![i as u8; 20]),
            headers: vec![(b"a".to_vec(), None), (b"b".to_vec(), Some(b"c".to_vec()))],
        })
        .collect();
    Codec::ALL.map(|codec| build(BatchOptions { codec, ..BatchOptions::default() }, &records)).to_vec()
}

/// `records` under a header that fits them otherwise.
fn batch_of(codec: Codec, count: i32, records: &[u8]) -> Vec<u8> {
    let header = BatchHeader {
        base_offset: Offset(0),
        length: (records.len() + 49) as i32,
        leader_epoch: LeaderEpoch(-1),
        crc: 0,
        attributes: Attributes::new(codec, TimestampType::CreateTime, false, false),
        last_offset_delta: count.wrapping_sub(1),
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: ProducerId::NONE,
        producer_epoch: NO_PRODUCER_EPOCH,
        base_sequence: NO_SEQUENCE,
        count,
    };
    let mut batch = header.encode().to_vec();
    batch.extend_from_slice(records);
    write_crc(&mut batch);
    batch
}

fn compress(codec: Codec, records: &[u8]) -> Vec<u8> {
    let mut compressor = compression::Compressor::new(codec, None, Vec::new());
    compressor.write(records);
    compressor.finish()
}

#[test]
fn every_corrupted_byte_is_caught() {
    for batch in samples() {
        assert!(validate_produce(&batch, &lenient()).is_ok());
        for at in 0..batch.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = batch.clone();
                bad[at] ^= flip;
                let result = validate_produce(&bad, &lenient());
                // The leader epoch is nobody's business before the append.
                assert_eq!(result.is_ok(), (12..16).contains(&at), "byte {at} xor {flip:#x}");
            }
        }
    }
}

#[test]
fn every_corrupted_byte_under_a_right_crc_is_read_or_refused() {
    for batch in samples() {
        for at in 21..batch.len() {
            for flip in 1..=255u8 {
                let mut bad = batch.clone();
                bad[at] ^= flip;
                write_crc(&mut bad);
                // What validates must also read: a consumer would stumble over it otherwise.
                if let Ok(info) = validate_produce(&bad, &lenient()) {
                    assert_eq!(read(&bad).unwrap().len(), info.count as usize, "byte {at} xor {flip:#x}");
                } else {
                    let _ = read(&bad);
                }
            }
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for batch in samples() {
        for cut in 0..batch.len() {
            assert!(validate_produce(&batch[..cut], &lenient()).is_err());
            assert!(RecordIter::new(&batch[..cut]).is_err());
            if cut >= 61 {
                // And with a header that says it is all there.
                let mut bad = batch[..cut].to_vec();
                bad[8..12].copy_from_slice(&((cut - 12) as i32).to_be_bytes());
                write_crc(&mut bad);
                let codec = BatchHeader::parse(&bad).unwrap().attributes.codec().unwrap();
                let result = validate_produce(&bad, &lenient());
                // An lz4 frame ends with 4 bytes, a gzip stream with 8 that Kafka too would read past the last record.
                assert!(result.is_err(), "{codec} cut to {cut} of {}", batch.len());
                assert!(read(&bad).is_err());
            }
        }
    }
}

#[test]
fn anything_behind_the_batch_is_refused() {
    for batch in samples() {
        let mut twice = batch.clone();
        twice.extend_from_slice(&batch);
        assert_eq!(validate_produce(&twice, &lenient()), Err(BatchError::MoreBatches));
        assert_eq!(read(&twice), read(&batch), "a reader of a segment has batches behind it");
        let mut more = batch.clone();
        more.push(0);
        assert_eq!(validate_produce(&more, &lenient()), Err(BatchError::MoreBatches));
    }
}

#[test]
fn claims_of_counts_and_lengths_are_held_against_the_bytes() {
    let mut record = Vec::new();
    for body in [&[0u8, 0, 0, 1, 1, 0][..], &[0, 0, 2, 1, 1, 0]] {
        put_varint(&mut record, body.len() as i32);
        record.extend_from_slice(body);
    }
    for codec in Codec::ALL {
        let good = compress(codec, &record);
        assert!(validate_produce(&batch_of(codec, 2, &good), &lenient()).is_ok());
        for count in [i32::MIN, -1, 0, 1, 3, 1_000, i32::MAX] {
            let bad = batch_of(codec, count, &good);
            assert_eq!(validate_produce(&bad, &lenient()).unwrap_err().error_code(), ErrorCode::InvalidRecord);
            assert!(count == 0 || read(&bad).is_err());
        }
        // Bodies, and what is wrong with each.
        for (what, body) in [
            ("an empty record", &[][..]),
            ("no fields", &[0]),
            ("an endless timestamp delta", &[0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 1, 1, 0]),
            ("an endless offset delta", &[0, 0, 255, 255, 255, 255, 255, 1, 1, 0]),
            ("a wrong offset delta", &[0, 0, 2, 1, 1, 0]),
            ("a negative key length", &[0, 0, 0, 3, 1, 0]),
            ("a huge key length", &[0, 0, 0, 254, 255, 255, 255, 15, 1, 0]),
            ("a key over the end", &[0, 0, 0, 8, 1, 0]),
            ("a huge value length", &[0, 0, 0, 1, 254, 255, 255, 255, 15, 0]),
            ("a negative header count", &[0, 0, 0, 1, 1, 1]),
            ("a huge header count", &[0, 0, 0, 1, 1, 254, 255, 255, 255, 15]),
            ("a header missing", &[0, 0, 0, 1, 1, 2]),
            ("a header without a key", &[0, 0, 0, 1, 1, 2, 1, 1]),
            ("bytes left over", &[0, 0, 0, 1, 1, 0, 0]),
        ] {
            let mut record = Vec::new();
            put_varint(&mut record, body.len() as i32);
            record.extend_from_slice(body);
            let bad = batch_of(codec, 1, &compress(codec, &record));
            let result = validate_produce(&bad, &lenient());
            assert_eq!(result.map_err(|e| e.error_code()), Err(ErrorCode::InvalidRecord), "{what}, {codec}");
            assert!(what == "a wrong offset delta" || read(&bad).is_err(), "{what}, {codec}");
        }
        for len in [i32::MIN, -1, 7, 5_000_000, i32::MAX] {
            let mut record = Vec::new();
            put_varint(&mut record, len);
            record.extend_from_slice(&[0, 0, 0, 1, 1, 0]);
            let bad = batch_of(codec, 1, &compress(codec, &record));
            assert!(validate_produce(&bad, &lenient()).is_err());
            assert!(read(&bad).is_err());
        }
    }
}

/// A record that lies across many blocks, with a field that claims more than the record has.
#[test]
fn lies_across_blocks_are_refused() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for (value_len, headers, right) in [
            (200_000, 0, true),
            (200_001, 0, false),
            (199_999, 0, false),
            (i32::MAX, 0, false),
            (200_000, 1, false),
            (-2, 0, false),
        ] {
            let mut body = vec![0, 0, 0, 1];
            let mut actual = Vec::new();
            put_varint(&mut actual, 200_000);
            put_varint(&mut body, value_len);
            body.extend_from_slice(&noise(3, 200_000));
            put_varint(&mut body, headers);
            let mut record = Vec::new();
            put_varint(&mut record, body.len() as i32);
            record.extend_from_slice(&body);
            let batch = batch_of(codec, 1, &compress(codec, &record));
            assert_eq!(validate_produce(&batch, &lenient()).is_ok(), right, "{codec} {value_len} {headers}");
            assert_eq!(read(&batch).is_ok(), right, "{codec} {value_len} {headers}");
        }
    }
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let mut record = Vec::new();
    let mut body = vec![0u8, 0, 0, 1];
    put_varint(&mut body, 60 << 20);
    body.resize(body.len() + (60 << 20), 0);
    body.push(0);
    put_varint(&mut record, body.len() as i32);
    record.extend_from_slice(&body);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = batch_of(codec, 1, &compress(codec, &record));
        let rules = ProduceRules { decompressed_bytes_max: 8 << 20, ..lenient() };
        let error = validate_produce(&bomb, &rules).unwrap_err();
        assert_eq!(error, BatchError::DecompressedTooLarge { max: 8 << 20 }, "{codec}");
        assert_eq!(error.error_code(), ErrorCode::MessageTooLarge);
        assert!(validate_produce(&bomb, &lenient()).is_ok());
        assert!(recompress(&bomb, Codec::None, None, 8 << 20).is_err());
    }
}

/// A raw snappy block that claims 4 GiB must not be given them.
#[test]
fn a_snappy_block_is_not_believed_its_length() {
    for claim in [&[255, 255, 255, 255, 15][..], &[128, 128, 128, 128, 1]] {
        let mut raw = claim.to_vec();
        raw.extend_from_slice(&[0; 20]);
        let error = validate_produce(&batch_of(Codec::Snappy, 1, &raw), &ProduceRules::default()).unwrap_err();
        assert!(matches!(error, BatchError::Decompression { codec: Codec::Snappy, .. }), "{error}");
    }
}

#[test]
fn codecs_without_a_meaning_are_unsupported() {
    for id in 5..8u8 {
        let mut batch = samples().remove(0);
        batch[22] = id;
        write_crc(&mut batch);
        let error = validate_produce(&batch, &lenient()).unwrap_err();
        assert_eq!(error, BatchError::UnknownCodec { id });
        assert_eq!(error.error_code(), ErrorCode::UnsupportedCompressionType);
    }
}

proptest! {
    #![proptest_config(seeded(512))]

    #[test]
    fn noise_is_read_or_refused(codec in any_codec(), count in 1..4i32, records in prop::collection::vec(any::<u8>(), 0..300)) {
        let batch = batch_of(codec, count, &records);
        let _ = validate_produce(&batch, &lenient());
        let _ = read(&batch);
        let batch = batch_of(codec, count, &compress(codec, &records));
        let _ = validate_produce(&batch, &lenient());
        let _ = read(&batch);
    }

    #[test]
    fn damaged_streams_are_read_or_refused(records in any_records(), codec in any_codec(), at in any::<prop::sample::Index>(), with: u8) {
        let mut batch = build(BatchOptions { codec, ..BatchOptions::default() }, &records);
        if batch.len() > 61 {
            let at = 61 + at.index(batch.len() - 61);
            batch[at] = with;
            write_crc(&mut batch);
        }
        if validate_produce(&batch, &lenient()).is_ok() {
            prop_assert!(read(&batch).is_ok());
        }
    }
}
