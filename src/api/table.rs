//! The table of APIs: what ApiVersions advertises is what stands here, and nothing else is answered.

use std::pin::Pin;

use bytes::BytesMut;

use crate::log::Chunk;
use crate::protocol::api_versions::ApiVersion;
use crate::protocol::{
    ApiKey, DecodeError, EncodeError, External, Message, Reader, Request, RequestHeader, ResponseHeader, Writer,
};

use super::{Context, Outcome};

/// What goes back to a client.
pub enum Reply {
    Frame(Frame),
    /// Nothing: a produce with acks=0.
    Silent,
    /// The connection is closed, for this reason.
    Close(String),
}

/// An encoded response with its size in front, and the records that belong between its bytes.
pub struct Frame {
    pub bytes: BytesMut,
    /// Where `chunks` belong, by slot.
    pub externals: Vec<External>,
    pub chunks: Vec<Vec<Chunk>>,
}

pub type Pending = Pin<Box<dyn Future<Output = Reply>>>;

/// One API.
pub struct Row {
    pub key: ApiKey,
    /// What is advertised.
    pub min_version: i16,
    pub max_version: i16,
    /// The lowest version that is answered, where more is advertised than there is (KAFKA-18659).
    pub min_answered: i16,
    /// Whether a request may start while earlier ones of its connection still wait for the disk.
    pub concurrent: bool,
    handle: fn(Context, Reader, i32) -> Result<Pending, DecodeError>,
}

macro_rules! rows {
    ($($key:ident $min:literal..=$max:literal $([from $answered:literal])? $flow:ident $module:ident;)*) => {
        /// Every API this broker answers, in the order of their keys.
        pub const TABLE: &[Row] = &[$(Row {
            key: ApiKey::$key,
            min_version: $min,
            max_version: $max,
            min_answered: rows!(@answered $min $($answered)?),
            concurrent: rows!(@$flow),
            handle: |context, reader, correlation_id| {
                rows!(@run $flow context, reader, correlation_id, super::$module::handle)
            },
        },)*];
    };
    (@answered $min:literal) => { $min };
    (@answered $min:literal $answered:literal) => { $answered };
    (@concurrent) => { true };
    (@alone) => { false };
    (@records) => { false };
    (@run records $context:ident, $reader:ident, $correlation:ident, $handle:path) => {
        run_with_records($context, $reader, $correlation, $handle)
    };
    (@run $flow:ident $context:ident, $reader:ident, $correlation:ident, $handle:path) => {
        run($context, $reader, $correlation, $handle)
    };
}

rows! {
    Produce 0..=13 [from 3] concurrent produce;
    Fetch 4..=18 records fetch;
    ListOffsets 1..=11 alone list_offsets;
    Metadata 0..=13 alone metadata;
    OffsetCommit 2..=10 alone offset_commit;
    OffsetFetch 1..=10 alone offset_fetch;
    FindCoordinator 0..=6 alone find_coordinator;
    JoinGroup 0..=9 alone join_group;
    Heartbeat 0..=4 alone heartbeat;
    LeaveGroup 0..=5 alone leave_group;
    SyncGroup 0..=5 alone sync_group;
    DescribeGroups 0..=6 alone describe_groups;
    ListGroups 0..=5 alone list_groups;
    ApiVersions 0..=4 alone api_versions;
    CreateTopics 2..=7 alone create_topics;
    DeleteTopics 1..=6 alone delete_topics;
    DeleteRecords 0..=2 alone delete_records;
    InitProducerId 0..=5 alone init_producer_id;
    OffsetForLeaderEpoch 2..=4 alone offset_for_leader_epoch;
    DescribeConfigs 1..=4 alone describe_configs;
    AlterConfigs 0..=2 alone alter_configs;
    DescribeLogDirs 1..=5 alone describe_log_dirs;
    CreatePartitions 0..=3 alone create_partitions;
    DeleteGroups 0..=2 alone delete_groups;
    IncrementalAlterConfigs 0..=1 alone incremental_alter_configs;
    OffsetDelete 0..=0 alone offset_delete;
    DescribeCluster 0..=2 alone describe_cluster;
    ConsumerGroupHeartbeat 0..=1 alone consumer_group_heartbeat;
    ConsumerGroupDescribe 0..=1 alone consumer_group_describe;
    ListConfigResources 0..=1 alone list_config_resources;
    DescribeTopicPartitions 0..=0 alone describe_topic_partitions;
}

