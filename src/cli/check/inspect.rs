//! A whole data directory, looked at: its root, its catalog, then all partitions in parallel.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::check::{CheckedCatalog, check as check_catalog, placement_is_malformed};
use crate::catalog::{self, CatalogImage, Identity, Placement, metadata_log_config, metadata_partition, placement};
use crate::config::{BrokerConfig, Settings, Sources};
use crate::coordinator::read_record;
use crate::log::check::root::{Checkpoints, Root};
use crate::log::check::{
    CheckOptions, Finding, FindingKind, Findings, PartitionReport, RecordCheck, Severity, check_partition,
};
use crate::log::{LoadError, LoadOptions, names, partition_metadata};
use crate::record::RecordView;
use crate::runtime::{clock, fs, threads};
use crate::server::{self, StartError, load_error};
use crate::shard::cluster_view::ClusterView;
use crate::shard::{OFFSETS_TOPIC, log_config};
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicId, TopicPartition};

use super::progress::Progress;

/// Everything that was found.
pub struct Inspection {
    /// Absolute.
    pub directory: PathBuf,
    pub root: Root,
    pub catalog: CheckedCatalog,
    /// The partitions that were checked, the catalog's first.
    pub jobs: Vec<LoadOptions>,
    /// Sorted: the directory's own first, then by partition.
    pub findings: Vec<Finding>,
    /// Of which partitions acknowledged records are damaged or missing.
    pub totals: Totals,
}

/// Sums over all partitions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub partitions: u64,
    pub segments: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Inspection {
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub fn of(&self, partition: &TopicPartition) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.partition.as_ref() == Some(partition))
    }

    /// Partitions that the catalog has, or all if it cannot be read.
    pub fn is_known(&self, partition: &TopicPartition) -> bool {
        self.jobs.iter().any(|job| job.topic_partition == *partition)
    }

    pub fn check_options<'a>(&self, job: &LoadOptions, deep: bool) -> CheckOptions<'a> {
        check_options(&self.root, job, deep)
    }
}

/// Looks at all of a directory; changes nothing.
pub fn inspect(directory: &Path, deep: bool, progress: &Progress) -> Result<Inspection, StartError> {
    let failed = |error: LoadError| load_error(directory, error);
    let mut findings = Findings::of_directory();
    let root = Root::read(directory, &mut findings).map_err(failed)?;
    let mut reports = Vec::new();
    let metadata = metadata_options(directory, &root);
    let metadata_report = run(&root, &metadata, deep, progress);
    let identity = identity(directory, &root, &mut findings);
    let (segments, end) = (&metadata_report.segment_bytes, metadata_report.log_end_offset);
    let catalog = check_catalog(directory, &identity, segments, end);
    tell_catalog(&catalog, &mut findings);
    match placement_is_malformed(directory) {
        Ok(false) => {}
        Ok(true) => {
            let path = directory.join(placement::PLACEMENT);
            let what = "it is none: the next start spreads the partitions anew";
            findings.file(Severity::Warning, FindingKind::Placement, &path, what);
        }
        Err(error) => {
            let path = directory.join(placement::PLACEMENT);
            findings.file(Severity::Error, FindingKind::Unreadable, &path, error.to_string());
        }
    }
    let mut jobs = match &catalog.image {
        Some(image) => of_catalog(directory, &root, image, &mut findings)?,
        None => of_directories(directory, &root, &mut findings)?,
    };
    // The largest first, so that no thread is left with one of them at the end.
    let mut sized: Vec<(u64, LoadOptions)> = jobs.drain(..).map(|job| (log_bytes(&job.dir), job)).collect();
    sized.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.topic_partition.cmp(&b.1.topic_partition)));
    progress.total(sized.iter().map(|(bytes, _)| bytes).sum());
    let jobs: Vec<LoadOptions> = sized.into_iter().map(|(_, job)| job).collect();
    let cores = threads::affinity().map_or(1, |cores| cores.len().max(1));
    reports.extend(threads::map_parallel(&jobs, cores, |job| run(&root, job, deep, progress)));
    let mut jobs = jobs;
    jobs.insert(0, metadata);
    reports.insert(0, metadata_report);
    let log_ends: BTreeMap<TopicPartition, Offset> = jobs
        .iter()
        .zip(&reports)
        .filter(|(_, report)| !report.is_unreadable)
        .map(|(job, report)| (job.topic_partition.clone(), report.log_end_offset))
        .collect();
    root.checkpoints.check(directory, root.state.clean, &log_ends, &mut findings);
    let mut totals = Totals { partitions: jobs.len() as u64, ..Totals::default() };
    let mut list = findings.into_list();
    for report in reports {
        totals.segments += u64::from(report.segments);
        totals.batches += report.batches;
        totals.records += report.records;
        totals.bytes += report.bytes;
        list.extend(report.findings);
    }
    list.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(Inspection { directory: directory.to_owned(), root, catalog, jobs, findings: list, totals })
}

