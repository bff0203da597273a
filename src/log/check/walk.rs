//! Walks through all batches of a partition, over damage too, and holds everything beside them against them.
//!
//! By the rules of recovery ([`Rules`]), but for two things: gaps are passed over and told, and where recovery stops
//! at a broken batch the walk looks for the next valid one and goes on there.

use crate::record::{BatchHeader, RecordIter};
use crate::runtime::fs;
use crate::types::{LeaderEpoch, Offset};

use super::super::dir_files::scan_failed;
use super::super::epoch::LeaderEpochCache;
use super::super::error::LoadError;
use super::super::loaded::LoadOptions;
use super::super::look_behind::{Behind, Continuation, look_behind, next_batch_behind};
use super::super::names;
use super::super::scan::{ScanError, SegmentScanner};
use super::super::segment_scan::{Refused, Rules, ScannedSegment, Standing, Stop};
use super::finding::{FindingKind, Findings, Severity};
use super::index_check::IndexCheck;
use super::{CheckOptions, DamagedRange, PartitionReport};

/// How far ahead of the wall clock a timestamp may be before it is told: a day, for clocks of another time zone.
const FUTURE_MS: i64 = 24 * 60 * 60 * 1000;

/// A segment as the walk meets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub base_offset: Offset,
    /// Where the next segment begins.
    pub next: Option<Offset>,
    /// Up to where recovery found it whole; `None` where recovery has no say, and the file's end counts.
    pub recovered_bytes: Option<u64>,
    /// The files beside it are trusted at a start: not those of a segment that is recovered.
    pub settled: bool,
}

/// The walk through one partition.
pub(super) struct Walk<'a> {
    check: &'a CheckOptions<'a>,
    options: &'a LoadOptions,
    epochs_on_disk: Option<&'a LeaderEpochCache>,
    pub standing: Standing,
    pub findings: Findings,
    pub report: PartitionReport,
    /// The offsets in front of the next batch are told to be missing already.
    gap_told: bool,
    epochs_told: bool,
    future_told: bool,
    /// The segment is trusted by a start.
    settled: bool,
    /// Whether the batches behind damage were ever acknowledged is not known: recovery would cut them away.
    pub uncertain: bool,
}

