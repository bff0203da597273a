//! The catalog against bytes that Apache Kafka 4.3.1 wrote (`testdata`: a quorum of one, one run), and against itself.

mod commands;
mod configs;
mod handback;
mod kafka_bytes;
mod lifecycle;

use std::path::Path;
use std::sync::Arc;

use super::batches::BatchFile;
use super::commands::{BrokerEndpoint, NewTopic, PlacingRules, Registration, create_topics};
use super::image::{CatalogImage, Identity};
use super::snapshot::all_records;
use super::{Catalog, CatalogOptions, Loaded, MetadataRecord, Prepared, TopicImage};
use crate::config::{Settings, Sources};
use crate::log::{DirState, LoadedLog, names};
use crate::record::RecordIter;
use crate::types::KafkaUuid;

pub(super) fn identity() -> Identity {
    Identity {
        cluster_id: Arc::from("vPeOCWypqUOSepEvx0cbog"),
        node_id: 1,
        directory_id: KafkaUuid::parse("eiF_VlXyR7anmDjmSKfK9A").expect("an id"),
    }
}

/// The values of all records of a file that are no control records.
fn values(path: &Path) -> Vec<Vec<u8>> {
    let mut file = BatchFile::open(path, None).expect("it opens");
    let mut values = Vec::new();
    while let Some((header, batch)) = file.next_batch().expect("a batch") {
        if header.attributes.is_control() {
            continue;
        }
        let mut records = RecordIter::new(batch).expect("a batch");
        while let Some(record) = records.next_record().expect("a record") {
            assert_eq!(record.key, None);
            values.push(record.value.expect("a value").to_vec());
        }
    }
    values
}

fn testdata(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/testdata").join(name)
}

/// All that an image holds. Kafka lists a broker's features in no order.
fn contents(image: &CatalogImage) -> Vec<MetadataRecord> {
    let sorted = |mut record| {
        if let MetadataRecord::RegisterBroker(broker) = &mut record {
            broker.features.sort_by(|a, b| a.name.cmp(&b.name));
        }
        record
    };
    all_records(image).map(sorted).collect()
}

fn options(log_dir: &Path, dir_state: DirState) -> CatalogOptions {
    CatalogOptions {
        log_dir: log_dir.to_owned(),
        node_id: 1,
        cluster_id: None,
        controller: None,
        shard_count: 4,
        features: super::features::FORMAT_LEVELS.to_vec(),
        min_insync_replicas: 1,
        snapshot_after_bytes: 20 << 20,
        dir_state,
        accept_damage: false,
        now_ms: NOW,
    }
}

const NOW: i64 = 1_795_000_000_000;
const NEW: DirState = DirState { clean: false, adopted: true, commit_reach_bytes: u64::MAX, broker_epoch: None };
const CLEAN: DirState = DirState { clean: true, adopted: false, commit_reach_bytes: u64::MAX, broker_epoch: None };

const ADOPTED: DirState = DirState { adopted: true, ..CLEAN };

/// A log that is written as the appender would, without its ring.
struct TestLog {
    path: std::path::PathBuf,
    next: i64,
}

impl TestLog {
    fn new(log: &LoadedLog) -> TestLog {
        TestLog { path: names::log_file(&log.dir, log.active.base_offset), next: log.log_end_offset.0 }
    }

    fn append(&mut self, base_offset: i64, last_offset: i64, bytes: &[u8]) {
        use std::io::Write;
        assert_eq!(base_offset, self.next);
        self.next = last_offset + 1;
        let mut file = std::fs::OpenOptions::new().append(true).open(&self.path).expect("the active segment");
        file.write_all(bytes).expect("written");
    }

    fn commit(&mut self, catalog: &mut Catalog, step: &Prepared) {
        for batch in &step.batches {
            self.append(batch.base_offset.0, batch.last_offset.0, &batch.bytes);
        }
        catalog.commit(step);
    }
}

fn registration() -> Registration {
    Registration {
        incarnation_id: KafkaUuid::random(),
        endpoints: vec![BrokerEndpoint {
            name: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
            security_protocol: 0,
        }],
        rack: None,
        features: super::features::CATALOG_FEATURES.to_vec(),
    }
}

/// A start, up to where the shards would serve.
fn start(log_dir: &Path, dir_state: DirState) -> (Loaded, TestLog) {
    let (mut loaded, mut log) = load(log_dir, dir_state);
    let step = loaded.catalog.begin(&registration(), NOW).expect("it begins");
    log.commit(&mut loaded.catalog, &step);
    (loaded, log)
}

/// A clean stop.
fn stop(log_dir: &Path, mut loaded: Loaded, mut log: TestLog) {
    let step = loaded.catalog.end(NOW).expect("no error").expect("it is registered");
    log.commit(&mut loaded.catalog, &step);
    let placement = loaded.placement.settled(loaded.catalog.image(), 4);
    placement.write(log_dir, loaded.catalog.stopped()).expect("written");
}

fn create(loaded: &mut Loaded, log: &mut TestLog, name: &str, num_partitions: i32) -> Arc<TopicImage> {
    let settings = Settings::load(&Sources::default()).expect("the defaults").0;
    let rules = PlacingRules { default_partitions: 1, strict_replication_factor: false };
    let new = NewTopic { name, num_partitions, replication_factor: -1, assignments: vec![], configs: vec![] };
    let catalog = &mut loaded.catalog;
    let mut made = create_topics(catalog.prepared_image(), &settings, rules, &[new], KafkaUuid::random);
    let (_, created) = made.pop().expect("an answer");
    let step = catalog.prepare(&created.expect("it can be").records, NOW).expect("it fits");
    log.commit(catalog, &step);
    Arc::clone(catalog.image().topic(name).expect("it is there"))
}

fn load(log_dir: &Path, dir_state: DirState) -> (Loaded, TestLog) {
    let loaded = Catalog::bootstrap_or_load(&options(log_dir, dir_state)).expect("it loads");
    let log = TestLog::new(&loaded.log);
    (loaded, log)
}

#[test]
fn images_go_to_all_shards() {
    fn shared<T: Send + Sync>() {}
    shared::<CatalogImage>();
    shared::<super::SnapshotJob>();
}
