//! What a start reads of the data directory before any shard runs: the catalog, then the logs of all partitions in
//! parallel.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::catalog::features::{CATALOG_FEATURES, FORMAT_LEVELS};
use crate::catalog::quorum::ControllerEndpoint;
use crate::catalog::{self, Catalog, CatalogError, CatalogOptions};
use crate::config::FlushAcks;
use crate::log::{
    self, CleanShutdownMarks, DirCheckpoints, DirState, HOW_TO_GO_ON, LoadError, LoadOptions, LoadedLog,
    PartitionOffsets,
    names::{self, DirKind},
};
use crate::runtime::{clock, fs};
use crate::shard::cluster_view::ClusterView;
use crate::shard::log_config;
use crate::types::{LeaderEpoch, PartitionId, ShardId, TopicPartition};

use super::{Start, StartError};

/// How far writes of a partition that no flush has covered can reach: what the appender lets stand unflushed, and a
/// batch as large as a request can be. Without flushes the kernel writes back in any order, however much.
fn commit_reach_bytes(start: &Start) -> u64 {
    if start.config.log.flush_acks == FlushAcks::None {
        return u64::MAX;
    }
    log::COMMIT_REACH_BYTES + start.config.network.request_bytes_max as u64
}

/// Where loading takes longer than this there is a line about how far it is, and another each time.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// All that was found.
pub struct Found {
    pub marks: CleanShutdownMarks,
    pub checkpoints: Arc<DirCheckpoints>,
    pub catalog: Catalog,
    pub metadata_log: LoadedLog,
    pub view: Arc<ClusterView>,
    pub logs: HashMap<PartitionId, LoadedLog>,
    /// Partitions that could not be loaded, with the sentence that says why.
    pub offline: Vec<(PartitionId, TopicPartition, String)>,
}

pub fn load(start: &Start) -> Result<Found, StartError> {
    let directory = &start.directory.path;
    let failed = |error: LoadError| load_error(directory, error);
    let marks = CleanShutdownMarks::new(directory);
    let state = marks.begin(commit_reach_bytes(start)).map_err(failed)?;
    let loaded = Catalog::bootstrap_or_load(&catalog_options(start, state)).map_err(|error| match error {
        CatalogError::NodeId { path, stored, configured } => StartError::NodeIdDiffers { path, stored, configured },
        CatalogError::Io { path, source, .. } => StartError::storage(path, source),
        CatalogError::Load(error) => load_error(directory, error),
        other => StartError::Damaged { path: directory.clone(), what: other.to_string() },
    })?;
    let (checkpoints, malformed) = DirCheckpoints::open(directory).map_err(failed)?;
    for error in malformed {
        tracing::warn!("{error}; more is recovered than would have to be");
    }
    let shards = start.config.shards as u16;
    let image = Arc::clone(loaded.catalog.image());
    let view = Arc::new(ClusterView::new(image, loaded.placement, shards, &Arc::new(start.config.clone())));
    checkpoints.retain(|partition| {
        view.topic(&partition.topic).is_some_and(|topic| topic.partition(partition.partition).is_some())
    });
    set_strays_aside(directory, &view)?;
    let options = load_options(start, &view, &checkpoints, state, loaded.adopted);
    if !state.clean && !options.is_empty() {
        tracing::info!("The last stop was not clean: recovering {} partitions", options.len());
    }
    let (logs, offline) = load_logs(start, &options)?;
    lower_stale_watermarks(&checkpoints, &logs).map_err(failed)?;
    marks.loaded(commit_reach_bytes(start)).map_err(failed)?;
    if !state.clean {
        // All of it is on the device: should this run end in a crash soon, the next start need not look again.
        let recovered = logs.values().filter(|log| log.damage.is_none()).map(|log| {
            let offsets = PartitionOffsets {
                recovery_point: log.recovery_point,
                log_start_offset: log.log_start_offset,
                high_watermark: log.log_end_offset,
                // What was cut off and comes again at the same offsets was not compacted.
                compacted_to: checkpoints
                    .get(&log.topic_partition)
                    .compacted_to
                    .map(|offset| offset.min(log.log_end_offset)),
            };
            (log.topic_partition.clone(), offsets)
        });
        checkpoints.update(recovered.collect::<Vec<_>>());
        checkpoints.write().map_err(failed)?;
    }
    Ok(Found {
        marks,
        checkpoints: Arc::new(checkpoints),
        catalog: loaded.catalog,
        metadata_log: loaded.log,
        view,
        logs,
        offline,
    })
}

