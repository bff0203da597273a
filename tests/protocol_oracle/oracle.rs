//! Every message in every version, both ways: random bytes made from our schema are read by our codec and by the crate
//! `kafka-protocol`, shown alike, and written again to the same bytes. A wrong schema of ours shows in theirs, and the
//! other way round. Versions the crate does not know are read and written by ours alone; those have golden bytes.

use bytes::{Bytes, BytesMut};
use corelane::protocol::{self as ours, Message, Reader};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::text::{comparable_fields, literals};
use super::values::{random_message, random_message_of_the_future};
use super::{call_with_each, for_every_api, with_every_message};

const ROUNDS: u64 = 60;

/// A generator for a message, a version and a round, so that a failure can be run again alone.
pub fn seeded(name: &str, version: i16, round: u64) -> StdRng {
    let name_hash = name.bytes().fold(17u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    StdRng::seed_from_u64(name_hash ^ ((version as u64) << 48) ^ (round << 32))
}

fn decode_all<M: Message>(bytes: &[u8], version: i16) -> M {
    let mut reader = Reader::new(BytesMut::from(bytes));
    let value = M::decode(&mut reader, version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
    assert!(reader.is_empty(), "{} {version}: {} bytes are left", M::NAME, reader.remaining());
    value
}

fn compare<M: Message, T: Decodable + Encodable + std::fmt::Debug>(known: std::ops::RangeInclusive<i16>) {
    let fields = comparable_fields(M::SCHEMA, *known.end());
    for version in M::VERSIONS.iter() {
        for round in 0..ROUNDS {
            let case = format!("{} version {version} round {round}", M::NAME);
            let bytes = random_message::<M>(version, &mut seeded(M::NAME, version, round));
            let value: M = decode_all(&bytes, version);
            let written = value.to_bytes(version).unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(&written[..], &bytes[..], "{case}: our codec writes other bytes than it read");
            if !known.contains(&version) {
                continue;
            }
            let mut rest = Bytes::copy_from_slice(&bytes);
            let other = T::decode(&mut rest, version).unwrap_or_else(|error| panic!("{case}, theirs: {error}"));
            assert!(rest.is_empty(), "{case}: the oracle leaves {} bytes", rest.len());
            let mut written = BytesMut::new();
            other.encode(&mut written, version).unwrap_or_else(|error| panic!("{case}, theirs: {error}"));
            assert_eq!(&written[..], &bytes[..], "{case}: the oracle writes other bytes");
            let (value, other) = (format!("{value:?}"), format!("{other:?}"));
            assert_eq!(literals(&value, &fields), literals(&other, &fields), "{case}\n{value}\n{other}");
        }
    }
}

#[test]
fn every_message_is_read_and_written_as_the_oracle_does() {
    macro_rules! compare_each {
        (; $($request:ident $response:ident $min:literal - $max:literal,)*) => {
            $(
                compare::<ours::$request, theirs::$request>($min..=$max);
                compare::<ours::$response, theirs::$response>($min..=$max);
            )*
        };
    }
    for_every_api!(compare_each);
}

#[test]
fn fields_of_the_future_are_passed_over() {
    fn check<M: Message>() {
        for version in M::VERSIONS.iter().filter(|&version| M::FLEXIBLE.contains(version)) {
            for round in 0..10 {
                let bytes = random_message_of_the_future::<M>(version, &mut seeded(M::NAME, version, round));
                let value: M = decode_all(&bytes, version);
                let known = value.to_bytes(version).expect("what was read can be written");
                assert_eq!(decode_all::<M>(&known, version), value);
                assert!(known.len() < bytes.len());
            }
        }
    }
    with_every_message!(check);
}

#[test]
fn headers_are_read_and_written_as_the_oracle_does() {
    for &key in ours::ApiKey::ALL {
        for version in 0..20 {
            let header = ours::RequestHeader {
                request_api_key: key,
                request_api_version: version,
                correlation_id: 0x0102_0304,
                client_id: (version % 3 != 0).then(|| "client-é".into()),
            };
            let mut writer = ours::Writer::new();
            header.encode(&mut writer).expect("is short");
            let bytes = writer.into_bytes();
            let header_version = key.request_header_version(version);
            let other =
                theirs::RequestHeader::decode(&mut bytes.clone().freeze(), header_version).expect("theirs reads");
            assert_eq!(other.request_api_key, key.number());
            assert_eq!(other.request_api_version, version);
            assert_eq!(other.correlation_id, header.correlation_id);
            assert_eq!(other.client_id.as_deref(), header.client_id.as_deref());
            let mut written = BytesMut::new();
            other.encode(&mut written, header_version).expect("theirs writes");
            assert_eq!(written, bytes);
            assert_eq!(ours::RequestHeader::decode(&mut Reader::new(bytes)), Ok(header));

            // Its answer for a version below the lowest is a guess.
            if let Ok(their_key) = theirs::ApiKey::try_from(key.number())
                && their_key.valid_versions().min <= version
            {
                assert_eq!(their_key.request_header_version(version), header_version, "{key} {version}");
                let response = key.response_header_version(version);
                assert_eq!(their_key.response_header_version(version), response, "{key} {version}");
            }
        }
    }
}
