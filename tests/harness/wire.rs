//! Kafka's protocol over a plain blocking socket, for what librdkafka would never send. Requests are encoded and
//! responses decoded by the crate `kafka-protocol`, not by our own codec: a mistake made in both directions of ours
//! would otherwise go unseen.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName, fetch_request, fetch_response,
    list_offsets_request, list_offsets_response, metadata_request, produce_request, produce_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use super::Broker;
use super::client::PATIENCE;

/// A frame longer than this is no answer to anything the tests ask.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

pub struct Wire {
    stream: TcpStream,
    next_correlation_id: i32,
}

impl Wire {
    pub fn connect(broker: &Broker) -> Wire {
        Wire::connect_to(broker.address())
    }

    pub fn connect_to(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("a connection to the broker");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_nodelay(true).expect("no delay");
        Wire { stream, next_correlation_id: 100 }
    }

    /// Sends a request without waiting; its correlation id.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> i32 {
        let frame = self.frame(request, version);
        self.send_bytes(&frame);
        self.next_correlation_id - 1
    }

    /// A whole request as it goes over the wire, with its size in front and this connection's next correlation id.
    pub fn frame<R: Request>(&mut self, request: &R, version: i16) -> BytesMut {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        frame(request, version, correlation_id)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes the request");
    }

    /// The next response, which must be the one to `correlation_id`.
    pub fn receive<R: Decodable + HeaderVersion>(&mut self, correlation_id: i32, version: i16) -> R {
        let mut frame = self.read_frame().expect("an answer, not a closed connection");
        let header = ResponseHeader::decode(&mut frame, R::header_version(version)).expect("a response header");
        assert_eq!(header.correlation_id, correlation_id, "the answers are out of order");
        let response = R::decode(&mut frame, version).expect("a response of this version");
        assert!(!frame.has_remaining(), "{} bytes are left behind the response", frame.remaining());
        response
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        let correlation_id = self.send(request, version);
        self.receive(correlation_id, version)
    }

    /// The next frame without its size, or `None` when the broker has closed the connection.
    pub fn read_frame(&mut self) -> Option<Bytes> {
        let mut size = [0; 4];
        match self.stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => return None,
            Err(error) => panic!("reading an answer: {error}"),
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a frame's size");
        assert!(size <= RESPONSE_BYTES_MAX, "an answer of {size} bytes");
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame).expect("the whole frame");
        Some(frame.into())
    }

    /// Says that no more requests will come.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection that is open");
    }

    /// True when the broker closes the connection without another answer.
    pub fn is_closed(&mut self) -> bool {
        self.read_frame().is_none()
    }

    /// True when nothing arrives for `time` and the connection stays open.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a read timeout");
        let mut byte = [0];
        let silent = match self.stream.peek(&mut byte) {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        silent
    }
}

/// A whole request as it goes over the wire, with its size in front.
pub fn frame<R: Request>(request: &R, version: i16, correlation_id: i32) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("tests")));
    header.encode(&mut frame, R::header_version(version)).expect("a header");
    request.encode(&mut frame, version).expect("a request that this version can say");
    let size = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// The topic's id, which newer versions name it by.
pub fn topic_id(wire: &mut Wire, name: &str) -> uuid::Uuid {
    let response = metadata(wire, name);
    assert_eq!(response.topics[0].error_code, 0, "{name} has metadata");
    response.topics[0].topic_id
}

pub fn metadata(wire: &mut Wire, name: &str) -> MetadataResponse {
    let topic = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    wire.call(&request, 12)
}

/// A produce request of one partition, by the topic's name.
pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = produce_request::PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic =
        produce_request::TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// The one partition's part of an answer.
pub fn produced(response: &ProduceResponse) -> &produce_response::PartitionProduceResponse {
    &response.responses[0].partition_responses[0]
}

/// Produces one batch with acks=all; the answer's error code and base offset.
pub fn produce(wire: &mut Wire, topic: &str, partition: i32, records: Bytes) -> (i16, i64) {
    let response = wire.call(&produce_request(topic, partition, -1, records), 9);
    let answer = produced(&response);
    (answer.error_code, answer.base_offset)
}

/// What a fetch asks for besides where it starts; the defaults are those of a plain client without a session.
#[derive(Clone, Copy)]
pub struct FetchOptions {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
    pub session_id: i32,
    pub session_epoch: i32,
    pub current_leader_epoch: i32,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            max_wait_ms: 0,
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            session_id: 0,
            session_epoch: -1,
            current_leader_epoch: -1,
        }
    }
}

/// A fetch of partitions of one topic by its name (at most version 12), each from its offset.
pub fn fetch_request(topic: &str, from: &[(i32, i64)], options: FetchOptions) -> FetchRequest {
    let partitions: Vec<_> = from
        .iter()
        .map(|&(partition, offset)| {
            fetch_request::FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(options.current_leader_epoch)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(options.partition_max_bytes)
        })
        .collect();
    let topics = if partitions.is_empty() {
        vec![]
    } else {
        vec![fetch_request::FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions)]
    };
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(options.max_wait_ms)
        .with_min_bytes(options.min_bytes)
        .with_max_bytes(options.max_bytes)
        .with_session_id(options.session_id)
        .with_session_epoch(options.session_epoch)
        .with_topics(topics)
}

/// The one partition's part of an answer.
pub fn fetched(response: &FetchResponse) -> &fetch_response::PartitionData {
    assert_eq!(response.error_code, 0, "the fetch as a whole");
    &response.responses[0].partitions[0]
}

/// Fetches one partition without a session.
pub fn fetch(wire: &mut Wire, topic: &str, partition: i32, offset: i64) -> fetch_response::PartitionData {
    let response = wire.call(&fetch_request(topic, &[(partition, offset)], FetchOptions::default()), 12);
    fetched(&response).clone()
}

/// Asks one partition for an offset by timestamp, with any version from 1 to 11.
pub fn list_offset(
    wire: &mut Wire,
    topic: &str,
    timestamp: i64,
    version: i16,
) -> list_offsets_response::ListOffsetsPartitionResponse {
    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(timestamp);
    let topic =
        list_offsets_request::ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    // The crate stops at version 10; 11 differs in what a timestamp may say, not in its layout.
    let known = version.min(10);
    let mut frame = wire.frame(&request, known);
    frame[6..8].copy_from_slice(&version.to_be_bytes());
    wire.send_bytes(&frame);
    let correlation_id = wire.next_correlation_id - 1;
    let response: kafka_protocol::messages::ListOffsetsResponse = wire.receive(correlation_id, known);
    response.topics[0].partitions[0].clone()
}

/// A request header and body written by hand: key, version, correlation id, client id "tests", and the rest as it is.
pub fn raw_frame(key: ApiKey, version: i16, correlation_id: i32, flexible: bool, body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(correlation_id);
    frame.put_i16(5);
    frame.put_slice(b"tests");
    if flexible {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    let size = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}
