//! What Kafka wrote is read, and written again, byte by byte.

use super::super::features::MetadataVersion;
use super::super::image::{CatalogImage, ResourceType};
use super::super::metadata_record::MetadataRecord;
use super::super::replay::Replay;
use super::super::snapshot::{self, SnapshotId};
use super::{contents, identity, testdata, values};
use crate::types::{LeaderEpoch, Offset};

const LOG: &str = "kafka-4.3.1.log";
const CHECKPOINT: &str = "kafka-4.3.1.checkpoint";
const CHECKPOINT_ID: SnapshotId = SnapshotId { end_offset: Offset(28), leader_epoch: LeaderEpoch(1) };

fn replayed(log: bool, checkpoint: bool) -> CatalogImage {
    let mut replay = Replay::new(CatalogImage::empty(identity()));
    if checkpoint {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::copy(testdata(CHECKPOINT), dir.path().join(CHECKPOINT_ID.file_name())).expect("copied");
        assert_eq!(snapshot::list(dir.path()).expect("listed"), [CHECKPOINT_ID]);
        snapshot::load(dir.path(), CHECKPOINT_ID, &mut replay).expect("it loads");
        assert_eq!(replay.end_offset(), Offset(28));
    }
    if log {
        let path = testdata(LOG);
        let size = std::fs::metadata(&path).expect("a file").len();
        replay.segment(&path, size).expect("it loads");
    }
    let (image, open) = replay.finish().expect("it is whole");
    assert!(!open);
    image
}

#[test]
fn kafkas_records_are_written_as_kafka_wrote_them() {
    let mut types = std::collections::BTreeSet::new();
    for file in [LOG, CHECKPOINT, "kafka-4.3.1.bootstrap.checkpoint"] {
        for value in values(&testdata(file)) {
            let record = MetadataRecord::decode(&value).expect("a record");
            types.insert(record.name());
            let written = record.encode(MetadataVersion(30)).expect("it can be written");
            assert_eq!(written, value, "{record:?}");
            // Cut short anywhere, it is refused or something else, and no panic.
            for cut in 0..value.len() {
                let _ = MetadataRecord::decode(&value[..cut]);
            }
        }
    }
    assert_eq!(types.len(), 14, "{types:?}");
}

#[test]
fn kafkas_log_is_what_it_says() {
    let image = replayed(true, false);
    assert_eq!(image.position().end_offset, Offset(34));
    assert_eq!(image.position().leader_epoch, LeaderEpoch(1));
    assert_eq!(image.metadata_version(), MetadataVersion(30));
    assert_eq!(image.feature("transaction.version"), 2);
    assert_eq!(image.quorum().kraft_version, 1);
    assert_eq!(image.quorum().voters.as_ref().map(|voters| voters.voters[0].endpoints[0].port), Some(29293));
    assert_eq!(image.next_producer_id(), 1000);
    assert_eq!(image.broker_epoch(), 14);
    assert_eq!(image.topics().map(|topic| &*topic.name).collect::<Vec<_>>(), ["alpha"]);
    assert_eq!((image.topic_count(), image.partition_count()), (1, 2));
    let alpha = image.topic("alpha").expect("it is there");
    assert_eq!(image.topic_by_id(alpha.id), Some(alpha));
    // As Kafka's clean stop leaves it.
    for partition in &alpha.partitions {
        assert_eq!((partition.leader, &*partition.isr, &*partition.elr), (-1, &[][..], &[1][..]));
        assert_eq!((partition.leader_epoch, partition.partition_epoch), (LeaderEpoch(1), 1));
        assert_eq!(partition.directories, [image.directory_id()]);
    }
    assert_eq!(image.topic_overrides("alpha").collect::<Vec<_>>(), [("retention.ms", "12345")]);
    assert!(image.config(ResourceType::TOPIC, "gone").is_none());
    let brokers = image.config(ResourceType::BROKER, "").expect("it is set");
    assert_eq!(brokers.get("log.cleaner.threads").map(|value| &**value), Some("2"));
    let broker = image.broker(1).expect("registered");
    assert!(broker.fenced && broker.in_controlled_shutdown);
    assert_eq!(broker.cordoned_log_dirs.as_deref(), Some(&[][..]));
}

