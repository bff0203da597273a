//! Partitions that are whole, and with everything on purpose that a check is to find.

mod beside;
mod damage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::config::LogConfig;
use super::super::load::load;
use super::super::loaded::LoadOptions;
use super::super::names;
use super::super::scan::LogScanner;
use super::super::testing::{batch, write_segment};
use super::repair::complete;
use super::{CheckOptions, Finding, FindingKind, PartitionReport, RepairOptions, Repaired, Severity};
use super::{check_partition, repair_partition};
use crate::record::BatchHeader;
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicPartition};

const TOPIC_ID: KafkaUuid = KafkaUuid([7; 16]);

/// A partition that was stopped cleanly.
struct Partition {
    _root: tempfile::TempDir,
    options: LoadOptions,
    /// Of each segment, its base offset and its batches.
    segments: Vec<(i64, Vec<Vec<u8>>)>,
}

/// Twelve batches of one to three records in epochs 2 and 4, over three segments.
fn some_segments() -> Vec<(i64, Vec<Vec<u8>>)> {
    let (mut offset, mut segments) = (0, Vec::new());
    for segment in 0..3 {
        let (base, mut batches) = (offset, Vec::new());
        for number in 0..4 {
            let count = 1 + number % 3;
            let epoch = if segment < 1 { 2 } else { 4 };
            batches.push(batch(offset, count as i32, epoch, &vec![b'a' + number as u8; 30 + 11 * number as usize]));
            offset += count;
        }
        segments.push((base, batches));
    }
    segments
}

impl Partition {
    fn new() -> Partition {
        Partition::of(some_segments())
    }

    fn of(segments: Vec<(i64, Vec<Vec<u8>>)>) -> Partition {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("t-0");
        std::fs::create_dir(&dir).unwrap();
        for (base, batches) in &segments {
            write_segment(&dir, *base, &batches.concat());
        }
        let topic_partition = TopicPartition { topic: Arc::from("t"), partition: 0 };
        let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
        let mut options = LoadOptions {
            clean: false,
            leader_epoch: LeaderEpoch(9),
            commit_reach_bytes: 1 << 20,
            ..LoadOptions::of_new(dir, topic_partition, TOPIC_ID, config, 2_000_000)
        };
        let offsets = complete(load(&options).unwrap()).unwrap();
        options.recovery_point = offsets.recovery_point;
        options.clean = true;
        Partition { _root: root, options, segments }
    }

    /// As a crash leaves it: what is flushed is known up to the last segment's first offset.
    fn crashed(mut self) -> Partition {
        self.options.clean = false;
        let last = Offset(self.segments.last().unwrap().0);
        self.options.recovery_point = last;
        for path in [names::offset_index_file(self.dir(), last), names::time_index_file(self.dir(), last)] {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::remove_file(self.dir().join(names::LEADER_EPOCH_CHECKPOINT)).unwrap();
        self
    }

    fn dir(&self) -> &Path {
        &self.options.dir
    }

    fn log(&self, segment: usize) -> PathBuf {
        names::log_file(self.dir(), Offset(self.segments[segment].0))
    }

    fn check_options(&self) -> CheckOptions<'static> {
        CheckOptions {
            load: self.options.clone(),
            deep: true,
            record: None,
            dropped: Vec::new(),
            compacted_to: Offset::ZERO,
        }
    }

    /// Checks, and holds that nothing was changed by it.
    fn check(&self) -> PartitionReport {
        let before = self.content();
        let report = check_partition(&self.check_options(), |_| {}).unwrap();
        assert_eq!(self.content(), before);
        report
    }

    fn findings(&self) -> Vec<Finding> {
        self.check().findings
    }

    /// The findings that make the exit code 1.
    fn wrong(&self) -> Vec<Finding> {
        self.findings().into_iter().filter(|finding| finding.severity > Severity::Note).collect()
    }

