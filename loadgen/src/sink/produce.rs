//! Produce: read by hand while it arrives, so that a produced byte is copied once, from the receive buffer to the aligned
//! buffer that is written.

use std::rc::Rc;

use bytes::BytesMut;
use corelane::{
    error_code::ErrorCode,
    protocol::{ApiKey, ResponseHeader, Writer},
    record::{BATCH_HEADER_BYTES, BatchHeader},
    runtime::file::AlignedBuf,
};

use super::{
    HELD_UNIT, Sink,
    answers::{Answer, Answers},
    input::Input,
    store::{SMALL_BYTES_MAX, Store},
    topics::Partition,
};
use crate::error::Error;

/// Flexible, with names, and with answers of one kind.
pub const VERSIONS: (i16, i16) = (9, 12);

const BATCH_BYTES_MAX: usize = 32 << 20;
const NAME_BYTES_MAX: usize = 249;
/// The CRC covers a batch from its attributes on.
const ATTRIBUTES_AT: usize = 21;

pub async fn take(sink: &Rc<Sink>, answers: &Rc<Answers>, input: &mut Input, version: i16) -> Result<(), Error> {
    let correlation_id = input.i32().await?;
    let client_id = input.i16().await?;
    input.skip(client_id.max(0) as usize).await?;
    input.skip_tags().await?;
    let transactional_id = input.compact().await?;
    input.skip(transactional_id.unwrap_or(0)).await?;
    let acks = input.i16().await?;
    input.i32().await?;
    let answer = if acks == 0 { None } else { Some(answers.open()?) };
    let mut writer = Writer::frame();
    ResponseHeader { correlation_id }.encode(&mut writer, ApiKey::Produce, version);

    let topics = input.compact().await?.unwrap_or(0);
    writer.length(topics, true)?;
    for _ in 0..topics {
        let (mut name, bytes) = ([0; NAME_BYTES_MAX], input.compact().await?.unwrap_or(0));
        let name = name.get_mut(..bytes).ok_or_else(|| Error::Answer(format!("a topic's name of {bytes} bytes")))?;
        let mut at = 0;
        input
            .each(bytes, |part| {
                name[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            })
            .await?;
        let name = str::from_utf8(name).map_err(|_| Error::Answer("a topic's name is no text".to_owned()))?;
        writer.string(name, true)?;
        let partitions = input.compact().await?.unwrap_or(0);
        writer.length(partitions, true)?;
        for _ in 0..partitions {
            let index = input.i32().await?;
            let records = input.compact().await?.unwrap_or(0);
            let (code, base_offset) = if let Some(partition) = sink.topics.partition(name, index) {
                (ErrorCode::None, batch(sink, input, &partition, records, answer.as_ref()).await?)
            } else {
                input.skip(records).await?;
                (ErrorCode::UnknownTopicOrPartition, -1)
            };
            input.skip_tags().await?;
            writer.i32(index);
            writer.i16(code.code());
            writer.i64(base_offset);
            writer.i64(-1); // log append time
            writer.i64(0); // log start offset
            writer.length(0, true)?; // record errors
            writer.null_string(true);
            writer.uvarint(0);
        }
        input.skip_tags().await?;
        writer.uvarint(0);
    }
    input.skip(input.left()).await?;
    writer.i32(0);
    writer.uvarint(0);
    if let Some(answer) = answer {
        answer.made(vec![writer.finish_frame()?.0.freeze()]);
    }
    Ok(())
}

/// Takes one batch to where it is stored, and gives its offset.
async fn batch(
    sink: &Sink,
    input: &mut Input,
    partition: &Partition,
    bytes: usize,
    answer: Option<&Rc<Answer>>,
) -> Result<i64, Error> {
    if !(BATCH_HEADER_BYTES..=BATCH_BYTES_MAX).contains(&bytes) {
        return Err(Error::Answer(format!("a batch of {bytes} bytes")));
    }
    let mut head: [u8; BATCH_HEADER_BYTES] = input.array().await?;
    let header = BatchHeader::parse_prefix(&head).map_err(|error| Error::Answer(error.to_string()))?;
    if header.size() != bytes || header.count < 1 || header.last_offset_delta != header.count - 1 {
        return Err(Error::Answer("records that are not one batch".to_owned()));
    }
    let base_offset = partition.next_offset.get();
    partition.next_offset.set(base_offset + i64::from(header.count));
    head[..8].copy_from_slice(&base_offset.to_be_bytes());
    let rest = bytes - BATCH_HEADER_BYTES;
    let mut crc = crc32c::crc32c(&head[ATTRIBUTES_AT..]);
    match (&sink.store, &partition.file) {
        (Store::Files(files), Some(file)) => {
            if let Some(answer) = answer {
                answer.wait_for_one();
            }
            let held = sink.held.acquire(bytes.div_ceil(HELD_UNIT)).await;
            if bytes <= SMALL_BYTES_MAX {
                let mut whole = BytesMut::with_capacity(bytes);
                whole.extend_from_slice(&head);
                input.each(rest, |part| whole.extend_from_slice(part)).await?;
                crc = crc32c::crc32c_append(crc, &whole[BATCH_HEADER_BYTES..]);
                check(crc, &header)?;
                files.put_small(file, &whole, held, answer.cloned());
            } else {
                let mut whole = AlignedBuf::with_capacity(bytes);
                whole.put(&head);
                input
                    .each(rest, |part| {
                        crc = crc32c::crc32c_append(crc, part);
                        whole.put(part);
                    })
                    .await?;
                check(crc, &header)?;
                files.put(file, whole, held, answer.cloned());
            }
        }
        (Store::Echo(echo), _) => {
            input.skip(rest).await?;
            if let Some(answer) = answer {
                echo.put(&head, answer);
            }
        }
        (Store::Files(_), None) => return Err(Error::Answer("a partition without a file".to_owned())),
    }
    Ok(base_offset)
}

fn check(crc: u32, header: &BatchHeader) -> Result<(), Error> {
    if crc == header.crc { Ok(()) } else { Err(Error::Answer("a batch whose CRC-32C is another".to_owned())) }
}
