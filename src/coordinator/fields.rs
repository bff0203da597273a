//! How the records of `__consumer_offsets` spell their fields: Kafka's types, taken apart from the front and put at the
//! end.

use crate::types::{KafkaUuid, TopicId};

use super::RecordProblem;

/// A string in a record has a length of 16 bits, in any but the flexible versions.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Bytes taken apart from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordProblem> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecordProblem::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordProblem> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordProblem> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordProblem> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn unsigned(&mut self) -> Result<u32, RecordProblem> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordProblem::Malformed)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], RecordProblem> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(RecordProblem::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn text(&mut self, len: usize) -> Result<&'a str, RecordProblem> {
        std::str::from_utf8(self.bytes(len)?).map_err(|_| RecordProblem::Malformed)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, RecordProblem> {
        let len = usize::try_from(self.i16()?).map_err(|_| RecordProblem::Malformed)?;
        self.text(len)
    }

    /// -1 is the length of null.
    pub(super) fn nullable_string(&mut self) -> Result<Option<&'a str>, RecordProblem> {
        match self.i16()? {
            -1 => Ok(None),
            len => usize::try_from(len).map_err(|_| RecordProblem::Malformed).and_then(|len| self.text(len)).map(Some),
        }
    }

    /// Bytes behind a length of 32 bits; null is empty.
    pub(super) fn sized_bytes(&mut self) -> Result<&'a [u8], RecordProblem> {
        match self.i32()? {
            -1 => Ok(&[]),
            len => usize::try_from(len).map_err(|_| RecordProblem::Malformed).and_then(|len| self.bytes(len)),
        }
    }

    /// The count of an array's elements, each of which has at least one byte; null is empty.
    pub(super) fn count(&mut self) -> Result<usize, RecordProblem> {
        match self.i32()? {
            -1 => Ok(0),
            count => self.plausible(count as u32),
        }
    }

    pub(super) fn compact_count(&mut self) -> Result<usize, RecordProblem> {
        match self.unsigned()? {
            0 => Ok(0),
            count => self.plausible(count - 1),
        }
    }

    fn plausible(&self, count: u32) -> Result<usize, RecordProblem> {
        if count as usize <= self.0.len() { Ok(count as usize) } else { Err(RecordProblem::Malformed) }
    }

    pub(super) fn nullable_compact_string(&mut self) -> Result<Option<&'a str>, RecordProblem> {
        match self.unsigned()? {
            0 => Ok(None),
            len => self.text(len as usize - 1).map(Some),
        }
    }

    pub(super) fn compact_bytes(&mut self) -> Result<&'a [u8], RecordProblem> {
        match self.unsigned()? {
            0 => Ok(&[]),
            len => self.bytes(len as usize - 1),
        }
    }

    /// Passes over the tagged fields.
    pub(super) fn skip_tags(&mut self) -> Result<(), RecordProblem> {
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let len = self.unsigned()? as usize;
            self.bytes(len)?;
        }
        Ok(())
    }

    pub(super) fn compact_string(&mut self) -> Result<&'a str, RecordProblem> {
        // One more than the length; 0 would be null.
        let len = self.unsigned()?.checked_sub(1).ok_or(RecordProblem::Malformed)?;
        self.text(len as usize)
    }

    /// The tagged fields, of which the topic id is the one we know.
    pub(super) fn topic_id_tag(&mut self) -> Result<TopicId, RecordProblem> {
        let mut topic_id = TopicId::ZERO;
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            let len = self.unsigned()? as usize;
            let field = self.bytes(len)?;
            if tag == 0 {
                topic_id = KafkaUuid(field.try_into().map_err(|_| RecordProblem::Malformed)?);
            }
        }
        Ok(topic_id)
    }
}

pub(super) fn put_unsigned(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `text` is at most [`STRING_BYTES_MAX`] long: whoever took it in has seen to that.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= STRING_BYTES_MAX);
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_nullable_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.extend_from_slice(&(-1i16).to_be_bytes()),
    }
}

/// Bytes behind a length of 32 bits.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}
