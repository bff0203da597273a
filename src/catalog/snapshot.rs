//! Snapshots of the catalog: `<end offset>-<leader epoch>.checkpoint` (KIP-630; `org.apache.kafka.snapshot`).
//!
//! ```text
//! control batch   SnapshotHeader; then, with kraft.version 1, KRaftVersion and KRaftVoters
//! batches         the records that the image is made of, those of features first
//! control batch   SnapshotFooter: without it the file is not complete
//! ```
//!
//! Offsets count from 0 within the file; the leader epoch is that of the file's name. `bootstrap.checkpoint` at the
//! root of the data directory has the same format: what the first start of a new catalog writes into its log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::protocol::Message;
use crate::record::RecordIter;
use crate::record::control::{self, ControlRecordType};
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::{LeaderEpoch, Offset};

use super::batches::{BatchFile, BatchPlace, EncodedBatch};
use super::error::CatalogError;
use super::features::{KRAFT_VERSION, METADATA_VERSION};
use super::image::{CarriedKey, CatalogImage, ConfigMap, ResourceType};
use super::metadata_record::MetadataRecord;
use super::quorum::QuorumImage;
use super::records::{ConfigRecord, FeatureLevelRecord, ProducerIdsRecord, TopicRecord};
use super::replay::Replay;

pub const CHECKPOINT_SUFFIX: &str = ".checkpoint";
/// Of a snapshot that is being written, as Kafka calls it.
const PART_SUFFIX: &str = ".part";
/// Of a snapshot that Kafka is about to remove.
const DELETED_SUFFIX: &str = ".deleted";
pub const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

/// What a snapshot's name says (`OffsetAndEpoch`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotId {
    /// One past the last offset of the log that is in it.
    pub end_offset: Offset,
    /// Of the batch before that.
    pub leader_epoch: LeaderEpoch,
}

