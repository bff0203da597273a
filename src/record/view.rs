//! One record, borrowed from the bytes that hold it.

use crate::types::Offset;

use super::BatchHeader;
use super::header::TimestampType;
use super::varint::{take_varint, take_varlong};

/// A record whose key, value and headers are parts of its batch, or of what the batch decompresses to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordView<'a> {
    pub offset: Offset,
    /// The offset counted from the batch's base offset.
    pub offset_delta: i32,
    /// Of its making or, in a batch of LogAppendTime, of the append; `NO_TIMESTAMP` if it has none.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: HeaderIter<'a>,
}

/// A header of a record. Keys are UTF-8 by convention; nobody checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader<'a> {
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderIter<'a> {
    /// Checked when the record was read.
    rest: &'a [u8],
    left: i32,
}

impl HeaderIter<'_> {
    /// How many are left.
    pub fn count_left(&self) -> usize {
        self.left.max(0) as usize
    }
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = RecordHeader<'a>;

    fn next(&mut self) -> Option<RecordHeader<'a>> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let key = take_bytes(&mut self.rest).ok()??;
        let value = take_bytes(&mut self.rest).ok()?;
        Some(RecordHeader { key, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count_left(), Some(self.count_left()))
    }
}

impl<'a> RecordView<'a> {
    /// Reads a record from its `body`, the bytes behind its length: all of them belong to it.
    pub(super) fn parse(body: &'a [u8], header: &BatchHeader) -> Result<RecordView<'a>, &'static str> {
        let fields = RecordFields::parse(body)?;
        let timestamp = match header.attributes.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(fields.timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        Ok(RecordView {
            offset: Offset(header.base_offset.0.wrapping_add(i64::from(fields.offset_delta))),
            offset_delta: fields.offset_delta,
            timestamp,
            key: fields.key,
            value: fields.value,
            headers: fields.headers,
        })
    }
}

/// A record as it is written, relative to its batch.
pub(super) struct RecordFields<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: HeaderIter<'a>,
}

impl<'a> RecordFields<'a> {
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<RecordFields<'a>, &'static str> {
        // The attributes byte has no meaning yet.
        let Some((_, mut rest)) = body.split_first() else {
            return Err("its length leaves no room for a record");
        };
        let timestamp_delta = take_varlong(&mut rest).ok_or("invalid timestamp delta")?;
        let offset_delta = take_varint(&mut rest).ok_or("invalid offset delta")?;
        let key = take_bytes(&mut rest)?;
        let value = take_bytes(&mut rest)?;
        let count = take_varint(&mut rest).ok_or("invalid number of headers")?;
        if count < 0 || count as usize > rest.len() {
            return Err("invalid number of headers");
        }
        let headers = HeaderIter { rest, left: count };
        for _ in 0..count {
            take_bytes(&mut rest)?.ok_or("a header without a key")?;
            take_bytes(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err("its length is more than its fields have");
        }
        Ok(RecordFields { timestamp_delta, offset_delta, key, value, headers })
    }
}

/// Takes nullable bytes with a varint length off the front of `rest`.
#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
    let len = take_varint(rest).ok_or("invalid length of a field")?;
    if len < 0 {
        // Kafka reads any negative length as null; no client writes another than -1.
        return if len == -1 { Ok(None) } else { Err("negative length of a field") };
    }
    let (bytes, after) = rest.split_at_checked(len as usize).ok_or("a field is longer than its record")?;
    *rest = after;
    Ok(Some(bytes))
}
