//! The settings of a broker, typed, and what has to hold between them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::groups::{check_group_bounds, groups};
use super::keys::items;
use super::{ConfigError, ControllerListener, GroupsConfig, HostPort, Listener, Settings, TopicConfig};
use crate::limits;

/// Facts of the machine that defaults depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores that the process may run on.
    pub cores: usize,
    /// The name that other machines know this one by.
    pub host_name: String,
}

/// Everything a start decides on. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `log.dirs` or `log.dir`.
    pub directory: PathBuf,
    /// Listeners for clients; at least one.
    pub listeners: Vec<Listener>,
    /// The controller's listener, which Apache Kafka opens when it takes the directory over; we never do.
    pub controller: Option<ControllerListener>,
    /// `shards`, or one for each core.
    pub shards: usize,
    /// `shard.listeners`.
    pub shard_listeners: ShardListeners,
    /// `admin.listener`, if one is wanted.
    pub admin: Option<HostPort>,
    pub runtime: RuntimeConfig,
    pub network: NetworkConfig,
    pub log: LogSettings,
    pub topics: TopicDefaults,
    pub offsets: OffsetsConfig,
    pub groups: GroupsConfig,
    pub catalog: CatalogConfig,
    pub logging: LoggingConfig,
    settings: Settings,
}

/// `shard.listeners`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardListeners {
    Shared,
    PerCore,
}

/// How the shards' rings are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// `runtime.disable`: names of `runtime::Feature`, or `all`.
    pub disable: String,
    /// `runtime.spin.us`.
    pub spin: Duration,
}

/// Bounds on connections and requests. Those over all shards are divided by the callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
    /// `socket.receive.buffer.bytes`; none leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// `socket.send.buffer.bytes`; none leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `max.connections`, over all shards.
    pub connections_max: usize,
    /// `max.connections.per.ip`, over all shards.
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`.
    pub connections_per_ip_overrides: HashMap<IpAddr, usize>,
    /// `connections.max.idle.ms`; none keeps idle connections.
    pub idle_max: Option<Duration>,
    /// `max.requests.in.flight.per.connection`.
    pub requests_in_flight_max: usize,
    /// `queued.max.request.bytes`, over all shards.
    pub queued_request_bytes_max: usize,
    /// `queued.max.response.bytes`, over all shards.
    pub queued_response_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`, over all shards.
    pub fetch_sessions_max: usize,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: usize,
    /// `max.request.partition.size.limit`.
    pub described_partitions_max: usize,
}

impl NetworkConfig {
    /// A shard's share of the memory for requests. It always holds the largest request, or that could never be read.
    pub fn queued_request_bytes_per_shard(&self, shards: usize) -> usize {
        (self.queued_request_bytes_max / shards.max(1)).max(self.request_bytes_max + limits::FRAME_HEADER_BYTES)
    }

    /// A shard's share of the memory for answers.
    pub fn queued_response_bytes_per_shard(&self, shards: usize) -> usize {
        (self.queued_response_bytes_max / shards.max(1)).max(limits::QUEUED_BYTES_MIN as usize)
    }

    /// How many connections `address` may keep.
    pub fn connections_max_of(&self, address: IpAddr) -> usize {
        let address = address.to_canonical();
        self.connections_per_ip_overrides.get(&address).copied().unwrap_or(self.connections_per_ip_max)
    }
}

/// `log.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    Direct,
    Buffered,
}

impl IoMode {
    pub fn name(self) -> &'static str {
        match self {
            IoMode::Direct => "direct",
            IoMode::Buffered => "buffered",
        }
    }
}

/// `log.flush.acks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushAcks {
    All,
    None,
}

impl FlushAcks {
    pub fn name(self) -> &'static str {
        match self {
            FlushAcks::All => "all",
            FlushAcks::None => "none",
        }
    }
}

/// What holds for the logs of all topics.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// `log.io`, as asked for; the file system has the last word.
    pub io: IoMode,
    /// `log.flush.acks`.
    pub flush_acks: FlushAcks,
    /// `log.tail.memory.bytes`, over all shards.
    pub tail_memory_bytes: usize,
    /// `log.open.files.max`, over all shards; none derives it from the limit on open files.
    pub open_files_max: Option<usize>,
    /// `log.reserve.bytes`; none for what fits the file system.
    pub reserve_bytes: Option<u64>,
    /// `log.recycle.segments.max`, for each partition.
    pub recycled_segments_max: usize,
    /// `log.journal.max.bytes`, over all shards.
    pub journal_bytes_max: u64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_start_offset_checkpoint_interval: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval: Duration,
    /// `log.initial.task.delay.ms`.
    pub initial_task_delay: Duration,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    pub cleaner: CleanerSettings,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_id_expiration_check_interval: Duration,
}

