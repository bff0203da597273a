//! A data directory after a clean stop, looked at without the broker's own code: Kafka's files and nothing else, whole
//! batches from the first byte to the last, indexes and checkpoints that agree with them.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

const BATCH_HEADER_BYTES: usize = 61;

/// What is wrong with a directory.
pub fn check(data: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for absent in ["corelane-unclean"] {
        if data.join(absent).exists() {
            wrong.push(format!("{absent} is there after a clean stop"));
        }
    }
    for present in [".kafka_cleanshutdown", "meta.properties", "recovery-point-offset-checkpoint"] {
        if !data.join(present).exists() {
            wrong.push(format!("{present} is missing after a clean stop"));
        }
    }
    let recovery_points = match checkpoint(&data.join("recovery-point-offset-checkpoint")) {
        Ok(points) => points,
        Err(error) => {
            wrong.push(format!("{error:#}"));
            return wrong;
        }
    };
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) => {
            wrong.push(format!("the data directory: {error}"));
            return wrong;
        }
    };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Kafka's own names for a partition that is being removed, and for one that no catalog names.
        if name.ends_with("-delete") || name.ends_with("-stray") {
            continue;
        }
        let Some((topic, partition)) = name.rsplit_once('-').filter(|(_, n)| n.parse::<u32>().is_ok()) else {
            wrong.push(format!("a directory {name}, which would stop Apache Kafka"));
            continue;
        };
        match partition_dir(&entry.path()) {
            Ok(end) => {
                let point = recovery_points.get(&(topic.to_owned(), partition.to_owned()));
                if topic != "__cluster_metadata" && point != Some(&end) {
                    wrong.push(format!("{name} ends at {end}, its recovery point is {point:?}"));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
    }
    wrong
}

/// Version, count, and a line for each partition.
fn checkpoint(path: &Path) -> Result<HashMap<(String, String), i64>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines();
    ensure!(lines.next() == Some("0"), "{}: not version 0", path.display());
    let count: usize = lines.next().context("a count")?.parse()?;
    let mut points = HashMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let (Some(topic), Some(partition), Some(offset)) = (words.next(), words.next(), words.next()) else {
            bail!("{}: {line:?}", path.display());
        };
        points.insert((topic.to_owned(), partition.to_owned()), offset.parse()?);
    }
    ensure!(points.len() == count, "{}: {} lines instead of {count}", path.display(), points.len());
    Ok(points)
}

/// Checks a partition's directory; the end of its log.
fn partition_dir(dir: &Path) -> Result<i64> {
    ensure!(dir.join("partition.metadata").exists() || dir.ends_with("__cluster_metadata-0"), "no partition.metadata");
    let mut logs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
    logs.sort();
    ensure!(!logs.is_empty(), "no segment");
    let mut end = None;
    for log in &logs {
        let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let base: i64 = log.file_stem().unwrap_or_default().to_string_lossy().parse().context(name.clone())?;
        ensure!(end.is_none_or(|end| end == base), "{name} follows on {end:?}");
        end = Some(segment(log, base).with_context(|| name.clone())?);
    }
    end.context("an end")
}

/// Checks a segment with its indexes; where it ends.
fn segment(log: &Path, base: i64) -> Result<i64> {
    let bytes = fs::read(log)?;
    let mut at = 0;
    let mut next = base;
    // The last offset of the batch at each position.
    let mut batches: HashMap<u32, i64> = HashMap::new();
    let mut newest = i64::MIN;
    while at < bytes.len() {
        let batch = &bytes[at..];
        ensure!(batch.len() >= BATCH_HEADER_BYTES, "{} bytes at {at} are no batch", batch.len());
        let i64_at = |at: usize| i64::from_be_bytes(batch[at..at + 8].try_into().expect("eight bytes"));
        let i32_at = |at: usize| i32::from_be_bytes(batch[at..at + 4].try_into().expect("four bytes"));
        let size = i32_at(8).checked_add(12).and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
        ensure!((BATCH_HEADER_BYTES..=batch.len()).contains(&size), "a batch of {size} bytes at {at}");
        ensure!(i64_at(0) == next, "offset {} at {at} instead of {next}", i64_at(0));
        let crc = i32_at(17).cast_unsigned();
        ensure!(crc32c::crc32c(&batch[21..size]) == crc, "the batch at {at} fails its checksum");
        next += i64::from(i32_at(23)) + 1;
        batches.insert(at as u32, next - 1);
        newest = newest.max(i64_at(35));
        at += size;
    }
    let index = fs::read(log.with_extension("index")).unwrap_or_default();
    ensure!(index.len().is_multiple_of(8), "an index of {} bytes", index.len());
    let mut last = -1;
    for entry in index.chunks_exact(8) {
        let offset = base + i64::from(u32::from_be_bytes(entry[..4].try_into()?));
        let position = u32::from_be_bytes(entry[4..].try_into()?);
        ensure!(batches.get(&position) == Some(&offset), "the index has offset {offset} at {position}");
        ensure!(i64::from(position) > last, "the index is not in order at {position}");
        last = i64::from(position);
    }
    let times = fs::read(log.with_extension("timeindex")).unwrap_or_default();
    ensure!(times.len().is_multiple_of(12), "a time index of {} bytes", times.len());
    let mut before = (i64::MIN, i64::MIN);
    for entry in times.chunks_exact(12) {
        let timestamp = i64::from_be_bytes(entry[..8].try_into()?);
        let offset = base + i64::from(u32::from_be_bytes(entry[8..].try_into()?));
        ensure!(timestamp > before.0 && offset > before.1, "the time index is not in order at offset {offset}");
        ensure!(timestamp <= newest && offset < next, "the time index has {timestamp} at offset {offset}");
        before = (timestamp, offset);
    }
    Ok(next)
}
