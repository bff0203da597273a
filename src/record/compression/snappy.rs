//! Snappy as Kafka has it: the framing of `snappy-java` (`SnappyOutputStream`), or one raw block without framing.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00   magic
//! version              int32      1
//! compatible version   int32      1 at least
//! then blocks:
//!   length             int32      of what follows
//!   a raw snappy block            of 32 KiB decompressed, as the Java client writes it
//! ```
//!
//! The 16 bytes of the header may come again between blocks, where streams were joined.

use super::spare::SpareBuffer;

pub const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// Three bytes of a raw block copy at most 64, so its output is below this many times its size. Output is allocated
/// by the length that a block claims; this is what the claim is held against.
const EXPANSION_MAX: usize = 22;

/// Reads the blocks that a batch's records are.
#[derive(Debug)]
pub struct SnappyReader<'a> {
    rest: &'a [u8],
    framed: bool,
}

impl<'a> SnappyReader<'a> {
    pub fn new(records: &'a [u8]) -> Result<SnappyReader<'a>, &'static str> {
        if records.is_empty() {
            return Err("nothing where a snappy stream should be");
        }
        match records.split_at_checked(HEADER_BYTES) {
            Some((header, rest)) if header.starts_with(&MAGIC) => {
                check_version(header)?;
                Ok(SnappyReader { rest, framed: true })
            }
            _ => Ok(SnappyReader { rest: records, framed: false }),
        }
    }

    /// Decompresses the next block, `room` bytes at most, into the front of `out`.
    pub fn next_block(&mut self, out: &mut SpareBuffer, room: u64) -> Result<Option<usize>, &'static str> {
        while self.framed && self.rest.starts_with(&MAGIC) {
            let (header, rest) = self.rest.split_at_checked(HEADER_BYTES).ok_or("the snappy stream is cut off")?;
            check_version(header)?;
            self.rest = rest;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let block = if self.framed {
            let (len, rest) = self.rest.split_first_chunk().ok_or("the snappy stream is cut off")?;
            let len = usize::try_from(i32::from_be_bytes(*len)).map_err(|_| "a snappy block of negative length")?;
            let (block, rest) = rest.split_at_checked(len).ok_or("the snappy stream is cut off")?;
            self.rest = rest;
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let len = snap::raw::decompress_len(block).map_err(|_| "not a snappy block")?;
        if len > block.len().saturating_mul(EXPANSION_MAX) {
            return Err("a snappy block claims more than it can hold");
        }
        if len as u64 > room {
            // Refused by the caller, without the work.
            return Ok(Some(len));
        }
        let made =
            snap::raw::Decoder::new().decompress(block, out.first(len)).map_err(|_| "not a valid snappy block")?;
        Ok(Some(made))
    }
}

fn check_version(header: &[u8]) -> Result<(), &'static str> {
    match header.get(MAGIC.len()..).and_then(|version| version.first_chunk()) {
        Some(version) if i32::from_be_bytes(*version) >= 1 => Ok(()),
        _ => Err("a version of the snappy framing that nobody writes"),
    }
}
