//! Whether a log directory was stopped cleanly, and by whom.
//!
//! Two names at the root of the directory say it. `.kafka_cleanshutdown` is Kafka's file, written last at a clean
//! stop: `{"version":0,"brokerEpoch":7,"writtenBy":"corelane"}` (Kafka passes over the last field, and writes the file
//! without it). `corelane-unclean/` is a directory that exists from our start to our clean stop; Apache Kafka
//! refuses to start on its name instead of taking the stale blocks behind our data for batches. In it `run`
//! says what recovery has to know of the run that ended.
//!
//! | `.kafka_cleanshutdown` | `corelane-unclean/` | means |
//! |---|---|---|
//! | by us | - | our clean stop |
//! | without our mark | - | Kafka's clean stop: its files are adopted |
//! | - | - | new, or a crash of Kafka, or of us after the data was made ready for Kafka: adopted, unclean |
//! | any | there | a crash of ours; with the file: before anything was written |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::runtime::fs;
use crate::types::Offset;

use super::error::LoadError;
use super::journal::redo;
use super::names::{CLEAN_SHUTDOWN, UNCLEAN_DIR};

const STATE_BYTES_MAX: usize = 64 << 10;
const RUN: &str = "run";
const CORELANE: &str = "corelane";

/// How a log directory was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirState {
    /// Stopped cleanly: no recovery is needed.
    pub clean: bool,
    /// The segments were last written by another broker (or there are none).
    pub adopted: bool,
    /// For [`LoadOptions::commit_reach_bytes`](super::LoadOptions::commit_reach_bytes).
    pub commit_reach_bytes: u64,
    /// What the clean stop noted.
    pub broker_epoch: Option<i64>,
}

