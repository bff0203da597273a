//! The check of one partition.

use crate::runtime::fs::{self, OpenFlags};
use crate::types::{LeaderEpoch, Offset};

use super::super::dir_files::PartitionFiles;
use super::super::epoch::LeaderEpochCache;
use super::super::error::LoadError;
use super::super::loaded::{Damage, LoadOptions};
use super::super::look_behind::{Continuation, next_batch_behind};
use super::super::names;
use super::super::recovery::Recovery;
use super::super::replay::Replay;
use super::finding::{Finding, FindingKind, Findings, Severity};
use super::listing;
use super::walk::{Stretch, Walk};
use super::{CheckOptions, PartitionReport};

/// Checks one partition; changes nothing. `progress` is told the bytes of each segment that is done.
///
/// # Errors
/// A file that cannot be read; what is in it is never an error.
pub fn check_partition(check: &CheckOptions<'_>, mut progress: impl FnMut(u64)) -> Result<PartitionReport, LoadError> {
    let options = &check.load;
    let mut findings = Findings::of(&options.topic_partition);
    let Some(files) = listing::list(&options.dir, &mut findings)? else {
        return Ok(missing(options, findings));
    };
    listing::check_topic_id(options, &files, &mut findings)?;
    let mut wrong_epochs = false;
    let has_batches = holds_bytes(options, &files)?;
    let epochs = listing::read_epochs(options, has_batches, &mut findings, &mut wrong_epochs)?;
    let first = files.segments.first().copied().unwrap_or(options.log_start_offset.max(Offset::ZERO));
    let mut walk = Walk::new(check, epochs.as_ref(), first);
    walk.findings = findings;
    let verdict = if options.clean { Verdict::none() } else { Verdict::of(options, &files)? };
    walk.uncertain = verdict.cuts_valid;
    let last = walk_segments(&mut walk, &files, &verdict, &mut progress)?;
    walk.end(last);
    if let Some(recovery) = &verdict.recovery {
        tell_torn_tail(recovery, &mut walk.findings);
    }
    let Walk { standing, mut findings, mut report, .. } = walk;
    let end = standing.offset;
    if let Some(epochs) = &epochs {
        listing::check_epochs_end(options, epochs, end, &mut findings);
    }
    report.wrong_snapshots = listing::check_snapshots(options, &files, end, &mut findings)?;
    listing::check_txn_indexes(options, &files, &mut findings)?;
    report.wrong_epochs |= wrong_epochs;
    report.valid_batches_torn = verdict.cuts_valid;
    report.log_end_offset = end;
    report.findings = findings.into_list();
    if let Some(damage) = verdict.damage {
        report.refused = true;
        tell_refusal(&damage, options, &mut report.findings);
    }
    Ok(report)
}

/// Walks through the segments that a start would keep; answers the last of them.
fn walk_segments(
    walk: &mut Walk<'_>,
    files: &PartitionFiles,
    verdict: &Verdict,
    progress: &mut impl FnMut(u64),
) -> Result<Option<Offset>, LoadError> {
    let recovery = verdict.recovery.as_ref();
    let kept = |base: &Offset| recovery.is_none_or(|recovery| !recovery.removed.contains(base));
    let bases: Vec<Offset> = files.segments.iter().copied().filter(kept).collect();
    for (at, &base_offset) in bases.iter().enumerate() {
        let scanned = recovery.and_then(|recovery| recovery.scanned.iter().find(|of| of.base_offset == base_offset));
        let before = walk.report.bytes;
        walk.segment(Stretch {
            base_offset,
            next: bases.get(at + 1).copied(),
            recovered_bytes: scanned.map(|scanned| scanned.data_bytes),
            settled: base_offset < verdict.scan_from,
        })?;
        progress(walk.report.bytes - before);
    }
    Ok(bases.last().copied())
}

fn missing(options: &LoadOptions, mut findings: Findings) -> PartitionReport {
    let flushed = options.flushed_below();
    let lost = flushed > options.log_start_offset.max(Offset::ZERO);
    if lost {
        let what =
            format!("the partition's directory is missing, and everything below offset {flushed} had been flushed");
        findings.file(Severity::Error, FindingKind::MissingDirectory, &options.dir, what);
    } else {
        let what = "the partition has no directory yet, which the next start makes";
        findings.file(Severity::Note, FindingKind::MissingDirectory, &options.dir, what);
    }
    PartitionReport { findings: findings.into_list(), ends_early: lost, ..PartitionReport::default() }
}

