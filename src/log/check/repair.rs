//! The repair of one partition: what a start would do, and what a clean stop would leave.
//!
//! In this order, each step durable before the next, so that a repair that is cut off and run again comes to the same:
//! interrupted compactions and removals are finished; damaged bytes are taken out, if the operator asked for it;
//! what is wrong beside the batches is removed; then the partition is loaded as after a crash, which cuts torn tails
//! and makes anew what is missing; and at last it gets the files of a clean stop.

use std::path::{Path, PathBuf};

use crate::runtime::fs::{self, OpenFlags};
use crate::types::Offset;

use super::super::dir_checkpoints::PartitionOffsets;
use super::super::dir_files::PartitionFiles;
use super::super::error::LoadError;
use super::super::load::load;
use super::super::loaded::{LoadOptions, LoadedLog};
use super::super::names;
use super::super::recovery::write_indexes;
use super::drop_damaged::{Dropped, remove_indexes, rewrite_segment};
use super::finding::{FindingKind, Severity};
use super::listing::is_temporary;
use super::{CheckOptions, DamagedRange, PartitionReport, check_partition};

/// What a repair may do.
#[derive(Clone, Debug, Default)]
pub struct RepairOptions {
    /// Take out damaged bytes. Without it a damaged partition is left as it is.
    pub drop_damaged: bool,
    /// Where dropped bytes are kept, a directory of this partition's own.
    pub save_dropped: Option<PathBuf>,
    /// The log may have no gap: what is behind damage goes with it.
    pub gapless: bool,
}

/// A partition after its repair.
#[derive(Debug, Default)]
pub struct Repaired {
    /// What was done, each a sentence's clause.
    pub actions: Vec<String>,
    /// Offsets, first and end, that are not there any more and were dropped by this repair.
    pub dropped: Vec<(Offset, Offset)>,
    /// The partition was left as it is.
    pub left: Option<String>,
    /// For the checkpoints; `None` if it was left.
    pub offsets: Option<PartitionOffsets>,
}

/// Notes offsets, first and end, that are about to be dropped, durably.
pub type NoteDropped<'a> = dyn Fn(&[(Offset, Offset)]) -> Result<(), LoadError> + 'a;

/// Repairs one partition. Calls are blocking, and what is done is durable when it returns.
pub fn repair_partition(
    check: &CheckOptions<'_>,
    repair: &RepairOptions,
    note_dropped: &NoteDropped<'_>,
) -> Result<Repaired, LoadError> {
    let options = &check.load;
    let dir = &options.dir;
    let mut repaired = Repaired::default();
    tidy(dir, &mut repaired.actions)?;
    let quick = CheckOptions { deep: false, record: None, ..check.clone() };
    let mut report = check_partition(&quick, |_| {})?;
    if let Some(foreign) = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::TopicId && finding.severity == Severity::Error)
    {
        repaired.left = Some(foreign.what.clone());
        return Ok(repaired);
    }
    if report.is_damaged() && !repair.drop_damaged && !only_restamps(&report) {
        repaired.left = Some("it is damaged, and --drop-damaged was not given".to_owned());
        return Ok(repaired);
    }
    let damaged = report.is_damaged();
    let mut load_options = options.clone();
    if damaged {
        let end = drop_damage(options, repair, note_dropped, &report, &mut repaired)?;
        // The indexes of what was rewritten are gone, and it ends with its batches.
        let rewritten = |segment: &Offset| report.damage.iter().any(|range| range.segment == *segment);
        report.wrong_indexes = report.wrong_indexes.iter().copied().filter(|segment| !rewritten(segment)).collect();
        report.tails = report.tails.iter().copied().filter(|(segment, _)| !rewritten(segment)).collect();
        // All of it is on the device now: that there are gaps is no reason to cut again.
        (load_options.recovery_point, load_options.flushed_offset) = (end, Offset::ZERO);
        (load_options.clean, load_options.accept_damage) = (false, true);
    }
    remove_wrong(options, &report, &mut repaired.actions)?;
    let loaded = load(&load_options)?;
    if let Some(damage) = loaded.damage {
        repaired.left = Some(damage.to_string());
        return Ok(repaired);
    }
    tell_load(&loaded, &mut repaired.actions);
    repaired.offsets = Some(complete(loaded)?);
    Ok(repaired)
}

/// Nothing is lost by putting it right.
fn only_restamps(report: &PartitionReport) -> bool {
    !report.damage.is_empty()
        && !report.ends_early
        && !report.valid_batches_torn
        && report.damage.iter().all(|range| range.restamp.is_some())
}