fn catalog_options(start: &Start, dir_state: DirState) -> CatalogOptions {
    let config = &start.config;
    CatalogOptions {
        log_dir: start.directory.path.clone(),
        node_id: config.node_id,
        cluster_id: None,
        controller: config.controller.as_ref().map(|controller| ControllerEndpoint {
            name: controller.name.clone(),
            host: controller.address.host.clone(),
            port: controller.address.port,
        }),
        shard_count: config.shards as u16,
        features: FORMAT_LEVELS.to_vec(),
        min_insync_replicas: config.settings().integer("min.insync.replicas") as i32,
        snapshot_after_bytes: config.catalog.snapshot_after_bytes,
        dir_state,
        accept_damage: false,
        now_ms: clock::wall_ms(),
    }
}

/// What the broker registers with in the catalog.
pub fn registration(start: &Start) -> catalog::commands::Registration {
    catalog::commands::Registration {
        incarnation_id: crate::types::KafkaUuid::random(),
        endpoints: start
            .endpoints
            .iter()
            .map(|endpoint| catalog::commands::BrokerEndpoint {
                name: endpoint.name.clone(),
                host: endpoint.advertised_host.clone(),
                port: endpoint.advertised_port,
                security_protocol: 0,
            })
            .collect(),
        rack: start.config.rack.clone(),
        features: CATALOG_FEATURES.to_vec(),
    }
}

fn load_options(
    start: &Start,
    view: &Arc<ClusterView>,
    checkpoints: &DirCheckpoints,
    state: DirState,
    adopted: bool,
) -> Vec<LoadOptions> {
    let now_ms = clock::wall_ms();
    let mut options = Vec::with_capacity(view.image.partition_count());
    for topic in view.image.topics() {
        let config = log_config(view, &topic.name);
        for partition in 0..topic.partition_count() {
            let topic_partition = TopicPartition { topic: Arc::clone(&topic.name), partition };
            let known = checkpoints.get(&topic_partition);
            options.push(LoadOptions {
                dir: names::partition_dir(&start.directory.path, &topic_partition),
                topic_partition,
                topic_id: topic.id,
                config,
                clean: state.clean,
                recovery_point: known.recovery_point,
                flushed_offset: state.flushed_offset(known.high_watermark),
                log_start_offset: known.log_start_offset,
                leader_epoch: topic.partition(partition).map_or(LeaderEpoch(i32::MAX), |image| image.leader_epoch),
                adopted,
                commit_reach_bytes: state.commit_reach_bytes,
                accept_damage: false,
                now_ms,
            });
        }
    }
    options
}

/// Loading waits for the device more than it computes, most of all over many small partitions: so many reads are under
/// way at a time.
fn load_threads(cores: usize) -> usize {
    (4 * cores).clamp(8, 64)
}

type Loaded = (HashMap<PartitionId, LoadedLog>, Vec<(PartitionId, TopicPartition, String)>);

fn load_logs(start: &Start, options: &[LoadOptions]) -> Result<Loaded, StartError> {
    let total = options.len();
    let done = AtomicUsize::new(0);
    let results = telling(&done, total, || {
        log::load_all(options, load_threads(start.cores.len()), |so_far| done.store(so_far, Ordering::Relaxed))
    });
    let mut logs = HashMap::with_capacity(total);
    let mut offline = Vec::new();
    for (options, result) in options.iter().zip(results) {
        let id = PartitionId { topic_id: options.topic_id, partition: options.topic_partition.partition };
        match result {
            Ok(loaded) => {
                if let Some(cut) = &loaded.report.cut {
                    tracing::warn!(
                        partition = %loaded.topic_partition,
                        "{} bytes behind the last whole batch were cut from {} at byte {}: {}",
                        cut.bytes, cut.segment.display(), cut.position, cut.reason
                    );
                }
                logs.insert(id, loaded);
            }
            // A full disk is no failure of a partition, and later there may be room.
            Err(error) if error.is_disk_full() => return Err(load_error(&start.directory.path, error)),
            Err(error) => {
                tracing::error!(partition = %options.topic_partition, "{error}; the partition stays offline{HOW_TO_GO_ON}");
                offline.push((id, options.topic_partition.clone(), error.to_string()));
            }
        }
    }
    Ok((logs, offline))
}

