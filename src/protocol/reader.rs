//! Kafka's primitive types, read from a frame.

use bytes::{Buf, Bytes, BytesMut};

use super::{DecodeError, DecodeProblem, Records, Str};
use crate::types::KafkaUuid;

/// What the arrays of a frame may take in memory, in multiples of the frame's size. The most any client means is
/// an array of one-letter group ids: 2 bytes each on the wire, 32 in memory.
const MEMORY_PER_FRAME_BYTE: usize = 16;
/// The same for a frame of no size: small requests are never refused.
const MEMORY_PER_FRAME_MIN: usize = 64 * 1024;

/// Consumes a frame from its front. Strings, bytes and records are split off the frame's buffer, not copied.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    /// Bytes of memory that arrays may still take.
    allowance: usize,
}

impl Reader {
    /// A reader of one frame, without the size in front of it.
    pub fn new(frame: BytesMut) -> Reader {
        let allowance = frame.len().saturating_mul(MEMORY_PER_FRAME_BYTE).saturating_add(MEMORY_PER_FRAME_MIN);
        Reader { buffer: frame, allowance }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes not yet read.
    pub fn into_inner(self) -> BytesMut {
        self.buffer
    }

    /// The next 16-bit number, left in place; a request's header opens with its API key.
    pub fn peek_i16(&self) -> Option<i16> {
        self.buffer.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.fixed().map(u16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        self.fixed().map(f64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<KafkaUuid, DecodeError> {
        self.fixed().map(KafkaUuid)
    }

    /// 7 bits a byte, the lowest first, the top bit saying that more follow; at most 5 bytes.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let wide = self.varint_bits(5)?;
        u32::try_from(wide).map_err(|_| DecodeProblem::BadVarint.into())
    }

    /// The same up to 10 bytes.
    pub fn uvarlong(&mut self) -> Result<u64, DecodeError> {
        self.varint_bits(10)
    }

    /// Zigzag over [`uvarint`](Reader::uvarint).
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// Zigzag over [`uvarlong`](Reader::uvarlong).
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let raw = self.uvarlong()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The length before a string: 16 bits, or compact (a uvarint, one more than the length); `None` is null.
    pub fn string_length(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        let length = if compact { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        match length {
            -1 => Ok(None),
            0..=0x7fff => Ok(Some(length as usize)),
            _ => Err(DecodeProblem::BadLength(length).into()),
        }
    }

    /// The length before bytes, records and arrays: 32 bits, or compact; `None` is null.
    pub fn length(&mut self, compact: bool) -> Result<Option<usize>, DecodeError> {
        let length = if compact { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        match length {
            -1 => Ok(None),
            0..=0x7fff_ffff => Ok(Some(length as usize)),
            _ => Err(DecodeProblem::BadLength(length).into()),
        }
    }

    /// The byte before a nullable struct: whether the struct follows.
    pub fn presence(&mut self) -> Result<bool, DecodeError> {
        match self.i8()? {
            -1 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeProblem::BadPresence(other).into()),
        }
    }

    pub fn nullable_string(&mut self, compact: bool) -> Result<Option<Str>, DecodeError> {
        match self.string_length(compact)? {
            None => Ok(None),
            Some(length) => Str::from_buffer(self.split(length)?).map(Some),
        }
    }

    pub fn string(&mut self, compact: bool) -> Result<Str, DecodeError> {
        self.nullable_string(compact)?.ok_or_else(|| DecodeProblem::Null.into())
    }

    pub fn nullable_bytes(&mut self, compact: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(compact)? {
            None => Ok(None),
            Some(length) => Ok(Some(self.split(length)?.freeze())),
        }
    }

    pub fn bytes(&mut self, compact: bool) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(compact)?.ok_or_else(|| DecodeProblem::Null.into())
    }

    pub fn records(&mut self, compact: bool) -> Result<Records, DecodeError> {
        match self.length(compact)? {
            None => Ok(Records::Null),
            Some(length) => Ok(Records::Inline(self.split(length)?)),
        }
    }

    /// The number of elements of an array; `None` is null. Refused when that many elements of at least
    /// `element_size_min` bytes on the wire cannot follow, or when they, with `element_memory` bytes each, are more
    /// than this frame may make us hold. So what is returned is safe to reserve.
    pub fn array_length(
        &mut self,
        compact: bool,
        element_size_min: usize,
        element_memory: usize,
    ) -> Result<Option<usize>, DecodeError> {
        let Some(length) = self.length(compact)? else { return Ok(None) };
        let left = self.buffer.len();
        if length.saturating_mul(element_size_min.max(1)) > left {
            return Err(DecodeProblem::ArrayTooLong { claimed: length as u64, left }.into());
        }
        match self.allowance.checked_sub(length.saturating_mul(element_memory)) {
            Some(rest) => self.allowance = rest,
            None => return Err(DecodeProblem::TooManyElements.into()),
        }
        Ok(Some(length))
    }

    /// Reads the tagged fields at the end of a flexible struct. `field` gets each tag with a reader of exactly that
    /// field, and skips what it does not know by answering false.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let mut inner = Reader { buffer: self.split(size)?, allowance: self.allowance };
            let known = field(tag, &mut inner)?;
            self.allowance = inner.allowance;
            if known && !inner.is_empty() {
                return Err(DecodeProblem::TaggedFieldTooLong { tag, left: inner.remaining() }.into());
            }
        }
        Ok(())
    }

    /// Passes over tagged fields, all unknown.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.need(size)?;
            self.buffer.advance(size);
        }
        Ok(())
    }

    fn split(&mut self, length: usize) -> Result<BytesMut, DecodeError> {
        self.need(length)?;
        Ok(self.buffer.split_to(length))
    }

    fn need(&self, needed: usize) -> Result<(), DecodeError> {
        let left = self.buffer.len();
        if left < needed { Err(DecodeProblem::Truncated { needed, left }.into()) } else { Ok(()) }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.buffer.first_chunk::<N>() else {
            return Err(DecodeProblem::Truncated { needed: N, left: self.buffer.len() }.into());
        };
        let bytes = *bytes;
        self.buffer.advance(N);
        Ok(bytes)
    }

    fn varint_bits(&mut self, bytes_max: usize) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for (i, &byte) in self.buffer.iter().take(bytes_max).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && byte > 1 {
                return Err(DecodeProblem::BadVarint.into());
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.buffer.advance(i + 1);
                return Ok(value);
            }
        }
        let left = self.buffer.len();
        if left < bytes_max {
            Err(DecodeProblem::Truncated { needed: left + 1, left }.into())
        } else {
            Err(DecodeProblem::BadVarint.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Writer;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(BytesMut::from(bytes))
    }

    fn problem<T: std::fmt::Debug>(result: Result<T, DecodeError>) -> DecodeProblem {
        result.expect_err("is malformed").problem
    }

    #[test]
    fn varints_read_what_was_written() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i32::MAX, i32::MIN] {
            let mut writer = Writer::new();
            writer.varint(value);
            writer.varlong(i64::from(value));
            writer.uvarint(value as u32);
            let mut reader = Reader::new(writer.into_bytes());
            assert_eq!(reader.varint(), Ok(value));
            assert_eq!(reader.varlong(), Ok(i64::from(value)));
            assert_eq!(reader.uvarint(), Ok(value as u32));
            assert!(reader.is_empty());
        }
        for value in [i64::MAX, i64::MIN, 1 << 40, -(1 << 40)] {
            let mut writer = Writer::new();
            writer.varlong(value);
            assert_eq!(Reader::new(writer.into_bytes()).varlong(), Ok(value));
        }
    }

    /// The bytes are those of Kafka's own test of `ByteUtils`.
    #[test]
    fn varints_have_kafkas_bytes() {
        assert_eq!(reader(&[0xff, 0x01]).varint(), Ok(-128));
        assert_eq!(reader(&[0x80, 0x02]).varint(), Ok(128));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint(), Ok(u32::MAX));
        assert_eq!(reader(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).varlong(), Ok(i64::MAX));
    }

    #[test]
    fn varints_end_in_time_or_are_errors() {
        assert_eq!(problem(reader(&[]).uvarint()), DecodeProblem::Truncated { needed: 1, left: 0 });
        assert_eq!(problem(reader(&[0x80, 0x80]).uvarint()), DecodeProblem::Truncated { needed: 3, left: 2 });
        assert_eq!(problem(reader(&[0x80; 16]).uvarint()), DecodeProblem::BadVarint);
        assert_eq!(problem(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint()), DecodeProblem::BadVarint);
        assert_eq!(problem(reader(&[0x80; 16]).uvarlong()), DecodeProblem::BadVarint);
        let eleven_bits_too_many = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(problem(reader(&eleven_bits_too_many).uvarlong()), DecodeProblem::BadVarint);
    }

    #[test]
    fn lengths_below_minus_one_are_errors() {
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert_eq!(reader(&[0]).nullable_string(true), Ok(None));
        assert_eq!(problem(reader(&[0xff, 0xfe]).nullable_string(false)), DecodeProblem::BadLength(-2));
        assert_eq!(problem(reader(&[0x80, 0x00]).nullable_string(false)), DecodeProblem::BadLength(-32_768));
        assert_eq!(problem(reader(&[0x81, 0x80, 0x02]).nullable_string(true)), DecodeProblem::BadLength(0x8000));
        assert_eq!(problem(reader(&(-2i32).to_be_bytes()).bytes(false)), DecodeProblem::BadLength(-2));
        let longest = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(problem(reader(&longest).bytes(true)), DecodeProblem::BadLength(0xffff_fffe));
        assert_eq!(problem(reader(&[0xff; 4]).bytes(false)), DecodeProblem::Null);
        let claimed = DecodeProblem::Truncated { needed: 0x7fff_ffff, left: 1 };
        assert_eq!(problem(reader(&[0x7f, 0xff, 0xff, 0xff, 0]).bytes(false)), claimed);
    }

    #[test]
    fn records_are_the_frames_own_bytes_and_can_be_changed_in_place() {
        let mut frame = BytesMut::from(&[0, 2, b'a', b'b', 0, 0, 0, 3, 7, 8, 9, 1][..]);
        let start = frame.as_mut_ptr().addr();
        let mut reader = Reader::new(frame);
        let name = reader.string(false).expect("is there");
        let Ok(Records::Inline(mut records)) = reader.records(false) else { panic!("no records") };
        assert_eq!(reader.i8(), Ok(1));
        assert_eq!(name.as_ptr().addr(), start + 2);
        assert_eq!(records.as_ptr().addr(), start + 8);
        records[0] = 42;
        assert_eq!(&records[..], [42, 8, 9]);
        assert_eq!(name, "ab");
    }

    #[test]
    fn arrays_that_cannot_follow_are_refused_before_anything_is_reserved() {
        let claim = |length: i32, left: usize| reader(&[&length.to_be_bytes()[..], &vec![0; left]].concat());
        assert_eq!(claim(10, 40).array_length(false, 4, 4), Ok(Some(10)));
        let too_long = DecodeProblem::ArrayTooLong { claimed: 11, left: 40 };
        assert_eq!(problem(claim(11, 40).array_length(false, 4, 4)), too_long);
        // An element of no size still counts as a byte.
        assert_eq!(claim(40, 40).array_length(false, 0, 4), Ok(Some(40)));
        assert!(claim(41, 40).array_length(false, 0, 4).is_err());
        let much = usize::MAX / 2;
        assert_eq!(problem(claim(40, 40).array_length(false, 1, much)), DecodeProblem::TooManyElements);
    }

    #[test]
    fn the_memory_of_all_arrays_together_is_bounded() {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            bytes.extend(1000i32.to_be_bytes());
        }
        bytes.resize(bytes.len() + 1000, 0);
        let mut reader = Reader::new(BytesMut::from(&bytes[..]));
        let mut arrays = 0;
        while reader.array_length(false, 1, 100).is_ok() {
            arrays += 1;
        }
        // 5,000 bytes of frame allow 80,000 bytes more than the least.
        assert_eq!(arrays, (MEMORY_PER_FRAME_MIN + 80_000) / 100_000);
    }
}
