//! Kafka's primitive types, written to a frame.

use bytes::{BufMut, BytesMut};

use super::{EncodeError, Records};
use crate::types::KafkaUuid;

/// Records that are not among the written bytes: `len` bytes belong at `position` of the written bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// Where in the written bytes they are spliced in; their length is written just before.
    pub position: usize,
    /// As in [`Records::External`].
    pub slot: u32,
    /// In bytes.
    pub len: u32,
}

/// Collects the bytes of a frame, and where records that are kept elsewhere belong between them.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// In the order of their positions.
    externals: Vec<External>,
}

impl Writer {
    pub fn new() -> Writer {
        Writer::default()
    }

    pub fn with_capacity(bytes: usize) -> Writer {
        Writer { buffer: BytesMut::with_capacity(bytes), externals: Vec::new() }
    }

    /// Opens a frame: leaves room for its size, which [`finish_frame`](Writer::finish_frame) fills in.
    pub fn frame() -> Writer {
        let mut writer = Writer::with_capacity(256);
        writer.i32(0);
        writer
    }

    /// Writes the size of a frame begun with [`frame`](Writer::frame) into its first 4 bytes, external records
    /// counted, and hands out the bytes and the externals among them.
    pub fn finish_frame(mut self) -> Result<(BytesMut, Vec<External>), EncodeError> {
        let length = self.total_len().saturating_sub(4);
        let size = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        if let Some(first) = self.buffer.first_chunk_mut() {
            *first = size.to_be_bytes();
        }
        Ok((self.buffer, self.externals))
    }

    /// The bytes, and the externals among them in the order of their positions.
    pub fn into_parts(self) -> (BytesMut, Vec<External>) {
        (self.buffer, self.externals)
    }

    /// The bytes of a message that has no external records.
    pub fn into_bytes(self) -> BytesMut {
        debug_assert!(self.externals.is_empty(), "external records are lost");
        self.buffer
    }

