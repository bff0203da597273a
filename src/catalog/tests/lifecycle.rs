//! Starts, steps and stops of a catalog in a data directory.

use super::super::commands::{
    ConfigChange, ConfigOp, ConfigRequest, ConfigTarget, TopicRef, alter_configs, delete_topic,
};
use super::super::features::{FORMAT_LEVELS, METADATA_VERSION_MAX};
use super::super::placement::LastRun;
use super::super::quorum::{ControllerEndpoint, QuorumState};
use super::super::records::{
    AbortTransactionRecord, BeginTransactionRecord, EndTransactionRecord, FeatureLevelRecord, NoOpRecord, TopicRecord,
};
use super::super::{
    Catalog, CatalogChange, CatalogError, CatalogImage, CatalogOptions, MetadataRecord, NO_LEADER, Placement,
    ResourceType, metadata_dir, snapshot,
};
use super::{ADOPTED, CLEAN, NEW, NOW, TestLog, contents, create, load, options, start, stop};
use crate::config::{Settings, Sources};
use crate::error_code::ErrorCode;
use crate::log::names;
use crate::record::{BatchBuilder, BatchOptions};
use crate::types::{KafkaUuid, LeaderEpoch, Offset, PartitionId, TopicId};

#[test]
fn a_new_directory_gets_a_catalog() {
    let dir = tempfile::tempdir().expect("a directory");
    let (loaded, log) = start(dir.path(), NEW);
    assert!(loaded.is_new && !loaded.adopted);
    let image = loaded.catalog.image();
    assert_eq!(image.metadata_version().0, METADATA_VERSION_MAX);
    assert_eq!(image.feature("eligible.leader.replicas.version"), 1);
    let min_isr = image.config(ResourceType::BROKER, "").and_then(|map| map.get("min.insync.replicas"));
    assert_eq!(min_isr.map(|value| &**value), Some("1"));
    let broker = image.broker(1).expect("registered");
    assert!(!broker.fenced);
    // Three control records, six features and a config; the broker's epoch is its record's offset.
    assert_eq!(image.broker_epoch(), 10);
    assert_eq!(image.position().end_offset, Offset(12));
    assert_eq!(image.position().leader_epoch, LeaderEpoch(1));
    assert_eq!(image.quorum().voters.as_ref().map(|voters| voters.voters.len()), Some(1));
    let names = ["meta.properties", "bootstrap.checkpoint", "corelane.placement"];
    for name in names {
        assert!(dir.path().join(name).is_file(), "{name}");
    }
    let metadata = metadata_dir(dir.path());
    for name in ["00000000000000000000-0000000000.checkpoint", "quorum-state", "partition.metadata"] {
        assert!(metadata.join(name).is_file(), "{name}");
    }
    stop(dir.path(), loaded, log);
}

#[test]
fn every_start_raises_every_epoch() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let id = create(&mut loaded, &mut log, "alpha", 3).id;
    let cluster_id = loaded.catalog.image().cluster_id().clone();
    stop(dir.path(), loaded, log);
    for run in 2..5 {
        let (loaded, log) = start(dir.path(), CLEAN);
        assert!(!loaded.is_new && !loaded.adopted);
        let image = loaded.catalog.image();
        assert_eq!(image.cluster_id(), &cluster_id);
        assert_eq!(image.position().leader_epoch, LeaderEpoch(run));
        let state = QuorumState::read(&metadata_dir(dir.path())).expect("read").expect("it is there");
        assert_eq!((state.leader_epoch, state.static_voters), (LeaderEpoch(run), None));
        let alpha = image.topic_by_id(id).expect("it is there");
        assert_eq!(alpha.partitions.len(), 3);
        for partition in &alpha.partitions {
            // One for the end of the last run, one for the start of this.
            assert_eq!((partition.leader, partition.leader_epoch), (1, LeaderEpoch(2 * (run - 1))));
            assert_eq!((&*partition.isr, partition.partition_epoch), (&[1][..], 2 * (run - 1)));
            assert!(partition.elr.is_empty());
        }
        stop(dir.path(), loaded, log);
    }
}