/// What ApiVersions says.
pub fn advertised() -> impl Iterator<Item = ApiVersion> {
    TABLE.iter().map(|row| ApiVersion {
        api_key: row.key.number(),
        min_version: row.min_version,
        max_version: row.max_version,
    })
}

/// Whether a request, as it came, may start while earlier ones of its connection still wait for the disk.
pub fn is_concurrent(request: &[u8]) -> bool {
    let key = request.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
    key.and_then(ApiKey::from_number).is_some_and(|key| TABLE.iter().any(|row| row.key == key && row.concurrent))
}

/// A request that has been read as far as its header.
pub enum Dispatched {
    Started(Pending),
    /// The connection is to be closed, for this reason.
    Refused(String),
}

/// Finds the API of a request and starts it. The synchronous part of a produce is done when this
/// returns. A key or version that is not advertised closes the connection, as in Kafka, except for
/// ApiVersions itself (KIP-511).
pub fn dispatch(context: impl FnOnce(&RequestHeader) -> Context, frame: BytesMut) -> Dispatched {
    let mut reader = Reader::new(frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return Dispatched::Refused(format!("the request header cannot be read: {error}")),
    };
    let (key, version, correlation_id) = (header.request_api_key, header.request_api_version, header.correlation_id);
    let Some(row) = TABLE.iter().find(|row| row.key == key) else {
        return Dispatched::Refused(format!("this broker does not answer {}", key.name()));
    };
    if version < row.min_answered || version > row.max_version {
        if row.key == ApiKey::ApiVersions {
            let response = super::api_versions::unsupported_version();
            let reply = encode(0, correlation_id, ApiKey::ApiVersions, &response, Vec::new());
            return Dispatched::Started(Box::pin(std::future::ready(reply)));
        }
        return Dispatched::Refused(format!("{:?} has no version {version} here", row.key));
    }
    match (row.handle)(context(&header), reader, correlation_id) {
        Ok(reply) => Dispatched::Started(reply),
        Err(error) => {
            Dispatched::Refused(format!("a {:?} request of version {version} cannot be read: {error}", row.key))
        }
    }
}

fn run<Q, F>(
    context: Context,
    mut reader: Reader,
    correlation_id: i32,
    handle: fn(Context, Q) -> F,
) -> Result<Pending, DecodeError>
where
    Q: Request,
    F: Future<Output = Outcome<Q::Response>> + 'static,
{
    let version = context.version;
    let request = Q::decode(&mut reader, version)?;
    let answering = handle(context, request);
    Ok(Box::pin(async move {
        match answering.await {
            Outcome::Answer(response) => encode(version, correlation_id, Q::KEY, &response, Vec::new()),
            Outcome::Silent => Reply::Silent,
            Outcome::Close(why) => Reply::Close(why),
        }
    }))
}

fn run_with_records<Q, F>(
    context: Context,
    mut reader: Reader,
    correlation_id: i32,
    handle: fn(Context, Q) -> F,
) -> Result<Pending, DecodeError>
where
    Q: Request,
    F: Future<Output = Outcome<(Q::Response, Vec<Vec<Chunk>>)>> + 'static,
{
    let version = context.version;
    let request = Q::decode(&mut reader, version)?;
    let answering = handle(context, request);
    Ok(Box::pin(async move {
        match answering.await {
            Outcome::Answer((response, chunks)) => encode(version, correlation_id, Q::KEY, &response, chunks),
            Outcome::Silent => Reply::Silent,
            Outcome::Close(why) => Reply::Close(why),
        }
    }))
}

fn encode<R: Message>(version: i16, correlation_id: i32, key: ApiKey, response: &R, chunks: Vec<Vec<Chunk>>) -> Reply {
    let frame = || -> Result<Frame, EncodeError> {
        let mut writer = Writer::frame();
        ResponseHeader { correlation_id }.encode(&mut writer, key, version);
        response.encode(&mut writer, version)?;
        let (bytes, externals) = writer.finish_frame()?;
        Ok(Frame { bytes, externals, chunks })
    };
    match frame() {
        Ok(frame) => Reply::Frame(frame),
        Err(error) => Reply::Close(format!("a {key:?} answer of version {version} cannot be written: {error}")),
    }
}

const _: () = assert!(!TABLE.is_empty());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_within_its_schema_and_stands_once() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(row.min_version <= row.min_answered && row.min_answered <= row.max_version);
            assert!(TABLE[..at].iter().all(|earlier| earlier.key != row.key), "{:?} stands twice", row.key);
        }
        let versions: Vec<ApiVersion> = advertised().collect();
        assert!(versions.iter().any(|row| row.api_key == ApiKey::ApiVersions.number()));
    }
}