/// How logs are compacted. All but the first can be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`.
    pub backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`, over all shards.
    pub keys_bytes_max: usize,
    /// `log.cleaner.io.max.bytes.per.second`, over all shards.
    pub bytes_per_second_max: f64,
}

impl LogSettings {
    /// How many segment files a shard may keep open, with so many descriptors for the process
    /// (`RLIMIT_NOFILE`, raised). Connections have the first claim, but never on more than three quarters: a broker
    /// that cannot open its segments serves nobody.
    pub fn open_files_per_shard(&self, descriptors: usize, connections_max: usize, shards: usize) -> usize {
        let free = descriptors.saturating_sub(limits::descriptors_reserved(shards));
        let left = free.saturating_sub(connections_max).max(free / 4);
        let total = self.open_files_max.map_or(left, |asked| asked.min(left));
        (total / shards.max(1)).max(limits::OPEN_FILES_MIN as usize)
    }
}

/// How topics are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `corelane.replication.factor.strict`.
    pub replication_factor_strict: bool,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enabled: bool,
}

/// `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsConfig {
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: usize,
    /// `offsets.topic.num.partitions`.
    pub partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: u32,
    /// `offsets.load.buffer.size`.
    pub load_buffer_bytes: usize,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout: Duration,
    /// `offsets.retention.minutes`.
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
}

/// `__cluster_metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogConfig {
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_after_bytes: u64,
    /// `metadata.log.max.snapshot.interval.ms`; none for no snapshots by time.
    pub snapshot_interval: Option<Duration>,
}

/// How the log of what happens is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// `corelane.log.format`.
    pub format: LogFormat,
    /// `corelane.log.level`.
    pub level: String,
}

/// `corelane.log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl BrokerConfig {
    /// Types the settings and checks what the table alone cannot.
    pub fn new(settings: Settings, machine: &Machine) -> Result<BrokerConfig, ConfigError> {
        let shards = match settings.optional_integer("shards") {
            Some(shards) => shards as usize,
            None => machine.cores.clamp(1, limits::SHARDS_MAX),
        };
        let shard_listeners = match settings.text("shard.listeners") {
            "per-core" => ShardListeners::PerCore,
            _ => ShardListeners::Shared,
        };
        let ports = if shard_listeners == ShardListeners::PerCore { shards } else { 0 };
        let config = BrokerConfig {
            node_id: node_id(&settings, ports)?,
            rack: settings.get("broker.rack").map(str::to_owned),
            directory: directory(&settings)?,
            listeners: super::listeners::listeners(&settings, machine, ports)?,
            controller: super::listeners::controller(&settings)?,
            shards,
            shard_listeners,
            admin: admin(&settings)?,
            runtime: RuntimeConfig {
                disable: settings.text("runtime.disable").to_owned(),
                spin: Duration::from_micros(settings.integer("runtime.spin.us").unsigned_abs()),
            },
            network: network(&settings)?,
            log: log(&settings),
            topics: TopicDefaults {
                partitions: settings.integer("num.partitions") as i32,
                replication_factor: replication_factor(&settings)?,
                replication_factor_strict: settings.flag("corelane.replication.factor.strict"),
                auto_create: settings.flag("auto.create.topics.enable"),
                delete_enabled: settings.flag("delete.topic.enable"),
            },
            offsets: offsets(&settings),
            groups: groups(&settings),
            catalog: catalog(&settings),
            logging: LoggingConfig {
                format: if settings.text("corelane.log.format") == "json" { LogFormat::Json } else { LogFormat::Text },
                level: settings.text("corelane.log.level").to_owned(),
            },
            settings,
        };
        check_roles(&config.settings)?;
        TopicConfig::broker_default(&config.settings)?;
        check_group_bounds(&config.settings)?;
        Ok(config)
    }

    /// The same with what was changed while running, for all brokers and for this one.
    ///
    /// # Errors
    /// When a value is none that topics can have as their default.
    pub fn with_dynamic<'a>(
        &self,
        default: impl IntoIterator<Item = (&'a str, &'a str)>,
        broker: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<BrokerConfig, ConfigError> {
        let settings = self.settings.with_dynamic(default, broker);
        TopicConfig::broker_default(&settings)?;
        let log = LogSettings { cleaner: cleaner(&settings), ..self.log.clone() };
        Ok(BrokerConfig { log, groups: groups(&settings), settings, ..self.clone() })
    }

    /// The text of every key with its origin.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// `--profile`, or the default one.
    pub fn profile(&self) -> &'static str {
        self.settings.profile()
    }
}

