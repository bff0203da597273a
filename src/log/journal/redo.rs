//! After a crash: writes what the journals of a directory hold to its places in the segments, before anything else is
//! looked at. Being cut off itself and run again, it comes to the same result.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};

use crate::log::dir_checkpoints::DirCheckpoints;
use crate::log::error::LoadError;
use crate::log::names::{self, DirKind, FileKind};
use crate::log::partition_metadata;
use crate::runtime::file::RawFile;
use crate::runtime::fs::{self, OpenFlags};
use crate::types::{Offset, TopicPartition};

use super::files::parse_name;
use super::record::{BLOCK_BYTES, Entry, HEADER_BYTES, Header, Place, decode};

/// One file of a journal, with the headers of its records in order.
struct Found {
    path: PathBuf,
    shard: usize,
    file: RawFile,
    records: Vec<(u64, Header)>,
    /// There are records behind one that cannot be read.
    damaged: bool,
}

/// What was done.
#[derive(Clone, Copy, Default, Debug)]
struct Figures {
    bytes: u64,
    segments: usize,
    damaged: usize,
}

/// The segments that the entries of one file of a journal go to, by directory and base offset.
type Segments = BTreeMap<(String, Offset), Vec<Entry>>;

/// Blocks. What it writes is durable when it returns, and the journals are gone. Without journals it does nothing.
pub(in crate::log) fn redo(log_dir: &Path) -> Result<(), LoadError> {
    let dir = log_dir.join(names::UNCLEAN_DIR);
    let mut found = list(&dir)?;
    if found.is_empty() {
        return Ok(());
    }
    found.sort_by_key(|journal| (journal.shard, journal.records.first().map(|(_, header)| header.sequence)));
    let mut last: HashMap<usize, u64> = HashMap::new();
    for journal in &found {
        let newest = journal.records.last().map_or(0, |(_, header)| header.sequence);
        let slot = last.entry(journal.shard).or_default();
        *slot = newest.max(*slot);
    }
    let (checkpoints, _) = DirCheckpoints::open(log_dir)?;
    let mut figures = Figures::default();
    let mut lost = Vec::new();
    for journal in &found {
        if journal.damaged {
            figures.damaged += 1;
            tracing::error!("{} is damaged: records in the midst of it cannot be read", journal.path.display());
        }
        let newest = last.get(&journal.shard).copied().unwrap_or(0);
        let mut segments = Segments::new();
        for (at, header) in &journal.records {
            let record = journal.read(*at, header.bytes as usize)?;
            for entry in decode(&record).unwrap_or_default() {
                // A bad entry of the last record was on its way when the power failed.
                if entry.batches.is_some() || header.sequence < newest {
                    segments.entry((entry.place.dir.clone(), entry.place.segment)).or_default().push(entry);
                }
            }
        }
        for ((dir, segment), entries) in segments {
            let dir = log_dir.join(dir);
            if is_wanted(&dir, segment, &entries, &checkpoints)? {
                write_segment(&dir, segment, &entries, &mut figures, &mut lost)?;
            }
        }
    }
    if let Some(journal) = found.first() {
        fs::syncfs(&journal.file).map_err(LoadError::io("sync", log_dir))?;
    }
    note_lost(&checkpoints, &lost)?;
    for journal in &found {
        fs::remove_file(&journal.path).map_err(LoadError::io("remove", &journal.path))?;
    }
    fs::sync_dir(&dir).map_err(LoadError::io("sync", &dir))?;
    tracing::info!("{} bytes of the journal were written to {} segments", figures.bytes, figures.segments);
    Ok(())
}

