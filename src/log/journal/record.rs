//! The form of a journal's records.
//!
//! A record begins at a block. All numbers are little-endian.
//!
//! ```text
//! magic             8 bytes   "CLjrnl" 0 1
//! crc               u32       CRC-32C of all behind it up to the data
//! entries           u32
//! generation        u64       of the file's use: the records of one use follow upon each other
//! sequence          u64       one more than that of the record before, over both files
//! data at           u32       from the record's first byte
//! bytes             u32       of the whole record with what fills its last block: where the next one begins
//! for each entry:
//!   topic id        16 bytes
//!   partition       i32
//!   segment         i64       base offset
//!   position        u64       in the segment
//!   end offset      i64       one behind the last offset of the batches
//!   bytes           u32       of the batches
//!   crc             u32       CRC-32C of the batches
//!   directory       u16 and so many bytes, the name of the partition's directory
//! the batches of all entries, one behind the other
//! ```

use bytes::Bytes;

use crate::runtime::file::AlignedBuf;
use crate::types::{KafkaUuid, Offset, TopicId};

const MAGIC: [u8; 8] = *b"CLjrnl\0\x01";
pub(super) const HEADER_BYTES: usize = 40;
const CRC_AT: usize = 8;
const BEHIND_CRC: usize = 12;
/// Of an entry, without the name of its directory.
pub(super) const ENTRY_BYTES: usize = 54;
/// Records begin at multiples of this at least.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// Batches of one log that follow upon each other, and where they belong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub topic_id: TopicId,
    pub partition: i32,
    /// The base offset of the segment.
    pub segment: Offset,
    pub position: u64,
    pub end_offset: Offset,
    /// The name of the partition's directory.
    pub dir: String,
}

/// What of a record's beginning is to be known before the rest is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub generation: u64,
    pub sequence: u64,
    entries: u32,
    data_at: u32,
    /// Of the record, with what fills its last block.
    pub bytes: u32,
}

impl Header {
    /// What a record's first bytes say, not yet checked against its CRC.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let mut rest = Reader(bytes.get(BEHIND_CRC..)?);
        let entries = rest.u32()?;
        let header = Header {
            entries,
            generation: rest.u64()?,
            sequence: rest.u64()?,
            data_at: rest.u32()?,
            bytes: rest.u32()?,
        };
        (header.data_at as usize >= HEADER_BYTES && header.data_at <= header.bytes).then_some(header)
    }
}

/// One entry of a record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub place: Place,
    pub bytes: usize,
    pub crc: u32,
    /// None if they are not what was written.
    pub batches: Option<Bytes>,
}

/// The entries of a whole record; none if what leads to its data is not what was written.
pub(super) fn decode(record: &Bytes) -> Option<Vec<Entry>> {
    let header = Header::parse(record)?;
    let data_at = header.data_at as usize;
    let mut crc = Reader(record.get(CRC_AT..BEHIND_CRC)?);
    if crc.u32()? != crc32c::crc32c(record.get(BEHIND_CRC..data_at)?) {
        return None;
    }
    let mut table = Reader(record.get(HEADER_BYTES..data_at)?);
    let mut at = data_at;
    let mut entries = Vec::new();
    for _ in 0..header.entries {
        let topic_id = KafkaUuid(table.take(16)?.try_into().ok()?);
        let partition = table.u32()?.cast_signed();
        let segment = Offset(table.u64()?.cast_signed());
        let position = table.u64()?;
        let end_offset = Offset(table.u64()?.cast_signed());
        let bytes = table.u32()? as usize;
        let crc = table.u32()?;
        let name = table.u16()? as usize;
        let dir = std::str::from_utf8(table.take(name)?).ok()?.to_owned();
        let end = at.checked_add(bytes)?;
        let batches = (end <= record.len()).then(|| record.slice(at..end));
        let batches = batches.filter(|batches| crc32c::crc32c(batches) == crc);
        let place = Place { topic_id, partition, segment, position, end_offset, dir };
        entries.push(Entry { place, bytes, crc, batches });
        at = end;
    }
    Some(entries)
}

/// A record that is being put together.
#[derive(Debug)]
pub(super) struct RecordBuilder {
    block: u64,
    table: Vec<u8>,
    entries: u32,
    data: Vec<Bytes>,
    data_bytes: usize,
}

