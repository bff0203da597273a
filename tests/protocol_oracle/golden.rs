//! Frames captured from real clients and brokers, as `tests/golden/<Message>-v<version>-<who>.hex`: hexadecimal digits of
//! one frame with its size, white space between them as it may be. Each is decoded and encoded again to the same bytes,
//! so that no mistake which our encoder and decoder share can hide.

use std::path::Path;

use bytes::BytesMut;
use corelane::protocol::{self as ours, Message, Reader, Request, RequestHeader, Response, ResponseHeader, Writer};

use super::for_every_api;

struct Golden {
    file: String,
    message: String,
    version: i16,
    /// Without the size.
    frame: BytesMut,
}

fn read_all() -> Vec<Golden> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all = Vec::new();
    for file in std::fs::read_dir(&directory).expect("the directory is part of the repository") {
        let path = file.expect("is readable").path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let file = path.file_stem().expect("has a name").to_string_lossy().into_owned();
        let (message, rest) = file.split_once("-v").unwrap_or_else(|| panic!("{file}: no version in the name"));
        let version = rest.split('-').next().and_then(|number| number.parse().ok());
        let digits: Vec<u8> = std::fs::read(&path).expect("is readable");
        let digits: Vec<u8> = digits.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("hexadecimal digits"))
            .collect();
        let (size, frame) = bytes.split_at(4);
        assert_eq!(size, (frame.len() as i32).to_be_bytes(), "{file}: the size is wrong");
        all.push(Golden {
            message: message.to_owned(),
            version: version.unwrap_or_else(|| panic!("{file}: no version in the name")),
            frame: BytesMut::from(frame),
            file,
        });
    }
    all
}

fn check_request<M: Request>(golden: &Golden) {
    let mut reader = Reader::new(golden.frame.clone());
    let header = RequestHeader::decode(&mut reader).unwrap_or_else(|error| panic!("{}: {error}", golden.file));
    assert_eq!((header.request_api_key, header.request_api_version), (M::KEY, golden.version), "{}", golden.file);
    let mut writer = Writer::new();
    header.encode(&mut writer).expect("was decoded");
    check_body::<M>(golden, reader, writer);
}

fn check_response<M: Response>(golden: &Golden) {
    let mut reader = Reader::new(golden.frame.clone());
    let header = ResponseHeader::decode(&mut reader, M::KEY, golden.version)
        .unwrap_or_else(|error| panic!("{}: {error}", golden.file));
    let mut writer = Writer::new();
    header.encode(&mut writer, M::KEY, golden.version);
    check_body::<M>(golden, reader, writer);
}

fn check_body<M: Message>(golden: &Golden, mut reader: Reader, mut writer: Writer) {
    let file = &golden.file;
    let value = M::decode(&mut reader, golden.version).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(reader.is_empty(), "{file}: {} bytes are left after {value:?}", reader.remaining());
    value.encode(&mut writer, golden.version).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(writer.into_bytes(), golden.frame, "{file}: {value:?}");
}

fn check(golden: &Golden) {
    macro_rules! check_the_named {
        (; $($request:ident $response:ident $min:literal - $max:literal,)*) => {
            match golden.message.as_str() {
                $(
                    stringify!($request) => check_request::<ours::$request>(golden),
                    stringify!($response) => check_response::<ours::$response>(golden),
                )*
                other => panic!("{}: no message {other}", golden.file),
            }
        };
    }
    for_every_api!(check_the_named);
}

#[test]
fn captured_frames_are_read_and_written_alike() {
    let all = read_all();
    assert!(!all.is_empty(), "tests/golden is empty");
    all.iter().for_each(check);
}
