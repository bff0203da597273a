//! `--repair`: puts a directory in order, partition by partition, and leaves it as a clean stop would.
//!
//! From its first change to its last the directory is marked as not stopped cleanly, so that a repair that is cut off
//! is followed by a recovery or by another repair, and comes to the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::catalog::check::discard_snapshot;
use crate::catalog::{CatalogError, metadata_partition, placement};
use crate::log::check::root::{Ledger, write_dropped};
use crate::log::check::{FindingKind, RepairOptions, Repaired, Severity, repair_partition};
use crate::log::names::{self, DirKind};
use crate::log::{CleanShutdownMarks, LoadError, LoadOptions, PartitionOffsets};
use crate::runtime::{fs, threads};
use crate::server::{StartError, load_error, when_free};
use crate::types::{Offset, TopicPartition};

use super::inspect::{Inspection, inspect};
use super::progress::Progress;

/// What a repair may do beyond what a start does.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub drop_damaged: bool,
    /// Where dropped bytes go, by partition; `None`: nowhere.
    pub save_dropped: Option<PathBuf>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In order, with the partition they concern.
    pub actions: Vec<(Option<TopicPartition>, String)>,
    pub dropped: Vec<(TopicPartition, Offset, Offset)>,
    pub left: Vec<(TopicPartition, String)>,
}

/// Writes what a journal holds to the segments: only then they can be looked at. The caller holds the directory's lock.
pub fn settle(directory: &Path) -> Result<(), StartError> {
    CleanShutdownMarks::new(directory).settle().map_err(|error| load_error(directory, error))
}

/// Repairs what `before` found. The caller holds the directory's lock.
pub fn repair(before: &Inspection, wanted: &Wanted) -> Result<Outcome, StartError> {
    let mut outcome = Outcome::default();
    if before.findings.is_empty() {
        return Ok(outcome);
    }
    let directory = &before.directory;
    let failed = |error: LoadError| load_error(directory, error);
    let marks = CleanShutdownMarks::new(directory);
    // What this run writes is durable before the next thing is done: a valid batch behind a gap is never a torn one.
    marks.begin(0).map_err(failed)?;
    let repairs = Repairs { before, wanted, dropped: Mutex::new(before.root.dropped.clone()) };
    // The catalog first: it says which partitions there are.
    let metadata = &before.jobs[..before.jobs.len().min(1)];
    let mut offsets = BTreeMap::new();
    repairs.run(metadata, &mut outcome, &mut offsets);
    for snapshot in &before.catalog.useless {
        discard_snapshot(snapshot).map_err(|error| catalog_error(directory, error))?;
        outcome.actions.push((None, format!("{}: put aside, it is not needed", snapshot.display())));
    }
    let after;
    let known = if outcome.actions.is_empty() && before.catalog.image.is_some() {
        before
    } else {
        after = inspect(directory, false, &Progress::none())?;
        &after
    };
    if known.catalog.image.is_none() || known.root.properties.is_none() {
        let why = "the catalog or meta.properties cannot be read, so that the partitions are left as they are";
        outcome.left.push((metadata_partition(), why.to_owned()));
        return Ok(outcome);
    }
    // A start trusts all files of a directory that was stopped cleanly, and continues its own: whatever else there is
    // has to be gone through.
    let all = !before.root.state.clean || before.root.state.adopted;
    let jobs: Vec<LoadOptions> = known
        .jobs
        .iter()
        .skip(1)
        .filter(|job| all || known.of(&job.topic_partition).next().is_some())
        .cloned()
        .collect();
    repairs.run(&jobs, &mut outcome, &mut offsets);
    tidy_root(known, &mut outcome)?;
    known.root.checkpoints.rewrite(directory, |partition| known.is_known(partition), &offsets).map_err(failed)?;
    if !before.root.state.clean && !outcome.left.is_empty() {
        outcome.actions.push((None, "the directory stays marked as not stopped cleanly".to_owned()));
        return Ok(outcome);
    }
    let epoch = known.catalog.image.as_ref().map_or(-1, crate::catalog::CatalogImage::broker_epoch);
    marks.finish(before.root.state.broker_epoch.unwrap_or(epoch)).map_err(failed)?;
    outcome.actions.push((None, "marked as stopped cleanly".to_owned()));
    Ok(outcome)
}

struct Repairs<'a> {
    before: &'a Inspection,
    wanted: &'a Wanted,
    /// The ledger of what was ever dropped.
    dropped: Mutex<Ledger>,
}

