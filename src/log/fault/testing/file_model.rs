//! One file on a device that can lose power: what is durable, and what was done since.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;

/// What the medium writes whole or not at all.
pub const BLOCK: u64 = 4096;

/// The bytes of a file; blocks that are not there are zero.
#[derive(Clone, Default)]
pub struct Content {
    pub size: u64,
    pub blocks: BTreeMap<u64, Bytes>,
}

/// A change of a file's size or room.
#[derive(Clone, Copy, Debug)]
pub enum Resize {
    /// Cut to so many bytes.
    Cut(u64),
    /// Extended to so many bytes at least.
    Grow(u64),
    /// A range is made zero.
    Zero { position: u64, bytes: u64 },
}

#[derive(Clone)]
enum Change {
    Resize(Resize),
    /// Bytes of one block.
    Piece {
        block: u64,
        from: usize,
        bytes: Bytes,
    },
}

/// A change that no flush has covered.
#[derive(Clone)]
struct Pending {
    seq: u64,
    change: Change,
    /// The write in flight that it is part of.
    in_flight: Option<u64>,
}

#[derive(Clone, Default)]
pub struct FileModel {
    durable: Content,
    pending: Vec<Pending>,
}

impl Content {
    fn resize(&mut self, resize: Resize) {
        match resize {
            Resize::Grow(bytes) => self.size = self.size.max(bytes),
            Resize::Cut(bytes) => {
                self.size = bytes;
                self.blocks.split_off(&bytes.div_ceil(BLOCK));
                self.zero(bytes, bytes.next_multiple_of(BLOCK));
            }
            Resize::Zero { position, bytes } => {
                let (first, last) = (position / BLOCK, (position + bytes).div_ceil(BLOCK));
                for block in first..last {
                    let (start, end) = (block * BLOCK, (block + 1) * BLOCK);
                    if position <= start && end <= position + bytes {
                        self.blocks.remove(&block);
                    } else {
                        self.zero(position.max(start), (position + bytes).min(end));
                    }
                }
            }
        }
    }

    /// Makes a range within one block zero.
    fn zero(&mut self, from: u64, to: u64) {
        if from < to
            && let Some(block) = self.blocks.get_mut(&(from / BLOCK))
        {
            let mut bytes = block.to_vec();
            let start = (from % BLOCK) as usize;
            bytes[start..start + (to - from) as usize].fill(0);
            *block = Bytes::from(bytes);
        }
    }

    fn put(&mut self, block: u64, from: usize, bytes: &Bytes) {
        if bytes.len() as u64 == BLOCK {
            self.blocks.insert(block, bytes.clone());
            return;
        }
        let mut whole = self.blocks.get(&block).map_or_else(|| vec![0; BLOCK as usize], |known| known.to_vec());
        whole[from..from + bytes.len()].copy_from_slice(bytes);
        self.blocks.insert(block, Bytes::from(whole));
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Resize(resize) => self.resize(*resize),
            Change::Piece { block, from, bytes } => self.put(*block, *from, bytes),
        }
    }
}

impl FileModel {
    pub fn durable(content: Content) -> FileModel {
        FileModel { durable: content, pending: Vec::new() }
    }

    pub fn resize(&mut self, seq: u64, resize: Resize) {
        self.pending.push(Pending { seq, change: Change::Resize(resize), in_flight: None });
    }

    /// A write begins: from now on any part of it can be on the device.
    pub fn begin_write(&mut self, seq: u64, write: u64, position: u64, data: &Bytes) {
        let end = position + data.len() as u64;
        let mut at = position;
        while at < end {
            let block = at / BLOCK;
            let to = end.min((block + 1) * BLOCK);
            let bytes = data.slice((at - position) as usize..(to - position) as usize);
            let change = Change::Piece { block, from: (at % BLOCK) as usize, bytes };
            self.pending.push(Pending { seq, change, in_flight: Some(write) });
            at = to;
        }
        if end > self.current_size() {
            self.pending.push(Pending { seq, change: Change::Resize(Resize::Grow(end)), in_flight: Some(write) });
        }
    }

    pub fn end_write(&mut self, write: u64) {
        for pending in &mut self.pending {
            if pending.in_flight == Some(write) {
                pending.in_flight = None;
            }
        }
    }

    /// What a flush that begins now makes durable.
    pub fn flushable(&self) -> Vec<u64> {
        let mut done: Vec<u64> =
            self.pending.iter().filter(|pending| pending.in_flight.is_none()).map(|pending| pending.seq).collect();
        done.dedup();
        done
    }

    /// The changes of the size, all of which a write that flushes itself makes durable too.
    pub fn finished_resizes(&self) -> Vec<u64> {
        let done = self.pending.iter().filter(|pending| pending.in_flight.is_none() && pending.block().is_none());
        done.map(|pending| pending.seq).collect()
    }