#[test]
fn a_clean_stop_leaves_partitions_as_kafkas_does() {
    for (features, isr, elr) in [(FORMAT_LEVELS.to_vec(), &[][..], &[1][..]), (Vec::new(), &[1][..], &[][..])] {
        let dir = tempfile::tempdir().expect("a directory");
        let options = CatalogOptions { features, ..options(dir.path(), NEW) };
        let mut loaded = Catalog::bootstrap_or_load(&options).expect("it loads");
        let mut log = TestLog::new(&loaded.log);
        let step = loaded.catalog.begin(&super::registration(), NOW).expect("it begins");
        log.commit(&mut loaded.catalog, &step);
        create(&mut loaded, &mut log, "alpha", 2);
        let step = loaded.catalog.end(NOW).expect("no error").expect("it is registered");
        for partition in &step.image.topic("alpha").expect("it is there").partitions {
            assert_eq!((partition.leader, &*partition.isr, &*partition.elr), (NO_LEADER, isr, elr));
            assert_eq!((partition.leader_epoch, partition.partition_epoch), (LeaderEpoch(1), 1));
        }
        assert!(step.image.broker(1).is_some_and(|broker| broker.fenced));
        let again = loaded.catalog.end(NOW).expect("no error").expect("it is registered");
        assert_eq!(again.changes, [], "who leads nothing has nothing to give up");
    }
}

#[test]
fn a_claimed_epoch_is_never_used_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    // Each start breaks off before it writes anything in its epoch.
    for run in 1..4 {
        let (loaded, _) = load(dir.path(), if run == 1 { NEW } else { CLEAN });
        assert_eq!(loaded.catalog.leader_epoch(), LeaderEpoch(run));
    }
    let (loaded, _) = start(dir.path(), CLEAN);
    assert_eq!(loaded.catalog.image().position().leader_epoch, LeaderEpoch(4));
    assert_eq!(loaded.catalog.image().metadata_version().0, METADATA_VERSION_MAX);
}

#[test]
fn steps_say_what_they_change() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let settings = Settings::load(&Sources::default()).expect("the defaults").0;
    let alpha = create(&mut loaded, &mut log, "alpha", 1);
    let catalog = &mut loaded.catalog;

    let target = ConfigTarget { resource_type: ResourceType::TOPIC, name: "alpha" };
    let set = ConfigChange { key: "retention.ms", op: ConfigOp::Set, value: Some("5") };
    let records = alter_configs(catalog.prepared_image(), &settings, target, &ConfigRequest::Change(vec![set]))
        .expect("it can be");
    let first = catalog.prepare(&records, NOW).expect("it fits");
    let name = alpha.name.clone();
    assert_eq!(first.changes, [CatalogChange::ConfigChanged { resource_type: ResourceType::TOPIC, name }]);

    // Prepared on top of the first, before that is durable.
    let (gone, remove) = delete_topic(catalog.prepared_image(), TopicRef::Name("alpha")).expect("it is there");
    let again = TopicRecord { name: "alpha".into(), topic_id: KafkaUuid([7; 16]) };
    let second = catalog.prepare(&[remove, again.into()], NOW).expect("it fits");
    let made = second.image.topic("alpha").expect("it is there").clone();
    assert_eq!(second.changes, [CatalogChange::TopicDeleted(gone), CatalogChange::TopicCreated(made)]);
    assert_eq!(catalog.image().topic_overrides("alpha").count(), 0, "nothing is committed yet");
    log.commit(catalog, &first);
    assert_eq!(catalog.image().topic_overrides("alpha").collect::<Vec<_>>(), [("retention.ms", "5")]);
    log.commit(catalog, &second);
    assert_eq!(catalog.image().topic_overrides("alpha").count(), 0, "it went with the topic");

    let nothing = catalog.prepare(&[], NOW).expect("it is nothing");
    assert!(nothing.batches.is_empty() && nothing.changes.is_empty());
    log.commit(catalog, &nothing);
    let wrong = MetadataRecord::from(TopicRecord { name: "alpha".into(), topic_id: TopicId::random() });
    let before = contents(catalog.prepared_image());
    catalog.prepare(&[NoOpRecord::default().into(), wrong], NOW).expect_err("it is there already");
    assert_eq!(contents(catalog.prepared_image()), before, "a step is taken whole or not at all");
}

