//! Disks as a power cut leaves them.
//!
//! At a cut the disk holds, of each sector, the newest version that a finished flush covers or any later one: a flush
//! covers the writes that were answered before it came, and is itself finished once it was answered. Sectors are
//! written whole or not at all; nothing else is promised, neither the order of writes nor that one write arrives whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;

use crate::oplog::{Event, OpLog};

/// The image is copied in chunks of this size, those without a write left out.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a medium writes whole or not at all.
#[derive(Clone, Debug)]
pub struct Atoms {
    pub sector_bytes: u64,
    /// A range that is whole besides. ext4 takes it for granted that its superblock of 1 KiB is: it is written in place,
    /// and not mounted when its checksum fails.
    pub whole: Option<Range<u64>>,
}

impl Atoms {
    /// The pieces in which a range arrives, as start and length.
    fn of(&self, offset: u64, len: u64) -> Vec<(u64, u64)> {
        let mut pieces = Vec::new();
        let mut at = offset;
        while at < offset + len {
            let end = match &self.whole {
                Some(whole) if whole.contains(&at) => whole.end,
                _ => (at / self.sector_bytes + 1) * self.sector_bytes,
            };
            let end = end.min(offset + len);
            pieces.push((at, end - at));
            at = end;
        }
        pieces
    }
}

/// Which of the unflushed versions a cut leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Survival {
    Nothing,
    Everything,
    /// What came before a random moment, as a disk that writes in order.
    Prefix,
    /// Each write whole or not at all, with this probability.
    Writes(f64),
    /// Each sector its newest version with this probability, else any older one.
    Sectors(f64),
    /// One write is missing, or a part of it.
    AllButOne,
    /// One write is there, or a part of it.
    OnlyOne,
}

impl Survival {
    pub fn random(random: &mut StdRng) -> Survival {
        match random.random_range(0..12) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 | 3 => Survival::Prefix,
            4 | 5 => Survival::Writes(random.random_range(0.05..0.95)),
            6..=8 => Survival::Sectors(random.random_range(0.05..0.95)),
            9 | 10 => Survival::AllButOne,
            _ => Survival::OnlyOne,
        }
    }
}

/// A write or zeroed range that no flush covers yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    at: u64,
    answered_at: Option<u64>,
}

/// The disk at positions that only grow.
pub struct Sweep<'a> {
    log: &'a OpLog,
    at: usize,
    durable: Vec<u8>,
    /// The chunks that hold anything but zeros, perhaps.
    touched: Vec<bool>,
    pending: Vec<Pending>,
}

impl<'a> Sweep<'a> {
    pub fn new(log: &'a OpLog, base: Vec<u8>) -> Sweep<'a> {
        let touched = base.chunks(CHUNK_BYTES).map(|chunk| chunk.iter().any(|byte| *byte != 0)).collect();
        Sweep { log, at: 0, durable: base, touched, pending: Vec::new() }
    }

    /// Goes on to `position`; the flushes before it are honoured.
    pub fn advance(&mut self, position: usize) {
        while self.at < position {
            let event = self.log.events[self.at];
            let at = self.at as u64;
            match event {
                Event::Write { .. } | Event::Zero { .. } => self.pending.push(Pending { at, answered_at: None }),
                Event::Done { of } => {
                    if let Some(pending) = self.pending.iter_mut().find(|pending| pending.at == of) {
                        pending.answered_at = Some(at);
                    }
                }
                Event::Flush => {}
                Event::Flushed { of } => self.flushed(of),
            }
            self.at += 1;
        }
    }

    fn flushed(&mut self, flush_at: u64) {
        let covered = |pending: &Pending| pending.answered_at.is_some_and(|answered| answered < flush_at);
        for pending in std::mem::take(&mut self.pending) {
            if covered(&pending) {
                self.apply_whole(pending.at);
            } else {
                self.pending.push(pending);
            }
        }
    }

    fn apply_whole(&mut self, at: u64) {
        let (offset, len) = range(self.log, at);
        let to = offset as usize..(offset + len) as usize;
        match self.log.events[at as usize] {
            Event::Write { data_at, len, .. } => self.durable[to].copy_from_slice(self.log.bytes(data_at, len)),
            _ => self.durable[to].fill(0),
        }
        for chunk in offset as usize / CHUNK_BYTES..=(offset + len - 1) as usize / CHUNK_BYTES {
            self.touched[chunk] = true;
        }
    }

    /// The disk as a cut at `position` leaves it. Flushes between where the sweep is and `position` were lies.
    pub fn cut(&self, position: usize, survival: Survival, atoms: &Atoms, random: &mut StdRng) -> Cut<'_> {
        let mut pending: Vec<u64> = self.pending.iter().map(|pending| pending.at).collect();
        let later = self.at..position.max(self.at);
        pending.extend(
            later
                .filter(|at| matches!(self.log.events[*at], Event::Write { .. } | Event::Zero { .. }))
                .map(|at| at as u64),
        );
        let patches = choose(self.log, &pending, survival, atoms, random);
        Cut { sweep: self, unflushed: pending.len(), patches }
    }
}