    /// A flush ends: what was done when it began, in ascending order, is durable.
    pub fn flushed(&mut self, covered: &[u64]) {
        // Whatever came before a covered change of the same block, or of the size, is overtaken by it.
        let mut last_piece = BTreeMap::new();
        let mut last_resize = None;
        for pending in self.pending.iter().filter(|pending| covered.binary_search(&pending.seq).is_ok()) {
            match pending.change {
                Change::Resize(_) => last_resize = Some(pending.seq),
                Change::Piece { block, .. } => drop(last_piece.insert(block, pending.seq)),
            }
        }
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let last = match pending.change {
                Change::Resize(_) => last_resize,
                Change::Piece { block, .. } => last_piece.get(&block).copied(),
            };
            let covered = last.is_some_and(|last| pending.seq <= last);
            if covered {
                durable.apply(&pending.change);
            }
            !covered
        });
    }

    /// What reads see.
    pub fn current(&self) -> Content {
        let mut content = self.durable.clone();
        self.pending.iter().for_each(|pending| content.apply(&pending.change));
        content
    }

    fn current_size(&self) -> u64 {
        self.pending.iter().fold(self.durable.size, |size, pending| match pending.change {
            Change::Resize(Resize::Cut(bytes)) => bytes,
            Change::Resize(Resize::Grow(bytes)) => size.max(bytes),
            _ => size,
        })
    }

    /// The blocks with changes that a flush which begins now would cover.
    pub fn unflushed_blocks(&self) -> Vec<u64> {
        let blocks = self.pending.iter().filter(|pending| pending.in_flight.is_none());
        blocks.filter_map(Pending::block).collect()
    }

    /// The blocks that writes in flight cover.
    pub fn blocks_in_flight(&self) -> Vec<u64> {
        let blocks = self.pending.iter().filter(|pending| pending.in_flight.is_some());
        blocks.filter_map(Pending::block).collect()
    }

    /// What the device has when the power is back. Of the unflushed blocks each is lost with this probability; `whole` is
    /// how much of one is written whole or not at all.
    pub fn power_cut(&self, lost: f64, whole: usize, random: &mut StdRng) -> Content {
        if self.pending.is_empty() {
            return self.durable.clone();
        }
        let resizes = self.pending.iter().filter(|pending| pending.block().is_none()).count();
        let mut resizes_kept = prefix(resizes, random);
        // Of each sector the number of its versions that are over, and the one it has in the end.
        let mut versions: BTreeMap<(u64, usize), usize> = BTreeMap::new();
        for (block, sectors) in self.pending.iter().filter_map(|pending| pending.sectors(whole)) {
            for sector in sectors {
                *versions.entry((block, sector)).or_default() += 1;
            }
        }
        for count in versions.values_mut() {
            *count = match () {
                () if random.random_bool(lost) => 0,
                () if random.random_bool(0.6) => *count,
                () => random.random_range(0..=*count),
            };
        }
        let mut content = self.durable.clone();
        // What is written behind a cut that is not durable lies in blocks which the file does not have yet.
        let mut hidden_from = u64::MAX;
        for pending in &self.pending {
            match &pending.change {
                Change::Resize(resize) => {
                    if resizes_kept > 0 {
                        resizes_kept -= 1;
                        content.resize(*resize);
                    } else if let Resize::Cut(bytes) = resize {
                        hidden_from = hidden_from.min(*bytes);
                    }
                }
                Change::Piece { block, from, bytes } => {
                    for sector in *from / whole..(*from + bytes.len()).div_ceil(whole) {
                        let left = versions.get_mut(&(*block, sector)).expect("each sector was counted");
                        let (start, end) =
                            ((sector * whole).max(*from), ((sector + 1) * whole).min(from + bytes.len()));
                        if *left > 0 {
                            *left -= 1;
                            if block * BLOCK + (start as u64) < hidden_from {
                                content.put(*block, start, &bytes.slice(start - from..end - from));
                            }
                        }
                    }
                }
            }
        }
        content.blocks.split_off(&content.size.div_ceil(BLOCK));
        content.zero(content.size, content.size.next_multiple_of(BLOCK));
        content
    }

    /// The process ends, the kernel lives on: of the writes in flight any part was done.
    pub fn kill(&mut self, random: &mut StdRng) {
        let kept: f64 = if random.random_bool(0.5) { f64::from(random.random::<bool>()) } else { random.random() };
        self.pending.retain_mut(|pending| {
            let keep = pending.in_flight.take().is_none_or(|_| random.random_bool(kept));
            // A size that a write left out would have made is made by the others; too large is a write torn in its middle.
            keep || pending.block().is_none()
        });
    }
}

impl Pending {
    /// The sectors of its block that it writes to.
    fn sectors(&self, whole: usize) -> Option<(u64, std::ops::Range<usize>)> {
        match &self.change {
            Change::Piece { block, from, bytes } => {
                Some((*block, *from / whole..(*from + bytes.len()).div_ceil(whole)))
            }
            Change::Resize(_) => None,
        }
    }

    fn block(&self) -> Option<u64> {
        match self.change {
            Change::Piece { block, .. } => Some(block),
            Change::Resize(_) => None,
        }
    }
}

/// Up to where a list of changes was kept: none, all, or something between.
pub fn prefix(count: usize, random: &mut StdRng) -> usize {
    match random.random_range(0..4) {
        0 => 0,
        1 => count,
        _ => random.random_range(0..=count),
    }
}