/// The partitions of which batches are in a journal of the directory and not in their segments. Blocks; changes nothing.
pub(in crate::log) fn awaiting(log_dir: &Path) -> Result<BTreeSet<TopicPartition>, LoadError> {
    let mut awaiting = BTreeSet::new();
    let found = list(&log_dir.join(names::UNCLEAN_DIR))?;
    let (checkpoints, _) = if found.is_empty() { return Ok(awaiting) } else { DirCheckpoints::open(log_dir)? };
    for journal in &found {
        for (at, header) in &journal.records {
            let entries = decode(&journal.read(*at, header.bytes as usize)?).unwrap_or_default();
            for entry in entries {
                let DirKind::Partition(partition) = DirKind::of(&entry.place.dir) else { continue };
                let dir = log_dir.join(&entry.place.dir);
                let path = names::log_file(&dir, entry.place.segment);
                if awaiting.contains(&partition)
                    || !is_wanted(&dir, entry.place.segment, std::slice::from_ref(&entry), &checkpoints)?
                {
                    continue;
                }
                let file = fs::open(&path, OpenFlags::READ).map_err(LoadError::io("open", &path))?;
                if !is_there(&file, &entry).map_err(LoadError::io("read", &path))? {
                    awaiting.insert(partition);
                }
            }
        }
    }
    Ok(awaiting)
}

fn list(dir: &Path) -> Result<Vec<Found>, LoadError> {
    let names = fs::if_exists(fs::list(dir)).map_err(LoadError::io("list", dir))?.unwrap_or_default();
    let mut found = Vec::new();
    for (name, _) in names {
        if let Some((shard, _)) = parse_name(&name) {
            let path = dir.join(&name);
            let file = fs::open(&path, OpenFlags::READ).map_err(LoadError::io("open", &path))?;
            let bytes = fs::file_size(&file).map_err(LoadError::io("read", &path))?;
            let mut journal = Found { path, shard, file, records: Vec::new(), damaged: false };
            journal.scan(bytes)?;
            found.push(journal);
        }
    }
    // A file whose first records cannot be read may begin with those of an earlier use.
    for at in 0..found.len() {
        let shard = found.get(at).map(|journal| journal.shard);
        let newest = |journal: &Found| journal.records.last().map(|(_, header)| header.generation);
        let others = found.iter().enumerate().filter(|(other, journal)| *other != at && Some(journal.shard) == shard);
        let newest = others.filter_map(|(_, journal)| newest(journal)).max();
        if let Some(journal) = found.get_mut(at)
            && journal.damaged
            && journal.records.first().is_none_or(|(position, _)| *position > 0)
        {
            let generation = journal.records.first().map(|(_, header)| header.generation);
            if generation < newest {
                journal.records.clear();
                journal.damaged = false;
            }
        }
    }
    Ok(found)
}

impl Found {
    /// Finds the records of the file's last use.
    fn scan(&mut self, file_bytes: u64) -> Result<(), LoadError> {
        let mut at = 0;
        let mut broken = false;
        while at < file_bytes {
            let last = self.records.last().map(|(_, header)| *header);
            match self.record_at(at, file_bytes)? {
                Some(header)
                    if last
                        .is_none_or(|last| header.generation == last.generation && header.sequence > last.sequence) =>
                {
                    self.damaged |= broken;
                    broken = false;
                    self.records.push((at, header));
                    at += u64::from(header.bytes);
                }
                // Of an earlier use, torn, or damaged: then more of this use come behind it.
                _ => {
                    broken = true;
                    at += BLOCK_BYTES;
                }
            }
        }
        Ok(())
    }

    /// The header of a record whose table is in order.
    fn record_at(&self, at: u64, file_bytes: u64) -> Result<Option<Header>, LoadError> {
        let first = self.read(at, HEADER_BYTES)?;
        let Some(header) = Header::parse(&first) else { return Ok(None) };
        let bytes = u64::from(header.bytes);
        if bytes == 0 || !bytes.is_multiple_of(BLOCK_BYTES) || at + bytes > file_bytes {
            return Ok(None);
        }
        let record = self.read(at, header.bytes as usize)?;
        Ok(decode(&record).map(|_| header))
    }