fn holds_bytes(options: &LoadOptions, files: &PartitionFiles) -> Result<bool, LoadError> {
    for &base_offset in &files.segments {
        let path = names::log_file(&options.dir, base_offset);
        let stat = fs::stat(&path).map_err(LoadError::io("look at", &path))?;
        // Of an unclean directory an active segment may be preallocated room alone.
        if stat.bytes > 0 && (options.clean || files.segments.len() > 1) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a start would make of the end of a log that was not stopped cleanly.
struct Verdict {
    /// From this segment on recovery looks; those before it are trusted.
    scan_from: Offset,
    /// None where recovery has no say, or what it says is not to be taken for the end.
    recovery: Option<Recovery>,
    damage: Option<Damage>,
    /// Recovery would cut the log although valid batches lie behind, and nothing says that they were never acknowledged.
    cuts_valid: bool,
}

impl Verdict {
    fn none() -> Verdict {
        Verdict { scan_from: Offset(i64::MAX), recovery: None, damage: None, cuts_valid: false }
    }

    fn of(options: &LoadOptions, files: &PartitionFiles) -> Result<Verdict, LoadError> {
        let Some(&start) = files.segments.first() else { return Ok(Verdict::none()) };
        let scan_from = files.segments.range(..=options.recovery_point).next_back().copied().unwrap_or(start);
        let mut replay = Replay::new(LeaderEpochCache::new(), None, options.now_ms);
        let none = Verdict { scan_from, ..Verdict::none() };
        Ok(match Recovery::find(options, files, scan_from, None, &mut replay)? {
            Ok(recovery) if cuts_valid(options, &recovery)? => Verdict { cuts_valid: true, ..none },
            Ok(recovery) => Verdict { recovery: Some(recovery), ..none },
            Err(damage) => Verdict { damage: Some(damage), ..none },
        })
    }
}

fn cuts_valid(options: &LoadOptions, recovery: &Recovery) -> Result<bool, LoadError> {
    let (Some(_), Some(torn)) = (&recovery.cut, recovery.scanned.last()) else { return Ok(false) };
    if options.commit_reach_bytes != u64::MAX {
        return Ok(false);
    }
    let next =
        Continuation { offset: recovery.log_end_offset, epoch: LeaderEpoch::UNKNOWN, epoch_max: options.leader_epoch };
    let found = next_batch_behind(torn.scanner.file(), torn.file_bytes, torn.data_bytes + 1, next);
    if found.map_err(LoadError::io("read", torn.scanner.path()))?.is_some() {
        return Ok(true);
    }
    for &base_offset in &recovery.removed {
        let path = names::log_file(&options.dir, base_offset);
        let file = fs::open(&path, OpenFlags::READ).map_err(LoadError::io("open", &path))?;
        let size = fs::file_size(&file).map_err(LoadError::io("read", &path))?;
        if next_batch_behind(&file, size, 0, next).map_err(LoadError::io("read", &path))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells what the next start cuts away.
fn tell_torn_tail(recovery: &Recovery, findings: &mut Findings) {
    let Some(cut) = &recovery.cut else { return };
    let removed = match cut.segments_removed {
        0 => String::new(),
        count => format!(" and {count} later segments"),
    };
    let what = format!(
        "{} bytes behind the last whole batch{removed}: {}; the next start cuts them away: they are behind all that is known to be flushed",
        cut.bytes, cut.reason
    );
    let at = (Some(cut.position), Some(recovery.log_end_offset));
    findings.add(Severity::Note, FindingKind::TornTail, &cut.segment, at, what);
}

/// Tells why a start would leave the partition offline, unless the walk found the same.
fn tell_refusal(damage: &Damage, options: &LoadOptions, findings: &mut Vec<Finding>) {
    let same = |finding: &Finding| {
        finding.severity == Severity::Error
            && finding.file == damage.segment
            && finding.offset == Some(damage.offset)
            && finding.position.is_none_or(|position| position == damage.position)
    };
    if findings.iter().any(same) {
        return;
    }
    findings.push(Finding {
        severity: Severity::Error,
        kind: FindingKind::DamagedBatch,
        partition: Some(options.topic_partition.clone()),
        file: damage.segment.clone(),
        position: Some(damage.position),
        offset: Some(damage.offset),
        what: damage.reason(),
    });
}
