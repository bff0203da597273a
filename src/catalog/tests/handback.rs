//! A data directory for Apache Kafka to start on, made without a running broker. By hand, with the result given to
//! `tests/handback/kafka-on-copy.sh`:
//!
//! ```text
//! CORELANE_HANDBACK_DIR=/tmp/data cargo test --lib -- --ignored makes_a_directory_for_kafka
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use super::super::{metadata_dir, snapshot};
use super::{TestLog, create, start, stop};
use crate::log::{self, CleanShutdownMarks, LoadOptions, LogConfig, names};
use crate::record::{BatchBuilder, BatchOptions};
use crate::types::{LeaderEpoch, Offset, TopicPartition};

#[test]
#[ignore = "writes where it is told to, for Apache Kafka to read"]
fn makes_a_directory_for_kafka() {
    let log_dir = PathBuf::from(std::env::var_os("CORELANE_HANDBACK_DIR").expect("CORELANE_HANDBACK_DIR is set"));
    std::fs::create_dir_all(&log_dir).expect("created");
    let marks = CleanShutdownMarks::new(&log_dir);
    let state = marks.begin(0).expect("marked");
    let (mut loaded, mut catalog_log) = start(&log_dir, state);
    println!("adopted {}, new {}", loaded.adopted, loaded.is_new);
    for (topic, partitions) in [("alpha", 3), ("be.ta", 1), ("__consumer_offsets", 50)] {
        if loaded.catalog.image().topic(topic).is_none() {
            create(&mut loaded, &mut catalog_log, topic, partitions);
        }
    }
    let image = Arc::clone(loaded.catalog.image());
    for topic in image.topics() {
        for (index, partition) in topic.partitions.iter().enumerate() {
            let topic_partition = TopicPartition { topic: Arc::clone(&topic.name), partition: index as i32 };
            let dir = log_dir.join(topic_partition.to_string());
            let loaded = log::load(&LoadOptions {
                clean: state.clean,
                leader_epoch: partition.leader_epoch,
                adopted: state.adopted,
                commit_reach_bytes: u64::MAX,
                ..LoadOptions::of_new(dir, topic_partition, topic.id, LogConfig::default(), super::NOW)
            })
            .expect("the partition loads");
            println!(
                "{} from {} to {} leads with epoch {}",
                loaded.topic_partition, loaded.log_start_offset, loaded.log_end_offset, partition.leader_epoch
            );
            let mut log = TestLog::new(&loaded);
            for suffix in ["index", "timeindex"] {
                let path = log.path.with_extension(suffix);
                std::fs::OpenOptions::new().create(true).append(true).open(path).expect("made");
            }
            if !topic.is_internal() {
                append(&mut log, &loaded.topic_partition.to_string(), partition.leader_epoch);
            }
        }
    }
    // What a snapshot covers goes from the log, as far as it is in sealed segments.
    let metadata = metadata_dir(&log_dir);
    let id = snapshot::write(&metadata, loaded.catalog.image()).expect("written").expect("nothing is unknown");
    snapshot::remove_older(&metadata, id).expect("removed");
    for segment in &loaded.log.sealed {
        println!("the catalog's segment {} goes", segment.base_offset);
        let path = names::log_file(&metadata, segment.base_offset);
        for suffix in ["log", "index", "timeindex"] {
            std::fs::remove_file(path.with_extension(suffix)).ok();
        }
    }
    let broker_epoch = loaded.catalog.image().broker_epoch();
    stop(&log_dir, loaded, catalog_log);
    marks.finish(broker_epoch).expect("marked");
}

/// Batches in the active segment. Its index files stay empty, which is right for so few bytes.
fn append(log: &mut TestLog, name: &str, leader_epoch: LeaderEpoch) {
    for batch in 0..5 {
        let base_offset = Offset(log.next);
        let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch, ..BatchOptions::default() });
        for record in 0..20 {
            let value = format!("{name} batch {batch} record {record} from {base_offset}");
            builder.append(super::NOW + record, None, Some(value.as_bytes()), &[]);
        }
        let bytes = builder.build();
        log.append(base_offset.0, base_offset.0 + 19, &bytes);
    }
}