fn range(log: &OpLog, at: u64) -> (u64, u64) {
    match log.events[at as usize] {
        Event::Write { offset, len, .. } | Event::Zero { offset, len } => (offset, len),
        _ => (0, 0),
    }
}

/// A part of a write that survived.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Patch {
    at: u64,
    offset: u64,
    len: u64,
}

fn choose(log: &OpLog, pending: &[u64], survival: Survival, atoms: &Atoms, random: &mut StdRng) -> Vec<Patch> {
    let whole = |at: u64| {
        let (offset, len) = range(log, at);
        Patch { at, offset, len }
    };
    let all = || pending.iter().map(|at| whole(*at));
    if pending.is_empty() {
        return Vec::new();
    }
    match survival {
        Survival::Nothing => Vec::new(),
        Survival::Everything => all().collect(),
        Survival::Prefix => all().take(random.random_range(0..=pending.len())).collect(),
        Survival::Writes(share) => all().filter(|_| random.random_bool(share)).collect(),
        Survival::OnlyOne | Survival::AllButOne => {
            let one = random.random_range(0..pending.len());
            let (keep, lose) = split(whole(pending[one]), atoms, random);
            let part = if survival == Survival::OnlyOne { keep } else { lose };
            let others = |n: &usize| survival == Survival::AllButOne && *n != one;
            let mut patches = Vec::new();
            for (n, patch) in all().enumerate() {
                if n == one {
                    patches.extend(part.iter().copied());
                } else if others(&n) {
                    patches.push(patch);
                }
            }
            patches
        }
        Survival::Sectors(share) => {
            let mut versions: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
            for at in pending {
                let (offset, len) = range(log, *at);
                for piece in atoms.of(offset, len) {
                    versions.entry(piece).or_default().push(*at);
                }
            }
            let mut patches = Vec::new();
            for ((offset, len), versions) in versions {
                let newest = versions.len() - 1;
                let kept = if random.random_bool(share) {
                    Some(newest)
                } else {
                    // 0 is what was there before.
                    random.random_range(0..=newest).checked_sub(1)
                };
                if let Some(kept) = kept {
                    patches.push(Patch { at: versions[kept], offset, len });
                }
            }
            patches
        }
    }
}

/// A write in two: some of its sectors and the rest, at times all and nothing.
fn split(whole: Patch, atoms: &Atoms, random: &mut StdRng) -> (Vec<Patch>, Vec<Patch>) {
    if random.random_bool(0.3) {
        return (vec![whole], Vec::new());
    }
    let (mut keep, mut lose) = (Vec::new(), Vec::new());
    for (offset, len) in atoms.of(whole.offset, whole.len) {
        let part = Patch { at: whole.at, offset, len };
        if random.random_bool(0.5) { keep.push(part) } else { lose.push(part) }
    }
    (keep, lose)
}

pub struct Cut<'a> {
    sweep: &'a Sweep<'a>,
    /// Writes and zeroed ranges that no flush covered.
    pub unflushed: usize,
    patches: Vec<Patch>,
}

impl Cut<'_> {
    /// How many pieces of them survived.
    pub fn survived(&self) -> usize {
        self.patches.len()
    }

    /// The bytes and their places, in the order in which they go over the durable image.
    fn for_each(&self, mut write: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
        for patch in &self.patches {
            if let Event::Write { offset, data_at, .. } = self.sweep.log.events[patch.at as usize] {
                write(patch.offset, self.sweep.log.bytes(data_at + patch.offset - offset, patch.len))?;
                continue;
            }
            let mut offset = patch.offset;
            let end = patch.offset + patch.len;
            while offset < end {
                let len = (end - offset).min(CHUNK_BYTES as u64);
                write(offset, &ZEROS[..len as usize])?;
                offset += len;
            }
        }
        Ok(())
    }

    /// Writes the disk into a new sparse file.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        let durable = &self.sweep.durable;
        let file = File::options().create_new(true).write(true).open(path).context("making an image")?;
        file.set_len(durable.len() as u64)?;
        let mut chunk = 0;
        while chunk < self.sweep.touched.len() {
            let first = chunk;
            while chunk < self.sweep.touched.len() && self.sweep.touched[chunk] {
                chunk += 1;
            }
            if first < chunk {
                let bytes = first * CHUNK_BYTES..(chunk * CHUNK_BYTES).min(durable.len());
                file.write_all_at(&durable[bytes.clone()], bytes.start as u64).context("writing an image")?;
            }
            chunk += 1;
        }
        self.for_each(|offset, bytes| file.write_all_at(bytes, offset).context("writing an image"))
    }

    /// The disk in memory.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut image = crate::record::sparse_copy(&self.sweep.durable);
        let _ = self.for_each(|offset, bytes| {
            image[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            Ok(())
        });
        image
    }
}

