//! What stands before a request or a response in its frame.
//!
//! ```text
//! request   size i32 | api key i16 | api version i16 | correlation id i32 | client id, 16-bit length | tags (v2) | body
//! response  size i32 | correlation id i32 | tags (v1) | body
//! ```
//! The client id has the old kind of length in version 2 too, so that a broker can read the header of an ApiVersions
//! request from a client far newer than itself.

use super::{ApiKey, DecodeError, DecodeProblem, EncodeError, Reader, Str, Writer};

/// The header of a request, versions 1 and 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub request_api_key: ApiKey,
    pub request_api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

impl RequestHeader {
    /// Reads the header; its version follows from the API and version that it opens with, so that also the header of
    /// a version we do not know is read.
    pub fn decode(reader: &mut Reader) -> Result<RequestHeader, DecodeError> {
        let number = reader.i16().map_err(|error| error.at("RequestHeader.request_api_key"))?;
        let request_api_key = ApiKey::from_number(number).ok_or(DecodeError {
            problem: DecodeProblem::UnknownApi(number),
            field: "RequestHeader.request_api_key",
        })?;
        let request_api_version = reader.i16().map_err(|error| error.at("RequestHeader.request_api_version"))?;
        let correlation_id = reader.i32().map_err(|error| error.at("RequestHeader.correlation_id"))?;
        let client_id = reader.nullable_string(false).map_err(|error| error.at("RequestHeader.client_id"))?;
        if request_api_key.request_header_version(request_api_version) >= 2 {
            reader.skip_tagged_fields().map_err(|error| error.at("RequestHeader"))?;
        }
        Ok(RequestHeader { request_api_key, request_api_version, correlation_id, client_id })
    }

    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.request_api_key.number());
        writer.i16(self.request_api_version);
        writer.i32(self.correlation_id);
        match &self.client_id {
            Some(client_id) => writer.string(client_id, false)?,
            None => writer.null_string(false),
        }
        if self.request_api_key.request_header_version(self.request_api_version) >= 2 {
            writer.uvarint(0);
        }
        Ok(())
    }
}

/// The header of a response, versions 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header before a response of this API and version.
    pub fn decode(reader: &mut Reader, key: ApiKey, version: i16) -> Result<ResponseHeader, DecodeError> {
        let correlation_id = reader.i32().map_err(|error| error.at("ResponseHeader.correlation_id"))?;
        if key.response_header_version(version) >= 1 {
            reader.skip_tagged_fields().map_err(|error| error.at("ResponseHeader"))?;
        }
        Ok(ResponseHeader { correlation_id })
    }

    /// Writes the header before a response of this API and version.
    pub fn encode(&self, writer: &mut Writer, key: ApiKey, version: i16) {
        writer.i32(self.correlation_id);
        if key.response_header_version(version) >= 1 {
            writer.uvarint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn the_header_of_a_version_nobody_knows_is_read() {
        let frame = [0, 18, 0, 99, 0, 0, 0, 5, 0, 1, b'c', 0, 0xaa];
        let mut reader = Reader::new(BytesMut::from(&frame[..]));
        let header = RequestHeader::decode(&mut reader).expect("version 2 of the header");
        assert_eq!((header.request_api_key, header.request_api_version), (ApiKey::ApiVersions, 99));
        assert_eq!((header.correlation_id, header.client_id), (5, Some("c".into())));
        assert_eq!(reader.remaining(), 1);
    }

    #[test]
    fn an_api_versions_response_has_the_old_header() {
        for version in 0..5 {
            assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
        }
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
        assert_eq!(ApiKey::Metadata.response_header_version(8), 0);
        assert_eq!(ApiKey::SaslHandshake.request_header_version(1), 1);
    }
}
