//! What is in a partition's directory, read without changing anything, and what does not belong there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::runtime::fs;
use crate::types::Offset;

use super::super::dir_files::PartitionFiles;
use super::super::epoch::LeaderEpochCache;
use super::super::error::LoadError;
use super::super::loaded::LoadOptions;
use super::super::names::{self, FileKind};
use super::super::partition_metadata;
use super::super::producers::ProducerTable;
use super::finding::{FindingKind, Findings, Severity};

/// The largest snapshot read: of ten million producers.
const SNAPSHOT_BYTES_MAX: usize = 512 << 20;
/// The largest transaction index read: of ten million aborted transactions.
const TXN_INDEX_BYTES_MAX: usize = 350 << 20;
/// An aborted transaction (`AbortedTxn`): version, producer id, first, last and last stable offset.
const TXN_ENTRY_BYTES: usize = 34;

/// Lists a directory; `None` if it is not there.
pub(super) fn list(dir: &Path, findings: &mut Findings) -> Result<Option<PartitionFiles>, LoadError> {
    let listed = fs::if_exists(fs::list(dir)).map_err(LoadError::io("list", dir))?;
    let Some(listed) = listed else { return Ok(None) };
    let mut files = PartitionFiles::default();
    let mut leftovers: Vec<String> = Vec::new();
    let mut swaps = false;
    for (name, is_dir) in listed {
        if is_dir {
            findings.file(
                Severity::Note,
                FindingKind::Leftover,
                &dir.join(&name),
                "a directory in a partition's directory",
            );
            continue;
        }
        match FileKind::of(&name) {
            FileKind::Deleted | FileKind::Cleaned(_) => leftovers.push(name),
            FileKind::Swap(_) => {
                swaps = true;
                leftovers.push(name);
            }
            FileKind::Other if is_temporary(&name) => leftovers.push(name),
            _ => files.note(&name),
        }
    }
    // Spare segments are among them, so this is no sign of trouble.
    if let Some(first) = leftovers.iter().min() {
        let what = if swaps {
            "of an interrupted compaction, which the next start completes"
        } else {
            "to be removed by the next start"
        };
        let what = format!("{} such files {what}", leftovers.len());
        findings.file(Severity::Note, FindingKind::Leftover, &dir.join(first), what);
    }
    for (indexes, name) in [
        (&files.offset_indexes, names::offset_index_file as fn(&Path, Offset) -> _),
        (&files.time_indexes, names::time_index_file),
        (&files.txn_indexes, names::txn_index_file),
    ] {
        for orphan in indexes.difference(&files.segments) {
            findings.file(Severity::Note, FindingKind::Leftover, &name(dir, *orphan), "an index without its segment");
        }
    }
    Ok(Some(files))
}

