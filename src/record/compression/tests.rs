//! Streams there and back, and what other implementations write.

use super::*;
use crate::record::tests::noise;

fn compress(codec: Codec, level: Option<i32>, pieces: &[&[u8]]) -> Vec<u8> {
    let mut compressor = Compressor::new(codec, level, b"before".to_vec());
    for piece in pieces {
        compressor.write(piece);
    }
    let out = compressor.finish();
    assert!(out.starts_with(b"before"));
    out[6..].to_vec()
}

fn decompress(codec: Codec, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut source = Decompressor::new(codec, bytes, u64::MAX).ok()?;
    let mut out = Vec::new();
    while source.fill().ok()? {
        let available = source.available().to_vec();
        source.consume(available.len());
        out.extend(available);
    }
    Some(out)
}

#[test]
fn streams_of_all_sizes_read_back() {
    for codec in Codec::ALL {
        for len in [0, 1, 100, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 300_000] {
            for bytes in [vec![7; len], noise(5, len), noise(6, len / 2).repeat(2)] {
                let (front, back) = bytes.split_at(bytes.len() / 3);
                let compressed = compress(codec, None, &[front, back]);
                assert_eq!(decompress(codec, &compressed).as_ref(), Some(&bytes), "{codec} {len}");
            }
        }
    }
}

#[test]
fn levels_are_those_of_kafka() {
    let bytes = noise(9, 3000).repeat(9);
    for (codec, levels) in [
        (Codec::Gzip, &[-1, 1, 6, 9, 99][..]),
        (Codec::Zstd, &[-131_072, -5, 0, 1, 3, 19, 22]),
        (Codec::Lz4, &[1, 9, 17]),
        (Codec::Snappy, &[1]),
    ] {
        for level in levels {
            let compressed = compress(codec, Some(*level), &[&bytes]);
            assert_eq!(decompress(codec, &compressed).as_ref(), Some(&bytes), "{codec} {level}");
        }
    }
}

#[test]
fn names_and_numbers_of_codecs() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_id(codec.id()), Some(codec));
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::from_name("uncompressed"), Some(Codec::None));
    assert_eq!(Codec::from_name("producer"), None);
    assert_eq!(Codec::from_id(5), None);
}

/// Streams joined end to end, as zstd, gzip and snappy-java allow them.
#[test]
fn joined_streams_are_one() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let mut joined = compress(codec, None, &[b"one, "]);
        joined.extend(compress(codec, None, &[b"two"]));
        assert_eq!(decompress(codec, &joined).unwrap(), b"one, two", "{codec}");
    }
}

#[test]
fn raw_snappy_is_read() {
    let bytes = noise(1, 1000).repeat(3);
    let raw = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw).unwrap(), bytes);
    // A raw block shorter than the framing's header.
    let raw = snap::raw::Encoder::new().compress_vec(b"abc").unwrap();
    assert!(raw.len() < 16);
    assert_eq!(decompress(Codec::Snappy, &raw).unwrap(), b"abc");
    assert_eq!(decompress(Codec::Snappy, &[]), None);
}

#[test]
fn lz4_frames_of_another_writer() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    let bytes = noise(2, 150_000).repeat(2);
    for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
        for (block_checksums, content_checksum) in [(false, false), (true, false), (false, true), (true, true)] {
            let info = FrameInfo::new()
                .block_size(size)
                .block_mode(BlockMode::Independent)
                .block_checksums(block_checksums)
                .content_checksum(content_checksum)
                .content_size(content_checksum.then_some(bytes.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info.clone(), Vec::new());
            encoder.write_all(&bytes).unwrap();
            let frame = encoder.finish().unwrap();
            assert_eq!(decompress(Codec::Lz4, &frame).as_ref(), Some(&bytes), "{info:?}");
            if block_checksums || content_checksum {
                let mut bad = frame.clone();
                let last = bad.len() - if content_checksum { 1 } else { 5 };
                bad[last] ^= 1;
                assert_eq!(decompress(Codec::Lz4, &bad), None, "a wrong checksum");
            }
            let mut bad = frame.clone();
            bad[5] ^= 0x10;
            assert_eq!(decompress(Codec::Lz4, &bad), None, "a wrong descriptor");
        }
    }
    let mut encoder = FrameEncoder::with_frame_info(FrameInfo::new().block_mode(BlockMode::Linked), Vec::new());
    encoder.write_all(&bytes).unwrap();
    assert_eq!(decompress(Codec::Lz4, &encoder.finish().unwrap()), None, "Kafka's clients cannot read linked blocks");
}

#[test]
fn our_lz4_frames_are_read_by_another_reader() {
    let bytes = [noise(3, 200_000), vec![0; 200_000]].concat();
    let frame = compress(Codec::Lz4, None, &[&bytes]);
    let mut out = Vec::new();
    std::io::Read::read_to_end(&mut lz4_flex::frame::FrameDecoder::new(frame.as_slice()), &mut out).unwrap();
    assert!(out == bytes);
}

#[test]
fn a_wide_zstd_window_is_read() {
    let bytes = noise(4, 50_000).repeat(8);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    assert!(decompress(Codec::Zstd, &encoder.finish().unwrap()).unwrap() == bytes);
}
