//! A disk that loses power: of the blocks written since the last flush any subset is there, each in any of the versions
//! it had, over zeros or over what the file held before. Some disks write no more than a sector whole.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::recycle::{ATTRIBUTES_AT, SECTOR_BYTES, Straddling, disarm, straddles};
use super::*;
use crate::runtime::fs::OpenFlags;

const BLOCK: usize = 4096;
const BASE: i64 = 1000;

/// One preallocated file on the disk.
struct Disk {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// The versions of each block since the last flush.
    versions: BTreeMap<usize, Vec<Vec<u8>>>,
}

impl Disk {
    fn holding(content: Vec<u8>) -> Disk {
        Disk { durable: content.clone(), current: content, versions: BTreeMap::new() }
    }

    fn write(&mut self, block: usize, bytes: &[u8]) {
        self.current[block * BLOCK..block * BLOCK + bytes.len()].copy_from_slice(bytes);
        for (number, bytes) in bytes.chunks(BLOCK).enumerate() {
            self.versions.entry(block + number).or_default().push(bytes.to_vec());
        }
    }

    fn flush(&mut self) {
        self.versions.clear();
        self.durable.clone_from(&self.current);
    }

    /// What is on the disk when the power is back, if it writes `whole` bytes at a time.
    fn cut(&self, random: &mut StdRng, whole: usize) -> Vec<u8> {
        let mut content = self.durable.clone();
        let lost = random.random_range(0.0..1.0);
        for (block, versions) in &self.versions {
            for at in (0..BLOCK).step_by(whole) {
                if !random.random_bool(lost) {
                    let version = &versions[random.random_range(0..versions.len())];
                    content[block * BLOCK + at..block * BLOCK + at + whole].copy_from_slice(&version[at..at + whole]);
                }
            }
        }
        content
    }
}

/// The broker's side: appends, and commits of whole blocks that end with one of zeros.
struct Writer {
    disk: Disk,
    batches: Vec<Vec<u8>>,
    end: i64,
    /// How many batches and bytes are flushed.
    flushed: usize,
    flushed_bytes: usize,
    written_bytes: usize,
}

impl Writer {
    fn over(disk: Disk, batches: Vec<Vec<u8>>) -> Writer {
        let bytes = batches.concat().len();
        let end = batches.last().map_or(Offset(BASE), |_| end_of(&batches)).0;
        Writer { disk, flushed: batches.len(), batches, end, flushed_bytes: bytes, written_bytes: bytes }
    }

    fn append(&mut self, records: i32, epoch: i32, value: &[u8]) {
        self.batches.push(batch(self.end, records, epoch, value));
        self.end += i64::from(records);
    }

    fn commit(&mut self, flush: bool) {
        let data = self.batches.concat();
        let first = self.written_bytes / BLOCK;
        let mut bytes = data[first * BLOCK..].to_vec();
        bytes.resize(bytes.len().next_multiple_of(BLOCK) + BLOCK, 0);
        self.disk.write(first, &bytes);
        self.written_bytes = data.len();
        if flush {
            self.disk.flush();
            self.flushed = self.batches.len();
            self.flushed_bytes = data.len();
        }
    }
}

/// What a recycled file held: batches of lower offsets, as large as the new ones or not. Those that could be revived
/// are spoilt.
fn stale(random: &mut StdRng, bytes: usize, value: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut straddling = Vec::new();
    let mut offset = 0;
    let equal = random.random_bool(0.7);
    while content.len() < bytes {
        let records = if equal { 2 } else { random.random_range(1..4) };
        if straddles(content.len() as u64, SECTOR_BYTES) {
            straddling.push(content.len());
        }
        content.extend_from_slice(&batch(offset, records, 1, value));
        offset = (offset + i64::from(records)).min(BASE - 10);
    }
    for position in straddling {
        content[position + ATTRIBUTES_AT as usize] ^= 0xff;
    }
    content.truncate(bytes);
    content
}

fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let value = vec![b'v'; random.random_range(0..600)];
    let size = 40 * BLOCK;
    let content = if random.random_bool(0.5) { stale(&mut random, size, &value) } else { vec![0; size] };
    let mut partition = Partition::new();
    partition.options.log_start_offset = Offset(BASE);
    let mut writer = Writer::over(Disk::holding(content), Vec::new());
    let equal = random.random_bool(0.5);
    let whole = if random.random_bool(0.5) { BLOCK } else { SECTOR_BYTES as usize };
    for epoch in 2..5 {
        for _ in 0..random.random_range(1..12) {
            for _ in 0..random.random_range(1..6) {
                let records = if equal { 2 } else { random.random_range(1..4) };
                writer.append(records, epoch, &value);
            }
            let unflushed = writer.batches.concat().len() - writer.flushed_bytes;
            writer.commit(unflushed > REACH as usize / 2 || random.random_bool(0.4));
        }
        let content = writer.disk.cut(&mut random, whole);
        partition.write(BASE, &content);
        partition.options.leader_epoch = LeaderEpoch(epoch);
        let checkpointed = random.random_range(0..=writer.flushed);
        partition.options.recovery_point =
            if checkpointed == 0 { Offset(BASE) } else { end_of(&writer.batches[..checkpointed]) };
        let loaded = partition.load();
        let kept = partition.batches(&loaded);
        assert!(kept.len() >= writer.flushed, "seed {seed}: {} flushed, {} kept", writer.flushed, kept.len());
        assert_eq!(kept, &writer.batches[..kept.len()], "seed {seed}");
        // What follows is room again, zero and durable.
        let mut content = partition.read(BASE);
        content.resize(size, 0);
        writer = Writer::over(Disk::holding(content), kept);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_was_flushed_is_kept_and_nothing_else_is_made_up(seed: u64) {
        run(seed);
    }
}

/// A batch's header lies over the end of what the disk writes whole, the first part is written and the second is lost:
/// then the new base offset stands in front of an old batch, whose CRC does not cover it.
#[test]
fn an_old_batch_does_not_get_a_new_offset() {
    for whole in [BLOCK, SECTOR_BYTES as usize] {
        an_old_batch_does_not_get_a_new_offset_with(whole);
    }
}

fn an_old_batch_does_not_get_a_new_offset_with(whole: usize) {
    let mut made_up = 0;
    for in_first_block in 0..30 {
        // Two batches of the same sizes, old and new; the second begins so many bytes before the end of the block.
        let pair = |base: i64, text: u8| {
            let without_value = batch(0, 1, 2, b"").len();
            // The lengths of a record and its value take three bytes more than those of an empty one.
            let filler = vec![text; whole - in_first_block - without_value - 2];
            let first = batch(base, 1, 2, &filler);
            [first, batch(base + 1, 1, 2, &[text; 500])]
        };
        let (old, new) = (pair(BASE - 256, b'o'), pair(BASE, b'n'));
        assert_eq!((old[0].len(), new[0].len()), (whole - in_first_block, whole - in_first_block));
        for disarmed in [false, true] {
            let mut partition = Partition::new();
            partition.options.log_start_offset = Offset(BASE);
            let mut content = old.concat();
            content.resize(content.len().next_multiple_of(BLOCK), 0);
            partition.write(BASE, &content);
            if disarmed {
                let mut straddling = Straddling::default();
                straddling.note(0);
                straddling.note(old[0].len() as u64);
                let straddling = straddling.into_positions().unwrap();
                assert_eq!(straddling.len(), usize::from((1..21).contains(&in_first_block)));
                let path = names::log_file(partition.dir(), Offset(BASE));
                disarm(&crate::runtime::fs::open(&path, OpenFlags::READ_WRITE).unwrap(), &straddling, BLOCK as u64)
                    .unwrap();
            }
            let mut content = partition.read(BASE);
            content[..whole].copy_from_slice(&new.concat()[..whole]);
            partition.write(BASE, &content);
            let kept = partition.batches(&partition.load());
            assert_eq!(kept[0], new[0]);
            if disarmed {
                assert_eq!(kept.len(), 1, "{in_first_block} bytes in the first block");
            } else {
                made_up += kept.len() - 1;
            }
        }
    }
    assert!(made_up > 0, "the danger is real");
}