/// Whether a directory is a data directory at all.
pub fn recognize(directory: &Path) -> Result<PathBuf, StartError> {
    let unusable = |error: io::Error| StartError::Directory { path: directory.to_owned(), error };
    let directory = fs::canonical(directory).map_err(unusable)?;
    let has = |path: &Path| fs::exists(path).map_err(unusable);
    if has(&directory.join(names::META_PROPERTIES))? || has(&catalog::metadata_dir(&directory))? {
        return Ok(directory);
    }
    let what = format!("it is no data directory, for it has neither {} nor a catalog", names::META_PROPERTIES);
    Err(StartError::Directory { path: directory, error: io::Error::other(what) })
}

fn run(root: &Root, job: &LoadOptions, deep: bool, progress: &Progress) -> PartitionReport {
    if root.journaled.contains(&job.topic_partition) {
        progress.advance(log_bytes(&job.dir));
        return PartitionReport::journaled(job);
    }
    let options = check_options(root, job, deep);
    check_partition(&options, |bytes| progress.advance(bytes))
        .unwrap_or_else(|error| PartitionReport::unreadable(job, &error))
}

fn check_options<'a>(root: &Root, job: &LoadOptions, deep: bool) -> CheckOptions<'a> {
    let key = (job.topic_id, job.topic_partition.partition);
    CheckOptions {
        load: job.clone(),
        deep,
        record: (&*job.topic_partition.topic == OFFSETS_TOPIC).then_some(&offset_record as &RecordCheck),
        dropped: root.dropped.get(&key).cloned().unwrap_or_default(),
        compacted_to: Checkpoints::offset(&root.checkpoints.cleaner, &job.topic_partition),
    }
}

/// A record of `__consumer_offsets`.
fn offset_record(record: &RecordView<'_>) -> Result<(), String> {
    let key = record.key.ok_or("a record of __consumer_offsets has no key")?;
    read_record(key, record.value).map(drop).map_err(|problem| problem.to_string())
}

fn identity(directory: &Path, root: &Root, findings: &mut Findings) -> Identity {
    if root.properties.is_none() {
        let path = directory.join(names::META_PROPERTIES);
        if fs::exists(&path).is_ok_and(|there| !there) {
            let what = "it is missing: no broker takes the directory for its own";
            findings.file(Severity::Error, FindingKind::MetaProperties, &path, what);
        }
    }
    let properties = root.properties.as_ref();
    Identity {
        cluster_id: Arc::from(properties.map_or("", |properties| properties.cluster_id.as_str())),
        node_id: properties.map_or(-1, |properties| properties.node_id),
        directory_id: properties.and_then(|properties| properties.directory_id).unwrap_or_default(),
    }
}

fn tell_catalog(catalog: &CheckedCatalog, findings: &mut Findings) {
    for problem in &catalog.problems {
        let severity = if problem.fatal { Severity::Error } else { Severity::Warning };
        findings.add(severity, FindingKind::Catalog, &problem.file, (None, problem.offset), problem.what.clone());
    }
}

fn metadata_options(directory: &Path, root: &Root) -> LoadOptions {
    let partition = metadata_partition();
    let dir = names::partition_dir(directory, &partition);
    LoadOptions {
        config: metadata_log_config(),
        // Its start is in its snapshots, and Kafka keeps no checkpoint of it that holds for us.
        recovery_point: Offset::ZERO,
        flushed_offset: Offset::ZERO,
        log_start_offset: Offset::ZERO,
        ..load_options(root, dir, partition, KafkaUuid::METADATA_TOPIC, LeaderEpoch(i32::MAX))
    }
}