/// Finishes what an interrupted compaction or removal left.
fn tidy(dir: &Path, actions: &mut Vec<String>) -> Result<(), LoadError> {
    let listed = fs::if_exists(fs::list(dir)).map_err(LoadError::io("list", dir))?.unwrap_or_default();
    let mut temporary = 0;
    for (name, _) in listed.iter().filter(|(name, is_dir)| !is_dir && is_temporary(name)) {
        let path = dir.join(name);
        fs::remove_file(&path).map_err(LoadError::io("remove", &path))?;
        temporary += 1;
    }
    let before = listed.len() - temporary;
    if let Some(mut files) = PartitionFiles::tidy(dir)? {
        files.unsynced |= temporary > 0;
        let changed = files.unsynced;
        files.sync(dir)?;
        let after = fs::list(dir).map_err(LoadError::io("list", dir))?.len();
        if changed {
            actions.push(format!("removed {} leftover files", temporary + before.saturating_sub(after)));
        }
    }
    Ok(())
}

/// Takes out what is damaged, and says what. Answers where the log ends then.
fn drop_damage(
    options: &LoadOptions,
    repair: &RepairOptions,
    note_dropped: &NoteDropped<'_>,
    report: &PartitionReport,
    repaired: &mut Repaired,
) -> Result<Offset, LoadError> {
    let dir = &options.dir;
    let found_end = report.log_end_offset;
    let needs_cut = report.damage.iter().any(|range| range.restamp.is_none());
    if repair.gapless && needs_cut {
        return cut_at(options, repair, report, repaired);
    }
    // No offset that was acknowledged once is given to another record.
    let end = if repair.gapless { found_end } else { found_end.max(options.flushed_below()) };
    let lost = report.damage.iter().filter(|range| range.restamp.is_none() && range.next_offset > range.offset);
    repaired.dropped = lost.map(|range| (range.offset, range.next_offset)).collect();
    let cut_off = end > found_end && report.damage.last().is_none_or(|range| range.next_offset < end);
    if cut_off {
        repaired.dropped.push((found_end, end));
    }
    // Before it is done: a repair that is cut off leaves gaps that a later one has to know.
    note_dropped(&repaired.dropped)?;
    let last = PartitionFiles::tidy(dir)?.unwrap_or_default().segments.last().copied();
    let hurt = report.damage.iter().any(|range| Some(range.segment) == last && range.restamp.is_none());
    if last.is_some_and(|last| last < end) && (hurt || report.refused || report.valid_batches_torn || end > found_end) {
        // A gap is legal in a sealed segment only: behind this one there is a new one from now on.
        let path = names::log_file(dir, end);
        fs::write_synced(&path, &[]).map_err(LoadError::io("make", &path))?;
        fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
    }
    let mut segments: Vec<Offset> = report.damage.iter().map(|range| range.segment).collect();
    segments.dedup();
    for segment in segments {
        let ranges: Vec<_> = report.damage.iter().filter(|range| range.segment == segment).copied().collect();
        let data_end = report.tails.iter().find(|(of, _)| *of == segment).map(|(_, bytes)| *bytes);
        let dropped = rewrite_segment(dir, segment, &ranges, data_end, repair.save_dropped.as_deref())?;
        tell_dropped(&names::log_file(dir, segment), &ranges, dropped, repaired);
    }
    if cut_off {
        repaired.actions.push(format!(
            "{}: the offsets {found_end} to {} are lost with all of their bytes; the log goes on at {end}",
            dir.display(),
            end.plus(-1)
        ));
    }
    Ok(end)
}

fn tell_dropped(file: &Path, ranges: &[DamagedRange], dropped: Vec<Dropped>, repaired: &mut Repaired) {
    let file = file.display();
    for range in ranges.iter().filter(|range| range.restamp.is_some()) {
        let (from, offset) = (range.from, range.offset);
        repaired
            .actions
            .push(format!("{file}: the batch at byte {from} has its offset, {offset}, and its epoch again"));
    }
    for one in dropped {
        let (from, end) = (one.range.offset, one.range.next_offset);
        let kept = one.saved.map_or_else(String::new, |path| format!("; its bytes are kept in {}", path.display()));
        let offsets = match end.0 - from.0 {
            ..=0 => "no offset is lost".to_owned(),
            1 => format!("offset {from} is lost"),
            _ => format!("the offsets {from} to {} are lost", end.plus(-1)),
        };
        let (bytes, at) = (one.range.to - one.range.from, one.range.from);
        repaired.actions.push(format!("{file}: dropped {bytes} bytes at byte {at}: {offsets}{kept}"));
    }
}

