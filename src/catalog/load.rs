//! Finding the catalog of a data directory, or making one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::log::names::{self, FileKind};
use crate::log::{self, CleanupPolicy, DirState, LoadOptions, LoadedLog, LogConfig, MetaProperties};
use crate::runtime::fs;
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicPartition};

use super::batches::BATCH_BYTES_MAX;
use super::catalog::Catalog;
use super::commands::first_features;
use super::error::CatalogError;
use super::image::{CatalogImage, Identity};
use super::placement::{LastRun, Placement};
use super::quorum::{ControllerEndpoint, QuorumImage, QuorumState};
use super::replay::Replay;
use super::snapshot;
use super::topic_name::CLUSTER_METADATA;

/// Where the catalog of a data directory is, and what to make it with if there is none.
#[derive(Clone, Debug)]
pub struct CatalogOptions {
    pub log_dir: PathBuf,
    pub node_id: i32,
    /// Of a new catalog; `None`: a random one.
    pub cluster_id: Option<String>,
    /// The CONTROLLER listener of a Kafka configuration, if there is one.
    pub controller: Option<ControllerEndpoint>,
    pub shard_count: u16,
    /// The features that a new catalog has on, with their levels, besides `metadata.version`.
    pub features: Vec<(&'static str, i16)>,
    /// The broker's `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_after_bytes: u64,
    /// How the directory was left.
    pub dir_state: DirState,
    /// Cut the log at damage instead of refusing to start.
    pub accept_damage: bool,
    pub now_ms: i64,
}

/// A catalog as it was found.
#[derive(Debug)]
pub struct Loaded {
    pub catalog: Catalog,
    /// Of every partition in the catalog.
    pub placement: Placement,
    /// The catalog's own log, for the shard that owns it.
    pub log: LoadedLog,
    /// The data was last written by somebody else, Apache Kafka.
    pub adopted: bool,
    /// There was nothing in the data directory.
    pub is_new: bool,
}

/// The partition that the catalog is in.
pub fn metadata_partition() -> TopicPartition {
    TopicPartition { topic: Arc::from(CLUSTER_METADATA), partition: 0 }
}

pub fn metadata_dir(log_dir: &Path) -> PathBuf {
    names::partition_dir(log_dir, &metadata_partition())
}

/// How the catalog's log is kept: never by time or size, but by snapshots. Segments are small, so that what a
/// snapshot has in it goes soon.
pub fn metadata_log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 20,
        retention_bytes: -1,
        retention_ms: -1,
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        max_message_bytes: 2 * BATCH_BYTES_MAX as u32,
        ..LogConfig::default()
    }
}

/// See [`Catalog::bootstrap_or_load`].
pub(super) fn bootstrap_or_load(options: &CatalogOptions) -> Result<Loaded, CatalogError> {
    let dir = metadata_dir(&options.log_dir);
    let (identity, is_new) = identity(options, &dir)?;
    let mut replay = Replay::new(CatalogImage::empty(identity));
    if let Some(newest) = snapshot::list(&dir)?.pop() {
        snapshot::load(&dir, newest, &mut replay)?;
        // It is whole: neither older ones nor the log before it are needed any more.
        snapshot::remove_older(&dir, newest)?;
        remove_covered_segments(&dir, newest.end_offset)?;
    }
    let log = load_log(options, &dir)?;
    let bytes_since_snapshot = replay_log(&log, &mut replay)?;
    let end = replay.end_offset();
    if end != log.log_end_offset {
        return Err(CatalogError::BehindSnapshot { log_end: log.log_end_offset, snapshot_end: end });
    }
    let (image, open_transaction) = replay.finish()?;
    let bootstrap = if image.features().next().is_none() { bootstrap_records(options)? } else { Vec::new() };

    let last_epoch = image.position().leader_epoch;
    let stored = Placement::read(&options.log_dir)?;
    let last_run = stored.as_ref().and_then(|(_, last_run)| *last_run);
    // Where we crashed, Kafka's broker refuses to start, but its controller has begun to write by then: to the catalog's
    // log alone. The partitions' files are ours as the crash left them.
    let foreign = options.dir_state.clean
        && last_run.is_some_and(|last| !last.is_last_writer(image.position().end_offset, last_epoch));
    let known = stored.map_or_else(|| Placement::new(options.shard_count), |(placement, _)| placement);
    let placement = known.settled(&image, options.shard_count);

    let leader_epoch = claim_epoch(options.node_id, &dir, &image)?;
    placement.write(&options.log_dir, LastRun::Running { leader_epoch })?;
    let catalog = Catalog::new(options, dir, image, leader_epoch, open_transaction, bootstrap, bytes_since_snapshot);
    Ok(Loaded { catalog, placement, log, adopted: !is_new && (options.dir_state.adopted || foreign), is_new })
}

/// Whose directory it is. A directory without a catalog gets one.
fn identity(options: &CatalogOptions, dir: &Path) -> Result<(Identity, bool), CatalogError> {
    let log_dir = &options.log_dir;
    let stored = MetaProperties::read(log_dir)?;
    let is_new = stored.is_none();
    let mut properties = match stored {
        Some(stored) if stored.node_id != options.node_id => {
            return Err(CatalogError::NodeId {
                path: log_dir.join(names::META_PROPERTIES),
                stored: stored.node_id,
                configured: options.node_id,
            });
        }
        Some(stored) => stored,
        None => bootstrap(options, dir)?,
    };
    if properties.directory_id.is_none() {
        properties.directory_id = Some(KafkaUuid::random());
        properties.write(log_dir)?;
    }
    let identity = Identity {
        cluster_id: Arc::from(properties.cluster_id.as_str()),
        node_id: properties.node_id,
        directory_id: properties.directory_id.unwrap_or_default(),
    };
    Ok((identity, is_new))
}

