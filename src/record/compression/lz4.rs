//! lz4 frames as Kafka reads them (`Lz4BlockInputStream`): version 1, independent blocks, no dictionary.
//!
//! ```text
//! 04 22 4d 18            magic
//! flags        byte      bits 6-7 version 1, 5 independent blocks, 4 block checksums, 3 content size, 2 content
//!                        checksum, 1 reserved, 0 dictionary id
//! block size   byte      bits 4-6: 4 to 7 stand for 64 KiB to 4 MiB, the rest reserved
//! content size uint64    if bit 3; little-endian, as all here
//! checksum     byte      of flags to content size: the second byte of its xxHash32
//! then blocks:
//!   length     uint32    the top bit marks a block stored as it is; 0 ends the frame
//!   block
//!   checksum   uint32    if bit 4; xxHash32 of the block as it is here
//! checksum     uint32    if bit 2; xxHash32 of the whole content
//! ```

use twox_hash::XxHash32;

use super::spare::SpareBuffer;

pub const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Set in the length of a block that is stored as it is.
pub const STORED_BIT: u32 = 1 << 31;
const BLOCK_CHECKSUM_BIT: u8 = 1 << 4;
const CONTENT_SIZE_BIT: u8 = 1 << 3;
const CONTENT_CHECKSUM_BIT: u8 = 1 << 2;
const CUT_OFF: &str = "the lz4 frame is cut off";

/// Reads the blocks of the lz4 frame that a batch's records are.
#[derive(Debug)]
pub struct Lz4Reader<'a> {
    rest: &'a [u8],
    block_bytes_max: usize,
    block_checksums: bool,
    content_size: Option<u64>,
    content_checksum: Option<Box<XxHash32>>,
    produced: u64,
    finished: bool,
}

impl<'a> Lz4Reader<'a> {
    pub fn new(records: &'a [u8]) -> Result<Lz4Reader<'a>, &'static str> {
        let descriptor = records.strip_prefix(&MAGIC).ok_or("no lz4 frame")?;
        let (&[flags, block_size], mut rest) = descriptor.split_first_chunk().ok_or(CUT_OFF)?;
        if flags >> 6 != 1 {
            return Err("an lz4 frame of an unknown version");
        }
        if flags & 0b11 != 0 {
            return Err("an lz4 frame with a dictionary or a reserved flag");
        }
        if flags >> 5 & 1 == 0 {
            return Err("an lz4 frame of dependent blocks");
        }
        if block_size & 0x8f != 0 || block_size >> 4 < 4 {
            return Err("an lz4 frame of an unknown block size");
        }
        let content_size = if flags & CONTENT_SIZE_BIT == 0 {
            None
        } else {
            let (size, after) = rest.split_first_chunk().ok_or(CUT_OFF)?;
            rest = after;
            Some(u64::from_le_bytes(*size))
        };
        let checked = descriptor.get(..descriptor.len() - rest.len()).unwrap_or_default();
        let (&checksum, rest) = rest.split_first().ok_or(CUT_OFF)?;
        if checksum != (XxHash32::oneshot(0, checked) >> 8) as u8 {
            return Err("the lz4 frame's descriptor is corrupt");
        }
        Ok(Lz4Reader {
            rest,
            block_bytes_max: 1 << (8 + 2 * (block_size >> 4)),
            block_checksums: flags & BLOCK_CHECKSUM_BIT != 0,
            content_size,
            content_checksum: (flags & CONTENT_CHECKSUM_BIT != 0).then(|| Box::new(XxHash32::with_seed(0))),
            produced: 0,
            finished: false,
        })
    }

    /// Decompresses the next block into the front of `out`.
    pub fn next_block(&mut self, out: &mut SpareBuffer) -> Result<Option<usize>, &'static str> {
        if self.finished {
            return Ok(None);
        }
        let length = self.take_u32()?;
        let stored = length & STORED_BIT != 0;
        let length = (length & !STORED_BIT) as usize;
        if length == 0 {
            return self.finish();
        }
        if length > self.block_bytes_max {
            return Err("an lz4 block larger than its frame allows");
        }
        let (block, rest) = self.rest.split_at_checked(length).ok_or(CUT_OFF)?;
        self.rest = rest;
        if self.block_checksums && self.take_u32()? != XxHash32::oneshot(0, block) {
            return Err("an lz4 block's checksum is wrong");
        }
        let made = if stored {
            out.first(length).copy_from_slice(block);
            length
        } else {
            // An lz4 block expands to 255 times its size at most.
            let room = self.block_bytes_max.min(length.saturating_mul(255));
            lz4_flex::block::decompress_into(block, out.first(room)).map_err(|_| "not a valid lz4 block")?
        };
        self.produced += made as u64;
        if let Some(hasher) = &mut self.content_checksum {
            std::hash::Hasher::write(hasher.as_mut(), out.first(made));
        }
        Ok(Some(made))
    }

    fn finish(&mut self) -> Result<Option<usize>, &'static str> {
        self.finished = true;
        if let Some(hasher) = self.content_checksum.take()
            && self.take_u32()? != hasher.finish_32()
        {
            return Err("the lz4 frame's content checksum is wrong");
        }
        match self.content_size {
            Some(size) if size != self.produced => Err("the lz4 frame holds not what its content size says"),
            _ => Ok(None),
        }
    }

    fn take_u32(&mut self) -> Result<u32, &'static str> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT_OFF)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }
}
