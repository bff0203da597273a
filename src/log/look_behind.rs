//! Looks at what lies behind the end of the unbroken prefix of a segment: whether it is torn, stale or zero, or
//! whether valid batches lie there that must have been written after what is missing.

use std::io;

use crate::record::{BATCH_HEADER_BYTES, BatchHeader, Codec};
use crate::runtime::file::RawFile;
use crate::runtime::fs;
use crate::types::{LeaderEpoch, Offset};

use super::recycle::{ATTRIBUTES_AT, spoilt_by_disarm};

const READ_BYTES: usize = 256 << 10;
/// Where in a batch the magic stands; every batch has 2 there.
const MAGIC_AT: usize = 16;
const MAGIC: u8 = 2;
/// Attribute bits without a meaning, which no batch of ours or Kafka's has.
const UNUSED_ATTRIBUTES: i16 = !0x7f;

/// What would have followed the unbroken prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuation {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
    pub epoch_max: LeaderEpoch,
}

/// What lies behind the unbroken prefix of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Behind {
    /// The valid batch furthest behind whose offsets come after those of the prefix.
    pub furthest: Option<LaterBatch>,
    /// There are valid batches of lower offsets: the file was used before.
    pub stale: bool,
    /// Where the last byte that is not zero ends; the prefix's end if all are.
    pub used_to: u64,
}

/// A valid batch that is not connected to the log's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LaterBatch {
    pub position: u64,
    pub end: u64,
    pub base_offset: Offset,
}

/// Searches a file of `size` bytes from `from` on. A candidate is any position with what looks like a header; its CRC
/// decides. Valid batches, stale ones too, are passed over whole, so that a batch which a producer sent as the
/// value of a record is not taken for one of the log's. So are those that were spoilt before the file was used again.
pub(super) fn look_behind(file: &RawFile, size: u64, from: u64, next: Continuation) -> io::Result<Behind> {
    search(file, size, from, next, false)
}

/// The first valid batch from `from` on whose offsets come after those of the prefix: where a damaged log goes on.
pub(super) fn next_batch_behind(
    file: &RawFile,
    size: u64,
    from: u64,
    next: Continuation,
) -> io::Result<Option<LaterBatch>> {
    // Ended by the first one, the furthest is the first.
    Ok(search(file, size, from, next, true)?.furthest)
}

fn search(file: &RawFile, size: u64, from: u64, next: Continuation, first_only: bool) -> io::Result<Behind> {
    let mut behind = Behind { used_to: from, ..Behind::default() };
    // Wrong candidates cost a read each; hostile content could make every position one. Past this they are not
    // read any more: then a torn tail is assumed, as without this search.
    let mut wrong_bytes_left = 8 * (size - from.min(size)) + (64 << 20);
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(size - from.min(size)).unwrap_or(READ_BYTES))];
    let mut position = from;
    while position < size {
        let Some(data) = fs::next_data(file, position)? else { break };
        // A header may begin in a hole: offsets begin with zeros.
        position = position.max(data.saturating_sub(BATCH_HEADER_BYTES as u64));
        let wanted = (size - position.min(size)).min(READ_BYTES as u64) as usize;
        let count = fs::pread(file, buffer.get_mut(..wanted).unwrap_or_default(), position)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        let used = used_bytes(bytes);
        if used > 0 {
            behind.used_to = behind.used_to.max(position + used as u64);
        }
        let mut at = 0;
        // No header begins in the zeros behind.
        let searched = bytes.get(..bytes.len().min(used + BATCH_HEADER_BYTES)).unwrap_or_default();
        while let Some((found, header)) = next_candidate(searched, at) {
            let start = position + found as u64;
            let end = start + header.size() as u64;
            at = found + 1;
            if end > size || header.size() as u64 > wrong_bytes_left {
                continue;
            }
            if !crc_ok(file, start, &header)? {
                wrong_bytes_left -= header.size() as u64;
                continue;
            }
            at = found + header.size();
            behind.note(start, end, &header, next);
            if first_only && behind.furthest.is_some() {
                return Ok(behind);
            }
        }
        if count == 0 || position + count as u64 >= size {
            break;
        }
        // The rest of the buffer is too short for a header and is read again with what follows.
        position += at.max(count.saturating_sub(BATCH_HEADER_BYTES - 1)).max(1) as u64;
    }
    Ok(behind)
}

impl Behind {
    fn note(&mut self, position: u64, end: u64, header: &BatchHeader, next: Continuation) {
        let epochs = next.epoch..=next.epoch_max;
        let spoilt = spoilt_by_disarm(header.attributes.0);
        if !spoilt && header.base_offset >= next.offset && epochs.contains(&header.leader_epoch) {
            self.furthest = Some(LaterBatch { position, end, base_offset: header.base_offset });
        } else {
            self.stale = true;
        }
    }
}