impl RecordBuilder {
    /// `block` is the unit of direct I/O.
    pub fn new(block: u64) -> RecordBuilder {
        RecordBuilder { block, table: Vec::new(), entries: 0, data: Vec::new(), data_bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of batches so far.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes as u64
    }

    /// The blocks that the record takes with one more entry of so many bytes.
    pub fn bytes_with(&self, dir: &str, data_bytes: u64) -> u64 {
        let table = HEADER_BYTES + self.table.len() + ENTRY_BYTES + dir.len();
        (table as u64 + self.data_bytes as u64 + data_bytes).next_multiple_of(self.block)
    }

    pub fn add(&mut self, place: &Place, batches: impl Iterator<Item = Bytes>) {
        let (mut bytes, mut crc) = (0, 0);
        for batch in batches {
            bytes += batch.len();
            crc = crc32c::crc32c_append(crc, &batch);
            self.data.push(batch);
        }
        self.data_bytes += bytes;
        self.entries += 1;
        let table = &mut self.table;
        table.extend_from_slice(&place.topic_id.0);
        table.extend_from_slice(&place.partition.to_le_bytes());
        table.extend_from_slice(&place.segment.0.to_le_bytes());
        table.extend_from_slice(&place.position.to_le_bytes());
        table.extend_from_slice(&place.end_offset.0.to_le_bytes());
        table.extend_from_slice(&(bytes as u32).to_le_bytes());
        table.extend_from_slice(&crc.to_le_bytes());
        table.extend_from_slice(&(place.dir.len() as u16).to_le_bytes());
        table.extend_from_slice(place.dir.as_bytes());
    }

    /// The record in whole blocks.
    pub fn build(self, generation: u64, sequence: u64) -> Bytes {
        let data_at = HEADER_BYTES + self.table.len();
        let bytes = data_at + self.data_bytes;
        let whole = bytes.next_multiple_of(self.block as usize);
        let mut head = [0; HEADER_BYTES];
        let (magic, rest) = head.split_at_mut(CRC_AT);
        magic.copy_from_slice(&MAGIC);
        let fields: [&[u8]; 6] = [
            &[0; 4],
            &self.entries.to_le_bytes(),
            &generation.to_le_bytes(),
            &sequence.to_le_bytes(),
            &(data_at as u32).to_le_bytes(),
            &(whole as u32).to_le_bytes(),
        ];
        let fields = fields.concat();
        rest.copy_from_slice(&fields);
        let (_, covered) = head.split_at(BEHIND_CRC);
        let crc = crc32c::crc32c_append(crc32c::crc32c(covered), &self.table);
        let (_, rest) = head.split_at_mut(CRC_AT);
        let (slot, _) = rest.split_at_mut(BEHIND_CRC - CRC_AT);
        slot.copy_from_slice(&crc.to_le_bytes());
        let mut buffer = AlignedBuf::with_capacity(whole);
        buffer.put(&head);
        buffer.put(&self.table);
        for batch in &self.data {
            buffer.put(batch);
        }
        buffer.put_zeros(whole - bytes);
        buffer.freeze()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: i32, position: u64) -> Place {
        Place {
            topic_id: KafkaUuid([partition as u8; 16]),
            partition,
            segment: Offset(7),
            position,
            end_offset: Offset(70),
            dir: format!("a-topic-{partition}"),
        }
    }

    fn built() -> Bytes {
        let mut builder = RecordBuilder::new(BLOCK_BYTES);
        builder.add(&place(1, 100), [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")].into_iter());
        builder.add(&place(2, 0), std::iter::once(Bytes::from(vec![9; 10_000])));
        let promised = builder.bytes_with("", 0);
        let record = builder.build(3, 4);
        assert!((promised - BLOCK_BYTES..=promised).contains(&(record.len() as u64)));
        record
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let record = built();
        assert_eq!(record.len() % BLOCK_BYTES as usize, 0);
        let header = Header::parse(&record).unwrap();
        assert_eq!((header.generation, header.sequence), (3, 4));
        let entries = decode(&record).unwrap();
        let found: Vec<_> = entries.into_iter().map(|entry| (entry.place, entry.batches)).collect();
        let (small, large) = (Bytes::from_static(b"abcdefg"), Bytes::from(vec![9; 10_000]));
        assert_eq!(found, [(place(1, 100), Some(small)), (place(2, 0), Some(large))]);
    }

    #[test]
    fn no_flipped_byte_goes_unnoticed_and_none_panics() {
        let good = decode(&built()).unwrap();
        let record = built();
        let bytes = Header::parse(&record).unwrap().data_at as usize + 10_007;
        for at in (0..300).chain((300..bytes).step_by(97)) {
            let mut flipped = record.to_vec();
            flipped[at] ^= 0x21;
            let flipped = Bytes::from(flipped);
            let Some(entries) = decode(&flipped) else { continue };
            let differ = entries.iter().zip(&good).filter(|(now, then)| now != then).count();
            assert_eq!(differ, 1, "byte {at}");
            assert!(entries.iter().any(|entry| entry.batches.is_none()), "byte {at}");
        }
        for len in 0..300 {
            decode(&record.slice(..len));
        }
        for cut in (300..record.len()).step_by(1000) {
            let entries = decode(&record.slice(..cut)).unwrap();
            assert!(cut >= bytes || entries[1].batches.is_none());
        }
    }
}
