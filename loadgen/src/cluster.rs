//! The broker as a client sees it: versions, topics, and which address leads which partition.

use std::{
    collections::HashMap,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use corelane::{
    error_code::ErrorCode,
    protocol::{
        ApiKey, ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
        InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, Str,
        create_topics::CreatableTopic,
        describe_configs::DescribeConfigsResource,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
        metadata::{MetadataRequestTopic, MetadataResponse},
    },
    record::Producer,
    runtime::{self, Runtime, RuntimeOptions, clock},
    types::ProducerId,
};

use crate::{
    client::Client,
    error::{Error, code_name},
};

/// How long a topic may take to have leaders.
const LEADERS_PATIENCE: Duration = Duration::from_secs(30);
const API_VERSIONS_VERSION: i16 = 3;
/// Topics created or deleted in one request, and partitions of them: a broker that makes tens of thousands of files at once
/// answers nobody meanwhile.
const TOPICS_PER_REQUEST: usize = 100;
const PARTITIONS_PER_REQUEST: usize = 1000;
/// What says how durable an acknowledged record is, and how it is written.
const SETTINGS: [&str; 6] =
    ["log.flush.acks", "log.io", "shards", "shard.listeners", "log.flush.interval.messages", "compression.type"];

/// The versions in which requests are sent: the newest that both sides know and that name topics by name.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    pub produce: i16,
    pub fetch: i16,
    list_offsets: i16,
    metadata: i16,
    create_topics: i16,
    delete_topics: i16,
    init_producer_id: i16,
    describe_configs: Option<i16>,
}

/// A topic with the address of each partition's leader.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub leaders: Vec<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Cluster {
    pub bootstrap: SocketAddr,
    pub versions: Versions,
    pub topics: Vec<Topic>,
    /// The level of `metadata.version`, which tells a Kafka's version.
    pub metadata_level: Option<i16>,
    /// Settings of the first broker that bear on the figures.
    pub settings: Vec<(String, String)>,
}

/// Runs what needs a connection, on a runtime of its own.
pub fn with_client<T>(to: SocketAddr, run: impl AsyncFnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
    let options = RuntimeOptions { recv_buffers: 16, arena_bytes: 0, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options).map_err(|error| Error::Wrong(error.to_string()))?;
    runtime.block_on(async {
        let mut client = Client::connect(to)
            .await
            .map_err(|error| Error::Wrong(format!("no broker answers at {to} ({error}): is one running there?")))?;
        run(&mut client).await
    })
}

/// Looks up `host:port`.
pub fn resolve(address: &str) -> Result<SocketAddr, Error> {
    let mut all = address
        .to_socket_addrs()
        .map_err(|error| Error::Wrong(format!("{address:?} is no address such as 127.0.0.1:9092 ({error})")))?;
    all.next().ok_or_else(|| Error::Wrong(format!("{address} has no address")))
}

impl Cluster {
    /// Asks a broker what it is and makes the topics of a run.
    pub fn prepare(bootstrap: SocketAddr, names: &[String], partitions: u32) -> Result<Cluster, Error> {
        with_client(bootstrap, async |client| {
            let (versions, metadata_level) = Versions::ask(client).await?;
            for names in names.chunks(topics_per_request(partitions as usize)) {
                create(client, versions, names, partitions).await?;
            }
            let topics = leaders(client, versions, names).await?;
            let settings = settings(client, versions, bootstrap).await.unwrap_or_default();
            Ok(Cluster { bootstrap, versions, topics, metadata_level, settings })
        })
    }

    pub fn delete_topics(&self) -> Result<(), Error> {
        let partitions = self.topics.first().map_or(1, |topic| topic.leaders.len());
        with_client(self.bootstrap, async |client| {
            for topics in self.topics.chunks(topics_per_request(partitions)) {
                let topic_names = topics.iter().map(|topic| Str::from(&topic.name)).collect();
                let request = DeleteTopicsRequest { topic_names, timeout_ms: 30_000, ..Default::default() };
                client.call(&request, self.versions.delete_topics).await?;
            }
            Ok(())
        })
    }