fn load_options(
    root: &Root,
    dir: PathBuf,
    topic_partition: TopicPartition,
    topic_id: TopicId,
    leader_epoch: LeaderEpoch,
) -> LoadOptions {
    let (checkpoints, state) = (&root.checkpoints, root.state);
    LoadOptions {
        dir,
        topic_id,
        config: crate::log::LogConfig::default(),
        clean: state.clean,
        recovery_point: Checkpoints::offset(&checkpoints.recovery_points, &topic_partition),
        flushed_offset: state.flushed_offset(Checkpoints::offset(&checkpoints.high_watermarks, &topic_partition)),
        log_start_offset: Checkpoints::offset(&checkpoints.log_starts, &topic_partition),
        leader_epoch,
        adopted: state.adopted,
        commit_reach_bytes: state.commit_reach_bytes,
        accept_damage: false,
        now_ms: clock::wall_ms(),
        topic_partition,
    }
}

/// The partitions that the catalog says are here, and the directories of which it says nothing.
fn of_catalog(
    directory: &Path,
    root: &Root,
    image: &CatalogImage,
    findings: &mut Findings,
) -> Result<Vec<LoadOptions>, StartError> {
    let settings = Settings::load(&Sources::default())?.0;
    let broker = BrokerConfig::new(settings, &server::machine())?;
    let view = ClusterView::new(Arc::new(image.clone()), Placement::new(1), 1, &Arc::new(broker));
    let node_id = root.properties.as_ref().map(|properties| properties.node_id);
    let directory_id = root.properties.as_ref().and_then(|properties| properties.directory_id);
    let mut jobs = Vec::new();
    for topic in image.topics() {
        let config = log_config(&view, &topic.name);
        for index in 0..topic.partition_count() {
            let Some(partition) = topic.partition(index) else { continue };
            let replica = partition.replicas.iter().position(|&replica| node_id.is_none_or(|node| node == replica));
            let Some(replica) = replica else { continue };
            // A replica in another of Kafka's log directories; ids that begin with zeros stand for none in particular.
            let elsewhere = partition.directories.get(replica).is_some_and(|id| {
                directory_id.is_some_and(|ours| ours != *id) && id.0.iter().take(15).any(|&byte| byte != 0)
            });
            if elsewhere {
                continue;
            }
            let topic_partition = TopicPartition { topic: Arc::clone(&topic.name), partition: index };
            let dir = names::partition_dir(directory, &topic_partition);
            let options = load_options(root, dir, topic_partition, topic.id, partition.leader_epoch);
            jobs.push(LoadOptions { config, ..options });
        }
    }
    let known: HashSet<&TopicPartition> = jobs.iter().map(|job| &job.topic_partition).collect();
    // What a deletion leaves that a crash broke off.
    let severity = if root.state.clean { Severity::Warning } else { Severity::Note };
    for stray in root.partitions.iter().filter(|partition| !known.contains(partition)) {
        if *stray == metadata_partition() {
            continue;
        }
        let path = names::partition_dir(directory, stray);
        let what = "it belongs to no partition of the catalog; the next start sets it aside";
        findings.file(severity, FindingKind::StrayDirectory, &path, what);
    }
    Ok(jobs)
}

/// Without a catalog: the partitions that have a directory, under the ids that these say.
fn of_directories(directory: &Path, root: &Root, findings: &mut Findings) -> Result<Vec<LoadOptions>, StartError> {
    let mut jobs = Vec::new();
    for partition in root.partitions.iter().filter(|partition| **partition != metadata_partition()) {
        let dir = names::partition_dir(directory, partition);
        match partition_metadata::read(&dir) {
            Ok(Some(id)) => jobs.push(load_options(root, dir, partition.clone(), id, LeaderEpoch(i32::MAX))),
            Ok(None) | Err(LoadError::Malformed { .. }) => {
                let path = dir.join(names::PARTITION_METADATA);
                let what = "without it and without the catalog nothing says which topic this is";
                findings.file(Severity::Error, FindingKind::TopicId, &path, what);
            }
            Err(error) => return Err(load_error(directory, error)),
        }
    }
    Ok(jobs)
}

/// How much there is to read of a partition.
fn log_bytes(dir: &Path) -> u64 {
    let Ok(listed) = fs::list(dir) else { return 0 };
    let logs = listed.iter().filter(|(name, _)| name.ends_with(names::LOG_SUFFIX));
    logs.filter_map(|(name, _)| fs::stat(&dir.join(name)).ok()).map(|stat| stat.bytes).sum()
}
