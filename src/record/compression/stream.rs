//! Decompression in chunks: memory is bounded by the codec's blocks, output by a limit.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

use super::super::varint::{take_varint, take_varlong, zigzag32, zigzag64};
use super::super::{BatchError, Codec};
use super::lz4::Lz4Reader;
use super::snappy::SnappyReader;
use super::spare::SpareBuffer;
use super::zstandard::ZstdReader;

/// How much of a gzip or zstd stream is decompressed at a time.
const CHUNK_BYTES: usize = 32 << 10;

/// What a batch's records decompress to, read from front to end. An uncompressed batch is read in place.
#[derive(Debug)]
pub struct Decompressor<'a> {
    codec: Codec,
    source: Source<'a>,
    chunk: SpareBuffer,
    position: usize,
    end: usize,
    produced: u64,
    limit: u64,
}

#[derive(Debug)]
enum Source<'a> {
    Plain(&'a [u8]),
    Gzip(Box<MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyReader<'a>),
    Lz4(Lz4Reader<'a>),
    Zstd(ZstdReader<'a>),
}

impl<'a> Decompressor<'a> {
    /// Reads `records`, compressed by `codec`; more than `limit` bytes of output are an error.
    pub fn new(codec: Codec, records: &'a [u8], limit: u64) -> Result<Decompressor<'a>, BatchError> {
        let failed = |what| BatchError::Decompression { codec, what };
        let source = match codec {
            Codec::None => Source::Plain(records),
            Codec::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(records))),
            Codec::Snappy => Source::Snappy(SnappyReader::new(records).map_err(failed)?),
            Codec::Lz4 => Source::Lz4(Lz4Reader::new(records).map_err(failed)?),
            Codec::Zstd => Source::Zstd(ZstdReader::new(records).map_err(failed)?),
        };
        Ok(Decompressor { codec, source, chunk: SpareBuffer::take(), position: 0, end: 0, produced: 0, limit })
    }

    /// Whether all has been read. May decompress on.
    pub fn at_end(&mut self) -> Result<bool, BatchError> {
        Ok(!self.fill()?)
    }

    /// What is decompressed and not yet read.
    #[inline]
    pub fn available(&self) -> &[u8] {
        match &self.source {
            Source::Plain(rest) => rest,
            _ => self.chunk.bytes().get(self.position..self.end).unwrap_or_default(),
        }
    }

    /// How many bytes of a compressed stream have been read; always 0 where nothing is compressed.
    pub fn position(&self) -> u64 {
        self.produced - (self.end - self.position) as u64
    }

    /// Marks `count` bytes of `available` as read.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        match &mut self.source {
            Source::Plain(rest) => *rest = rest.get(count..).unwrap_or_default(),
            _ => self.position = self.end.min(self.position + count),
        }
    }

    /// Sees to it that something is available; false at the end.
    pub fn fill(&mut self) -> Result<bool, BatchError> {
        while self.available().is_empty() {
            self.position = 0;
            self.end = 0;
            let room = self.limit - self.produced;
            let chunk = &mut self.chunk;
            let made = match &mut self.source {
                Source::Plain(_) => Ok(None),
                Source::Gzip(gzip) => match gzip.read(chunk.first(CHUNK_BYTES)) {
                    Ok(0) => Ok(None),
                    Ok(count) => Ok(Some(count)),
                    Err(_) => Err("not a whole gzip stream"),
                },
                Source::Snappy(snappy) => snappy.next_block(chunk, room),
                Source::Lz4(lz4) => lz4.next_block(chunk),
                Source::Zstd(zstd) => zstd.next_chunk(chunk.first(CHUNK_BYTES)),
            };
            let codec = self.codec;
            match made.map_err(|what| BatchError::Decompression { codec, what })? {
                None => return Ok(false),
                Some(count) => {
                    if count as u64 > room {
                        return Err(BatchError::DecompressedTooLarge { max: self.limit });
                    }
                    self.end = count;
                    self.produced += count as u64;
                }
            }
        }
        Ok(true)
    }

    /// Reads a zigzag varint; `None` if the bytes end in it or it is none.
    pub fn varint(&mut self) -> Result<Option<i32>, BatchError> {
        let mut input = self.available();
        let before = input.len();
        if let Some(value) = take_varint(&mut input) {
            let count = before - input.len();
            self.consume(count);
            return Ok(Some(value));
        }
        Ok(self.slow_varint(5)?.map(|value| zigzag32(value as u32)))
    }

    /// Reads a zigzag varlong; `None` if the bytes end in it or it is none.
    pub fn varlong(&mut self) -> Result<Option<i64>, BatchError> {
        let mut input = self.available();
        let before = input.len();
        if let Some(value) = take_varlong(&mut input) {
            let count = before - input.len();
            self.consume(count);
            return Ok(Some(value));
        }
        Ok(self.slow_varint(10)?.map(zigzag64))
    }

    /// Passes over `count` bytes; false if there are fewer.
    pub fn skip(&mut self, mut count: u64) -> Result<bool, BatchError> {
        while count > 0 {
            if !self.fill()? {
                return Ok(false);
            }
            let step = count.min(self.available().len() as u64);
            self.consume(step as usize);
            count -= step;
        }
        Ok(true)
    }

    /// Appends the next `count` bytes to `out`, which grows as they come and not by what is claimed; false if there
    /// are fewer.
    pub fn read(&mut self, mut count: usize, out: &mut Vec<u8>) -> Result<bool, BatchError> {
        while count > 0 {
            if !self.fill()? {
                return Ok(false);
            }
            let available = self.available();
            let step = count.min(available.len());
            out.extend_from_slice(&available[..step]);
            self.consume(step);
            count -= step;
        }
        Ok(true)
    }

    /// A varint that may lie across two chunks.
    fn slow_varint(&mut self, bytes_max: u32) -> Result<Option<u64>, BatchError> {
        let mut value = 0u64;
        for i in 0..bytes_max {
            if !self.fill()? {
                return Ok(None);
            }
            let Some(&byte) = self.available().first() else { return Ok(None) };
            self.consume(1);
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}
