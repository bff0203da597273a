//! Bytes that are no message: cut, changed, or claiming arrays that no frame holds. Decoding answers with an error, or
//! with a value that stands for itself; it never panics, and never takes memory for what was only claimed.

use bytes::BytesMut;
use corelane::protocol::{self as ours, ApiKey, DecodeProblem, Message, Reader, RequestHeader, Writer};
use rand::Rng;

use super::oracle::seeded;
use super::values::{random_message, uvarint};
use super::{call_with_each, for_every_api, with_every_message};

fn decode<M: Message>(bytes: &[u8], version: i16) -> Result<M, ours::DecodeError> {
    M::decode(&mut Reader::new(BytesMut::from(bytes)), version)
}

/// What is read from changed bytes, if anything, can be written, and read again to the same value.
fn stands_for_itself<M: Message>(bytes: &[u8], version: i16) {
    if let Ok(value) = decode::<M>(bytes, version) {
        let written = value.to_bytes(version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
        let again: M = decode(&written, version).expect("what we write we read");
        assert_eq!(again, value, "{} {version}", M::NAME);
    }
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    fn check<M: Message>() {
        for version in M::VERSIONS.iter() {
            for round in 0..4 {
                let bytes = random_message::<M>(version, &mut seeded(M::NAME, version, round));
                for end in 0..bytes.len() {
                    let cut = decode::<M>(&bytes[..end], version);
                    assert!(cut.is_err(), "{} {version} round {round} cut at {end}", M::NAME);
                }
            }
        }
    }
    with_every_message!(check);
}

#[test]
fn changed_bytes_are_an_error_or_another_message() {
    fn check<M: Message>() {
        for version in M::VERSIONS.iter() {
            for round in 0..60 {
                let mut rng = seeded(M::NAME, version, round);
                let mut bytes = random_message::<M>(version, &mut rng);
                for _ in 0..rng.random_range(1..4) {
                    if !bytes.is_empty() {
                        let at = rng.random_range(0..bytes.len());
                        bytes[at] = rng.random();
                    }
                }
                stands_for_itself::<M>(&bytes, version);
            }
        }
    }
    with_every_message!(check);
}

#[test]
fn huge_and_negative_lengths_anywhere_do_no_harm() {
    fn check<M: Message>() {
        let fixed = [i32::MAX, i32::MIN, -2, 0x0100_0000].map(i32::to_be_bytes);
        let compact = [i32::MAX as u32, 1 << 31, u32::MAX, 1 << 24].map(uvarint);
        for version in M::VERSIONS.iter() {
            let bytes = random_message::<M>(version, &mut seeded(M::NAME, version, 0));
            for at in 0..bytes.len() {
                for length in fixed {
                    let mut changed = bytes.clone();
                    let end = changed.len().min(at + 4);
                    changed[at..end].copy_from_slice(&length[..end - at]);
                    stands_for_itself::<M>(&changed, version);
                }
                for length in &compact {
                    let mut changed = bytes.clone();
                    changed.splice(at..=at, length.iter().copied());
                    stands_for_itself::<M>(&changed, version);
                }
            }
        }
    }
    with_every_message!(check);
}

#[test]
fn noise_is_no_message() {
    fn check<M: Message>() {
        for version in M::VERSIONS.iter() {
            for round in 0..40 {
                let mut rng = seeded(M::NAME, version, round);
                let noise: Vec<u8> = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
                stands_for_itself::<M>(&noise, version);
            }
        }
    }
    with_every_message!(check);
}

#[test]
fn an_array_is_refused_when_the_frame_cannot_hold_it() {
    // Metadata version 1: an array of strings of at least 2 bytes each.
    let frame = [&i32::MAX.to_be_bytes()[..], &[0; 64]].concat();
    let error = decode::<ours::MetadataRequest>(&frame, 1).expect_err("64 bytes hold no 2^31 topics");
    assert_eq!(error.problem, DecodeProblem::ArrayTooLong { claimed: i32::MAX as u64, left: 64 });
    assert_eq!(error.field, "MetadataRequest.topics");
    // 33 strings do not fit, 32 do.
    let frame = [&33i32.to_be_bytes()[..], &[0; 64]].concat();
    assert!(decode::<ours::MetadataRequest>(&frame, 1).is_err());
    let frame = [&32i32.to_be_bytes()[..], &[0; 64]].concat();
    assert!(decode::<ours::MetadataRequest>(&frame, 1).is_ok());
    let frame = [&(-2i32).to_be_bytes()[..], &[0; 64]].concat();
    let error = decode::<ours::MetadataRequest>(&frame, 1).expect_err("-2 is no length");
    assert_eq!(error.problem, DecodeProblem::BadLength(-2));
}

/// A frame may make us hold a multiple of its size, even when it does hold all the elements that it claims.
#[test]
fn a_frame_of_nothing_but_empty_strings_is_refused() {
    let many = 1 << 20;
    let frame = [uvarint(many + 1), vec![1; many as usize]].concat();
    let error = decode::<ours::DescribeGroupsRequest>(&frame, 5).expect_err("32 bytes of memory for each byte");
    assert_eq!(error.problem, DecodeProblem::TooManyElements);
    // As many real group names pass.
    let frame = [uvarint(many + 1), b"\x09group-01".repeat(many as usize), vec![0, 0]].concat();
    assert!(decode::<ours::DescribeGroupsRequest>(&frame, 5).is_ok());
}

#[test]
fn a_header_cut_or_unknown_is_an_error() {
    let header = RequestHeader {
        request_api_key: ApiKey::Metadata,
        request_api_version: 12,
        correlation_id: 7,
        client_id: Some("rdkafka".into()),
    };
    let mut writer = Writer::new();
    header.encode(&mut writer).expect("is short");
    let bytes = writer.into_bytes();
    for end in 0..bytes.len() {
        assert!(RequestHeader::decode(&mut Reader::new(BytesMut::from(&bytes[..end]))).is_err(), "cut at {end}");
    }
    let mut unknown = bytes.clone();
    unknown[0] = 0x7f;
    let error = RequestHeader::decode(&mut Reader::new(unknown)).expect_err("there is no such API");
    assert_eq!(error.problem, DecodeProblem::UnknownApi(0x7f03));
}
