//! Reads the catalog of a data directory without changing anything, for `corelane check`: whatever in it cannot be
//! read is told, and what can be is made of the rest.

use std::path::{Path, PathBuf};

use crate::log::names;
use crate::runtime::fs;
use crate::types::Offset;

use super::error::CatalogError;
use super::image::{CatalogImage, Identity};
use super::load::metadata_dir;
use super::placement::{PLACEMENT, Placement};
use super::quorum::{QUORUM_STATE, QuorumState};
use super::replay::Replay;
use super::snapshot::{self, BOOTSTRAP_CHECKPOINT, SnapshotId};

/// What of the catalog can be read.
#[derive(Debug)]
pub struct CheckedCatalog {
    /// `None`: the catalog cannot be read, and no broker starts on it.
    pub image: Option<CatalogImage>,
    /// What is wrong: the file, and why, and whether a start minds.
    pub problems: Vec<CatalogProblem>,
    /// Snapshots that cannot be read and are not needed, for the log and the others have all there is.
    pub useless: Vec<PathBuf>,
}

#[derive(Debug)]
pub struct CatalogProblem {
    pub file: PathBuf,
    pub offset: Option<Offset>,
    pub what: String,
    /// A broker does not start with it.
    pub fatal: bool,
}

/// Reads snapshots and log. `segments` are those of the catalog's log with the sizes of their batches, `log_end` is where
/// these end.
pub fn check(log_dir: &Path, identity: &Identity, segments: &[(Offset, u64)], log_end: Offset) -> CheckedCatalog {
    let dir = metadata_dir(log_dir);
    let mut checked = CheckedCatalog { image: None, problems: Vec::new(), useless: Vec::new() };
    let mut snapshots = Vec::new();
    let mut unreadable = Vec::new();
    match snapshot::list(&dir) {
        Ok(ids) => {
            for id in ids {
                let path = dir.join(id.file_name());
                match snapshot::load(&dir, id, &mut Replay::new(CatalogImage::empty(identity.clone()))) {
                    Ok(()) => snapshots.push(id),
                    Err(error) => {
                        unreadable.push(path.clone());
                        checked.tell(&path, &error, false);
                    }
                }
            }
        }
        Err(error) => checked.tell(&dir, &error, true),
    }
    match image_of(&dir, identity, snapshots.last().copied(), segments, log_end) {
        Ok(image) => {
            checked.image = Some(image);
            checked.useless = unreadable;
        }
        Err(error) => checked.tell(&dir, &error, true),
    }
    // A start takes the newest snapshot there is, and does not start on one that is none.
    let newest = snapshot::list(&dir).ok().and_then(|ids| ids.last().copied());
    if let Some(newest) = newest.filter(|newest| snapshots.last() != Some(newest)) {
        let path = dir.join(newest.file_name());
        for problem in checked.problems.iter_mut().filter(|problem| problem.file == path) {
            problem.fatal = true;
        }
    }
    if let Err(error) = QuorumState::read(&dir) {
        checked.tell(&dir.join(QUORUM_STATE), &error, true);
    }
    if let Err(error) = snapshot::read_bootstrap(log_dir) {
        // It is read while the log is empty, and never again.
        checked.tell(&log_dir.join(BOOTSTRAP_CHECKPOINT), &error, log_end == Offset::ZERO);
    }
    checked
}

/// Whether the file of the shards' partitions is there and cannot be read.
pub fn placement_is_malformed(log_dir: &Path) -> Result<bool, CatalogError> {
    let path = log_dir.join(PLACEMENT);
    let there = fs::exists(&path).map_err(CatalogError::io("look for", &path))?;
    Ok(there && Placement::read(log_dir)?.is_none())
}

/// Puts a snapshot aside that cannot be read: the next start removes it.
pub fn discard_snapshot(path: &Path) -> Result<(), CatalogError> {
    fs::rename(path, &names::deleted(path)).map_err(CatalogError::io("rename", path))?;
    fs::sync_parent(path).map_err(CatalogError::io("sync the directory of", path))
}

fn image_of(
    dir: &Path,
    identity: &Identity,
    newest: Option<SnapshotId>,
    segments: &[(Offset, u64)],
    log_end: Offset,
) -> Result<CatalogImage, CatalogError> {
    let mut replay = Replay::new(CatalogImage::empty(identity.clone()));
    if let Some(newest) = newest {
        snapshot::load(dir, newest, &mut replay)?;
    }
    for (at, &(base_offset, size)) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(log_end, |&(next, _)| next);
        if end > replay.end_offset() {
            replay.segment(&names::log_file(dir, base_offset), size)?;
        }
    }
    let end = replay.end_offset();
    if end != log_end && !(segments.is_empty() && log_end == Offset::ZERO) {
        return Err(CatalogError::BehindSnapshot { log_end, snapshot_end: end });
    }
    Ok(replay.finish()?.0)
}

impl CheckedCatalog {
    fn tell(&mut self, path: &Path, error: &CatalogError, fatal: bool) {
        let (file, offset) = match error {
            CatalogError::Record { path, offset, .. } => (path.clone(), Some(*offset)),
            CatalogError::Malformed { path, .. } | CatalogError::Io { path, .. } => (path.clone(), None),
            _ => (path.to_owned(), None),
        };
        self.problems.push(CatalogProblem { file, offset, what: error.to_string(), fatal });
    }
}
