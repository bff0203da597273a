//! Compression, streamed into a buffer, in the forms that Kafka's Java client writes.

use std::fmt;
use std::io::Write;

use flate2::write::GzEncoder;

use super::super::Codec;
use super::spare::SpareBuffer;
use super::{lz4, snappy};

/// The block of `snappy-java`.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;
/// The block of Kafka's lz4 frames.
const LZ4_BLOCK_BYTES: usize = 64 << 10;
/// Version 1, independent blocks, no checksums; blocks of 64 KiB; the checksum of both.
const LZ4_DESCRIPTOR: [u8; 3] = [0x60, 0x40, 0x82];

/// Takes bytes and appends what they compress to behind what its buffer holds.
pub struct Compressor {
    sink: Sink,
}

enum Sink {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Snappy(Blocks),
    Lz4(Blocks),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// Output in blocks: collects one, then compresses it.
struct Blocks {
    out: Vec<u8>,
    block: SpareBuffer,
    filled: usize,
    block_bytes: usize,
    compress: fn(&[u8], &mut Vec<u8>),
}

impl Compressor {
    /// Appends to `out`. `level` is Kafka's `compression.<codec>.level`; `None` is its default (gzip 6, zstd 3).
    /// lz4 has one level here, which any of Kafka's stands for.
    pub fn new(codec: Codec, level: Option<i32>, mut out: Vec<u8>) -> Compressor {
        let sink = match codec {
            Codec::None => Sink::Plain(out),
            Codec::Gzip => {
                // -1 is Java's `Deflater.DEFAULT_COMPRESSION`.
                let level = level.and_then(|level| u32::try_from(level).ok()).map_or(6, |level| level.min(9));
                Sink::Gzip(GzEncoder::new(out, flate2::Compression::new(level)))
            }
            Codec::Snappy => {
                out.extend_from_slice(&snappy::MAGIC);
                out.extend_from_slice(&1i32.to_be_bytes());
                out.extend_from_slice(&1i32.to_be_bytes());
                Sink::Snappy(Blocks::new(out, SNAPPY_BLOCK_BYTES, snappy_block))
            }
            Codec::Lz4 => {
                out.extend_from_slice(&lz4::MAGIC);
                out.extend_from_slice(&LZ4_DESCRIPTOR);
                Sink::Lz4(Blocks::new(out, LZ4_BLOCK_BYTES, lz4_block))
            }
            Codec::Zstd => Sink::Zstd(
                zstd::stream::write::Encoder::new(
                    out,
                    level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL).clamp(-131_072, 22),
                )
                .expect("a zstd context fails for want of memory alone"),
            ),
        };
        Compressor { sink }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        const INFALLIBLE: &str = "writes to a Vec do not fail";
        match &mut self.sink {
            Sink::Plain(out) => out.extend_from_slice(bytes),
            Sink::Gzip(gzip) => gzip.write_all(bytes).expect(INFALLIBLE),
            Sink::Snappy(blocks) | Sink::Lz4(blocks) => blocks.write(bytes),
            Sink::Zstd(zstd) => zstd.write_all(bytes).expect(INFALLIBLE),
        }
    }

    /// Ends the stream and answers the buffer.
    pub fn finish(self) -> Vec<u8> {
        const INFALLIBLE: &str = "writes to a Vec do not fail";
        match self.sink {
            Sink::Plain(out) => out,
            Sink::Gzip(gzip) => gzip.finish().expect(INFALLIBLE),
            Sink::Snappy(mut blocks) => {
                blocks.end_block();
                blocks.out
            }
            Sink::Lz4(mut blocks) => {
                blocks.end_block();
                blocks.out.extend_from_slice(&0u32.to_le_bytes());
                blocks.out
            }
            Sink::Zstd(zstd) => zstd.finish().expect(INFALLIBLE),
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl Blocks {
    fn new(out: Vec<u8>, block_bytes: usize, compress: fn(&[u8], &mut Vec<u8>)) -> Blocks {
        Blocks { out, block: SpareBuffer::take(), filled: 0, block_bytes, compress }
    }

    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = bytes.len().min(self.block_bytes - self.filled);
            let (now, later) = bytes.split_at(count);
            self.block.first(self.block_bytes)[self.filled..self.filled + count].copy_from_slice(now);
            self.filled += count;
            bytes = later;
            if self.filled == self.block_bytes {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        if self.filled > 0 {
            (self.compress)(self.block.first(self.filled), &mut self.out);
            self.filled = 0;
        }
    }
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>) {
    let start = out.len() + 4;
    out.resize(start + snap::raw::max_compress_len(block.len()), 0);
    let made = snap::raw::Encoder::new()
        .compress(block, &mut out[start..])
        .expect("the block is small and there is room for its worst case");
    out[start - 4..start].copy_from_slice(&(made as i32).to_be_bytes());
    out.truncate(start + made);
}

fn lz4_block(block: &[u8], out: &mut Vec<u8>) {
    let start = out.len() + 4;
    out.resize(start + lz4_flex::block::get_maximum_output_size(block.len()), 0);
    let made = lz4_flex::block::compress_into(block, &mut out[start..]).expect("there is room for the worst case");
    let length = if made < block.len() {
        out.truncate(start + made);
        made as u32
    } else {
        out.truncate(start);
        out.extend_from_slice(block);
        block.len() as u32 | lz4::STORED_BIT
    };
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}