#[test]
#[should_panic(expected = "the step to commit begins at")]
fn steps_are_committed_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, _) = start(dir.path(), NEW);
    let no_op = [NoOpRecord::default().into()];
    let _first = loaded.catalog.prepare(&no_op, NOW).expect("it fits");
    let second = loaded.catalog.prepare(&no_op, NOW).expect("it fits");
    loaded.catalog.commit(&second);
}

#[test]
fn a_step_that_failed_is_forgotten_or_the_last() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let catalog = &mut loaded.catalog;
    let no_op: [MetadataRecord; 1] = [NoOpRecord::default().into()];
    // The disk was full: the log took nothing, and later takes the next.
    catalog.prepare(&no_op, NOW).expect("it fits");
    catalog.step_failed(Offset(log.next));
    let step = catalog.prepare(&no_op, NOW).expect("it fits");
    log.commit(catalog, &step);
    // The log may have kept some of it.
    catalog.prepare(&no_op, NOW).expect("it fits");
    catalog.step_failed(Offset(log.next + 1));
    let error = catalog.prepare(&no_op, NOW).expect_err("nobody knows where it would stand");
    assert_eq!(error.code, ErrorCode::KafkaStorageError);
}

#[test]
fn a_step_past_one_batch_is_a_transaction() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let topic = |number: i32| TopicRecord { name: format!("{number:0249}").into(), topic_id: TopicId::random() }.into();
    let records: Vec<MetadataRecord> = (0..5000).map(topic).collect();
    let step = loaded.catalog.prepare(&records, NOW).expect("it fits");
    assert!(step.batches.len() > 1);
    assert!(step.batches.iter().all(|batch| batch.bytes.len() <= 1 << 20));
    // Only its first batches arrive: nothing of it applies, and the next start aborts it.
    let before = contents(loaded.catalog.image());
    for batch in &step.batches[..step.batches.len() - 1] {
        log.append(batch.base_offset.0, batch.last_offset.0, &batch.bytes);
    }
    drop(loaded);
    let (mut loaded, mut log) = load(dir.path(), CLEAN);
    assert_eq!(contents(loaded.catalog.image()), before);
    let step = loaded.catalog.begin(&super::registration(), NOW).expect("it begins");
    log.commit(&mut loaded.catalog, &step);
    // The broker's epoch is the offset behind the leader change and the abort.
    let aborted_at = step.batches[1].base_offset;
    assert_eq!(loaded.catalog.image().broker_epoch(), aborted_at.0 + 1);
    assert_eq!(loaded.catalog.image().topic_count(), 0);
    let step = loaded.catalog.prepare(&records, NOW).expect("it fits");
    log.commit(&mut loaded.catalog, &step);
    // Time is over for any change.
    let by_time = loaded.catalog.snapshot_of_changes().expect("omega came since").run();
    let taken_at = loaded.catalog.image().position().end_offset;
    assert_eq!(loaded.catalog.snapshot_ended(&by_time), Some(taken_at));
    assert!(loaded.catalog.snapshot_of_changes().is_none(), "nothing has changed since");
    let whole = contents(loaded.catalog.image());
    drop(loaded);
    let (loaded, _) = load(dir.path(), CLEAN);
    assert_eq!(contents(loaded.catalog.image()), whole);
    assert_eq!(loaded.catalog.image().topic_count(), 5000);
}

