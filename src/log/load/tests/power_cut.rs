//! A disk that loses power: of the blocks written since the last flush any subset is there, each in any of the versions
//! it had, over zeros or over what the file held before.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::super::recycle::{disarm, straddles};
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

    /// What is on the disk when the power is back.
    fn cut(&self, random: &mut StdRng) -> Vec<u8> {
        let mut content = self.durable.clone();
        let lost = random.random_range(0.0..1.0);
        for (block, versions) in &self.versions {
            if !random.random_bool(lost) {
                let version = &versions[random.random_range(0..versions.len())];
                content[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(version);
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

/// What a recycled file held: batches of lower offsets, as large as the new ones or not.
fn stale(random: &mut StdRng, bytes: usize, value: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut offset = 0;
    let equal = random.random_bool(0.7);
    while content.len() < bytes {
        let records = if equal { 2 } else { random.random_range(1..4) };
        content.extend_from_slice(&batch(offset, records, 1, value));
        offset = (offset + i64::from(records)).min(BASE - 10);
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
    for epoch in 2..5 {
        for _ in 0..random.random_range(1..12) {
            for _ in 0..random.random_range(1..6) {
                let records = if equal { 2 } else { random.random_range(1..4) };
                writer.append(records, epoch, &value);
            }
            let unflushed = writer.batches.concat().len() - writer.flushed_bytes;
            writer.commit(unflushed > REACH as usize / 2 || random.random_bool(0.4));
        }
        let content = writer.disk.cut(&mut random);
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

/// A batch's header lies over a block's boundary, the first block is written and the second is lost: then the new base
/// offset stands in front of an old batch, whose CRC does not cover it.
#[test]
fn an_old_batch_does_not_get_a_new_offset() {
    let mut made_up = 0;
    for in_first_block in 0..30 {
        // Two batches of the same sizes, old and new; the second begins so many bytes before the end of the block.
        let pair = |base: i64, text: u8| {
            let without_value = batch(0, 1, 2, b"").len();
            // The lengths of a record and its value take three bytes more than those of an empty one.
            let filler = vec![text; BLOCK - in_first_block - without_value - 2];
            let first = batch(base, 1, 2, &filler);
            [first, batch(base + 1, 1, 2, &[text; 500])]
        };
        let (old, new) = (pair(BASE - 256, b'o'), pair(BASE, b'n'));
        assert_eq!((old[0].len(), new[0].len()), (BLOCK - in_first_block, BLOCK - in_first_block));
        for disarmed in [false, true] {
            let mut partition = Partition::new();
            partition.options.log_start_offset = Offset(BASE);
            partition.write(BASE, &old.concat());
            if disarmed {
                let positions = [0, old[0].len() as u32];
                let straddling: Vec<u32> =
                    positions.into_iter().filter(|at| straddles(u64::from(*at), BLOCK as u64)).collect();
                assert_eq!(straddling.len(), usize::from((1..21).contains(&in_first_block)));
                let path = names::log_file(partition.dir(), Offset(BASE));
                disarm(&crate::runtime::fs::open(&path, OpenFlags::READ_WRITE).unwrap(), &straddling).unwrap();
            }
            let mut content = partition.read(BASE);
            content[..BLOCK].copy_from_slice(&new.concat()[..BLOCK]);
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
