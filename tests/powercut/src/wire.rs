//! Kafka's protocol over a blocking socket, in the few requests that the rig makes itself: it has to know to the
//! moment when an answer was there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest,
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName, create_topics_request,
    delete_records_request, fetch_request, fetch_response, list_offsets_request, metadata_request,
    offset_commit_request, offset_fetch_request, produce_request,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::RecordBatchDecoder;

use crate::payload;

const PATIENCE: Duration = Duration::from_secs(30);
const RESPONSE_BYTES_MAX: usize = 64 << 20;

pub struct Wire {
    stream: TcpStream,
    next_correlation_id: i32,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Result<Wire> {
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, next_correlation_id: 1 })
    }

    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<i32> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("powercut")));
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let size = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        self.stream.write_all(&frame).context("sending")?;
        Ok(correlation_id)
    }

    pub fn receive<R: Decodable + HeaderVersion>(&mut self, correlation_id: i32, version: i16) -> Result<R> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).context("receiving")?;
        let size = usize::try_from(i32::from_be_bytes(size))?;
        ensure!(size <= RESPONSE_BYTES_MAX, "an answer of {size} bytes");
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame).context("receiving")?;
        let mut frame = Bytes::from(frame);
        let header = ResponseHeader::decode(&mut frame, R::header_version(version))?;
        ensure!(header.correlation_id == correlation_id, "the answers are out of order");
        R::decode(&mut frame, version)
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let correlation_id = self.send(request, version)?;
        self.receive(correlation_id, version)
    }

    pub fn producer_id(&mut self) -> Result<(i64, i16)> {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let answer = self.call(&request, 4)?;
        ensure!(answer.error_code == 0, "InitProducerId: error {}", answer.error_code);
        Ok((answer.producer_id.0, answer.producer_epoch))
    }

    /// Creates a topic; the error code.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<i16> {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                create_topics_request::CreatableTopicConfig::default()
                    .with_name(text(key))
                    .with_value(Some(text(value)))
            })
            .collect();
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.call(&request, 5)?;
        Ok(answer.topics.first().context("an answer for the topic")?.error_code)
    }

    pub fn delete_topic(&mut self, name: &str) -> Result<i16> {
        let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]).with_timeout_ms(30_000);
        let answer = self.call(&request, 5)?;
        Ok(answer.responses.first().context("an answer for the topic")?.error_code)
    }

    pub fn knows(&mut self, key: ApiKey) -> Result<bool> {
        let answer = self.call(&ApiVersionsRequest::default(), 0)?;
        Ok(answer.api_keys.iter().any(|api| api.api_key == key as i16))
    }

    /// Deletes the records before an offset; error code and low watermark.
    pub fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(i16, i64)> {
        let partition = delete_records_request::DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = self.call(&request, 1)?;
        let answer = answer.topics.first().and_then(|topic| topic.partitions.first()).context("an answer")?;
        Ok((answer.error_code, answer.low_watermark))
    }

    /// All topics with their counts of partitions.
    pub fn topics(&mut self) -> Result<Vec<(String, i32)>> {
        let none: Option<Vec<metadata_request::MetadataRequestTopic>> = None;
        let request = MetadataRequest::default().with_topics(none).with_allow_auto_topic_creation(false);
        let answer = self.call(&request, 9)?;
        let mut topics = Vec::new();
        for topic in answer.topics {
            let name = topic.name.context("a topic with a name")?.0.to_string();
            ensure!(topic.error_code == 0, "metadata of {name}: error {}", topic.error_code);
            topics.push((name, topic.partitions.len() as i32));
        }
        Ok(topics)
    }

    /// Log start (-2) or end (-1).
    pub fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> Result<i64> {
        let wanted = list_offsets_request::ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let topic_wanted = list_offsets_request::ListOffsetsTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic_wanted]);
        let answer = self.call(&request, 5)?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first()).context("an offset")?;
        ensure!(found.error_code == 0, "offsets of {topic}-{partition}: error {}", found.error_code);
        Ok(found.offset)
    }

    /// Asks who coordinates a group, which makes the topic of committed offsets if need be; the error code.
    pub fn find_coordinator(&mut self, group: &str) -> Result<i16> {
        let request = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
        Ok(self.call(&request, 2)?.error_code)
    }

    pub fn commit(&mut self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<i16> {
        let partition = offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let topic = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.call(&request, 7)?;
        let answer = answer.topics.first().and_then(|topic| topic.partitions.first()).context("an answer")?;
        Ok(answer.error_code)
    }

    pub fn committed(&mut self, group: &str, topic: &str, partition: i32) -> Result<i64> {
        let wanted = offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![wanted]));
        let answer = self.call(&request, 7)?;
        ensure!(answer.error_code == 0, "offsets of group {group}: error {}", answer.error_code);
        let found = answer.topics.first().and_then(|topic| topic.partitions.first()).context("an answer")?;
        ensure!(found.error_code == 0, "offset of group {group}: error {}", found.error_code);
        Ok(found.committed_offset)
    }

    /// Produces one batch; error code and base offset.
    pub fn produce(&mut self, acks: i16, topic: &str, partition: i32, batch: Bytes) -> Result<(i16, i64)> {
        let request = produce_request(acks, vec![(topic.to_owned(), partition, batch)]);
        let answer = self.call(&request, 8)?;
        let answer =
            answer.responses.first().and_then(|topic| topic.partition_responses.first()).context("an answer")?;
        Ok((answer.error_code, answer.base_offset))
    }

    /// Fetches from several partitions of topics, each from its offset.
    pub fn fetch(&mut self, wanted: &[(String, i32, i64)], max_wait_ms: i32, bytes_max: i32) -> Result<Vec<Fetched>> {
        let mut topics: Vec<fetch_request::FetchTopic> = Vec::new();
        for (topic, partition, offset) in wanted {
            let partition = fetch_request::FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(bytes_max);
            match topics.last_mut() {
                Some(last) if last.topic.0.as_str() == topic => last.partitions.push(partition),
                _ => topics.push(
                    fetch_request::FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]),
                ),
            }
        }
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(max_wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(bytes_max)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(topics);
        let answer = self.call(&request, 11)?;
        ensure!(answer.error_code == 0, "a fetch: error {}", answer.error_code);
        let mut fetched = Vec::new();
        for topic in answer.responses {
            for data in topic.partitions {
                fetched.push(Fetched { topic: topic.topic.0.to_string(), data });
            }
        }
        Ok(fetched)
    }
}