#[test]
fn transactions_of_kafka_apply_when_they_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (loaded, mut log) = start(dir.path(), NEW);
    drop(loaded);
    let topic = |name: &str| MetadataRecord::from(TopicRecord { name: name.into(), topic_id: TopicId::random() });
    let write = |log: &mut TestLog, records: &[MetadataRecord]| {
        let base_offset = Offset(log.next);
        let options = BatchOptions { base_offset, leader_epoch: LeaderEpoch(1), ..BatchOptions::default() };
        let mut batch = BatchBuilder::new(options);
        for record in records {
            let value = record.encode(super::super::features::MetadataVersion(30)).expect("it can be written");
            batch.append(NOW, None, Some(&value), &[]);
        }
        let last = log.next + records.len() as i64 - 1;
        log.append(base_offset.0, last, &batch.build());
    };
    let names = |image: &CatalogImage| image.topics().map(|topic| topic.name.to_string()).collect::<Vec<_>>();
    write(&mut log, &[BeginTransactionRecord::default().into(), topic("a")]);
    write(&mut log, &[topic("b"), EndTransactionRecord::default().into(), topic("c")]);
    write(&mut log, &[BeginTransactionRecord::default().into(), topic("d")]);
    write(&mut log, &[topic("e"), AbortTransactionRecord::default().into(), topic("f")]);
    let (loaded, mut log) = load(dir.path(), CLEAN);
    assert_eq!(names(loaded.catalog.image()), ["a", "b", "c", "f"]);
    drop(loaded);
    write(&mut log, &[EndTransactionRecord::default().into()]);
    let error = Catalog::bootstrap_or_load(&options(dir.path(), CLEAN)).expect_err("it ends what has not begun");
    assert!(error.to_string().contains("no transaction is open"), "{error}");
}

#[test]
fn a_snapshot_stands_for_the_log_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    create(&mut loaded, &mut log, "alpha", 2);
    assert!(loaded.catalog.snapshot_due().is_none(), "the log is short");
    let mut made = 0;
    let job = loop {
        if let Some(job) = loaded.catalog.snapshot_due() {
            break job;
        }
        create(&mut loaded, &mut log, &format!("t{made}"), 10_000);
        made += 1;
    };
    assert!(loaded.catalog.snapshot_due().is_none(), "one at a time");
    let taken_at = loaded.catalog.image().position().end_offset;
    create(&mut loaded, &mut log, "omega", 1);
    let result = job.run();
    assert_eq!(loaded.catalog.snapshot_ended(&result), Some(taken_at));
    let metadata = metadata_dir(dir.path());
    assert_eq!(snapshot::list(&metadata).expect("listed").len(), 1, "the older one is gone");
    let whole = contents(loaded.catalog.image());
    stop(dir.path(), loaded, log);
    let (loaded, _) = load(dir.path(), CLEAN);
    let image = loaded.catalog.image();
    assert_eq!(image.partition_count(), 2 + 1 + made * 10_000);
    let topics = |records: &[MetadataRecord]| {
        records.iter().filter(|of| matches!(of, MetadataRecord::Partition(_) | MetadataRecord::Topic(_))).count()
    };
    assert_eq!(topics(&contents(image)), topics(&whole));
    // Without the log's beginning it loads too; without the snapshot it does not.
    let error = {
        let path = metadata.join(snapshot::list(&metadata).expect("listed")[0].file_name());
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("written");
        Catalog::bootstrap_or_load(&options(dir.path(), CLEAN)).expect_err("the snapshot is cut")
    };
    assert!(matches!(error, CatalogError::Malformed { .. }), "{error}");
}

#[test]
fn a_start_removes_the_log_that_a_snapshot_covers() {
    let dir = tempfile::tempdir().expect("a directory");
    let (loaded, log) = start(dir.path(), NEW);
    stop(dir.path(), loaded, log);
    // Each start on files of another broker begins a segment of its own.
    let (mut loaded, mut log) = start(dir.path(), ADOPTED);
    create(&mut loaded, &mut log, "alpha", 2);
    let metadata = metadata_dir(dir.path());
    let image = loaded.catalog.image().clone();
    stop(dir.path(), loaded, log);
    let (loaded, log) = start(dir.path(), ADOPTED);
    let segments = || {
        let names = std::fs::read_dir(&metadata).expect("listed").map(|entry| entry.expect("a name").file_name());
        let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
        names.retain(|name| name.ends_with(names::LOG_SUFFIX));
        names.sort();
        names
    };
    assert_eq!(segments().len(), 3);
    stop(dir.path(), loaded, log);
    let id = snapshot::write(&metadata, &image).expect("written").expect("nothing is unknown");
    let (loaded, log) = start(dir.path(), CLEAN);
    // The segment that the snapshot ends in stays.
    let left = segments();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0] < format!("{:020}.log", id.end_offset.0));
    assert_eq!(loaded.catalog.image().topic("alpha").map(|topic| topic.partition_count()), Some(2));
    stop(dir.path(), loaded, log);
    let (loaded, _) = start(dir.path(), CLEAN);
    assert_eq!(loaded.catalog.image().partition_count(), 2);
}

