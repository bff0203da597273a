//! The files of a journal: made at its first use, of blocks that were written once, so that a write to them changes
//! nothing else on the disk; and grown when they prove too small.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::log::disk_room::DiskLevel;
use crate::log::log_shard::LogShard;
use crate::log::space::round_down;
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, spawn, wall_ms};

use super::record::BLOCK_BYTES;
use super::{JournalFile, JournalOptions, Phase};

/// When there was no room for a journal it is tried again this much later.
const AGAIN_MS: i64 = 10_000;
/// A journal leaves this many times its size free.
const FREE_TIMES: u64 = 16;
/// Smaller ones are not worth it.
const BLOCKS_MIN: u64 = 4;
/// So many zeros are written at a time.
const ZEROS_BYTES: usize = 1 << 20;

pub(super) fn path(options: &JournalOptions, at: usize) -> PathBuf {
    options.dir.join(format!("journal-{}-{at}", options.shard))
}

/// Whether a name is that of a file of a journal: the shard's number, and which of the two it is.
pub(super) fn parse_name(name: &str) -> Option<(usize, usize)> {
    let (shard, at) = name.strip_prefix("journal-")?.split_once('-')?;
    Some((shard.parse().ok()?, at.parse().ok()?))
}

impl LogShard {
    /// Begins to make the files.
    pub(super) fn make_journal(self: &Rc<Self>) {
        let journal = &self.journal;
        let Some(options) = journal.options.clone() else { return };
        if self.room.level() != DiskLevel::Room || wall_ms() < journal.not_before_ms.get() {
            return;
        }
        journal.phase.set(Phase::Making);
        let (shard, block) = (Rc::clone(self), self.options.block_bytes);
        drop(spawn(async move {
            let made = offload(move || make(&options, block)).await;
            let journal = &shard.journal;
            match made {
                Ok(made) => {
                    for (slot, (file, bytes)) in journal.files.iter().zip(made) {
                        *slot.file.borrow_mut() = Some(Arc::new(file));
                        slot.bytes.set(bytes);
                    }
                    let current = journal.current();
                    current.generation.set(journal.next_generation());
                    journal.other().free.set(true);
                    journal.phase.set(Phase::Ready);
                }
                Err(error) => {
                    tracing::debug!("no journal for small appends: {error}");
                    journal.not_before_ms.set(wall_ms() + AGAIN_MS);
                    journal.phase.set(Phase::Unmade);
                }
            }
        }));
    }

    /// Doubles a file whose records are not needed any more, as far as it may grow and the disk has room.
    pub(super) async fn grow_journal(self: &Rc<Self>, at: usize) {
        let Some(options) = &self.journal.options else { return };
        let slot: &JournalFile = &self.journal.files[at];
        let (from, path) = (slot.bytes.get(), path(options, at));
        let wanted = (from * 2).min(options.file_bytes_max);
        if wanted <= from || self.room.level() != DiskLevel::Room {
            return;
        }
        let grown = offload(move || {
            if wanted > affordable(&path, wanted) {
                return Ok(false);
            }
            zero(&fs::open(&path, OpenFlags::READ_WRITE)?, from, wanted).map(|()| true)
        });
        match grown.await {
            Ok(true) => slot.bytes.set(wanted),
            Ok(false) => {}
            Err(error) => tracing::debug!("the journal stays as small as it is: {error}"),
        }
    }
}

fn make(options: &JournalOptions, block: u64) -> io::Result<Vec<(RawFile, u64)>> {
    fs::create_dir(&options.dir)?;
    let bytes = round_down(affordable(&options.dir, options.file_bytes_min), block.max(BLOCK_BYTES));
    if bytes < BLOCKS_MIN * block {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut files = Vec::new();
    for at in 0..2 {
        let path = path(options, at);
        let flags = OpenFlags { truncate: true, ..OpenFlags::CREATE };
        if let Err(error) = fs::open(&path, flags).and_then(|file| zero(&file, 0, bytes)) {
            fs::remove_file(&path)?;
            return Err(error);
        }
        files.push((fs::open(&path, OpenFlags::READ_WRITE.direct(true))?, bytes));
    }
    fs::sync_dir(&options.dir)?;
    Ok(files)
}

fn affordable(path: &Path, wanted: u64) -> u64 {
    fs::fs_info(path).map_or(0, |info| wanted.min(info.usable_bytes / FREE_TIMES))
}

/// Durable when it returns.
fn zero(file: &RawFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min((to - from) as usize)];
    let mut position = from;
    while position < to {
        let part = zeros.get(..(to - position).min(zeros.len() as u64) as usize).unwrap_or_default();
        fs::pwrite_all(file, part, position)?;
        position += part.len() as u64;
    }
    fs::sync_data(file)
}
