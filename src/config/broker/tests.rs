use super::*;
use crate::config::keys::broker_key;
use crate::config::{Sources, profiles};

fn config_of(sources: &Sources) -> Result<BrokerConfig, String> {
    let (settings, _) = Settings::load(sources).map_err(|error| error.to_string())?;
    let machine = Machine { cores: 2, host_name: "box.example".to_owned() };
    BrokerConfig::new(settings, &machine).map_err(|error| error.to_string())
}

fn config(file: &str) -> Result<BrokerConfig, String> {
    config_of(&Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() })
}

#[test]
fn a_start_without_any_setting_has_what_it_needs() {
    let config = config_of(&Sources::default()).expect("the defaults are valid");
    assert_eq!((config.node_id, config.shards, config.shard_listeners), (1, 2, ShardListeners::Shared));
    assert_eq!(config.directory, PathBuf::from("corelane-data"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!((config.log.io, config.log.flush_acks), (IoMode::Direct, FlushAcks::All));
    assert_eq!((config.admin, config.network.receive_buffer_bytes), (None, None));
    assert_eq!(config.network.idle_max, Some(Duration::from_secs(600)));
    assert_eq!(config.topics.partitions, 1);
}

#[test]
fn every_limit_is_finite_by_default() {
    let network = config("").expect("the defaults are valid").network;
    assert!(network.connections_max < i32::MAX as usize && network.connections_per_ip_max <= network.connections_max);
    assert!(network.idle_max.is_some());
    assert!(network.queued_request_bytes_max < usize::MAX / 2);
    let unlimited = config("queued.max.request.bytes=-1").expect("Kafka's default is taken").network;
    assert_eq!(unlimited.queued_request_bytes_max, network.queued_request_bytes_max);
}

#[test]
fn a_shards_share_holds_the_largest_request() {
    let network = config("").expect("the defaults are valid").network;
    assert_eq!(network.queued_request_bytes_per_shard(2), 128 << 20);
    assert_eq!(network.queued_request_bytes_per_shard(64), (100 << 20) + 4);
}

#[test]
fn segments_get_the_descriptors_that_connections_leave() {
    let log = config("").expect("the defaults are valid").log;
    // 20,000 descriptors, two shards (128 in reserve), 10,000 connections.
    assert_eq!(log.open_files_per_shard(20_000, 10_000, 2), (20_000 - 128 - 10_000) / 2);
    assert_eq!(log.open_files_per_shard(20_000, 50_000, 2), (20_000 - 128) / 4 / 2);
    assert_eq!(log.open_files_per_shard(64, 50_000, 2), 16);
    let asked = config("log.open.files.max=100").expect("it is valid").log;
    assert_eq!(asked.open_files_per_shard(20_000, 10_000, 2), 50);
}

#[test]
fn connections_of_some_addresses_have_limits_of_their_own() {
    let network = config("max.connections.per.ip=5\nmax.connections.per.ip.overrides=127.0.0.1:7, [::1]:9")
        .expect("it is valid")
        .network;
    let of = |text: &str| network.connections_max_of(text.parse().expect("an address"));
    assert_eq!((of("127.0.0.1"), of("::1"), of("10.0.0.1"), of("::ffff:127.0.0.1")), (7, 9, 5, 7));
}

#[test]
fn what_cannot_be_is_said_in_one_sentence() {
    let cases = [
        ("log.dirs=/a,/b", "expected one directory, for Corelane works with a single one so far."),
        ("process.roles=controller", "expected broker, or broker,controller."),
        ("socket.send.buffer.bytes=0", "expected a number of bytes, or -1 for the kernel's choice."),
        ("max.connections.per.ip.overrides=host", "expected address:count, separated by commas."),
        ("queued.max.request.bytes=5", "expected a whole number of at least 1048576, or -1."),
        ("admin.listener=9644", "expected host:port, as in 127.0.0.1:9644."),
        ("default.replication.factor=0", "expected a whole number from 1 to 32767."),
        ("shards=0", "expected a whole number from 1 to 256."),
        ("shard.listeners=per-core\nnode.id=2147483646", "expected room for 2 node ids, one for each shard."),
        (
            "log.cleaner.min.compaction.lag.ms=9\nlog.cleaner.max.compaction.lag.ms=8",
            "expected at most max.compaction.lag.ms, which is 8.",
        ),
        ("metadata.log.dir=/x", "cannot be taken: the catalog lives in log.dirs."),
        ("runtime.disable=nothing", "msg-ring, cqe-skip and min-wait, separated by commas."),
    ];
    for (file, end) in cases {
        let sentence = config(file).expect_err("it is not valid");
        assert!(sentence.ends_with(end) && sentence.contains("(s.properties, line "), "{file}: {sentence}");
    }
}

#[test]
fn log_dirs_goes_before_log_dir() {
    let directory = |file: &str| config(file).expect("it is valid").directory;
    assert_eq!(directory("log.dir=/a"), PathBuf::from("/a"));
    assert_eq!(directory("log.dir=/a\nlog.dirs=/b"), PathBuf::from("/b"));
}

#[test]
fn profiles_use_known_keys_that_work_and_explain_each() {
    for profile in profiles::PROFILES {
        let sources = Sources { profile: Some(profile.name.to_owned()), ..Sources::default() };
        let (settings, notes) = Settings::load(&sources).expect("a profile loads");
        assert_eq!(notes, [], "{}", profile.name);
        assert_eq!(config_of(&sources).expect("a profile is valid").profile(), profile.name);
        let mut explained = false;
        for line in profile.text.lines() {
            if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                assert!(explained, "{}: {key} has a comment before it", profile.file);
                let key = broker_key(key).expect("a known key");
                if profile.name == profiles::DEFAULT {
                    assert_eq!(settings.get(key.name), key.default, "{}", key.name);
                }
            }
            explained = line.starts_with('#');
        }
    }
}

/// `config/server.properties` of Apache Kafka 4.x: its settings, without its comments.
const KAFKA_SERVER_PROPERTIES: &str = "
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn kafkas_own_server_properties_is_taken_unchanged() {
    let config = config(KAFKA_SERVER_PROPERTIES).expect("it is valid");
    assert_eq!(config.directory, PathBuf::from("/tmp/kraft-combined-logs"));
    let [listener] = &config.listeners[..] else { panic!("one listener for clients") };
    assert_eq!(
        (listener.to_string(), listener.advertised.to_string()),
        ("PLAINTEXT://:9092".to_owned(), "localhost:9092".to_owned())
    );
    assert_eq!(config.network.send_buffer_bytes, Some(102_400));
    let sources = Sources {
        file: Some(("server.properties".to_owned(), KAFKA_SERVER_PROPERTIES.to_owned())),
        ..Sources::default()
    };
    let (_, notes) = Settings::load(&sources).expect("it loads");
    assert!(notes.iter().all(|note| matches!(note, crate::config::ConfigNote::WithoutEffect { .. })), "{notes:?}");
    let said = notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("num.network.threads, num.io.threads (Corelane runs one thread per core"), "{said}");
}

#[test]
fn kafkas_file_of_the_zookeeper_days_is_taken_too() {
    let file = "broker.id=0\nlog.dirs=/tmp/kafka-logs\nzookeeper.connect=localhost:2181\n\
                zookeeper.connection.timeout.ms=18000\ngroup.initial.rebalance.delay.ms=0\nnum.io.threads=8";
    assert_eq!(config(file).expect("it is valid").node_id, 0);
}