/// Up to where bytes are not all zero. Most of what is looked at is room that was never used.
fn used_bytes(bytes: &[u8]) -> usize {
    const PIECE: usize = 256;
    let pieces = bytes.rchunks(PIECE).take_while(|piece| piece.iter().fold(0, |any, byte| any | byte) == 0);
    let zeros: usize = pieces.map(<[u8]>::len).sum();
    let rest = bytes.get(..bytes.len() - zeros).unwrap_or_default();
    rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// The next position in `bytes`, from `at` on, at which what might be a batch begins.
fn next_candidate(bytes: &[u8], mut at: usize) -> Option<(usize, BatchHeader)> {
    loop {
        let magics = bytes.get(at + MAGIC_AT..)?;
        at += magics.iter().position(|&byte| byte == MAGIC)?;
        let header = bytes.get(at..at + BATCH_HEADER_BYTES)?;
        if let Ok(header) = BatchHeader::parse_prefix(header)
            && is_plausible(&header)
        {
            return Some((at, header));
        }
        at += 1;
    }
}

fn is_plausible(header: &BatchHeader) -> bool {
    let attributes = match header.attributes.0 {
        spoilt if spoilt_by_disarm(spoilt) => spoilt & 0xff,
        attributes => attributes,
    };
    header.base_offset.0 >= 0
        && header.leader_epoch.0 >= -1
        && attributes & UNUSED_ATTRIBUTES == 0
        && Codec::from_id(header.attributes.codec_id()).is_some()
        && header.last_offset_delta >= 0
        && (0..=i64::from(header.last_offset_delta) + 1).contains(&i64::from(header.count))
        && header.producer_id.0 >= -1
        && header.base_sequence >= -1
}

fn crc_ok(file: &RawFile, start: u64, header: &BatchHeader) -> io::Result<bool> {
    let end = start + header.size() as u64;
    let mut from = start + ATTRIBUTES_AT;
    let mut crc = 0;
    if spoilt_by_disarm(header.attributes.0) {
        crc = crc32c::crc32c(&[0]);
        from += 1;
    }
    let mut piece = vec![0; READ_BYTES.min(header.size())];
    while from < end {
        let wanted = (end - from).min(piece.len() as u64) as usize;
        let slot = piece.get_mut(..wanted).unwrap_or_default();
        if fs::pread(file, slot, from)? < wanted {
            return Ok(false);
        }
        crc = crc32c::crc32c_append(crc, slot);
        from += wanted as u64;
    }
    Ok(crc == header.crc)
}

#[cfg(test)]
mod tests {
    use super::super::testing::batch;
    use super::*;
    use crate::runtime::fs::OpenFlags;

    fn look(bytes: &[u8], from: u64, offset: i64, epoch: i32) -> Behind {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        std::fs::write(&path, bytes).unwrap();
        let file = fs::open(&path, OpenFlags::READ).unwrap();
        let next = Continuation { offset: Offset(offset), epoch: LeaderEpoch(epoch), epoch_max: LeaderEpoch(9) };
        look_behind(&file, bytes.len() as u64, from, next).unwrap()
    }

    /// A batch's last byte may be zero: the count of a record's headers.
    fn used(bytes: &[u8]) -> u64 {
        bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
    }

    #[test]
    fn zeros_are_nothing() {
        assert_eq!(look(&[0; 10_000], 100, 0, 0), Behind { used_to: 100, ..Behind::default() });
        assert_eq!(look(&[], 0, 0, 0), Behind::default());
    }

    #[test]
    fn later_batches_are_found_wherever_they_begin() {
        for gap in [0, 1, 15, 61, 4096, READ_BYTES - 30, READ_BYTES, READ_BYTES + 7] {
            let later = batch(50, 3, 4, b"later");
            let mut bytes = vec![7; gap];
            bytes.extend_from_slice(&later);
            bytes.extend_from_slice(&batch(53, 1, 4, b"last"));
            let start = gap + later.len();
            let (end, used_to) = (bytes.len() as u64, used(&bytes));
            bytes.extend_from_slice(&[0; 5000]);
            let found = look(&bytes, 0, 40, 4);
            let furthest = LaterBatch { position: start as u64, end, base_offset: Offset(53) };
            assert_eq!(found, Behind { furthest: Some(furthest), stale: false, used_to }, "gap {gap}");
            assert!(look(&bytes, 0, 54, 4).stale, "lower offsets");
            assert!(look(&bytes, 0, 40, 5).furthest.is_none(), "lower epochs");
        }
    }

    #[test]
    fn a_batch_in_a_record_of_a_stale_batch_is_not_the_logs() {
        let inner = batch(1000, 1, 9, b"x");
        let bytes = batch(3, 1, 0, &inner);
        let found = look(&bytes, 0, 40, 1);
        assert_eq!(found, Behind { furthest: None, stale: true, used_to: used(&bytes) });
    }

    #[test]
    fn the_first_later_batch_is_told_from_the_furthest() {
        let bytes =
            [vec![7; 100], batch(3, 1, 4, b"stale"), batch(50, 3, 4, b"first"), batch(53, 1, 4, b"last")].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        std::fs::write(&path, &bytes).unwrap();
        let file = fs::open(&path, OpenFlags::READ).unwrap();
        let next = Continuation { offset: Offset(40), epoch: LeaderEpoch(4), epoch_max: LeaderEpoch(9) };
        let first =
            |from| next_batch_behind(&file, bytes.len() as u64, from, next).unwrap().map(|found| found.base_offset);
        assert_eq!(first(0), Some(Offset(50)));
        assert_eq!(first(bytes.len() as u64 - 10), None);
    }

    #[test]
    fn a_garbled_batch_is_none() {
        let mut bytes = batch(50, 1, 0, b"value");
        *bytes.last_mut().unwrap() ^= 1;
        let found = look(&bytes, 0, 40, 0);
        assert_eq!((found.furthest, found.stale), (None, false));
    }

    #[test]
    fn a_spoilt_batch_is_stale_whatever_it_holds() {
        let inner = batch(1000, 1, 9, b"x");
        for base_offset in [3, 50] {
            let mut bytes = batch(base_offset, 1, 1, &inner);
            let used_to = used(&bytes);
            bytes[ATTRIBUTES_AT as usize] ^= 0xff;
            let found = look(&bytes, 0, 40, 1);
            assert_eq!(found, Behind { furthest: None, stale: true, used_to }, "offset {base_offset}");
            // Garbled besides, it is none, and what it holds is not hidden.
            bytes[30] ^= 1;
            assert!(look(&bytes, 0, 40, 1).furthest.is_some());
        }
    }
}