    /// The ends of all partitions, topic by topic: what a consumer may read up to, and where one begins that wants only
    /// what is new.
    pub fn end_offsets(&self) -> Result<Vec<i64>, Error> {
        let mut ends = Vec::new();
        for topic in &self.topics {
            let mut of_topic = vec![0; topic.leaders.len()];
            let mut by_leader: HashMap<SocketAddr, Vec<i32>> = HashMap::new();
            for (partition, leader) in topic.leaders.iter().enumerate() {
                by_leader.entry(*leader).or_default().push(partition as i32);
            }
            for (leader, partitions) in by_leader {
                let ask = |&partition_index: &i32| ListOffsetsPartition {
                    partition_index,
                    timestamp: -1,
                    ..Default::default()
                };
                let of =
                    ListOffsetsTopic { name: Str::from(&topic.name), partitions: partitions.iter().map(ask).collect() };
                let request = ListOffsetsRequest { replica_id: -1, topics: vec![of], ..Default::default() };
                let answer = with_client(leader, async |client| {
                    // A broker of many partitions leads the last of them a little after Metadata says so.
                    let deadline = clock::now() + LEADERS_PATIENCE;
                    loop {
                        let answer = client.call(&request, self.versions.list_offsets).await?;
                        let partitions = || answer.topics.iter().flat_map(|topic| &topic.partitions);
                        if partitions().all(|partition| !is_passing(partition.error_code)) || clock::now() > deadline {
                            return Ok(answer);
                        }
                        runtime::sleep(Duration::from_millis(50)).await;
                    }
                })?;
                for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                    if partition.error_code != 0 {
                        return Err(Error::code(
                            &format!("asking for the end of {}", topic.name),
                            partition.error_code,
                        ));
                    }
                    if let Some(end) = of_topic.get_mut(partition.partition_index as usize) {
                        *end = partition.offset;
                    }
                }
            }
            ends.append(&mut of_topic);
        }
        Ok(ends)
    }
}

impl Versions {
    async fn ask(client: &mut Client) -> Result<(Versions, Option<i16>), Error> {
        let hello = ApiVersionsRequest {
            client_software_name: Str::from("loadgen"),
            client_software_version: Str::from(env!("CARGO_PKG_VERSION")),
        };
        let answer = client.call(&hello, API_VERSIONS_VERSION).await?;
        if answer.error_code != 0 {
            return Err(Error::code("asking for its versions", answer.error_code));
        }
        let highest = |key: ApiKey, wanted: i16, least: i16| {
            let spoken = answer.api_keys.iter().find(|api| api.api_key == key.number());
            match spoken.map(|api| (api.min_version, api.max_version.min(wanted))) {
                Some((min, version)) if version >= min && version >= least => Ok(version),
                _ => Err(Error::Answer(format!(
                    "the broker has no {} in a version from {least} to {wanted}",
                    key.name()
                ))),
            }
        };
        let versions = Versions {
            produce: highest(ApiKey::Produce, 12, 3)?,
            fetch: highest(ApiKey::Fetch, 12, 4)?,
            list_offsets: highest(ApiKey::ListOffsets, 7, 1)?,
            metadata: highest(ApiKey::Metadata, 12, 4)?,
            create_topics: highest(ApiKey::CreateTopics, 7, 2)?,
            delete_topics: highest(ApiKey::DeleteTopics, 5, 1)?,
            init_producer_id: highest(ApiKey::InitProducerId, 4, 0)?,
            describe_configs: highest(ApiKey::DescribeConfigs, 4, 1).ok(),
        };
        let level = answer.finalized_features.iter().find(|feature| feature.name == "metadata.version");
        Ok((versions, level.map(|feature| feature.max_version_level)))
    }
}

fn topics_per_request(partitions: usize) -> usize {
    (PARTITIONS_PER_REQUEST / partitions.max(1)).clamp(1, TOPICS_PER_REQUEST)
}

/// What a broker answers while a partition gets its leader.
fn is_passing(code: i16) -> bool {
    matches!(
        ErrorCode::from_code(code),
        Some(ErrorCode::NotLeaderOrFollower | ErrorCode::LeaderNotAvailable | ErrorCode::UnknownTopicOrPartition)
    )
}

