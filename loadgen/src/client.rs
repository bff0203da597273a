//! A connection to a broker: frames out, frames in, one at a time.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use corelane::{
    protocol::{Reader, Request, RequestHeader, ResponseHeader, Str, Writer},
    runtime::net::{RecvChunk, TcpStream},
};

use crate::error::Error;

/// An answer longer than this is none to what is asked here.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

pub struct Client {
    stream: TcpStream,
    next_correlation_id: i32,
    /// What arrived and was not taken yet.
    chunk: Option<RecvChunk>,
}

/// A request that is sent many times, with another correlation id each time.
pub struct Prepared {
    frame: Bytes,
}

/// Size, API key and version stand before the correlation id.
const BEFORE_CORRELATION_ID: usize = 8;
const THROUGH_CORRELATION_ID: usize = 12;

impl Prepared {
    pub fn new<R: Request>(request: &R, version: i16) -> Result<Prepared, Error> {
        Ok(Prepared { frame: frame(request, version, 0)?.freeze() })
    }
}

fn frame<R: Request>(request: &R, version: i16, correlation_id: i32) -> Result<BytesMut, Error> {
    let mut writer = Writer::frame();
    let header = RequestHeader {
        request_api_key: R::KEY,
        request_api_version: version,
        correlation_id,
        client_id: Some(Str::from("loadgen")),
    };
    header.encode(&mut writer)?;
    request.encode(&mut writer, version)?;
    Ok(writer.finish_frame()?.0)
}

impl Client {
    pub async fn connect(to: SocketAddr) -> Result<Client, Error> {
        let stream = TcpStream::connect(to).await.map_err(|error| Error::Io("connecting", error))?;
        Ok(Client { stream, next_correlation_id: 0, chunk: None })
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, Error> {
        let prepared = Prepared::new(request, version)?;
        self.call_prepared::<R>(&prepared, version).await
    }

    pub async fn call_prepared<R: Request>(&mut self, request: &Prepared, version: i16) -> Result<R::Response, Error> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let mut head = BytesMut::with_capacity(THROUGH_CORRELATION_ID);
        head.extend_from_slice(&request.frame[..BEFORE_CORRELATION_ID]);
        head.extend_from_slice(&correlation_id.to_be_bytes());
        let rest = request.frame.slice(THROUGH_CORRELATION_ID..);
        // Its outcome shows in the answer; waiting for it as well would cost the client a system call.
        let mut send = self.stream.send_lazy(vec![head.freeze(), rest]);
        let answer = {
            let receive = read_frame(&self.stream, &mut self.chunk);
            let mut receive = std::pin::pin!(receive);
            std::future::poll_fn(|cx| {
                let sent = std::pin::Pin::new(&mut send).poll(cx);
                if let std::task::Poll::Ready(Err(error)) = sent {
                    return std::task::Poll::Ready(Err(Error::Io("sending", error)));
                }
                receive.as_mut().poll(cx)
            })
            .await?
        };
        let mut reader = Reader::new(answer);
        let header = ResponseHeader::decode(&mut reader, R::KEY, version)?;
        if header.correlation_id != correlation_id {
            return Err(Error::Answer(format!("request {correlation_id} was answered as {}", header.correlation_id)));
        }
        Ok(<R::Response as corelane::protocol::Message>::decode(&mut reader, version)?)
    }
}

async fn read_frame(stream: &TcpStream, chunk: &mut Option<RecvChunk>) -> Result<BytesMut, Error> {
    let size = read(stream, chunk, 4).await?;
    let size = size.first_chunk().map_or(0, |size| u32::from_be_bytes(*size)) as usize;
    if size > RESPONSE_BYTES_MAX {
        return Err(Error::Answer(format!("an answer of {size} bytes")));
    }
    read(stream, chunk, size).await
}

async fn read(stream: &TcpStream, chunk: &mut Option<RecvChunk>, bytes: usize) -> Result<BytesMut, Error> {
    let mut read = BytesMut::with_capacity(bytes);
    while read.len() < bytes {
        let mut arrived = match chunk.take() {
            Some(chunk) => chunk,
            None => stream.recv().await.map_err(|error| Error::Io("receiving", error))?,
        };
        if arrived.is_empty() {
            return Err(Error::Closed);
        }
        let taken = arrived.len().min(bytes - read.len());
        read.extend_from_slice(&arrived[..taken]);
        arrived.advance(taken);
        if !arrived.is_empty() {
            *chunk = Some(arrived);
        }
    }
    Ok(read)
}