    /// How many bytes are written.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The same with the external records.
    pub fn total_len(&self) -> usize {
        self.buffer.len() + self.externals.iter().map(|external| external.len as usize).sum::<usize>()
    }

    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    pub fn i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub fn i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub fn u16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.buffer.put_u32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub fn f64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    pub fn uuid(&mut self, value: KafkaUuid) {
        self.buffer.put_slice(&value.0);
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    pub fn uvarint(&mut self, value: u32) {
        self.uvarlong(u64::from(value));
    }

    pub fn uvarlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    pub fn varint(&mut self, value: i32) {
        self.uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    pub fn varlong(&mut self, value: i64) {
        self.uvarlong(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn string(&mut self, value: &str, compact: bool) -> Result<(), EncodeError> {
        let length = i16::try_from(value.len()).map_err(|_| EncodeError::TooLong { length: value.len() })?;
        if compact {
            self.uvarint(length as u32 + 1);
        } else {
            self.i16(length);
        }
        self.buffer.put_slice(value.as_bytes());
        Ok(())
    }

    pub fn null_string(&mut self, compact: bool) {
        if compact {
            self.uvarint(0);
        } else {
            self.i16(-1);
        }
    }

    pub fn bytes(&mut self, value: &[u8], compact: bool) -> Result<(), EncodeError> {
        self.length(value.len(), compact)?;
        self.buffer.put_slice(value);
        Ok(())
    }

    /// The length before bytes, records and arrays.
    pub fn length(&mut self, length: usize, compact: bool) -> Result<(), EncodeError> {
        let short = i32::try_from(length).map_err(|_| EncodeError::TooLong { length })?;
        if compact {
            self.uvarint(short as u32 + 1);
        } else {
            self.i32(short);
        }
        Ok(())
    }

    /// The length of null bytes, records and arrays.
    pub fn null_length(&mut self, compact: bool) {
        if compact {
            self.uvarint(0);
        } else {
            self.i32(-1);
        }
    }

    pub fn records(&mut self, value: &Records, compact: bool) -> Result<(), EncodeError> {
        match value {
            Records::Null => self.null_length(compact),
            Records::Inline(bytes) => self.bytes(bytes, compact)?,
            &Records::External { len, slot } => {
                self.length(len as usize, compact)?;
                self.externals.push(External { position: self.buffer.len(), slot, len });
            }
        }
        Ok(())
    }

    /// Writes one tagged field: tag, size, and what `value` writes.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(tag);
        // Nearly all tagged fields are below 128 bytes, for whose size one byte is left; a longer one is moved up.
        let start = self.buffer.len();
        let externals = self.externals.len();
        self.buffer.put_u8(0);
        value(self)?;
        assert!(self.externals.len() == externals, "no schema of Kafka has records in a tagged field");
        let size = self.buffer.len() - start - 1;
        let mut rest = u32::try_from(size).map_err(|_| EncodeError::TooLong { length: size })?;
        let mut wide = [0u8; 5];
        let mut extra = 0;
        while rest >= 0x80 {
            wide[extra] = rest as u8 | 0x80;
            rest >>= 7;
            extra += 1;
        }
        wide[extra] = rest as u8;
        if extra > 0 {
            let end = self.buffer.len();
            self.buffer.put_bytes(0, extra);
            self.buffer.copy_within(start + 1..end, start + 1 + extra);
        }
        self.buffer[start..=start + extra].copy_from_slice(&wide[..=extra]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ApiKey, FetchResponse, Message, Reader, ResponseHeader, fetch};

    fn fetch_response(records: [Records; 2]) -> FetchResponse {
        let partitions = records.map(|records| fetch::PartitionData { records, ..Default::default() }).into();
        let topic = fetch::FetchableTopicResponse { topic: "t".into(), partitions, ..Default::default() };
        FetchResponse { responses: vec![topic], ..Default::default() }
    }

    /// What the network layer makes of the parts, with each slot's records before the next written bytes.
    fn spliced(bytes: &[u8], externals: &[External], slots: &[&[u8]]) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut at = 0;
        for external in externals {
            frame.extend_from_slice(&bytes[at..external.position]);
            frame.extend_from_slice(slots[external.slot as usize]);
            at = external.position;
        }
        frame.extend_from_slice(&bytes[at..]);
        frame
    }

    #[test]
    fn external_records_are_spliced_to_the_bytes_of_inline_ones() {
        for version in FetchResponse::VERSIONS.iter() {
            let frame = |records| {
                let mut writer = Writer::frame();
                ResponseHeader { correlation_id: 9 }.encode(&mut writer, ApiKey::Fetch, version);
                fetch_response(records).encode(&mut writer, version).expect("all versions have these fields");
                writer.finish_frame().expect("is small")
            };
            let inline = |bytes: &[u8]| Records::Inline(BytesMut::from(bytes));
            let (expected, none) = frame([inline(b"first"), inline(b"the second")]);
            assert_eq!(none, []);
            assert_eq!(i32::from_be_bytes(*expected.first_chunk().expect("has a size")), expected.len() as i32 - 4);
            let (bytes, externals) =
                frame([Records::External { len: 5, slot: 1 }, Records::External { len: 10, slot: 0 }]);
            assert_eq!(externals.len(), 2);
            assert_eq!(spliced(&bytes, &externals, &[b"the second", b"first"]), expected, "version {version}");
        }
    }

    #[test]
    fn strings_have_kafkas_bound() {
        let mut writer = Writer::new();
        let longest = "x".repeat(32_767);
        for compact in [false, true] {
            assert_eq!(writer.string(&longest, compact), Ok(()));
            let too_long = format!("{longest}x");
            assert_eq!(writer.string(&too_long, compact), Err(EncodeError::TooLong { length: 32_768 }));
        }
        let mut reader = Reader::new(writer.into_bytes());
        assert_eq!(reader.string(false).expect("is written"), longest.as_str());
        assert_eq!(reader.string(true).expect("is written"), longest.as_str());
    }

    #[test]
    fn a_frame_above_two_gibibytes_is_refused() {
        let mut writer = Writer::frame();
        for slot in 0..2 {
            let records = Records::External { len: 0x7fff_ffff, slot };
            writer.records(&records, false).expect("each fits");
        }
        assert!(matches!(writer.finish_frame(), Err(EncodeError::TooLong { .. })));
    }
}