    /// Less only where the file ends. The caller asks for no more than the file has.
    fn read(&self, at: u64, bytes: usize) -> Result<Bytes, LoadError> {
        read(&self.file, at, bytes).map_err(LoadError::io("read", &self.path))
    }
}

fn read(file: &RawFile, at: u64, bytes: usize) -> io::Result<Bytes> {
    let mut content = BytesMut::zeroed(bytes);
    let count = fs::pread(file, &mut content, at)?;
    content.truncate(count);
    Ok(content.freeze())
}

/// Whether a segment is there, is that of the same topic, and was not completed: then all is in it that ever was, and it
/// may have been compacted since.
fn is_wanted(dir: &Path, segment: Offset, entries: &[Entry], checkpoints: &DirCheckpoints) -> Result<bool, LoadError> {
    let topic_id = entries.first().map(|entry| entry.place.topic_id);
    if matches!(partition_metadata::read(dir), Ok(Some(found)) if Some(found) != topic_id) {
        return Ok(false);
    }
    let Some(names) = fs::if_exists(fs::list(dir)).map_err(LoadError::io("list", dir))? else { return Ok(false) };
    let (mut is_there, mut next, mut last_snapshot) = (false, None, None);
    for (name, _) in names {
        match FileKind::of(&name) {
            FileKind::Log(base) if base == segment => is_there = true,
            FileKind::Log(base) if base > segment => next = next.or(Some(base)).min(Some(base)),
            FileKind::Snapshot(offset) => last_snapshot = last_snapshot.max(Some(offset)),
            _ => {}
        }
    }
    let recovery_point = match dir.file_name().and_then(|name| name.to_str()).map(DirKind::of) {
        Some(DirKind::Partition(partition)) => checkpoints.get(&partition).recovery_point,
        _ => Offset(0),
    };
    let is_sealed = next.is_some_and(|next| last_snapshot >= Some(next) || recovery_point >= next);
    Ok(is_there && !is_sealed)
}

fn write_segment(
    dir: &Path,
    segment: Offset,
    entries: &[Entry],
    figures: &mut Figures,
    lost: &mut Vec<Place>,
) -> Result<(), LoadError> {
    let path = names::log_file(dir, segment);
    let file = fs::open(&path, OpenFlags::READ_WRITE).map_err(LoadError::io("open", &path))?;
    figures.segments += 1;
    for entry in entries {
        if let Some(batches) = &entry.batches {
            fs::pwrite_all(&file, batches, entry.place.position).map_err(LoadError::io("write", &path))?;
            figures.bytes += batches.len() as u64;
        } else if !is_there(&file, entry).map_err(LoadError::io("read", &path))? {
            lost.push(entry.place.clone());
        }
    }
    Ok(())
}

/// Whether the segment has the batches of an entry in their place.
fn is_there(file: &RawFile, entry: &Entry) -> io::Result<bool> {
    let left = fs::file_size(file)?.saturating_sub(entry.place.position);
    if left < entry.bytes as u64 {
        return Ok(false);
    }
    let content = read(file, entry.place.position, entry.bytes)?;
    Ok(content.len() == entry.bytes && crc32c::crc32c(&content) == entry.crc)
}

/// Acknowledged records are neither in the journal nor in the segment: loading has to notice.
fn note_lost(checkpoints: &DirCheckpoints, lost: &[Place]) -> Result<(), LoadError> {
    let mut raised = Vec::new();
    for place in lost {
        let DirKind::Partition(partition) = DirKind::of(&place.dir) else { continue };
        tracing::error!("{partition}: records below {} in the journal are damaged", place.end_offset);
        let mut offsets = checkpoints.get(&partition);
        offsets.high_watermark = offsets.high_watermark.max(place.end_offset);
        raised.push((partition, offsets));
    }
    if raised.is_empty() {
        return Ok(());
    }
    checkpoints.update(raised);
    checkpoints.write()
}
