//! The files at the root of a log directory: who may look, how it was left, whose it is, and the checkpoints.
//!
//! A repair that drops records says so in `corelane.dropped`, so that the gaps it leaves are not taken for losses by a
//! later check:
//!
//! ```text
//! corelane.dropped 1
//! irnagM9QQdmILBzETYisyQ 0 17 42      topic id, partition, the first offset that is not there, and the next that is
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use crate::runtime::fs;
use crate::types::{Offset, TopicId, TopicPartition};

use super::super::checkpoint::{self, Offsets};
use super::super::clean_shutdown::{CleanShutdownMarks, DirState};
use super::super::dir_checkpoints::{DirCheckpoints, PartitionOffsets};
use super::super::error::LoadError;
use super::super::journal;
use super::super::meta_properties::MetaProperties;
use super::super::names::{self, DirKind};
use super::finding::{FindingKind, Findings, Severity};
use super::listing::is_temporary;

/// The ledger of what repairs dropped.
pub const DROPPED: &str = "corelane.dropped";
const DROPPED_HEADER: &str = "corelane.dropped 1";
const DROPPED_BYTES_MAX: usize = 16 << 20;

/// Keeps brokers out of a directory that is only read. On a medium that nobody can write to, or without a lock file,
/// there is none to keep out.
///
/// # Errors
/// `Locked` while a broker runs on it.
pub fn lock_for_reading(log_dir: &Path) -> Result<Option<fs::FileLock>, LoadError> {
    let path = log_dir.join(names::LOCK);
    match fs::lock_shared(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(LoadError::Locked { path: log_dir.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError::io("lock", &path)(error)),
    }
}

/// By topic id and partition: the offsets, first and end, that repairs dropped.
pub type Ledger = BTreeMap<(TopicId, i32), Vec<(Offset, Offset)>>;

/// What the root of a directory says.
#[derive(Debug)]
pub struct Root {
    pub state: DirState,
    pub properties: Option<MetaProperties>,
    pub checkpoints: Checkpoints,
    /// What repairs dropped.
    pub dropped: Ledger,
    /// The directories of partitions.
    pub partitions: Vec<TopicPartition>,
    /// Directories that wait for their removal.
    pub deleted: Vec<String>,
    /// Partitions of which a journal has more than their segments.
    pub journaled: BTreeSet<TopicPartition>,
}

/// The checkpoint files, each as far as it can be read.
#[derive(Debug, Default)]
pub struct Checkpoints {
    pub recovery_points: Offsets,
    pub log_starts: Offsets,
    pub high_watermarks: Offsets,
    pub cleaner: Offsets,
    /// One of the files is malformed.
    pub malformed: Vec<&'static str>,
}

impl Root {
    /// Reads all of it; changes nothing.
    pub fn read(log_dir: &Path, findings: &mut Findings) -> Result<Root, LoadError> {
        let state = CleanShutdownMarks::new(log_dir).state()?;
        let properties = match MetaProperties::read(log_dir) {
            Ok(properties) => properties,
            Err(error @ LoadError::Malformed { .. }) => {
                let path = log_dir.join(names::META_PROPERTIES);
                findings.file(Severity::Error, FindingKind::MetaProperties, &path, error.to_string());
                None
            }
            Err(error) => return Err(error),
        };
        tell_state(log_dir, state, findings);
        let journaled = journal::awaiting(log_dir)?;
        let checkpoints = Checkpoints::read(log_dir, findings)?;
        let dropped = read_dropped(log_dir, findings)?;
        let (partitions, deleted) = (Vec::new(), Vec::new());
        let mut root = Root { state, properties, checkpoints, dropped, partitions, deleted, journaled };
        root.list(log_dir, findings)?;
        Ok(root)
    }

    fn list(&mut self, log_dir: &Path, findings: &mut Findings) -> Result<(), LoadError> {
        for entry in fs::read_dir(log_dir).map_err(LoadError::io("list", log_dir))? {
            let Some(name) = entry.name.to_str() else { continue };
            let path = log_dir.join(name);
            if !entry.is_dir {
                if is_temporary(name) {
                    let what = "of a write that was cut off";
                    findings.file(Severity::Note, FindingKind::Leftover, &path, what);
                }
                continue;
            }
            match DirKind::of(name) {
                DirKind::Partition(partition) => self.partitions.push(partition),
                DirKind::Deleted => {
                    self.deleted.push(name.to_owned());
                    let what = "a deleted partition, whose files the next start removes";
                    findings.file(Severity::Note, FindingKind::Leftover, &path, what);
                }
                DirKind::Stray | DirKind::Future => {
                    let what = "it was set aside: no partition of the catalog uses it, and nothing removes it";
                    findings.file(Severity::Note, FindingKind::StrayDirectory, &path, what);
                }
                DirKind::Foreign if name == names::UNCLEAN_DIR => {}
                DirKind::Foreign => {
                    let what = "none of a broker's directories: Apache Kafka would not start here";
                    findings.file(Severity::Note, FindingKind::StrayDirectory, &path, what);
                }
            }
        }
        self.partitions.sort();
        Ok(())
    }
}

fn tell_state(log_dir: &Path, state: DirState, findings: &mut Findings) {
    if state.clean {
        return;
    }
    let unclean = log_dir.join(names::UNCLEAN_DIR);
    let (path, who) = match fs::exists(&unclean) {
        Ok(true) => (unclean, "Corelane"),
        _ => (log_dir.join(names::CLEAN_SHUTDOWN), "the broker"),
    };
    let what = format!("{who} was not stopped cleanly: the next start recovers what was not yet completed");
    findings.file(Severity::Note, FindingKind::Unclean, &path, what);
}

impl Checkpoints {
    fn read(log_dir: &Path, findings: &mut Findings) -> Result<Checkpoints, LoadError> {
        let mut malformed = Vec::new();
        let mut read = |name: &'static str| {
            let path = log_dir.join(name);
            match checkpoint::read(&path) {
                Err(error @ LoadError::Malformed { .. }) => {
                    malformed.push(name);
                    findings.file(Severity::Warning, FindingKind::Checkpoint, &path, error.to_string());
                    Ok(Offsets::new())
                }
                read => read,
            }
        };
        Ok(Checkpoints {
            recovery_points: read(names::RECOVERY_POINT_CHECKPOINT)?,
            log_starts: read(names::LOG_START_OFFSET_CHECKPOINT)?,
            high_watermarks: read(names::REPLICATION_OFFSET_CHECKPOINT)?,
            cleaner: read(names::CLEANER_OFFSET_CHECKPOINT)?,
            malformed,
        })
    }

    /// The offset of a partition in one of the files.
    pub fn offset(of: &Offsets, partition: &TopicPartition) -> Offset {
        of.get(partition).copied().unwrap_or_default().max(Offset::ZERO)
    }

    /// Lines that contradict the logs, and of partitions that are not there. `log_ends` has those that were checked.
    pub fn check(
        &self,
        log_dir: &Path,
        clean: bool,
        log_ends: &BTreeMap<TopicPartition, Offset>,
        findings: &mut Findings,
    ) {
        let files = [
            (names::RECOVERY_POINT_CHECKPOINT, &self.recovery_points),
            (names::LOG_START_OFFSET_CHECKPOINT, &self.log_starts),
            (names::REPLICATION_OFFSET_CHECKPOINT, &self.high_watermarks),
            (names::CLEANER_OFFSET_CHECKPOINT, &self.cleaner),
        ];
        for (name, offsets) in files {
            let path = log_dir.join(name);
            let sorted: BTreeMap<&TopicPartition, Offset> = offsets.iter().map(|(of, offset)| (of, *offset)).collect();
            for (partition, offset) in sorted {
                let (severity, what) = match log_ends.get(partition) {
                    None => (Severity::Note, format!("{partition} is no partition of the catalog")),
                    Some(end) if offset > *end => {
                        let high_watermark = name == names::REPLICATION_OFFSET_CHECKPOINT;
                        // Without flushes a power cut takes back what a high watermark covered.
                        let severity = if clean || !high_watermark { Severity::Warning } else { Severity::Note };
                        (severity, format!("{partition} has no such offset, its log ends at {end}"))
                    }
                    Some(_) if offset < Offset::ZERO => {
                        (Severity::Warning, format!("{partition} has a negative offset"))
                    }
                    Some(_) => continue,
                };
                findings.add(severity, FindingKind::Checkpoint, &path, (None, Some(offset)), what);
            }
        }
    }

    /// Writes the files anew for the partitions as they are after a repair; those that are not in `repaired` keep their lines.
    pub fn rewrite(
        &self,
        log_dir: &Path,
        known: impl Fn(&TopicPartition) -> bool,
        repaired: &BTreeMap<TopicPartition, PartitionOffsets>,
    ) -> Result<(), LoadError> {
        let (checkpoints, _) = DirCheckpoints::open(log_dir)?;
        checkpoints.retain(&known);
        checkpoints.update(repaired.iter().map(|(partition, offsets)| {
            let end = offsets.recovery_point;
            let compacted_to = self.cleaner.get(partition).map(|offset| (*offset).min(end).max(Offset::ZERO));
            (partition.clone(), PartitionOffsets { compacted_to, ..*offsets })
        }));
        for name in &self.malformed {
            let path = log_dir.join(name);
            fs::remove_file(&path).map_err(LoadError::io("remove", &path))?;
        }
        checkpoints.write_all()
    }
}