/// Where the flushes of a log ended, and for a position how many ended before it.
pub struct Flushes(Vec<usize>);

impl Flushes {
    pub fn of(log: &OpLog) -> Flushes {
        let ended = log.events.iter().enumerate().filter(|(_, event)| matches!(event, Event::Flushed { .. }));
        Flushes(ended.map(|(at, _)| at).collect())
    }

    pub fn positions(&self) -> &[usize] {
        &self.0
    }

    /// The greatest position that is followed by `count` ends of flushes before `position`: up to there a disk tells
    /// the truth that lies about its last `count` flushes.
    pub fn truth_before(&self, position: usize, count: usize) -> usize {
        if count == 0 {
            return position;
        }
        let before = self.0.partition_point(|at| *at < position);
        before.checked_sub(count).map_or(0, |first| self.0[first])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;

    const SECTOR: u64 = 512;
    const SECTORS: Atoms = Atoms { sector_bytes: SECTOR, whole: None };

    fn sector(of: u8) -> Vec<u8> {
        vec![of; SECTOR as usize]
    }

    /// A disk of four sectors: 1 is flushed; 2 was answered when the second flush came, 3 was not; 4 came later.
    fn log() -> OpLog {
        let mut log = OpLog::default();
        let one = log.push_write(0, &sector(1));
        log.push(Event::Done { of: one });
        let flush = log.push(Event::Flush);
        log.push(Event::Flushed { of: flush });
        let two = log.push_write(SECTOR, &sector(2));
        let three = log.push_write(2 * SECTOR, &sector(3));
        log.push(Event::Done { of: two });
        let flush = log.push(Event::Flush);
        log.push(Event::Done { of: three });
        let four = log.push_write(0, &sector(4));
        log.push(Event::Done { of: four });
        log.push(Event::Flushed { of: flush });
        log
    }

    /// Every disk that a cut can leave, by the first byte of each sector.
    fn disks(position: usize, lies: usize) -> HashSet<Vec<u8>> {
        let log = log();
        let flushes = Flushes::of(&log);
        let mut found = HashSet::new();
        for seed in 0..2_000 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut sweep = Sweep::new(&log, vec![0; 4 * SECTOR as usize]);
            sweep.advance(flushes.truth_before(position, lies));
            let survival = Survival::random(&mut random);
            let image = sweep.cut(position, survival, &SECTORS, &mut random).to_vec();
            assert!(image.chunks(SECTOR as usize).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            found.insert(image.chunks(SECTOR as usize).map(|sector| sector[0]).collect());
        }
        found
    }

    #[test]
    fn a_flush_covers_what_was_answered_before_it_came() {
        let all = log().events.len();
        let left = disks(all, 0);
        let expected: HashSet<Vec<u8>> =
            [[1, 2, 0, 0], [1, 2, 3, 0], [4, 2, 0, 0], [4, 2, 3, 0]].iter().map(|disk| disk.to_vec()).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn an_unfinished_flush_covers_nothing() {
        let left = disks(log().events.len() - 1, 0);
        assert!(left.contains(&vec![1, 0, 0, 0]) && left.contains(&vec![4, 2, 3, 0]));
        assert!(left.iter().all(|disk| disk[0] != 0), "the first flush is finished");
    }

    #[test]
    fn a_disk_that_lies_about_a_flush_can_lose_what_it_covered() {
        assert!(disks(log().events.len(), 1).contains(&vec![1, 0, 0, 0]));
        assert!(disks(log().events.len(), 2).contains(&vec![0, 0, 0, 0]));
    }

    #[test]
    fn a_sector_written_twice_can_be_left_in_any_version() {
        let mut log = OpLog::default();
        log.push_write(0, &sector(1));
        log.push_write(0, &sector(2));
        let sweep = {
            let mut sweep = Sweep::new(&log, vec![9; SECTOR as usize]);
            sweep.advance(2);
            sweep
        };
        let mut random = StdRng::seed_from_u64(1);
        let left: HashSet<u8> =
            (0..200).map(|_| sweep.cut(2, Survival::Sectors(0.4), &SECTORS, &mut random).to_vec()[0]).collect();
        assert_eq!(left, HashSet::from([9, 1, 2]));
    }

    #[test]
    fn a_superblock_is_written_whole() {
        let atoms = Atoms { sector_bytes: 512, whole: Some(1024..2048) };
        assert_eq!(atoms.of(0, 3072), [(0, 512), (512, 512), (1024, 1024), (2048, 512), (2560, 512)]);
        assert_eq!(atoms.of(4096, 1024), [(4096, 512), (4608, 512)]);
    }
}