/// Recovery that is cut itself: whatever of its changes reached the disk, the next one comes to the same end.
#[test]
fn a_recovery_that_is_cut_off_is_made_good_by_the_next() {
    let batches = some_batches(12);
    let (first, second) = batches.split_at(6);
    let base = end_of(first).0;
    let mut torn = first.concat();
    let data = torn.len() - first[5].len();
    torn[data + 65] ^= 1;
    torn.resize(2 * BLOCK, 0);
    // In the order in which they become durable: the later segment's removal, then the cut.
    for (removed, cut) in [(false, false), (true, false), (true, true)] {
        for compact in [false, true] {
            let mut partition = Partition::new();
            partition.options.config.cleanup_policy.compact = compact;
            partition.write(0, if cut { &torn[..data] } else { &torn });
            if !removed {
                partition.write(base, &second.concat());
            }
            let loaded = partition.load();
            assert_eq!(partition.batches(&loaded), &first[..5]);
            assert_eq!(partition.content().len(), 2, "one segment and the epochs");
        }
    }
}

/// The batches of one use of a file and the content of its next: stale as recycling leaves it, below `base`.
fn recycled_content(batches: usize, value: &[u8]) -> Vec<u8> {
    (0..batches).flat_map(|at| batch(at as i64 * 2, 2, 1, value)).collect()
}

/// A roll took a removed segment's file over, and the power went before anything was written to it.
#[test]
fn a_recycled_segment_that_was_never_written_is_empty() {
    let batches = some_batches(12);
    let end = end_of(&batches);
    for stale_batches in [1, 40, 4000] {
        for checkpointed in [0, 6, 12] {
            let mut partition = Partition::new();
            partition.write(0, &batches.concat());
            // As large as the new ones, and behind them in the file's order.
            let stale: Vec<u8> = (0..stale_batches).flat_map(|_| batch(end.0 - 50, 1, 4, b"stale")).collect();
            partition.write(end.0, &stale);
            partition.options.recovery_point = end_of(&batches[..checkpointed]);
            let loaded = partition.load();
            assert_eq!(loaded.damage, None);
            assert_eq!((loaded.log_end_offset, loaded.active.base_offset, loaded.active.size_bytes), (end, end, 0));
            assert_eq!(partition.batches(&loaded), batches);
            assert_eq!(partition.read(end.0), b"", "nothing of the old batches is left");
        }
    }
}

/// The power went when the segment before was not flushed yet: the log ends there, and the recycled file goes.
#[test]
fn a_recycled_segment_behind_a_torn_one_is_removed() {
    let batches = some_batches(12);
    let end = end_of(&batches);
    for written in [false, true] {
        let partition = Partition::new();
        let mut torn = batches.concat();
        torn.truncate(torn.len() - 10);
        torn.resize(torn.len().next_multiple_of(BLOCK), 0);
        partition.write(0, &torn);
        let stale = recycled_content(2000, b"stale");
        let mut content = stale.clone();
        if written {
            let new = batch(end.0, 1, 4, b"new");
            content[..new.len()].copy_from_slice(&new);
            content[new.len()..2 * BLOCK].fill(0);
        }
        partition.write(end.0, &content);
        let loaded = partition.load();
        assert_eq!(loaded.damage, None, "written: {written}");
        assert_eq!(partition.batches(&loaded), &batches[..11]);
        assert!(!names::log_file(partition.dir(), end).exists());
    }
}

/// A producer's records hold whole batches of high offsets: inside of stale batches, spoilt or not, they are nobody's.
#[test]
fn what_old_records_hold_is_not_taken_for_damage() {
    let inner = batch(BASE + 500, 1, 2, b"of another log");
    let mut stale = Vec::new();
    for at in 0..2000 {
        let position = stale.len();
        stale.extend_from_slice(&batch(at, 1, 1, &inner));
        if straddles(position as u64, SECTOR_BYTES) {
            stale[position + ATTRIBUTES_AT as usize] ^= 0xff;
        }
    }
    assert!(stale.len() as u64 > 4 * REACH);
    let mut partition = Partition::new();
    partition.options.log_start_offset = Offset(BASE);
    let mut disk = Disk::holding(stale);
    let mut content = batch(BASE, 1, 2, b"new");
    let end = content.len();
    content.resize(2 * BLOCK, 0);
    disk.write(0, &content);
    partition.write(BASE, &disk.current);
    let loaded = partition.load();
    assert_eq!((loaded.damage.clone(), loaded.log_end_offset), (None, Offset(BASE + 1)));
    assert_eq!(partition.read(BASE).len(), end);
}
