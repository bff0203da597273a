//! The machine's own limits, in the units of a run: what no broker can be faster than here.

mod disk;
mod files;
mod memory;
mod mixed;
mod network;

use std::{path::Path, time::Duration};

use corelane::runtime::{Runtime, RuntimeOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

pub use mixed::Rates;

use crate::error::Error;

/// A directory of its own below one that was named, and a ring.
fn scratch(directory: &Path) -> Result<(TempDir, Runtime), Error> {
    let inside = tempfile::Builder::new().prefix("loadgen-calibrate-").tempdir_in(directory);
    let inside = inside.map_err(|error| Error::file(directory, &error))?;
    let runtime = Runtime::new(&RuntimeOptions::default()).map_err(|error| Error::Wrong(error.to_string()))?;
    Ok((inside, runtime))
}

/// What a limit is called in `report.json`.
pub const LOOPBACK: &str = "loopback";
pub const WRITE_NEW: &str = "write-new";
pub const WRITE_PREALLOCATED: &str = "write-preallocated";
pub const WRITE_RECYCLED: &str = "write-recycled";
pub const FLUSH_P50: &str = "flush-p50";
pub const READ_COLD: &str = "read-cold";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    pub id: String,
    pub name: String,
    pub value: f64,
    pub unit: String,
    pub note: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Limits {
    limits: Vec<Limit>,
}

impl Limits {
    fn add(&mut self, id: &str, name: &str, value: f64, unit: &str, note: &str) {
        let [id, name, unit, note] = [id, name, unit, note].map(str::to_owned);
        self.limits.push(Limit { id, name, value, unit, note });
    }

    pub fn all(&self) -> &[Limit] {
        &self.limits
    }

    pub fn get(&self, id: &str) -> Option<f64> {
        self.limits.iter().find(|limit| limit.id == id).map(|limit| limit.value)
    }

    /// The lowest rate that data on its way to the device has to pass, and its name.
    pub fn of_produce(&self) -> Option<&Limit> {
        self.lowest(&[LOOPBACK, WRITE_RECYCLED, WRITE_PREALLOCATED])
    }

    pub fn of_consume(&self) -> Option<&Limit> {
        self.lowest(&[LOOPBACK])
    }

    /// Preallocated and recycled files are two ways to the same end: the better of them counts.
    fn lowest(&self, ids: &[&str]) -> Option<&Limit> {
        let found = |id: &str| self.limits.iter().find(|limit| limit.id == id && limit.value > 0.0);
        let write = ids
            .iter()
            .filter(|id| id.starts_with("write"))
            .filter_map(|id| found(id))
            .max_by(|a, b| a.value.total_cmp(&b.value));
        let others = ids.iter().filter(|id| !id.starts_with("write")).filter_map(|id| found(id));
        others.chain(write).min_by(|a, b| a.value.total_cmp(&b.value))
    }
}

/// Measures everything; each measurement takes about `each`. `say` tells what is measured now.
pub fn calibrate(directory: &Path, each: Duration, say: &mut dyn FnMut(&str)) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    say("loopback");
    network::measure(&mut limits, each)?;
    say("device: writes, flushes and reads");
    disk::measure(&mut limits, directory, each)?;
    say("checksum and memory copy");
    memory::measure(&mut limits, each);
    Ok(limits)
}

/// Reads and flushed writes beside each other, and nothing else.
pub fn calibrate_mixed(directory: &Path, each: Duration, rates: Rates) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    mixed::measure(&mut limits, directory, each, rates)?;
    Ok(limits)
}

/// Writes to so many files, for each of the counts, and nothing else.
pub fn calibrate_files(
    directory: &Path,
    each: Duration,
    counts: &[usize],
    say: &mut dyn FnMut(&str),
) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    for &count in counts {
        say(&format!("writes to {count} files"));
        files::measure(&mut limits, directory, each, count)?;
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_of_this_machine_is_found() {
        let directory = tempfile::TempDir::new_in(".").unwrap();
        let limits = calibrate(directory.path(), Duration::from_millis(30), &mut |_| ()).unwrap();
        for limit in limits.all() {
            assert!(limit.value > 0.0, "{limit:?}");
        }
        for id in [LOOPBACK, WRITE_NEW, WRITE_PREALLOCATED, WRITE_RECYCLED, FLUSH_P50, READ_COLD] {
            assert!(limits.get(id).is_some(), "{id} is missing");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "its files are left behind");
    }

    #[test]
    fn many_files_and_mixed_loads_have_figures_and_leave_nothing() {
        let directory = tempfile::TempDir::new_in(".").unwrap();
        let each = Duration::from_millis(30);
        let files = calibrate_files(directory.path(), each, &[3, 100], &mut |_| ()).unwrap();
        assert!(files.get("files-3").unwrap() > 0.0 && files.get("files-100-bytes").unwrap() > 0.0);
        assert!(calibrate_files(directory.path(), each, &[0], &mut |_| ()).is_err());
        let rates = Rates { writes: 4e6, reads: Some(50e6) };
        let mixed = calibrate_mixed(directory.path(), each, rates).unwrap();
        for limit in mixed.all() {
            assert!(limit.value > 0.0, "{limit:?}");
        }
        assert!(mixed.get("flush-p99-beside-reads") >= mixed.get("flush-p50-beside-reads"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "its files are left behind");
    }

    #[test]
    fn what_limits_a_producer_is_the_narrowest_place() {
        let mut limits = Limits::default();
        limits.add(LOOPBACK, "loopback", 3000.0, "MB/s", "");
        limits.add(WRITE_PREALLOCATED, "preallocated", 1500.0, "MB/s", "");
        limits.add(WRITE_RECYCLED, "recycled", 4500.0, "MB/s", "");
        assert_eq!(limits.of_produce().unwrap().id, LOOPBACK);
    }
}