/// With per-core listeners shard i is node `node.id` + i, so the last one has to be a node id too.
fn node_id(settings: &Settings, ports: usize) -> Result<i32, ConfigError> {
    let node_id = settings.integer("node.id");
    if node_id + ports as i64 > i64::from(i32::MAX) {
        let expected = format!("room for {ports} node ids, one for each shard");
        return Err(settings.bad_value("node.id", expected));
    }
    Ok(node_id as i32)
}

fn directory(settings: &Settings) -> Result<PathBuf, ConfigError> {
    let key = if settings.items("log.dirs").next().is_some() { "log.dirs" } else { "log.dir" };
    let mut directories = settings.items(key);
    match (directories.next(), directories.next()) {
        (Some(directory), None) => Ok(PathBuf::from(directory)),
        (None, _) => Err(settings.bad_value(key, "a directory")),
        _ => Err(settings.bad_value(key, "one directory, for Corelane works with a single one so far")),
    }
}

fn admin(settings: &Settings) -> Result<Option<HostPort>, ConfigError> {
    let text = settings.text("admin.listener");
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "host:port, as in 127.0.0.1:9644";
    HostPort::parse(text).map(Some).ok_or_else(|| settings.bad_value("admin.listener", expected))
}

/// -1 leaves a socket buffer to the kernel.
fn socket_buffer(settings: &Settings, key: &str) -> Result<Option<usize>, ConfigError> {
    match settings.integer(key) {
        -1 => Ok(None),
        bytes @ 1.. => Ok(Some(bytes as usize)),
        _ => Err(settings.bad_value(key, "a number of bytes, or -1 for the kernel's choice")),
    }
}

fn millis(settings: &Settings, key: &str) -> Duration {
    Duration::from_millis(settings.integer(key).max(0).unsigned_abs())
}

fn network(settings: &Settings) -> Result<NetworkConfig, ConfigError> {
    let overrides_key = "max.connections.per.ip.overrides";
    let connections_per_ip_overrides = items(settings.text(overrides_key))
        .map(|item| {
            item.rsplit_once(':')
                .and_then(|(address, count)| {
                    let address = address.trim().trim_start_matches('[').trim_end_matches(']');
                    Some((address.parse::<IpAddr>().ok()?.to_canonical(), count.trim().parse().ok()?))
                })
                .ok_or_else(|| settings.bad_value(overrides_key, "address:count, separated by commas"))
        })
        .collect::<Result<_, _>>()?;
    let queued = match settings.integer("queued.max.request.bytes") {
        // Kafka's -1 is "no bound"; a broker without one falls over, so it is our default instead.
        -1 => 256 * 1024 * 1024,
        bytes if bytes >= limits::QUEUED_BYTES_MIN => bytes as usize,
        _ => {
            let expected = format!("a whole number of at least {}, or -1", limits::QUEUED_BYTES_MIN);
            return Err(settings.bad_value("queued.max.request.bytes", expected));
        }
    };
    let idle_ms = settings.integer("connections.max.idle.ms");
    Ok(NetworkConfig {
        backlog: settings.integer("socket.listen.backlog.size") as i32,
        receive_buffer_bytes: socket_buffer(settings, "socket.receive.buffer.bytes")?,
        send_buffer_bytes: socket_buffer(settings, "socket.send.buffer.bytes")?,
        request_bytes_max: settings.size("socket.request.max.bytes"),
        connections_max: settings.size("max.connections"),
        connections_per_ip_max: settings.size("max.connections.per.ip"),
        connections_per_ip_overrides,
        idle_max: u64::try_from(idle_ms).ok().map(Duration::from_millis),
        requests_in_flight_max: settings.size("max.requests.in.flight.per.connection"),
        queued_request_bytes_max: queued,
        queued_response_bytes_max: settings.size("queued.max.response.bytes"),
        fetch_sessions_max: settings.size("max.incremental.fetch.session.cache.slots"),
        fetch_bytes_max: settings.size("fetch.max.bytes"),
        described_partitions_max: settings.size("max.request.partition.size.limit"),
    })
}