/// What a batch whose header is wrong should say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl<'a> Walk<'a> {
    pub fn new(check: &'a CheckOptions<'a>, epochs_on_disk: Option<&'a LeaderEpochCache>, first: Offset) -> Walk<'a> {
        let options = &check.load;
        Walk {
            check,
            options,
            epochs_on_disk,
            standing: Standing { offset: first, epoch: LeaderEpoch::UNKNOWN },
            findings: Findings::of(&options.topic_partition),
            report: PartitionReport::default(),
            gap_told: false,
            epochs_told: false,
            future_told: false,
            settled: true,
            uncertain: false,
        }
    }

    pub fn segment(&mut self, stretch: Stretch) -> Result<(), LoadError> {
        let options = self.options;
        let base_offset = stretch.base_offset;
        self.settled = stretch.settled;
        let mut segment = ScannedSegment::open(&options.dir, base_offset, &options.config)?;
        if let Some(bytes) = stretch.recovered_bytes {
            let (path, file) = (segment.scanner.path().to_owned(), segment.scanner);
            segment.scanner = SegmentScanner::over(&path, file.into_file(), bytes);
        }
        let mut indexes =
            if stretch.settled { Some(IndexCheck::open(&options.dir, base_offset, &options.config)?) } else { None };
        if self.standing.offset < base_offset {
            self.gap(base_offset, &segment, 0);
            self.standing.offset = base_offset;
        }
        let rules = Rules {
            gaps: true,
            below: stretch.next.unwrap_or(Offset(i64::MAX)),
            epoch_max: options.leader_epoch,
            // What recovery accepted it has read whole.
            crc: stretch.recovered_bytes.is_none() || self.check.deep,
        };
        loop {
            match segment.next(rules, self.standing) {
                Ok(Some(header)) => match self.contradicted(&mut segment, &header, stretch)? {
                    None => self.take(&mut segment, &header, indexes.as_mut())?,
                    Some(stop) if self.pass_over(&mut segment, &stop, rules, &mut indexes, stretch)? => {}
                    Some(_) => break,
                },
                Ok(None) => break,
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Stop(stop)) => {
                    if !self.pass_over(&mut segment, &stop, rules, &mut indexes, stretch)? {
                        break;
                    }
                }
            }
        }
        self.report.segments += 1;
        self.report.segment_bytes.push((base_offset, segment.data_bytes));
        self.report.bytes += segment.scanner.size();
        if let Some(indexes) = indexes {
            // Kafka and we give the active segment's time index its last entry at a clean stop.
            let sealed = stretch.next.is_some() || options.clean;
            if indexes.finish(sealed, &mut self.findings) {
                self.report.wrong_indexes.insert(base_offset);
            }
        }
        Ok(())
    }

    /// A valid batch.
    fn take(
        &mut self,
        segment: &mut ScannedSegment,
        header: &BatchHeader,
        indexes: Option<&mut IndexCheck>,
    ) -> Result<(), LoadError> {
        let position = segment.scanner.position();
        if header.base_offset > self.standing.offset {
            self.gap(header.base_offset, segment, position);
        }
        self.gap_told = false;
        self.epoch(header, segment, position);
        self.timestamps(header, segment, position);
        if self.check.deep || self.check.record.is_some() {
            self.records(segment, header)?;
        }
        if let Some(indexes) = indexes {
            indexes.batch(position, header);
        }
        segment.accept(header, &self.options.config);
        self.standing = Standing { offset: header.next_offset(), epoch: header.leader_epoch };
        self.report.batches += 1;
        Ok(())
    }

    /// No batch has the offsets up to `to`.
    fn gap(&mut self, to: Offset, segment: &ScannedSegment, position: u64) {
        let from = self.standing.offset;
        let deleted = to <= self.options.log_start_offset;
        let compacted = to <= self.check.compacted_to;
        if std::mem::take(&mut self.gap_told) || deleted || compacted || self.options.config.cleanup_policy.compact {
            return;
        }
        let dropped = self.check.dropped.iter().any(|&(first, end)| first <= from && to <= end);
        let (severity, why) = if dropped {
            (Severity::Note, "dropped by an earlier repair")
        } else {
            (Severity::Warning, "the topic is not compacted, so they were lost, unless it was compacted once")
        };
        let what = format!("the offsets up to {} are not there: {why}", to.plus(-1));
        let at = (Some(position), Some(from));
        self.findings.add(severity, FindingKind::MissingRecords, segment.scanner.path(), at, what);
    }

    fn epoch(&mut self, header: &BatchHeader, segment: &ScannedSegment, position: u64) {
        let Some(epochs) = self.epochs_on_disk else { return };
        // After a crash the epochs of what was not completed are read from the batches.
        if !self.settled
            || self.epochs_told
            || header.leader_epoch.0 < 0
            || header.base_offset < self.options.log_start_offset
        {
            return;
        }
        let said = epochs.epoch_for_offset(header.base_offset);
        if said == Some(header.leader_epoch) {
            return;
        }
        self.epochs_told = true;
        self.report.wrong_epochs = true;
        let path = self.options.dir.join(names::LEADER_EPOCH_CHECKPOINT);
        let said = said.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
        let segment = segment.scanner.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let what = format!(
            "it says {said} for offset {}, and the batch ({segment} at byte {position}) is of epoch {}",
            header.base_offset, header.leader_epoch
        );
        self.findings.add(Severity::Warning, FindingKind::LeaderEpochs, &path, (None, Some(header.base_offset)), what);
    }

    fn timestamps(&mut self, header: &BatchHeader, segment: &ScannedSegment, position: u64) {
        let (base, max) = (header.base_timestamp, header.max_timestamp);
        let what = if max < -1 {
            format!("a batch has the timestamp {max}")
        } else if max - self.options.now_ms > FUTURE_MS && !std::mem::replace(&mut self.future_told, true) {
            format!("a batch has the timestamp {max}, more than a day ahead of the clock here")
        } else if max < base && max != -1 && header.count > 0 && !header.attributes.has_delete_horizon() {
            format!("a batch's greatest timestamp, {max}, is below its first one, {base}")
        } else {
            return;
        };
        let at = (Some(position), Some(header.base_offset));
        self.findings.add(Severity::Note, FindingKind::Timestamp, segment.scanner.path(), at, what);
    }

    /// Looks into a batch.
    fn records(&mut self, segment: &mut ScannedSegment, header: &BatchHeader) -> Result<(), LoadError> {
        let (path, position) = (segment.scanner.path().to_owned(), segment.scanner.position());
        let bytes = match segment.scanner.bytes() {
            Ok(bytes) => bytes,
            Err(ScanError::Broken { what, .. }) => {
                let at = (Some(position), Some(header.base_offset));
                self.findings.add(Severity::Warning, FindingKind::BadRecord, &path, at, what.to_string());
                return Ok(());
            }
            Err(failed) => return Err(scan_failed(failed)),
        };
        let mut bad: Option<(Offset, String)> = None;
        let mut look = || -> Result<(), crate::record::BatchError> {
            let mut records = RecordIter::new(bytes)?;
            let mut above = header.base_offset.plus(-1);
            while let Some(record) = records.next_record()? {
                if record.offset <= above || record.offset > header.last_offset() {
                    bad = Some((record.offset, "a record's offset is not one of its batch's".to_owned()));
                } else if record.timestamp > header.max_timestamp {
                    bad = Some((record.offset, "a record's timestamp is greater than its batch's".to_owned()));
                } else if let Some(check) = self.check.record
                    && !header.attributes.is_control()
                    && let Err(what) = check(&record)
                {
                    bad = Some((record.offset, what));
                }
                if bad.is_some() {
                    break;
                }
                above = record.offset;
                self.report.records += 1;
            }
            Ok(())
        };
        if let Err(error) = look() {
            bad = Some((header.base_offset, error.to_string()));
        }
        if let Some((offset, what)) = bad {
            let at = (Some(position), Some(offset));
            self.findings.add(Severity::Warning, FindingKind::BadRecord, &path, at, what);
        }
        Ok(())
    }

    /// A batch that seems to continue the log with a gap or a new epoch, but whose successor continues the log as if it
    /// had neither: base offset and epoch lie outside of the CRC, and this one's are garbled.
    fn contradicted(
        &self,
        segment: &mut ScannedSegment,
        header: &BatchHeader,
        stretch: Stretch,
    ) -> Result<Option<Stop>, LoadError> {
        let standing = self.standing;
        let (gap, raised) = (header.base_offset > standing.offset, header.leader_epoch > standing.epoch);
        if !gap && (!raised || standing.epoch == LeaderEpoch::UNKNOWN) {
            return Ok(None);
        }
        let expected = standing.offset.plus(i64::from(header.last_offset_delta) + 1);
        let wrong_offset = Some(Stop::Offset { expected: standing.offset, found: header.base_offset });
        let Some(next) = successor(segment)? else {
            let is_last = segment.scanner.end_position() == segment.scanner.size() && stretch.next.is_none();
            let by_its_end = is_last && gap && !self.gap_told && self.ends_at(expected);
            return Ok(if by_its_end { wrong_offset } else { None });
        };
        if gap && next.base_offset == expected {
            return Ok(wrong_offset);
        }
        if raised && next.leader_epoch < header.leader_epoch && next.leader_epoch >= standing.epoch {
            let (before, max, found) = (standing.epoch, next.leader_epoch, header.leader_epoch);
            return Ok(Some(Stop::Epoch { before, max, found }));
        }
        Ok(None)
    }

    /// Whether the log is known to end here: by its clean stop, or because an active segment of ours has no gaps.
    fn ends_at(&self, end: Offset) -> bool {
        if self.options.clean { end == self.options.flushed_below() } else { !self.options.adopted }
    }

    /// Tells of bytes that are no batch of the log's, and goes on behind them. False at the end of the segment's batches.
    fn pass_over(
        &mut self,
        segment: &mut ScannedSegment,
        stop: &Stop,
        rules: Rules,
        indexes: &mut Option<IndexCheck>,
        stretch: Stretch,
    ) -> Result<bool, LoadError> {
        let (from, size) = (segment.scanner.position(), segment.scanner.size());
        let claimed_end = segment.scanner.end_position();
        let next = Continuation {
            offset: self.standing.offset,
            epoch: self.standing.epoch,
            epoch_max: self.options.leader_epoch,
        };
        // A batch's own end first: what lies in it may look like a batch.
        let mut resumed = None;
        if claimed_end > from && claimed_end < size {
            segment.scanner.seek(claimed_end);
            match segment.next(rules, self.standing) {
                Ok(Some(header)) => resumed = Some((claimed_end, header.base_offset)),
                Err(Refused::Failed(error)) => return Err(error),
                Ok(None) | Err(Refused::Stop(_)) => {}
            }
        }
        if resumed.is_none() {
            let found = next_batch_behind(segment.scanner.file(), size, from + 1, next);
            let found = found.map_err(LoadError::io("read", segment.scanner.path()))?;
            resumed = found.map(|batch| (batch.position, batch.base_offset));
        }
        let Some((to, next_offset)) = resumed else {
            let end = stretch.next.unwrap_or(self.options.flushed_below());
            let restamp = self.restamp(segment, stop, (from, claimed_end), (size, end))?;
            segment.scanner.seek(from);
            self.tail(segment, stop, next, stretch, restamp)?;
            return Ok(false);
        };
        let restamp = self.restamp(segment, stop, (from, claimed_end), (to, next_offset))?;
        let lost = next_offset.0 - self.standing.offset.0;
        let mut what = format!("{stop}; the log goes on at byte {to} with offset {next_offset}");
        if restamp.is_some() {
            what += "; the batch is whole but for its place in the log, which a repair puts right";
        }
        let range =
            DamagedRange { segment: stretch.base_offset, from, to, offset: self.standing.offset, next_offset, restamp };
        self.hurt(segment, range, what);
        if let Some(indexes) = indexes {
            indexes.passed_over(to, next_offset);
        }
        self.gap_told = lost > 0;
        segment.scanner.seek(to);
        Ok(true)
    }

    fn hurt(&mut self, segment: &ScannedSegment, range: DamagedRange, mut what: String) {
        // What was deleted by DeleteRecords or retention is missed by nobody.
        let deleted = range.next_offset <= self.options.log_start_offset && range.next_offset > range.offset;
        let severity = if deleted || self.uncertain { Severity::Warning } else { Severity::Error };
        if self.uncertain {
            what += "; a start would cut the log here";
        }
        let at = (Some(range.from), Some(range.offset));
        self.findings.add(severity, FindingKind::DamagedBatch, segment.scanner.path(), at, what);
        self.report.damage.push(range);
    }

    /// What a batch whose place is wrong should say, if the batch itself and what comes `next` leave no doubt.
    fn restamp(
        &self,
        segment: &mut ScannedSegment,
        stop: &Stop,
        (from, claimed_end): (u64, u64),
        next: (u64, Offset),
    ) -> Result<Option<Stamp>, LoadError> {
        let places = matches!(stop, Stop::Offset { .. } | Stop::Epoch { .. } | Stop::Bounds { .. });
        if !places || next.0 != claimed_end {
            return Ok(None);
        }
        segment.scanner.seek(from);
        let Ok(Some(header)) = segment.scanner.advance() else { return Ok(None) };
        match segment.scanner.check_crc() {
            Ok(()) => {}
            Err(ScanError::Broken { .. }) => return Ok(None),
            Err(failed) => return Err(scan_failed(failed)),
        }
        let base_offset = self.standing.offset;
        let follower = successor(segment)?;
        let continues = base_offset.plus(i64::from(header.last_offset_delta) + 1) == next.1
            && follower.is_none_or(|follower| follower.base_offset == next.1)
            && header.last_offset_delta >= 0;
        let leader_epoch = match (stop, follower) {
            (Stop::Epoch { .. }, Some(follower)) if follower.leader_epoch == self.standing.epoch => self.standing.epoch,
            (Stop::Epoch { .. }, _) => return Ok(None),
            _ => header.leader_epoch,
        };
        Ok(continues.then_some(Stamp { base_offset, leader_epoch }))
    }

    /// What is behind the last batch of a segment.
    fn tail(
        &mut self,
        segment: &ScannedSegment,
        stop: &Stop,
        next: Continuation,
        stretch: Stretch,
        restamp: Option<Stamp>,
    ) -> Result<(), LoadError> {
        let path = segment.scanner.path();
        let (from, size) = (segment.scanner.position(), segment.scanner.size());
        let behind = look_behind(segment.scanner.file(), size, from, next).map_err(LoadError::io("read", path))?;
        let Behind { stale, used_to, .. } = behind;
        let range = |next_offset| DamagedRange {
            segment: stretch.base_offset,
            from,
            to: size,
            offset: next.offset,
            next_offset,
            restamp,
        };
        let flushed = self.options.flushed_below();
        if let Some(next_base) = stretch.next.filter(|&base| base > next.offset) {
            self.hurt(
                segment,
                range(next_base),
                format!("{stop}; the log goes on with the segment at offset {next_base}"),
            );
            self.gap_told = true;
            return Ok(());
        }
        if stretch.next.is_none() && next.offset < flushed {
            let what = format!("{stop}; the log ends here, and everything below offset {flushed} had been flushed");
            self.hurt(segment, range(flushed), what);
            return Ok(());
        }
        if !stretch.settled {
            if used_to > from {
                let what = format!("{} bytes behind the last whole batch: {stop}", used_to - from);
                let at = (Some(from), Some(next.offset));
                self.findings.add(Severity::Note, FindingKind::TornTail, path, at, what);
            }
            self.report.tails.push((stretch.base_offset, from));
            return Ok(());
        }
        self.report.tails.push((stretch.base_offset, from));
        let at = (Some(from), Some(next.offset));
        let what = match (used_to > from, stale) {
            (false, _) => {
                format!("{} bytes of zeros behind the last batch, on which Apache Kafka stumbles", size - from)
            }
            (true, true) => format!("{} bytes of an earlier use of the file behind the last batch", used_to - from),
            (true, false) => format!("{} bytes behind the last batch: {stop}", used_to - from),
        };
        self.findings.add(Severity::Warning, FindingKind::SegmentTail, path, at, what);
        Ok(())
    }

    /// To be called behind the last segment: the log ends there, and must not end below what was flushed.
    pub fn end(&mut self, last: Option<Offset>) {
        let (end, flushed) = (self.standing.offset, self.options.flushed_below());
        let told = self.report.damage.last().is_some_and(|range| range.next_offset >= flushed && range.offset <= end);
        if end >= flushed || told {
            return;
        }
        let path = match last {
            Some(base_offset) => names::log_file(&self.options.dir, base_offset),
            None => self.options.dir.clone(),
        };
        let position = fs::stat(&path).ok().filter(|_| last.is_some()).map(|stat| stat.bytes);
        let what = format!("the log ends here, and everything below offset {flushed} had been flushed");
        self.findings.add(Severity::Error, FindingKind::MissingRecords, &path, (position, Some(end)), what);
        self.report.ends_early = true;
    }
}

/// The header behind the scanner's current batch, which stays the current one.
fn successor(segment: &mut ScannedSegment) -> Result<Option<BatchHeader>, LoadError> {
    let position = segment.scanner.position();
    let next = segment.scanner.advance();
    segment.scanner.seek(position);
    let again = segment.scanner.advance();
    match (next, again) {
        (Ok(next), Ok(_)) => Ok(next),
        (Err(ScanError::Broken { .. }), _) => Ok(None),
        (Err(failed), _) | (_, Err(failed)) => Err(scan_failed(failed)),
    }
}