impl SnapshotId {
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}{CHECKPOINT_SUFFIX}", self.end_offset.0, self.leader_epoch.0)
    }

    pub fn parse(file_name: &str) -> Option<SnapshotId> {
        let (offset, epoch) = file_name.strip_suffix(CHECKPOINT_SUFFIX)?.split_once('-')?;
        let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(offset, 20) || !digits(epoch, 10) {
            return None;
        }
        Some(SnapshotId { end_offset: Offset(offset.parse().ok()?), leader_epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

/// The snapshots in the catalog's directory, oldest first.
pub fn list(metadata_dir: &Path) -> Result<Vec<SnapshotId>, CatalogError> {
    let entries = fs::list(metadata_dir).map_err(CatalogError::io("list", metadata_dir))?;
    let mut found: Vec<SnapshotId> = entries.iter().filter_map(|(name, _)| SnapshotId::parse(name)).collect();
    found.sort();
    Ok(found)
}

/// Removes the snapshots older than `newest`, and what broken-off ones left.
pub fn remove_older(metadata_dir: &Path, newest: SnapshotId) -> Result<(), CatalogError> {
    let entries = fs::list(metadata_dir).map_err(CatalogError::io("list", metadata_dir))?;
    for (name, _) in entries {
        let older = SnapshotId::parse(&name).is_some_and(|id| id < newest);
        let unfinished = name.strip_suffix(PART_SUFFIX).or_else(|| name.strip_suffix(DELETED_SUFFIX));
        if older || unfinished.is_some_and(|name| SnapshotId::parse(name).is_some()) {
            let path = metadata_dir.join(&name);
            fs::remove_file(&path).map_err(CatalogError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Writes a snapshot of the image, durably. `None`: the image holds what a snapshot would lose (records of a later
/// Kafka), and the log has to stay whole. Blocks for as long as the catalog is large; call it off the shards.
pub fn write(metadata_dir: &Path, image: &CatalogImage) -> Result<Option<SnapshotId>, CatalogError> {
    if image.has_unknown {
        return Ok(None);
    }
    let position = image.position();
    let id = SnapshotId { end_offset: position.end_offset, leader_epoch: position.leader_epoch };
    let path = metadata_dir.join(id.file_name());
    write_file(&path, id.leader_epoch, position.timestamp_ms, &image.quorum, image)?;
    Ok(Some(id))
}

/// Writes `0-0.checkpoint`: a catalog that has voters and nothing else, as `kafka-storage format --standalone` does.
pub(super) fn write_voters(metadata_dir: &Path, quorum: &QuorumImage, now_ms: i64) -> Result<(), CatalogError> {
    let id = SnapshotId { end_offset: Offset::ZERO, leader_epoch: LeaderEpoch(0) };
    write_batches(&metadata_dir.join(id.file_name()), |out| {
        let mut place = BatchPlace { offset: Offset::ZERO, leader_epoch: id.leader_epoch, now_ms };
        put(out, &place.control(&opening(quorum, now_ms)))?;
        put(out, &place.control(&[footer()]))
    })
}

/// Writes `bootstrap.checkpoint`, which Kafka reads if the log is empty.
pub(super) fn write_bootstrap(log_dir: &Path, records: &[MetadataRecord], now_ms: i64) -> Result<(), CatalogError> {
    let path = log_dir.join(BOOTSTRAP_CHECKPOINT);
    write_batches(&path, |out| {
        let mut place = BatchPlace { offset: Offset::ZERO, leader_epoch: LeaderEpoch(0), now_ms };
        put(out, &place.control(&[(ControlRecordType::SnapshotHeader, control::snapshot_header(0).to_vec())]))?;
        let versions = super::features::MetadataVersion(super::features::METADATA_VERSION_MAX);
        place.records(records.iter().cloned(), versions, |batch| put(out, &batch))?;
        put(out, &place.control(&[footer()]))
    })
}

/// The records of `bootstrap.checkpoint`, if the directory has one.
pub(super) fn read_bootstrap(log_dir: &Path) -> Result<Option<Vec<MetadataRecord>>, CatalogError> {
    let path = log_dir.join(BOOTSTRAP_CHECKPOINT);
    if !fs::exists(&path).map_err(CatalogError::io("look for", &path))? {
        return Ok(None);
    }
    let mut file = BatchFile::open(&path, None)?;
    let mut records = Vec::new();
    while let Some((header, batch)) = file.next_batch()? {
        if header.attributes.is_control() {
            continue;
        }
        let wrong = |error: String| CatalogError::malformed(&path, error);
        let mut iter = RecordIter::new(batch).map_err(|error| wrong(error.to_string()))?;
        while let Some(record) = iter.next_record().map_err(|error| wrong(error.to_string()))? {
            let value = record.value.unwrap_or_default();
            records.push(MetadataRecord::decode(value).map_err(|error| wrong(error.to_string()))?);
        }
    }
    Ok(Some(records))
}

/// Reads a snapshot into an empty image.
pub(super) fn load(metadata_dir: &Path, id: SnapshotId, replay: &mut Replay) -> Result<(), CatalogError> {
    let path = metadata_dir.join(id.file_name());
    let mut file = BatchFile::open(&path, None)?;
    let mut complete = false;
    while let Some((header, batch)) = file.next_batch()? {
        if complete {
            return Err(CatalogError::malformed(&path, "there is more behind its end"));
        }
        complete = replay.batch(&path, &header, batch)?;
    }
    if !complete {
        return Err(CatalogError::malformed(&path, "it is not complete: its last record is no footer"));
    }
    replay.begin_log(id)
}

fn write_file(
    path: &Path,
    leader_epoch: LeaderEpoch,
    timestamp_ms: i64,
    quorum: &QuorumImage,
    image: &CatalogImage,
) -> Result<(), CatalogError> {
    write_batches(path, |out| {
        let mut place = BatchPlace { offset: Offset::ZERO, leader_epoch, now_ms: timestamp_ms };
        put(out, &place.control(&opening(quorum, timestamp_ms)))?;
        place.records(all_records(image), image.metadata_version(), |batch| put(out, &batch))?;
        put(out, &place.control(&[footer()]))
    })
}

fn opening(quorum: &QuorumImage, timestamp_ms: i64) -> Vec<(ControlRecordType, Vec<u8>)> {
    let mut records = vec![(ControlRecordType::SnapshotHeader, control::snapshot_header(timestamp_ms).to_vec())];
    records.extend(quorum_records(quorum));
    records
}

/// The control records that say what the quorum is; none for a static one.
pub(super) fn quorum_records(quorum: &QuorumImage) -> Vec<(ControlRecordType, Vec<u8>)> {
    let mut records = Vec::new();
    if quorum.kraft_version > 0 {
        records.push((ControlRecordType::KRaftVersion, control::kraft_version(quorum.kraft_version).to_vec()));
        if let Some(voters) = &quorum.voters {
            let value = voters.to_bytes(0).expect("voters have names and hosts of the lengths listeners have");
            records.push((ControlRecordType::KRaftVoters, value.to_vec()));
        }
    }
    records
}

fn footer() -> (ControlRecordType, Vec<u8>) {
    (ControlRecordType::SnapshotFooter, control::snapshot_footer().to_vec())
}

/// Why a snapshot cannot be written.
enum WriteError {
    Io(std::io::Error),
    Encode(crate::protocol::EncodeError),
}

impl From<crate::protocol::EncodeError> for WriteError {
    fn from(error: crate::protocol::EncodeError) -> WriteError {
        WriteError::Encode(error)
    }
}

/// A file that is written from front to back.
struct Out {
    file: RawFile,
    position: u64,
    buffer: Vec<u8>,
}

/// How much is gathered for one write.
const WRITE_BYTES: usize = 1 << 18;

impl Out {
    fn flush(&mut self) -> Result<(), WriteError> {
        fs::pwrite_all(&self.file, &self.buffer, self.position).map_err(WriteError::Io)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn put(out: &mut Out, batch: &EncodedBatch) -> Result<(), WriteError> {
    out.buffer.extend_from_slice(&batch.bytes);
    if out.buffer.len() < WRITE_BYTES { Ok(()) } else { out.flush() }
}

/// Writes a file under a temporary name, then gives it its own, durably.
fn write_batches(path: &Path, fill: impl FnOnce(&mut Out) -> Result<(), WriteError>) -> Result<(), CatalogError> {
    let part = with_suffix(path, PART_SUFFIX);
    let file = fs::open(&part, OpenFlags { truncate: true, ..OpenFlags::CREATE })
        .map_err(CatalogError::io("create", &part))?;
    let mut out = Out { file, position: 0, buffer: Vec::with_capacity(WRITE_BYTES) };
    let written =
        fill(&mut out).and_then(|()| out.flush()).and_then(|()| fs::sync_all(&out.file).map_err(WriteError::Io));
    match written {
        Ok(()) => {}
        Err(WriteError::Io(error)) => return Err(CatalogError::io("write", &part)(error)),
        Err(WriteError::Encode(error)) => return Err(CatalogError::malformed(path, error.to_string())),
    }
    fs::rename(&part, path).map_err(CatalogError::io("rename", &part))?;
    fs::sync_parent(path).map_err(CatalogError::io("sync the directory of", path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The records that an image is made of, in the order that Kafka's `MetadataImage` writes them.
pub(super) fn all_records(image: &CatalogImage) -> impl Iterator<Item = MetadataRecord> + use<'_> {
    let carried = |wanted: fn(&CarriedKey) -> bool| {
        image.carried.iter().filter(move |(key, _)| wanted(key)).map(|(_, record)| MetadataRecord::clone(record))
    };
    let brokers = image.brokers.values().map(|broker| MetadataRecord::from((**broker).clone()));
    let topics = image.topics().flat_map(|topic| {
        let head = TopicRecord { name: (&topic.name).into(), topic_id: topic.id }.into();
        let partitions = topic.partitions.iter().enumerate();
        let partitions = partitions.map(|(index, partition)| partition.to_record(topic.id, index as i32).into());
        std::iter::once(head).chain(partitions)
    });
    let topic_configs = image.topic_configs.iter().flat_map(|(name, map)| configs(ResourceType::TOPIC, name, map));
    let other_configs = image.configs.iter().flat_map(|((of, name), map)| configs(*of, name, map));
    let producer_ids = (image.next_producer_id > 0).then(|| {
        let next_producer_id = image.next_producer_id;
        // As Kafka's image: the broker that asked for the last block is not kept.
        ProducerIdsRecord { broker_id: -1, broker_epoch: -1, next_producer_id }.into()
    });
    features(image)
        .chain(carried(|key| matches!(key, CarriedKey::ZkMigrationState)))
        .chain(brokers)
        .chain(carried(|key| matches!(key, CarriedKey::Controller(_))))
        .chain(topics)
        .chain(topic_configs)
        .chain(other_configs)
        .chain(carried(|key| matches!(key, CarriedKey::ClientQuota(..))))
        .chain(producer_ids)
        .chain(carried(|key| {
            matches!(
                key,
                CarriedKey::AccessControlEntry(_)
                    | CarriedKey::UserScramCredential(..)
                    | CarriedKey::DelegationToken(_)
            )
        }))
}

fn features(image: &CatalogImage) -> impl Iterator<Item = MetadataRecord> + use<'_> {
    let record = |name: &str, level| FeatureLevelRecord { name: name.into(), feature_level: level }.into();
    let first = image.features.get(METADATA_VERSION).map(|&level| record(METADATA_VERSION, level));
    let others = image.features.iter().filter(|(name, _)| ***name != *METADATA_VERSION && ***name != *KRAFT_VERSION);
    first.into_iter().chain(others.map(move |(name, &level)| record(name, level)))
}

fn configs<'a>(
    resource_type: ResourceType,
    resource: &'a Arc<str>,
    map: &'a ConfigMap,
) -> impl Iterator<Item = MetadataRecord> + use<'a> {
    map.iter().map(move |(key, value)| {
        ConfigRecord {
            resource_type: resource_type.0,
            resource_name: resource.into(),
            name: key.into(),
            value: Some(value.into()),
        }
        .into()
    })
}