#[test]
fn kafkas_snapshot_and_the_log_behind_it_are_the_same() {
    let whole = replayed(true, false);
    let resumed = replayed(true, true);
    assert_eq!(contents(&resumed), contents(&whole));
    assert_eq!(resumed.position(), whole.position());
    assert_eq!(resumed.quorum(), whole.quorum());
    let earlier = replayed(false, true);
    assert_eq!(earlier.topics().map(|topic| &*topic.name).collect::<Vec<_>>(), ["alpha", "gone"]);
}

#[test]
fn our_snapshot_says_the_same() {
    let image = replayed(true, false);
    let dir = tempfile::tempdir().expect("a directory");
    let id = snapshot::write(dir.path(), &image).expect("written").expect("nothing is unknown");
    assert_eq!(id.file_name(), "00000000000000000034-0000000001.checkpoint");
    let mut replay = Replay::new(CatalogImage::empty(identity()));
    snapshot::load(dir.path(), id, &mut replay).expect("it loads");
    let (read, _) = replay.finish().expect("it is whole");
    assert_eq!(contents(&read), contents(&image));
    assert_eq!((read.position(), read.quorum()), (image.position(), image.quorum()));
    // Whatever is cut off its end, it is not taken for whole.
    let path = dir.path().join(id.file_name());
    let bytes = std::fs::read(&path).expect("read");
    for cut in 0..bytes.len() {
        std::fs::write(&path, &bytes[..cut]).expect("written");
        let mut replay = Replay::new(CatalogImage::empty(identity()));
        assert!(snapshot::load(dir.path(), id, &mut replay).is_err(), "cut at {cut}");
    }
}

#[test]
fn older_snapshots_and_broken_off_ones_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = ["00000000000000000028-0000000001.checkpoint", "00000000000000000000.log", "other.checkpoint"];
    let gone = [
        "00000000000000000000-0000000000.checkpoint",
        "00000000000000000021-0000000001.checkpoint",
        "00000000000000000040-0000000001.checkpoint.part",
        "00000000000000000020-0000000001.checkpoint.deleted",
    ];
    for name in kept.iter().chain(&gone) {
        std::fs::write(dir.path().join(name), "").expect("written");
    }
    snapshot::remove_older(dir.path(), CHECKPOINT_ID).expect("removed");
    for name in kept {
        assert!(dir.path().join(name).exists(), "{name}");
    }
    for name in gone {
        assert!(!dir.path().join(name).exists(), "{name}");
    }
}

#[test]
fn an_older_metadata_version_is_kept_to() {
    let value = values(&testdata(LOG)).into_iter().find(|value| value[1] == 3).expect("a PartitionRecord");
    let record = MetadataRecord::decode(&value).expect("a record");
    for (level, version) in [(30, 2), (23, 2), (22, 1), (17, 1), (16, 0), (7, 0)] {
        let written = record.encode(MetadataVersion(level)).expect("it can be written");
        assert_eq!(written[..3], [1, 3, version]);
        MetadataRecord::decode(&written).expect("it reads back");
    }
}

#[test]
fn an_unknown_record_stays_in_the_log() {
    let unknown = [1, 99, 7, 1, 2, 3];
    let record = MetadataRecord::decode(&unknown).expect("it is taken");
    assert_eq!(record.encode(MetadataVersion(30)).expect("it can be written"), &unknown[..]);
    let mut image = replayed(true, false);
    image.apply(&record).expect("it is taken");
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(snapshot::write(dir.path(), &image).expect("no error"), None);
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    // Another frame, or a version that there is not.
    for bad in [&[2, 2, 0][..], &[1, 2, 9], &[1], &[], &[1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]] {
        MetadataRecord::decode(bad).expect_err("it is refused");
    }
}
