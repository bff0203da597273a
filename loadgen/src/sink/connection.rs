//! A connection: requests in, answers out in their order.

use std::{rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use corelane::{
    protocol::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest,
        InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest, Message, MetadataRequest, Reader, Request,
        RequestHeader, ResponseHeader, Writer, api_versions::ApiVersion,
    },
    runtime::{self, net::TcpStream},
};

use super::{
    Sink,
    answers::{Answer, Answers},
    input::Input,
    produce,
};
use crate::error::Error;

/// A request other than Produce that is longer is none of loadgen's.
const REQUEST_BYTES_MAX: usize = 16 << 20;

/// What is spoken, from the version to the version that loadgen takes. Produce is flexible in all of them.
const SPOKEN: [(ApiKey, i16, i16); 8] = [
    (ApiKey::Produce, produce::VERSIONS.0, produce::VERSIONS.1),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 4, 12),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
];

pub async fn serve(sink: &Rc<Sink>, stream: Rc<TcpStream>) -> Result<(), Error> {
    let answers = Rc::new(Answers::default());
    let writer = {
        let (answers, stream) = (Rc::clone(&answers), Rc::clone(&stream));
        // Reading sees the end of the connection too, and says so.
        runtime::spawn(async move { answers.write(&stream).await.ok() })
    };
    let outcome = read(sink, &answers, &mut Input::new(stream)).await;
    answers.end();
    writer.await;
    outcome
}

async fn read(sink: &Rc<Sink>, answers: &Rc<Answers>, input: &mut Input) -> Result<(), Error> {
    while let Some(size) = input.next().await? {
        let (key, version) = (input.i16().await?, input.i16().await?);
        let spoken = SPOKEN.iter().find(|(api, min, max)| {
            api.number() == key && (*min <= version || *api == ApiKey::ApiVersions) && version <= *max
        });
        let Some((api, ..)) = spoken else {
            return Err(Error::Answer(format!("a request of API {key} in version {version}, which a sink has not")));
        };
        if *api == ApiKey::Produce {
            produce::take(sink, answers, input, version).await?;
            continue;
        }
        if size > REQUEST_BYTES_MAX {
            return Err(Error::Answer(format!("a request of {size} bytes")));
        }
        let mut frame = BytesMut::with_capacity(size);
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        input.each(input.left(), |part| frame.extend_from_slice(part)).await?;
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader)?;
        let answer = answers.open()?;
        answer_to(sink, *api, &header, &mut reader, &answer).await?;
    }
    Ok(())
}

async fn answer_to(
    sink: &Rc<Sink>,
    api: ApiKey,
    header: &RequestHeader,
    reader: &mut Reader,
    answer: &Answer,
) -> Result<(), Error> {
    let version = header.request_api_version;
    let parts = match api {
        ApiKey::Fetch => {
            let request = FetchRequest::decode(reader, version)?;
            if sink.prepared.is_none() {
                // Nobody reads what a sink stores.
                runtime::sleep(Duration::from_millis(request.max_wait_ms.clamp(0, 30_000) as u64)).await;
            }
            super::prepared::fetch(sink, &request, header)?
        }
        ApiKey::ListOffsets => {
            let response = sink.topics.list_offsets(&ListOffsetsRequest::decode(reader, version)?);
            vec![frame::<ListOffsetsRequest>(header, &response)?]
        }
        ApiKey::Metadata => {
            let response = sink.topics.metadata(&MetadataRequest::decode(reader, version)?, sink.address);
            vec![frame::<MetadataRequest>(header, &response)?]
        }
        ApiKey::CreateTopics => {
            let request = CreateTopicsRequest::decode(reader, version)?;
            let response = sink.topics.create(&request, &sink.store).await;
            vec![frame::<CreateTopicsRequest>(header, &response)?]
        }
        ApiKey::DeleteTopics => {
            let response = sink.topics.delete(&DeleteTopicsRequest::decode(reader, version)?);
            vec![frame::<DeleteTopicsRequest>(header, &response)?]
        }
        ApiKey::InitProducerId => {
            let response = InitProducerIdResponse { producer_id: 1, ..Default::default() };
            vec![frame::<InitProducerIdRequest>(header, &response)?]
        }
        _ => vec![frame::<ApiVersionsRequest>(header, &versions())?],
    };
    answer.made(parts);
    Ok(())
}

fn versions() -> ApiVersionsResponse {
    let of = |&(api, min, max): &(ApiKey, i16, i16)| ApiVersion {
        api_key: api.number(),
        min_version: min,
        max_version: max,
    };
    ApiVersionsResponse { api_keys: SPOKEN.iter().map(of).collect(), ..Default::default() }
}

fn frame<R: Request>(header: &RequestHeader, response: &R::Response) -> Result<Bytes, Error> {
    let mut writer = Writer::frame();
    ResponseHeader { correlation_id: header.correlation_id }.encode(&mut writer, R::KEY, header.request_api_version);
    response.encode(&mut writer, header.request_api_version)?;
    Ok(writer.finish_frame()?.0.freeze())
}
