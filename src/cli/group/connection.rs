//! A blocking connection to one broker: a request out, its answer in.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use bytes::BytesMut;

use crate::error_code::ErrorCode;
use crate::protocol::{
    ApiVersionsRequest, ApiVersionsResponse, Message, Reader, Request, RequestHeader, ResponseHeader, Str, Versions,
    Writer,
};

use super::failure::Failure;

/// An answer longer than this is none to what is asked here.
const RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Read by steps, so that a claimed length alone takes no memory.
const READ_STEP_BYTES: usize = 1 << 20;

pub struct Connection {
    stream: TcpStream,
    to: String,
    next_correlation_id: i32,
    /// What the broker speaks, by API.
    apis: Vec<(i16, Versions)>,
}

impl Connection {
    /// Connects to `host:port` and asks for the versions spoken there. Every wait is bounded by `timeout`.
    pub fn open(to: &str, timeout: Duration) -> Result<Connection, Failure> {
        let failed = |error| Failure::Io { to: to.to_owned(), error };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut stream = None;
        for address in to.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let stream = stream.ok_or_else(|| failed(last))?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(timeout)).map_err(failed)?;
        stream.set_write_timeout(Some(timeout)).map_err(failed)?;
        let mut connection = Connection { stream, to: to.to_owned(), next_correlation_id: 0, apis: Vec::new() };
        let spoken = connection.api_versions()?;
        connection.apis = spoken
            .api_keys
            .iter()
            .map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version }))
            .collect();
        Ok(connection)
    }

    /// In the newest version that we know, and if the broker doesn't in the first, which every broker knows.
    fn api_versions(&mut self) -> Result<ApiVersionsResponse, Failure> {
        let request = ApiVersionsRequest {
            client_software_name: "corelane".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        let newest = ApiVersionsRequest::VERSIONS.max;
        let answer = self.exchange(&request, newest)?;
        // The answer to a version that is not known there is of version 0, which begins with the code.
        let answer = match answer.first_chunk().map(|code| i16::from_be_bytes(*code)) {
            Some(code) if code == ErrorCode::UnsupportedVersion.code() => {
                let answer = self.exchange(&request, 0)?;
                ApiVersionsResponse::decode(&mut Reader::new(answer), 0)?
            }
            _ => ApiVersionsResponse::decode(&mut Reader::new(answer), newest)?,
        };
        if answer.error_code != 0 {
            return Err(Failure::code(format!("ApiVersions of {}", self.to), answer.error_code));
        }
        Ok(answer)
    }

    /// The newest version of a request that both sides speak and that isn't above `cap`.
    pub fn version<R: Request>(&self, cap: i16) -> Option<i16> {
        let key = R::KEY.number();
        let (_, theirs) = self.apis.iter().find(|(number, _)| *number == key)?;
        let version = theirs.max.min(R::VERSIONS.max).min(cap);
        (version >= theirs.min && version >= R::VERSIONS.min).then_some(version)
    }

    /// Sends what `request` makes for the version that both sides speak, and waits for the answer.
    pub fn call<R: Request>(&mut self, cap: i16, request: impl FnOnce(i16) -> R) -> Result<R::Response, Failure> {
        let version =
            self.version::<R>(cap).ok_or_else(|| Failure::NoVersion { to: self.to.clone(), request: R::NAME })?;
        let answer = self.exchange(&request(version), version)?;
        Ok(R::Response::decode(&mut Reader::new(answer), version)?)
    }

    /// The answer's bytes behind its header.
    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<BytesMut, Failure> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let mut writer = Writer::frame();
        let header = RequestHeader {
            request_api_key: R::KEY,
            request_api_version: version,
            correlation_id,
            client_id: Some(Str::from("corelane-cli")),
        };
        header.encode(&mut writer)?;
        request.encode(&mut writer, version)?;
        let (frame, _) = writer.finish_frame()?;
        let answer = self.send_and_receive(&frame).map_err(|error| Failure::Io { to: self.to.clone(), error })?;
        let mut reader = Reader::new(answer);
        let header = ResponseHeader::decode(&mut reader, R::KEY, version)?;
        if header.correlation_id != correlation_id {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the answer is to another request");
            return Err(Failure::Io { to: self.to.clone(), error });
        }
        Ok(reader.into_inner())
    }

    fn send_and_receive(&mut self, frame: &[u8]) -> io::Result<BytesMut> {
        self.stream.write_all(frame)?;
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size) as usize;
        if size > RESPONSE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {size} bytes")));
        }
        let mut answer = BytesMut::new();
        while answer.len() < size {
            let from = answer.len();
            answer.resize(size.min(from + READ_STEP_BYTES), 0);
            self.stream.read_exact(answer.get_mut(from..).unwrap_or_default())?;
        }
        Ok(answer)
    }
}