impl DirState {
    /// For [`LoadOptions::flushed_offset`](super::LoadOptions::flushed_offset): a high watermark counts for flushed
    /// where the run that wrote it flushed in order, and did not end cleanly, which says more.
    pub fn flushed_offset(&self, high_watermark: Offset) -> Offset {
        if self.adopted || self.commit_reach_bytes == u64::MAX { Offset::ZERO } else { high_watermark }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CleanShutdown {
    version: i32,
    broker_epoch: Option<i64>,
    #[serde(default)]
    written_by: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    version: i32,
    adopted: bool,
    commit_reach_bytes: u64,
}

/// The marks of one log directory. Calls are blocking, and durable when they return.
#[derive(Debug)]
pub struct CleanShutdownMarks {
    log_dir: PathBuf,
}

impl CleanShutdownMarks {
    pub fn new(log_dir: &Path) -> CleanShutdownMarks {
        CleanShutdownMarks { log_dir: log_dir.to_owned() }
    }

    /// How the directory was left; changes nothing.
    pub fn state(&self) -> Result<DirState, LoadError> {
        let crashed = fs::exists(&self.unclean_dir()).map_err(LoadError::io("look for", &self.unclean_dir()))?;
        let stopped = self.read_clean_shutdown()?;
        if crashed {
            // A mark without a readable run is one that a crash left half made: assume the worst of it.
            let worst = Run { version: 0, adopted: true, commit_reach_bytes: u64::MAX };
            let run = self.read_run()?.unwrap_or(worst);
            return Ok(DirState {
                clean: false,
                adopted: run.adopted,
                commit_reach_bytes: run.commit_reach_bytes,
                broker_epoch: None,
            });
        }
        let ours = stopped.as_ref().is_some_and(|stopped| stopped.written_by.as_deref() == Some(CORELANE));
        Ok(DirState {
            clean: stopped.is_some(),
            adopted: !ours,
            commit_reach_bytes: u64::MAX,
            broker_epoch: stopped.and_then(|stopped| stopped.broker_epoch),
        })
    }

    /// After a crash: writes what was acknowledged and is in a journal alone to the segments, durably. The journals are
    /// gone then.
    pub fn settle(&self) -> Result<(), LoadError> {
        redo(&self.log_dir)
    }

    /// Marks the directory as being in use, before anything in it is written, and returns how it was left.
    /// `commit_reach_bytes` is how far unflushed writes of a partition can reach in the run that begins.
    pub fn begin(&self, commit_reach_bytes: u64) -> Result<DirState, LoadError> {
        let state = self.state()?;
        self.settle()?;
        // Until all partitions are loaded a crash leaves what the earlier run left, and perhaps bytes of this one.
        let reach = if state.clean { commit_reach_bytes } else { commit_reach_bytes.max(state.commit_reach_bytes) };
        self.write_run(Run { version: 0, adopted: state.adopted, commit_reach_bytes: reach })?;
        let path = self.clean_shutdown_file();
        if fs::remove_file(&path).map_err(LoadError::io("remove", &path))? {
            fs::sync_dir(&self.log_dir).map_err(LoadError::io("sync", &self.log_dir))?;
        }
        Ok(state)
    }

    /// To be called when all partitions are loaded: what a crash leaves from here on is of this run.
    pub fn loaded(&self, commit_reach_bytes: u64) -> Result<(), LoadError> {
        self.write_run(Run { version: 0, adopted: false, commit_reach_bytes })
    }

    /// Marks a clean stop: every segment is truncated to its data, and all files of the directory are durable.
    pub fn finish(&self, broker_epoch: i64) -> Result<(), LoadError> {
        let unclean = self.unclean_dir();
        if fs::if_exists(fs::remove_dir_all(&unclean)).map_err(LoadError::io("remove", &unclean))?.is_some() {
            fs::sync_dir(&self.log_dir).map_err(LoadError::io("sync", &self.log_dir))?;
        }
        let mark =
            CleanShutdown { version: 0, broker_epoch: Some(broker_epoch), written_by: Some(CORELANE.to_owned()) };
        let path = self.clean_shutdown_file();
        fs::write_atomic(&path, &json(&mark)).map_err(LoadError::io("write", &path))
    }

    fn read_clean_shutdown(&self) -> Result<Option<CleanShutdown>, LoadError> {
        let path = self.clean_shutdown_file();
        let bytes = fs::if_exists(fs::read_bounded(&path, STATE_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
        // The file's being there is what counts: older releases of Kafka left it empty.
        let empty = CleanShutdown { version: 0, broker_epoch: None, written_by: None };
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes).unwrap_or(empty)))
    }

    fn read_run(&self) -> Result<Option<Run>, LoadError> {
        let path = self.unclean_dir().join(RUN);
        let bytes = fs::if_exists(fs::read_bounded(&path, STATE_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn write_run(&self, run: Run) -> Result<(), LoadError> {
        let dir = self.unclean_dir();
        let path = dir.join(RUN);
        let made = fs::create_dir(&dir).map_err(LoadError::io("make", &dir))?;
        fs::write_atomic(&path, &json(&run)).map_err(LoadError::io("write", &path))?;
        if made {
            fs::sync_dir(&self.log_dir).map_err(LoadError::io("sync", &self.log_dir))?;
        }
        Ok(())
    }

    fn clean_shutdown_file(&self) -> PathBuf {
        self.log_dir.join(CLEAN_SHUTDOWN)
    }

    fn unclean_dir(&self) -> PathBuf {
        self.log_dir.join(UNCLEAN_DIR)
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("structures of numbers and strings have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: u64 = 1 << 20;

    fn state(clean: bool, adopted: bool, commit_reach_bytes: u64, broker_epoch: Option<i64>) -> DirState {
        DirState { clean, adopted, commit_reach_bytes, broker_epoch }
    }

    #[test]
    fn a_clean_stop_is_known_and_used_up_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let marks = CleanShutdownMarks::new(dir.path());
        assert_eq!(marks.begin(REACH).unwrap(), state(false, true, u64::MAX, None));
        marks.loaded(REACH).unwrap();
        assert!(dir.path().join("corelane-unclean").is_dir());
        marks.finish(7).unwrap();
        assert!(!dir.path().join("corelane-unclean").exists());
        let text = std::fs::read_to_string(dir.path().join(".kafka_cleanshutdown")).unwrap();
        assert_eq!(text, r#"{"version":0,"brokerEpoch":7,"writtenBy":"corelane"}"#);

        assert_eq!(marks.begin(REACH).unwrap(), state(true, false, u64::MAX, Some(7)));
        assert!(!dir.path().join(".kafka_cleanshutdown").exists());
        assert_eq!(marks.begin(REACH).unwrap(), state(false, false, REACH, None));
    }

    #[test]
    fn a_crash_while_loading_keeps_the_weaker_promise() {
        let dir = tempfile::tempdir().unwrap();
        let marks = CleanShutdownMarks::new(dir.path());
        marks.begin(u64::MAX).unwrap();
        marks.loaded(u64::MAX).unwrap();
        assert_eq!(marks.begin(REACH).unwrap().commit_reach_bytes, u64::MAX);
        assert_eq!(marks.begin(REACH).unwrap().commit_reach_bytes, u64::MAX);
        marks.loaded(REACH).unwrap();
        assert_eq!(marks.begin(REACH).unwrap(), state(false, false, REACH, None));
    }

    #[test]
    fn kafkas_stop_makes_its_files_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let marks = CleanShutdownMarks::new(dir.path());
        for (text, epoch) in [(r#"{"version":0,"brokerEpoch":42}"#, Some(42)), ("", None)] {
            std::fs::write(dir.path().join(".kafka_cleanshutdown"), text).unwrap();
            assert_eq!(marks.state().unwrap(), state(true, true, u64::MAX, epoch));
        }
        // Interrupted before all is loaded, they still are.
        marks.begin(REACH).unwrap();
        assert_eq!(marks.begin(REACH).unwrap(), state(false, true, REACH, None));
    }

    #[test]
    fn a_half_made_mark_assumes_the_worst() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("corelane-unclean")).unwrap();
        let marks = CleanShutdownMarks::new(dir.path());
        assert_eq!(marks.state().unwrap(), state(false, true, u64::MAX, None));
        std::fs::write(dir.path().join("corelane-unclean/run"), "\0\0\0").unwrap();
        assert_eq!(marks.state().unwrap(), state(false, true, u64::MAX, None));
    }

    /// Whatever a power cut makes of what a start and a stop did, Apache Kafka never finds the mark of a clean stop
    /// in a directory that was written to, nor such a directory without the name on which it refuses to start.
    #[test]
    fn no_power_cut_brings_the_clean_mark_back() {
        use crate::log::fault::testing::{DiskModel, SimulatedDisk};
        use rand::SeedableRng;
        let dir = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(dir.path(), DiskModel::default(), 1);
        let session = disk.watch();
        let marks = CleanShutdownMarks::new(dir.path());
        marks.begin(REACH).unwrap();
        let opened = disk.event_count();
        marks.loaded(REACH).unwrap();
        let stopping = disk.event_count();
        marks.finish(7).unwrap();
        let stopped = disk.event_count();
        marks.begin(REACH).unwrap();
        let begun = disk.event_count();
        drop(session);
        let (events, mut model) = (disk.take_events(), DiskModel::default());
        for (at, event) in events.iter().enumerate() {
            for seed in 0..20 {
                let mut random = rand::rngs::StdRng::seed_from_u64(seed);
                let cut = model.power_cut(&mut random);
                let (marked, unclean) =
                    (cut.find(Path::new(CLEAN_SHUTDOWN)).is_some(), cut.find(Path::new(UNCLEAN_DIR)).is_some());
                assert!(at < stopped || marked || unclean, "event {at}, seed {seed}: neither mark");
                let runs = (opened..=stopping).contains(&at);
                assert!(!runs || unclean, "event {at}, seed {seed}: Kafka would start on a new directory in use");
                let stops = (stopping..=stopped).contains(&at);
                assert!(
                    !(stops && marked && unclean),
                    "event {at}, seed {seed}: the mark of a clean stop is not the last"
                );
            }
            model.apply(event);
        }
        assert_eq!(events.len(), begun);
        for seed in 0..100 {
            let cut = model.power_cut(&mut rand::rngs::StdRng::seed_from_u64(seed));
            assert!(cut.find(Path::new(CLEAN_SHUTDOWN)).is_none(), "seed {seed}: the mark is back");
            assert!(cut.find(Path::new(UNCLEAN_DIR)).is_some(), "seed {seed}: Kafka would start");
        }
    }
}