async fn create(client: &mut Client, versions: Versions, names: &[String], partitions: u32) -> Result<(), Error> {
    // From version 4 on the broker may choose the replication factor; before that, one works anywhere.
    let replication_factor = if versions.create_topics >= 4 { -1 } else { 1 };
    let topic = |name: &String| CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions as i32,
        replication_factor,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: names.iter().map(topic).collect(), ..Default::default() };
    let created = client.call(&request, versions.create_topics).await?;
    for topic in &created.topics {
        let code = topic.error_code;
        if code != 0 && code != ErrorCode::TopicAlreadyExists.code() {
            let why = topic.error_message.as_deref().unwrap_or_default();
            return Err(Error::Answer(format!("creating topic {}: {} {why}", topic.name.as_str(), code_name(code))));
        }
    }
    Ok(())
}

/// Waits until every partition has a leader, and gives their addresses.
async fn leaders(client: &mut Client, versions: Versions, names: &[String]) -> Result<Vec<Topic>, Error> {
    let topic = |name: &String| MetadataRequestTopic { name: Some(Str::from(name)), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(names.iter().map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let deadline = clock::now() + LEADERS_PATIENCE;
    loop {
        let metadata = client.call(&request, versions.metadata).await?;
        if let Some(topics) = with_leaders(&metadata, names)? {
            return Ok(topics);
        }
        if clock::now() > deadline {
            return Err(Error::Answer(format!("topic {} has no leaders after 30 s", names[0])));
        }
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

fn with_leaders(metadata: &MetadataResponse, names: &[String]) -> Result<Option<Vec<Topic>>, Error> {
    let mut addresses = HashMap::new();
    for broker in &metadata.brokers {
        let host = broker.host.as_str();
        let address =
            if host.contains(':') { format!("[{host}]:{}", broker.port) } else { format!("{host}:{}", broker.port) };
        addresses.insert(broker.node_id, resolve(&address)?);
    }
    let mut topics = Vec::new();
    for name in names {
        let found = metadata.topics.iter().find(|topic| topic.name.as_deref() == Some(name.as_str()));
        let Some(topic) = found.filter(|topic| topic.error_code == 0 && !topic.partitions.is_empty()) else {
            return Ok(None);
        };
        let mut leaders = vec![None; topic.partitions.len()];
        for partition in &topic.partitions {
            if let Some(leader) = leaders.get_mut(partition.partition_index as usize) {
                *leader = addresses.get(&partition.leader_id).copied();
            }
        }
        let Some(leaders) = leaders.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        topics.push(Topic { name: name.clone(), leaders });
    }
    Ok(Some(topics))
}

/// Settings that bear on the figures, as far as the broker tells.
async fn settings(
    client: &mut Client,
    versions: Versions,
    bootstrap: SocketAddr,
) -> Result<Vec<(String, String)>, Error> {
    let Some(version) = versions.describe_configs else { return Ok(Vec::new()) };
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let metadata = client.call(&request, versions.metadata).await?;
    let here = metadata.brokers.iter().find(|broker| broker.port == i32::from(bootstrap.port()));
    let Some(broker) = here.or(metadata.brokers.first()) else { return Ok(Vec::new()) };
    let resource = DescribeConfigsResource {
        resource_type: 4,
        resource_name: Str::from(broker.node_id.to_string()),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let answer = client.call(&request, version).await?;
    let configs = answer.results.iter().flat_map(|result| &result.configs);
    let wanted = configs.filter(|config| SETTINGS.contains(&config.name.as_str()));
    Ok(wanted.map(|c| (c.name.as_str().to_owned(), c.value.as_deref().unwrap_or("").to_owned())).collect())
}

/// A producer id of its own for an idempotent producer.
pub async fn producer_id(client: &mut Client, versions: Versions) -> Result<Producer, Error> {
    let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, producer_epoch: -1, ..Default::default() };
    let deadline = clock::now() + LEADERS_PATIENCE;
    loop {
        let answer = client.call(&request, versions.init_producer_id).await?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {
                return Ok(Producer {
                    id: ProducerId(answer.producer_id),
                    epoch: answer.producer_epoch,
                    base_sequence: 0,
                });
            }
            // What a broker answers while its coordinator starts.
            Some(ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable)
                if clock::now() < deadline => {}
            _ => return Err(Error::code("asking for a producer id", answer.error_code)),
        }
        runtime::sleep(Duration::from_millis(100)).await;
    }
}