pub struct Fetched {
    pub topic: String,
    pub data: fetch_response::PartitionData,
}

/// A produce request with one batch for each of some partitions, those of one topic side by side.
pub fn produce_request(acks: i16, batches: Vec<(String, i32, Bytes)>) -> ProduceRequest {
    let mut topics: Vec<produce_request::TopicProduceData> = Vec::new();
    for (topic, partition, batch) in batches {
        let data = produce_request::PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        match topics.last_mut() {
            Some(last) if last.name.0.as_str() == topic => last.partition_data.push(data),
            _ => topics.push(
                produce_request::TopicProduceData::default()
                    .with_name(topic_name(&topic))
                    .with_partition_data(vec![data]),
            ),
        }
    }
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(topics)
}

/// A record as it was read: its offset, and its id if its bytes are those that were sent to this partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadRecord {
    pub offset: i64,
    pub id: Option<u64>,
}

/// The records of what a fetch returned, from `from` on; a last batch that the limit cut off is left out.
pub fn records(mut bytes: Bytes, from: i64, place: u32) -> Result<Vec<ReadRecord>> {
    let mut found = Vec::new();
    while bytes.len() >= 61 {
        let size = 12 + usize::try_from(i32::from_be_bytes(bytes[8..12].try_into()?))?;
        if size > bytes.len() {
            break;
        }
        let mut batch = bytes.split_to(size);
        let base_offset = i64::from_be_bytes(batch[..8].try_into()?);
        let crc = u32::from_be_bytes(batch[17..21].try_into()?);
        if crc32c::crc32c(&batch[21..]) != crc {
            bail!("the batch at {base_offset} fails its checksum");
        }
        for record in RecordBatchDecoder::decode(&mut batch)?.records {
            if record.offset >= from {
                let value = record.value.unwrap_or_default();
                found.push(ReadRecord { offset: record.offset, id: payload::id_of(&value, place) });
            }
        }
    }
    Ok(found)
}