/// The temporary file of one that was to be replaced.
pub(super) fn is_temporary(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

/// The topic id of the directory against the one it should have.
pub(super) fn check_topic_id(
    options: &LoadOptions,
    files: &PartitionFiles,
    findings: &mut Findings,
) -> Result<(), LoadError> {
    let path = options.dir.join(names::PARTITION_METADATA);
    let expected = options.topic_id;
    match partition_metadata::read(&options.dir) {
        Ok(Some(found)) if found == expected => {}
        Ok(Some(found)) => {
            let what = format!("the directory belongs to topic id {found}, and the catalog says {expected}");
            findings.file(Severity::Error, FindingKind::TopicId, &path, what);
        }
        Ok(None) if files.segments.is_empty() && !options.clean => {}
        Ok(None) => {
            let what = "it is missing: Apache Kafka would take the partition for a stray one";
            findings.file(Severity::Warning, FindingKind::TopicId, &path, what);
        }
        Err(error @ LoadError::Malformed { .. }) => {
            findings.file(Severity::Error, FindingKind::TopicId, &path, error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The leader epochs of the checkpoint; `None` without one that can be read.
pub(super) fn read_epochs(
    options: &LoadOptions,
    has_batches: bool,
    findings: &mut Findings,
    wrong: &mut bool,
) -> Result<Option<LeaderEpochCache>, LoadError> {
    let path = options.dir.join(names::LEADER_EPOCH_CHECKPOINT);
    let severity = if options.clean { Severity::Warning } else { Severity::Note };
    match LeaderEpochCache::read(&options.dir) {
        // While it runs a broker of ours writes it when a segment is completed.
        Ok(None) if has_batches && options.clean => {
            *wrong = true;
            findings.file(severity, FindingKind::LeaderEpochs, &path, "the leader epoch checkpoint is missing");
            Ok(None)
        }
        Ok(epochs) => Ok(epochs),
        Err(error @ LoadError::Malformed { .. }) => {
            *wrong = true;
            findings.file(severity, FindingKind::LeaderEpochs, &path, error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Epochs that begin behind the log's end.
pub(super) fn check_epochs_end(options: &LoadOptions, epochs: &LeaderEpochCache, end: Offset, findings: &mut Findings) {
    let Some(latest) = epochs.latest().filter(|latest| options.clean && latest.start_offset > end) else { return };
    let path = options.dir.join(names::LEADER_EPOCH_CHECKPOINT);
    let what = format!("epoch {} begins at an offset behind the log's end, {end}", latest.epoch);
    findings.add(Severity::Warning, FindingKind::LeaderEpochs, &path, (None, Some(latest.start_offset)), what);
}

/// The producer snapshots: whole, and of a time that the log has. Answers those that are of no use.
pub(super) fn check_snapshots(
    options: &LoadOptions,
    files: &PartitionFiles,
    end: Offset,
    findings: &mut Findings,
) -> Result<BTreeSet<Offset>, LoadError> {
    let mut wrong = BTreeSet::new();
    for &offset in &files.snapshots {
        let path = names::snapshot_file(&options.dir, offset);
        let bytes = fs::read_bounded(&path, SNAPSHOT_BYTES_MAX).map_err(LoadError::io("read", &path))?;
        let at = (None, Some(offset));
        match ProducerTable::decode_snapshot(&bytes, offset, options.now_ms) {
            Err(error) => {
                wrong.insert(offset);
                findings.add(Severity::Warning, FindingKind::ProducerSnapshot, &path, at, error.to_string());
            }
            Ok(_) if offset > end => {
                wrong.insert(offset);
                let severity = if options.clean { Severity::Warning } else { Severity::Note };
                let what = format!("it is of an offset behind the log's end, {end}");
                findings.add(severity, FindingKind::ProducerSnapshot, &path, at, what);
            }
            Ok(table) => {
                let ahead = table.iter().find_map(|(id, entry)| {
                    let last = entry.batches().last().map(|batch| batch.last_offset)?;
                    (last >= offset).then_some((id, last))
                });
                if let Some((producer_id, last)) = ahead {
                    wrong.insert(offset);
                    let what =
                        format!("it has a batch of producer {producer_id} up to offset {last}, which comes later");
                    findings.add(Severity::Warning, FindingKind::ProducerSnapshot, &path, at, what);
                }
            }
        }
    }
    Ok(wrong)
}

/// The indexes of aborted transactions: whole entries of version 0, in order, of offsets that the segment has.
pub(super) fn check_txn_indexes(
    options: &LoadOptions,
    files: &PartitionFiles,
    findings: &mut Findings,
) -> Result<(), LoadError> {
    for &base_offset in files.txn_indexes.intersection(&files.segments) {
        let path = names::txn_index_file(&options.dir, base_offset);
        let bytes = fs::read_bounded(&path, TXN_INDEX_BYTES_MAX).map_err(LoadError::io("read", &path))?;
        let (entries, rest) = bytes.as_chunks::<TXN_ENTRY_BYTES>();
        let mut before = Offset(i64::MIN);
        let next = files.segments.range(base_offset.plus(1)..).next().copied().unwrap_or(Offset(i64::MAX));
        let mut wrong = (!rest.is_empty()).then(|| {
            (entries.len() * TXN_ENTRY_BYTES, format!("its {} bytes are no whole number of entries", bytes.len()))
        });
        for (number, entry) in entries.iter().enumerate() {
            let version = i16::from_be_bytes([entry[0], entry[1]]);
            let [first, last] = [10, 18].map(|at| Offset(int64(entry, at)));
            let what = if version != 0 {
                format!("it has version {version}")
            } else if first > last || last < base_offset || last >= next {
                format!("it says the offsets {first} to {last}, which are not its segment's")
            } else if last <= before {
                "it is not above the one before it".to_owned()
            } else {
                before = last;
                continue;
            };
            wrong = Some((number * TXN_ENTRY_BYTES, format!("entry {number}: {what}")));
            break;
        }
        if let Some((position, what)) = wrong {
            let at = (Some(position as u64), None);
            findings.add(Severity::Warning, FindingKind::TransactionIndex, &path, at, what);
        }
    }
    Ok(())
}

fn int64(entry: &[u8; TXN_ENTRY_BYTES], at: usize) -> i64 {
    entry.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
