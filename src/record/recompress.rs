//! The same records under another codec, for topics whose `compression.type` is not `producer`.

use bytes::BytesMut;

use super::builder::into_bytes_mut;
use super::compression::{Compressor, Decompressor};
use super::header::{LOG_OVERHEAD, write_crc};
use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Codec};

/// The batch with its records compressed by `codec`, all else as it was. `level` is Kafka's
/// `compression.<codec>.level`; more than `limit` bytes of records are an error.
pub fn recompress(batch: &[u8], codec: Codec, level: Option<i32>, limit: u64) -> Result<BytesMut, BatchError> {
    let mut header = BatchHeader::parse(batch)?;
    let records = batch.get(BATCH_HEADER_BYTES..header.size()).unwrap_or_default();
    let mut source = Decompressor::new(header.attributes.codec()?, records, limit)?;

    let mut out = Vec::with_capacity(batch.len());
    out.resize(BATCH_HEADER_BYTES, 0);
    let mut sink = Compressor::new(codec, level, out);
    while source.fill()? {
        let available = source.available();
        let count = available.len();
        sink.write(available);
        source.consume(count);
    }
    let mut out = sink.finish();

    let Ok(length) = i32::try_from(out.len() - LOG_OVERHEAD) else {
        return Err(BatchError::DecompressedTooLarge { max: limit });
    };
    header.length = length;
    header.attributes = header.attributes.with_codec(codec);
    out[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
    write_crc(&mut out);
    Ok(into_bytes_mut(out))
}