fn read_dropped(log_dir: &Path, findings: &mut Findings) -> Result<Ledger, LoadError> {
    let path = log_dir.join(DROPPED);
    let mut dropped = Ledger::new();
    let bytes = fs::if_exists(fs::read_bounded(&path, DROPPED_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
    let Some(bytes) = bytes else { return Ok(dropped) };
    for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        if number == 0 && line == DROPPED_HEADER {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let parsed = match words.as_slice() {
            [id, partition, first, end] => TopicId::parse(id)
                .zip(partition.parse().ok())
                .zip(first.parse().ok().zip(end.parse().ok()))
                .map(|(of, (first, end))| (of, (Offset(first), Offset(end)))),
            _ => None,
        };
        if let Some((of, range)) = parsed {
            dropped.entry(of).or_default().push(range);
        } else {
            let what = format!("line {} is malformed", number + 1);
            findings.file(Severity::Warning, FindingKind::Leftover, &path, what);
        }
    }
    Ok(dropped)
}

/// Notes what repairs dropped, durably; what was noted before has to be among it.
pub fn write_dropped(log_dir: &Path, dropped: &Ledger) -> Result<(), LoadError> {
    let mut text = format!("{DROPPED_HEADER}\n");
    for ((id, partition), ranges) in dropped {
        for (first, end) in ranges {
            let _ = writeln!(text, "{id} {partition} {first} {end}");
        }
    }
    let path = log_dir.join(DROPPED);
    fs::write_atomic(&path, text.as_bytes()).map_err(LoadError::io("write", &path))
}