/// Runs `load` and says every second how far it has come.
fn telling<T>(done: &AtomicUsize, total: usize, load: impl FnOnce() -> T) -> T {
    let (ended, end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while end.recv_timeout(PROGRESS_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::info!("Loading partitions: {} of {total}", done.load(Ordering::Relaxed));
            }
        });
        let loaded = load();
        drop(ended);
        loaded
    })
}

/// High watermarks above their logs' ends, of a run that did not flush, are lowered before this run is told to be the
/// last: what they say of it counts for flushed.
fn lower_stale_watermarks(
    checkpoints: &DirCheckpoints,
    logs: &HashMap<PartitionId, LoadedLog>,
) -> Result<(), LoadError> {
    let stale = logs.values().filter(|log| log.damage.is_none()).filter_map(|log| {
        let known = checkpoints.get(&log.topic_partition);
        (known.high_watermark > log.log_end_offset)
            .then(|| (log.topic_partition.clone(), PartitionOffsets { high_watermark: log.log_end_offset, ..known }))
    });
    let stale: Vec<_> = stale.collect();
    if stale.is_empty() {
        return Ok(());
    }
    checkpoints.update(stale);
    checkpoints.write()
}

/// Directories of partitions that the catalog does not know, as a deletion that a crash broke off leaves them, are
/// renamed out of the way as Kafka does it; nothing in them is lost.
fn set_strays_aside(directory: &Path, view: &Arc<ClusterView>) -> Result<(), StartError> {
    let entries = fs::read_dir(directory).map_err(|error| StartError::storage(directory, error))?;
    let mut moved = false;
    for entry in entries {
        let Some(name) = entry.name.to_str() else { continue };
        let path = directory.join(name);
        let partition = match DirKind::of(name) {
            DirKind::Deleted => {
                fs::remove_dir_all(&path).map_err(|error| StartError::storage(&path, error))?;
                moved = true;
                continue;
            }
            DirKind::Partition(partition) if entry.is_dir => partition,
            _ => continue,
        };
        if &*partition.topic == catalog::topic_name::CLUSTER_METADATA {
            continue;
        }
        let known = view.topic(&partition.topic).is_some_and(|topic| topic.partition(partition.partition).is_some());
        if !known {
            let aside = directory.join(format!("{name}.{}-stray", uuid::Uuid::new_v4().simple()));
            tracing::warn!("{} belongs to no partition of the catalog: it is now {}", path.display(), aside.display());
            fs::rename(&path, &aside).map_err(|error| StartError::storage(&path, error))?;
            moved = true;
        }
    }
    if moved {
        fs::sync_dir(directory).map_err(|error| StartError::storage(directory, error))?;
    }
    Ok(())
}

pub fn load_error(directory: &Path, error: LoadError) -> StartError {
    match error {
        LoadError::Io { path, source, .. } => StartError::storage(path, source),
        other => StartError::Damaged { path: directory.to_owned(), what: other.to_string() },
    }
}

/// The logs that one shard takes.
pub struct ShardShare {
    pub logs: Vec<LoadedLog>,
    pub offline: Vec<(PartitionId, TopicPartition, String)>,
}

/// Divides what was loaded among the shards, by the placement.
pub fn shares(found: &mut Found) -> Vec<ShardShare> {
    let shards = found.view.shards;
    let mut shares: Vec<ShardShare> =
        (0..shards).map(|_| ShardShare { logs: Vec::new(), offline: Vec::new() }).collect();
    let owner = |id: PartitionId| found.view.shard_of(id).unwrap_or(ShardId(0)).index();
    for (id, log) in found.logs.drain() {
        if let Some(share) = shares.get_mut(owner(id)) {
            share.logs.push(log);
        }
    }
    for row in found.offline.drain(..) {
        if let Some(share) = shares.get_mut(owner(row.0)) {
            share.offline.push(row);
        }
    }
    shares
}