impl Repairs<'_> {
    fn run(
        &self,
        jobs: &[LoadOptions],
        outcome: &mut Outcome,
        offsets: &mut BTreeMap<TopicPartition, PartitionOffsets>,
    ) {
        let cores = threads::affinity().map_or(1, |cores| cores.len().max(1));
        let results = threads::map_parallel(jobs, cores, |job| self.one(job));
        for (job, result) in jobs.iter().zip(results) {
            let partition = &job.topic_partition;
            match result {
                Ok(repaired) => {
                    let actions = repaired.actions.into_iter().map(|what| (Some(partition.clone()), what));
                    outcome.actions.extend(actions);
                    let dropped = repaired.dropped.into_iter().map(|(first, end)| (partition.clone(), first, end));
                    outcome.dropped.extend(dropped);
                    outcome.left.extend(repaired.left.map(|why| (partition.clone(), why)));
                    offsets.extend(repaired.offsets.map(|offsets| (partition.clone(), offsets)));
                }
                Err(error) => outcome.left.push((partition.clone(), error.to_string())),
            }
        }
    }

    fn one(&self, job: &LoadOptions) -> Result<Repaired, LoadError> {
        let options = RepairOptions {
            drop_damaged: self.wanted.drop_damaged,
            save_dropped: self.wanted.save_dropped.as_ref().map(|to| to.join(job.topic_partition.to_string())),
            gapless: job.topic_partition == metadata_partition(),
        };
        let note = |ranges: &[(Offset, Offset)]| self.note(job, ranges);
        repair_partition(&self.before.check_options(job, false), &options, &note)
    }

    /// Adds to the ledger, durably.
    fn note(&self, job: &LoadOptions, ranges: &[(Offset, Offset)]) -> Result<(), LoadError> {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        let known = dropped.entry((job.topic_id, job.topic_partition.partition)).or_default();
        let new: Vec<_> = ranges.iter().filter(|range| !known.contains(range)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        known.extend(new);
        known.sort_unstable();
        write_dropped(&self.before.directory, &dropped)
    }
}

/// What a start tidies away at the root.
fn tidy_root(known: &Inspection, outcome: &mut Outcome) -> Result<(), StartError> {
    let directory = &known.directory;
    let storage = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::storage(path, error)
    };
    let actions = RefCell::new(Vec::new());
    let tell = |what: String| actions.borrow_mut().push((None, what));
    for finding in known.findings.iter().filter(|finding| finding.partition.is_none()) {
        let path = &finding.file;
        match finding.kind {
            FindingKind::Leftover if path.is_dir() => {
                fs::remove_dir_all(path).map_err(storage(path))?;
                tell(format!("{}: removed", path.display()));
            }
            FindingKind::Leftover | FindingKind::Placement if is_removable(path, finding.severity) => {
                fs::remove_file(path).map_err(storage(path))?;
                tell(format!("{}: removed", path.display()));
            }
            FindingKind::StrayDirectory => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if matches!(DirKind::of(&name), DirKind::Partition(_)) {
                    let aside = directory.join(format!("{name}.{}-stray", uuid::Uuid::new_v4().simple()));
                    fs::rename(path, &aside).map_err(storage(path))?;
                    tell(format!("{}: set aside as {}", path.display(), aside.display()));
                }
            }
            _ => {}
        }
    }
    fs::sync_dir(directory).map_err(storage(directory))?;
    let mut seen = HashSet::new();
    outcome.actions.extend(actions.into_inner().into_iter().filter(|(_, what)| seen.insert(what.clone())));
    Ok(())
}

/// A placement that is none, or what a write left that was cut off.
fn is_removable(path: &Path, severity: Severity) -> bool {
    severity < Severity::Error
        && path.file_name().is_some_and(|name| name == placement::PLACEMENT || is_temporary(name))
}

fn is_temporary(name: &std::ffi::OsStr) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

fn catalog_error(directory: &Path, error: CatalogError) -> StartError {
    match error {
        CatalogError::Io { path, source, .. } => StartError::storage(path, source),
        other => StartError::Damaged { path: directory.to_owned(), what: other.to_string() },
    }
}

/// Where dropped bytes are kept if nothing else is said: beside the directory, since nothing foreign may lie in it.
pub fn default_save_to(directory: &Path) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".dropped");
    directory.with_file_name(name)
}

/// Takes the directory for this repair alone.
pub fn lock(directory: &Path) -> Result<crate::log::DirLock, StartError> {
    when_free(|| crate::log::DirLock::acquire(directory)).map_err(|error| match error {
        LoadError::Locked { path } => StartError::DirectoryLocked { path },
        other => load_error(&directory.join(names::LOCK), other),
    })
}