fn log(settings: &Settings) -> LogSettings {
    LogSettings {
        io: if settings.text("log.io") == "buffered" { IoMode::Buffered } else { IoMode::Direct },
        flush_acks: if settings.text("log.flush.acks") == "none" { FlushAcks::None } else { FlushAcks::All },
        tail_memory_bytes: settings.size("log.tail.memory.bytes"),
        open_files_max: settings.optional_integer("log.open.files.max").map(|files| files as usize),
        reserve_bytes: settings.optional_integer("log.reserve.bytes").map(i64::unsigned_abs),
        recycled_segments_max: settings.size("log.recycle.segments.max"),
        journal_bytes_max: settings.integer("log.journal.max.bytes").unsigned_abs(),
        recovery_point_checkpoint_interval: millis(settings, "log.flush.offset.checkpoint.interval.ms"),
        log_start_offset_checkpoint_interval: millis(settings, "log.flush.start.offset.checkpoint.interval.ms"),
        high_watermark_checkpoint_interval: millis(settings, "replica.high.watermark.checkpoint.interval.ms"),
        initial_task_delay: millis(settings, "log.initial.task.delay.ms"),
        retention_check_interval: millis(settings, "log.retention.check.interval.ms"),
        cleaner: cleaner(settings),
        producer_id_expiration: millis(settings, "producer.id.expiration.ms"),
        producer_id_expiration_check_interval: millis(settings, "producer.id.expiration.check.interval.ms"),
    }
}

fn cleaner(settings: &Settings) -> CleanerSettings {
    CleanerSettings {
        enabled: settings.flag("log.cleaner.enable"),
        backoff: millis(settings, "log.cleaner.backoff.ms"),
        keys_bytes_max: settings.integer("log.cleaner.dedupe.buffer.size").max(0) as usize,
        bytes_per_second_max: settings.text("log.cleaner.io.max.bytes.per.second").parse().unwrap_or(f64::MAX),
    }
}

fn replication_factor(settings: &Settings) -> Result<i16, ConfigError> {
    let key = "default.replication.factor";
    i16::try_from(settings.integer(key))
        .ok()
        .filter(|&factor| factor == -1 || factor > 0)
        .ok_or_else(|| settings.bad_value(key, "a whole number from 1 to 32767"))
}

fn offsets(settings: &Settings) -> OffsetsConfig {
    OffsetsConfig {
        metadata_bytes_max: settings.integer("offset.metadata.max.bytes").max(0) as usize,
        partitions: settings.integer("offsets.topic.num.partitions") as i32,
        replication_factor: settings.integer("offsets.topic.replication.factor") as i16,
        segment_bytes: settings.integer("offsets.topic.segment.bytes") as u32,
        load_buffer_bytes: settings.size("offsets.load.buffer.size"),
        commit_timeout: millis(settings, "offsets.commit.timeout.ms"),
        retention: Duration::from_secs(settings.integer("offsets.retention.minutes").unsigned_abs() * 60),
        retention_check_interval: millis(settings, "offsets.retention.check.interval.ms"),
    }
}

fn catalog(settings: &Settings) -> CatalogConfig {
    let snapshot_interval = millis(settings, "metadata.log.max.snapshot.interval.ms");
    CatalogConfig {
        snapshot_after_bytes: settings.integer("metadata.log.max.record.bytes.between.snapshots").unsigned_abs(),
        snapshot_interval: (!snapshot_interval.is_zero()).then_some(snapshot_interval),
    }
}

/// A process that is controller alone would have nothing to do here.
fn check_roles(settings: &Settings) -> Result<(), ConfigError> {
    if settings.items("process.roles").any(|role| role == "broker") {
        return Ok(());
    }
    Err(settings.bad_value("process.roles", "broker, or broker,controller"))
}

#[cfg(test)]
mod tests;