#[test]
fn placement_is_kept_and_settled() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let id = create(&mut loaded, &mut log, "alpha", 6).id;
    stop(dir.path(), loaded, log);
    let mut two = options(dir.path(), CLEAN);
    two.shard_count = 2;
    let loaded = Catalog::bootstrap_or_load(&two).expect("it loads");
    assert_eq!(loaded.placement.loads(), [3, 3]);
    assert!(loaded.placement.shard(PartitionId { topic_id: id, partition: 5 }).is_some());
    // The file says that the broker runs.
    let (_, last_run) = Placement::read(dir.path()).expect("read").expect("it is there");
    assert_eq!(last_run, Some(LastRun::Running { leader_epoch: LeaderEpoch(2) }));
}

#[test]
fn a_catalog_that_somebody_else_wrote_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (loaded, log) = start(dir.path(), NEW);
    stop(dir.path(), loaded, log);
    let before = std::fs::read(dir.path().join("corelane.placement")).expect("read");
    let (loaded, log) = start(dir.path(), CLEAN);
    assert!(!loaded.adopted);
    stop(dir.path(), loaded, log);
    // As if the second run had been Kafka's, which knows no such file.
    std::fs::write(dir.path().join("corelane.placement"), before).expect("written");
    assert!(load(dir.path(), CLEAN).0.adopted);
}

#[test]
fn the_voter_moves_with_the_configured_listener() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = |image: &CatalogImage| image.quorum().voters.as_ref().map(|voters| voters.voters[0].endpoints[0].port);
    let (loaded, log) = start(dir.path(), NEW);
    assert_eq!(port(loaded.catalog.image()), Some(9093));
    stop(dir.path(), loaded, log);
    let mut moved = options(dir.path(), CLEAN);
    moved.controller =
        Some(ControllerEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9193 });
    let mut loaded = Catalog::bootstrap_or_load(&moved).expect("it loads");
    let mut log = TestLog::new(&loaded.log);
    let step = loaded.catalog.begin(&super::registration(), NOW).expect("it begins");
    log.commit(&mut loaded.catalog, &step);
    stop(dir.path(), loaded, log);
    // Without the listener in the configuration it stays where it was.
    let (loaded, _) = start(dir.path(), CLEAN);
    assert_eq!(port(loaded.catalog.image()), Some(9193));
}

#[test]
fn what_cannot_be_ours_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    let level = FeatureLevelRecord { name: "metadata.version".into(), feature_level: 31 };
    let step = loaded.catalog.prepare(&[level.into()], NOW).expect("it fits");
    let refused = |options| Catalog::bootstrap_or_load(&options).expect_err("it is refused").to_string();
    let mut other = options(dir.path(), CLEAN);
    other.node_id = 2;
    assert!(refused(other).contains("set node.id to 1"));
    log.commit(&mut loaded.catalog, &step);
    drop(loaded);
    assert!(refused(options(dir.path(), CLEAN)).contains("metadata.version 31"));
    std::fs::remove_file(dir.path().join("meta.properties")).expect("removed");
    assert!(refused(options(dir.path(), CLEAN)).contains("restore that file"));
}

#[test]
fn damage_is_refused_and_never_panics() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut loaded, mut log) = start(dir.path(), NEW);
    create(&mut loaded, &mut log, "alpha", 2);
    let path = log.path.clone();
    stop(dir.path(), loaded, log);
    let whole = std::fs::read(&path).expect("read");
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).expect("written");
        let _ = Catalog::bootstrap_or_load(&options(dir.path(), CLEAN));
    }
    std::fs::write(&path, &whole).expect("written");
}