    fn repair(&self, drop_damaged: bool) -> Repaired {
        let options =
            RepairOptions { drop_damaged, save_dropped: Some(self.dir().with_file_name("saved")), gapless: false };
        repair_partition(&self.check_options(), &options, &|_| Ok(())).unwrap()
    }

    /// The partition after a repair that left nothing: checked, and loaded as after a clean stop.
    fn repaired(&mut self, drop_damaged: bool) -> Repaired {
        let repaired = self.repair(drop_damaged);
        assert_eq!(repaired.left, None);
        self.options.recovery_point = repaired.offsets.unwrap().recovery_point;
        self.options.clean = true;
        let mut check = self.check_options();
        check.dropped.clone_from(&repaired.dropped);
        let found = check_partition(&check, |_| {}).unwrap().findings;
        let wrong: Vec<_> = found.iter().filter(|finding| finding.severity > Severity::Note).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let loaded = load(&self.options).unwrap();
        assert_eq!(loaded.damage, None);
        assert_eq!(loaded.log_end_offset, self.options.recovery_point);
        assert_eq!(loaded.report.cut, None);
        repaired
    }

    /// The batches of the whole log, by the log's own reader.
    fn batches(&self) -> Vec<Vec<u8>> {
        let mut scanner = LogScanner::open(self.dir(), Offset(0), Offset(i64::MAX)).unwrap();
        let mut batches = Vec::new();
        while let Some((_, bytes)) = scanner.next_batch().unwrap() {
            batches.push(bytes.to_vec());
        }
        batches
    }

    fn all_batches(&self) -> Vec<Vec<u8>> {
        self.segments.iter().flat_map(|(_, batches)| batches.clone()).collect()
    }

    fn flip(&self, segment: usize, byte: usize, bits: u8) {
        let mut bytes = std::fs::read(self.log(segment)).unwrap();
        bytes[byte] ^= bits;
        std::fs::write(self.log(segment), bytes).unwrap();
    }

    fn content(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// Where the batch number `at` of a segment begins, and its first offset.
fn place(batches: &[Vec<u8>], at: usize) -> (u64, Offset) {
    let position = batches[..at].iter().map(Vec::len).sum::<usize>();
    (position as u64, BatchHeader::parse(&batches[at]).unwrap().base_offset)
}

#[test]
fn a_whole_partition_is_whole() {
    let partition = Partition::new();
    let report = partition.check();
    assert_eq!(report.findings, []);
    assert_eq!((report.segments, report.batches, report.records), (3, 12, 21));
    assert_eq!(report.log_end_offset, Offset(21));
    let repaired = partition.repair(true);
    assert_eq!(repaired.actions, [""; 0], "nothing to do");
}

#[test]
fn what_a_crash_leaves_is_no_reason_to_worry() {
    let mut partition = Partition::new().crashed();
    assert_eq!(partition.findings(), []);
    // Room, then half a batch, then stale blocks.
    let whole = std::fs::read(partition.log(2)).unwrap();
    let half = &batch(21, 1, 4, &[1; 200])[..150];
    for behind in [vec![0; 9000], half.to_vec(), [half, &batch(3, 2, 2, b"stale"), &[0; 100]].concat()] {
        std::fs::write(partition.log(2), [&whole[..], &behind].concat()).unwrap();
        assert_eq!(partition.wrong(), []);
        let torn: Vec<_> =
            partition.findings().into_iter().map(|found| (found.kind, found.position, found.offset)).collect();
        let mut expected = vec![(FindingKind::TornTail, Some(whole.len() as u64), Some(Offset(21)))];
        expected.retain(|_| behind.iter().any(|&byte| byte != 0));
        assert_eq!(torn, expected);
    }
    let repaired = partition.repaired(false);
    assert!(repaired.actions.iter().any(|action| action.contains("torn tail")), "{:?}", repaired.actions);
    assert_eq!(repaired.dropped, []);
    assert_eq!(std::fs::read(partition.log(2)).unwrap(), whole);
    assert_eq!(partition.batches(), partition.all_batches());
}