/// Makes what `kafka-storage format --standalone` makes. `meta.properties` comes last: a directory without it is
/// formatted anew.
fn bootstrap(options: &CatalogOptions, dir: &Path) -> Result<MetaProperties, CatalogError> {
    let log_dir = &options.log_dir;
    if holds_records(dir)? {
        return Err(CatalogError::NoIdentity { path: dir.to_owned() });
    }
    let cluster_id = options.cluster_id.clone().unwrap_or_else(|| KafkaUuid::random().to_string());
    let properties = MetaProperties::new(cluster_id, options.node_id);
    fs::create_dir_all(dir).map_err(CatalogError::io("create", dir))?;
    let endpoint = options.controller.clone().unwrap_or_else(ControllerEndpoint::kafkas_example);
    let quorum = QuorumImage::sole(options.node_id, properties.directory_id.unwrap_or_default(), &endpoint);
    snapshot::write_voters(dir, &quorum, options.now_ms)?;
    let records = first_features(&options.features, options.min_insync_replicas);
    snapshot::write_bootstrap(log_dir, &records, options.now_ms)?;
    properties.write(log_dir)?;
    Ok(properties)
}

fn holds_records(dir: &Path) -> Result<bool, CatalogError> {
    if !fs::exists(dir).map_err(CatalogError::io("look for", dir))? {
        return Ok(false);
    }
    let entries = fs::list(dir).map_err(CatalogError::io("list", dir))?;
    for (name, _) in entries.iter().filter(|(name, _)| name.ends_with(names::LOG_SUFFIX)) {
        let path = dir.join(name);
        if fs::stat(&path).map_err(CatalogError::io("look at", &path))?.bytes > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn load_log(options: &CatalogOptions, dir: &Path) -> Result<LoadedLog, CatalogError> {
    let state = options.dir_state;
    let mut log = log::load(&LoadOptions {
        dir: dir.to_owned(),
        topic_partition: metadata_partition(),
        topic_id: KafkaUuid::METADATA_TOPIC,
        config: metadata_log_config(),
        clean: state.clean,
        // Kafka keeps no recovery point of this log, which is short.
        recovery_point: Offset::ZERO,
        flushed_offset: Offset(0),
        log_start_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch(i32::MAX),
        adopted: state.adopted,
        commit_reach_bytes: state.commit_reach_bytes,
        accept_damage: options.accept_damage,
        now_ms: options.now_ms,
    })?;
    match log.damage.take() {
        Some(damage) => Err(CatalogError::Damaged(damage)),
        None => Ok(log),
    }
}

/// Removes the segments that end before `end_offset`, as the log does while the broker runs.
fn remove_covered_segments(dir: &Path, end_offset: Offset) -> Result<(), CatalogError> {
    let files = fs::list(dir).map_err(CatalogError::io("list", dir))?;
    let files = || files.iter().map(|(name, _)| (name, FileKind::of(name)));
    let base_offsets = files().filter_map(|(_, kind)| if let FileKind::Log(base) = kind { Some(base) } else { None });
    // The last of those that begin before it may hold records behind it.
    let Some(first) = base_offsets.filter(|&base| base <= end_offset).max() else { return Ok(()) };
    let mut removed = false;
    for (name, kind) in files() {
        let (FileKind::Log(offset)
        | FileKind::OffsetIndex(offset)
        | FileKind::TimeIndex(offset)
        | FileKind::TxnIndex(offset)
        | FileKind::Snapshot(offset)) = kind
        else {
            continue;
        };
        if offset < first {
            let path = dir.join(name);
            removed |= fs::remove_file(&path).map_err(CatalogError::io("remove", &path))?;
        }
    }
    if removed { fs::sync_dir(dir).map_err(CatalogError::io("sync", dir)) } else { Ok(()) }
}

/// Takes over what of the log is not in the snapshot; answers how many bytes that is.
fn replay_log(log: &LoadedLog, replay: &mut Replay) -> Result<u64, CatalogError> {
    let mut segments: Vec<(Offset, u64)> =
        log.sealed.iter().map(|segment| (segment.base_offset, segment.size_bytes)).collect();
    segments.push((log.active.base_offset, log.active.size_bytes));
    let mut bytes = 0;
    for (i, &(base_offset, size)) in segments.iter().enumerate() {
        let end = segments.get(i + 1).map_or(log.log_end_offset, |&(next, _)| next);
        if end > replay.end_offset() {
            replay.segment(&names::log_file(&log.dir, base_offset), size)?;
            bytes += size;
        }
    }
    Ok(bytes)
}

/// What the first batch of an empty log says.
fn bootstrap_records(options: &CatalogOptions) -> Result<Vec<super::MetadataRecord>, CatalogError> {
    let stored = snapshot::read_bootstrap(&options.log_dir)?.filter(|records| !records.is_empty());
    Ok(stored.unwrap_or_else(|| first_features(&options.features, options.min_insync_replicas)))
}

/// Claims the next epoch of the quorum: a new one at every start, durable before anything is written in it.
fn claim_epoch(node_id: i32, dir: &Path, image: &CatalogImage) -> Result<LeaderEpoch, CatalogError> {
    let stored = QuorumState::read(dir)?;
    let last = stored.as_ref().map_or(0, |stored| stored.leader_epoch.0).max(image.position().leader_epoch.0);
    let leader_epoch = LeaderEpoch(last.saturating_add(1));
    let static_voters = (image.quorum().kraft_version == 0).then(|| vec![node_id]);
    QuorumState { leader_id: node_id, leader_epoch, static_voters }.write(dir)?;
    Ok(leader_epoch)
}