/// Cuts a log that may have no gap at its first damage.
fn cut_at(
    options: &LoadOptions,
    repair: &RepairOptions,
    report: &PartitionReport,
    repaired: &mut Repaired,
) -> Result<Offset, LoadError> {
    let Some(first) = report.damage.first() else { return Ok(report.log_end_offset) };
    let dir = &options.dir;
    let mut files = PartitionFiles::tidy(dir)?.unwrap_or_default();
    let path = names::log_file(dir, first.segment);
    let size = fs::stat(&path).map_err(LoadError::io("look at", &path))?.bytes;
    let whole = DamagedRange { to: size, next_offset: report.log_end_offset, ..*first };
    // Saved as it stands; later segments are kept whole beside it.
    let later: Vec<Offset> = files.segments.range(first.segment.plus(1)..).copied().collect();
    if let Some(to) = &repair.save_dropped {
        super::drop_damaged::save(&path, whole, to)?;
        for &base_offset in &later {
            let path = names::log_file(dir, base_offset);
            let bytes = fs::stat(&path).map_err(LoadError::io("look at", &path))?.bytes;
            let all = DamagedRange { segment: base_offset, from: 0, to: bytes, ..whole };
            super::drop_damaged::save(&path, all, to)?;
        }
    }
    for &base_offset in later.iter().rev() {
        files.remove_segment(dir, base_offset)?;
        files.sync(dir)?;
    }
    remove_indexes(dir, first.segment)?;
    let file = fs::open(&path, OpenFlags::READ_WRITE).map_err(LoadError::io("open", &path))?;
    fs::truncate(&file, first.from).map_err(LoadError::io("truncate", &path))?;
    fs::sync_all(&file).map_err(LoadError::io("sync", &path))?;
    repaired.actions.push(format!(
        "{}: cut at byte {}, with {} later segments: everything from offset {} on is dropped",
        path.display(),
        first.from,
        later.len(),
        first.offset
    ));
    repaired.dropped.push((first.offset, report.log_end_offset));
    Ok(first.offset)
}

/// Removes what contradicts the batches: the load makes it anew.
fn remove_wrong(options: &LoadOptions, report: &PartitionReport, actions: &mut Vec<String>) -> Result<(), LoadError> {
    let dir = &options.dir;
    for &segment in &report.wrong_indexes {
        remove_indexes(dir, segment)?;
        actions.push(format!("{}: its indexes are made anew", names::log_file(dir, segment).display()));
    }
    for &(segment, bytes) in &report.tails {
        let path = names::log_file(dir, segment);
        let file = fs::open(&path, OpenFlags::READ_WRITE).map_err(LoadError::io("open", &path))?;
        fs::truncate(&file, bytes).map_err(LoadError::io("truncate", &path))?;
        fs::sync_all(&file).map_err(LoadError::io("sync", &path))?;
        actions.push(format!("{}: cut to its batches, {bytes} bytes", path.display()));
    }
    for &offset in &report.wrong_snapshots {
        let path = names::snapshot_file(dir, offset);
        fs::remove_file(&path).map_err(LoadError::io("remove", &path))?;
        actions.push(format!("{}: removed", path.display()));
    }
    if report.wrong_epochs {
        let path = dir.join(names::LEADER_EPOCH_CHECKPOINT);
        fs::remove_file(&path).map_err(LoadError::io("remove", &path))?;
        actions.push(format!("{}: written anew from the batches", path.display()));
    }
    if !report.wrong_snapshots.is_empty() || report.wrong_epochs {
        fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
    }
    Ok(())
}

fn tell_load(loaded: &LoadedLog, actions: &mut Vec<String>) {
    let report = &loaded.report;
    if report.created {
        actions.push(format!("{}: made", loaded.dir.display()));
    }
    if let Some(cut) = &report.cut {
        actions.push(format!(
            "{}: cut {} bytes of a torn tail at byte {}, offset {}: {}",
            cut.segment.display(),
            cut.bytes,
            cut.position,
            loaded.log_end_offset,
            cut.reason
        ));
    }
}

/// Leaves the files of a clean stop: the active segment's indexes, and a snapshot at the log's end.
pub(super) fn complete(mut loaded: LoadedLog) -> Result<PartitionOffsets, LoadError> {
    let (dir, end) = (&loaded.dir, loaded.log_end_offset);
    loaded.active.indexes.seal();
    write_indexes(dir, loaded.active.base_offset, &loaded.active.indexes, true)?;
    let snapshot = names::snapshot_file(dir, end);
    fs::write_atomic(&snapshot, &loaded.producers.encode_snapshot()).map_err(LoadError::io("write", &snapshot))?;
    fs::sync_dir(dir).map_err(LoadError::io("sync", dir))?;
    Ok(PartitionOffsets {
        recovery_point: end,
        log_start_offset: loaded.log_start_offset,
        high_watermark: end,
        compacted_to: None,
    })
}
