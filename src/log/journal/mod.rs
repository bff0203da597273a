//! The journal of a shard: small appends to many partitions made durable by one write.
//!
//! A write and a flush for each of a thousand files is what a device does worst. When many logs have a little to write,
//! their batches go into one record of the journal, written in one piece and through to the device; then they count as
//! flushed. The segments are filled behind it, each with all that gathered meanwhile, without a flush of their own: one
//! for all of them comes when a file of the journal is to be used again.
//!
//! ```text
//! corelane-unclean/journal-<shard>-<0|1>    records, one behind the other
//! ```
//!
//! - A record says of every piece where in which segment it belongs ([`record`]). So a start after a crash writes all of
//!   them to their places again ([`redo`]), which changes nothing where they are there already, and everything else about
//!   recovery stays what it is without a journal.
//! - A log's batches go either way, and change over only where all before them is durable: what is in the journal
//!   follows upon what is flushed, or upon what is in the journal.
//! - Only what has room in its segment goes into the journal: it need not be refused later. What is in there is never
//!   taken back.
//! - A file is used again when all that its records hold was written to the segments and flushed ([`drain`]). Its next
//!   records have another generation, so that the older ones behind them mean nothing.
//! - Positions of an active segment never mean other bytes than before; compaction waits until its segment is sealed,
//!   which `redo` sees, and a clean stop leaves no journal.
//!
//! The files live in the directory on which Apache Kafka refuses to start, and go with it.

mod drain;
mod files;
mod record;
mod redo;
#[cfg(test)]
mod tests;
mod write;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::runtime::file::RawFile;
use crate::types::Offset;

use super::log::Log;

pub(super) use redo::{awaiting, redo};

/// How a shard's journal works.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// Where its files are; made if it is not there.
    pub dir: PathBuf,
    /// Tells the journals of one directory apart.
    pub shard: usize,
    /// One of its two files grows up to this.
    pub file_bytes_max: u64,
    /// The size that a file begins with.
    pub file_bytes_min: u64,
    /// With fewer logs than this to be written at a time it is not begun to be used.
    pub logs_min: usize,
    /// A log that has more to write than this does so itself.
    pub log_bytes_max: u64,
    /// A record has no more bytes of batches, unless one log's are more.
    pub record_bytes_max: u64,
}

impl JournalOptions {
    /// # Panics
    /// When a file could not take a record of one log.
    pub fn new(dir: PathBuf, shard: usize, file_bytes_max: u64) -> JournalOptions {
        let file_bytes_min = (file_bytes_max / FILE_GROWTH).max(FILE_BYTES_MIN.min(file_bytes_max));
        JournalOptions {
            dir,
            shard,
            file_bytes_max,
            file_bytes_min,
            logs_min: LOGS_MIN,
            log_bytes_max: LOG_BYTES_MAX,
            record_bytes_max: RECORD_BYTES_MAX.min(file_bytes_min / 4),
        }
    }
}

/// A file grows to so many times the size it begins with.
const FILE_GROWTH: u64 = 8;
const FILE_BYTES_MIN: u64 = 512 << 10;
const LOGS_MIN: usize = 3;
const LOG_BYTES_MAX: u64 = 16 << 10;
const RECORD_BYTES_MAX: u64 = 2 << 20;

/// What a shard's journal is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There are no files yet.
    Unmade,
    Making,
    Ready,
    /// Not used any more: what its files hold may be needed by the next start.
    Retired,
}

/// The journal of one shard; nothing is on the disk before its first use.
#[derive(Debug)]
pub(super) struct Journal {
    options: Option<JournalOptions>,
    phase: Cell<Phase>,
    files: [JournalFile; 2],
    /// The one that is written to.
    current: Cell<usize>,
    /// Logs whose batches go into the next record; each is in here at most once.
    waiting: RefCell<Vec<Rc<Log>>>,
    writing: Cell<bool>,
    draining: Cell<bool>,
    /// A segment could not be filled because the disk is full: nobody waits for the drain.
    stuck: Cell<bool>,
    /// No file before this time, in milliseconds: there was no room.
    not_before_ms: Cell<i64>,
    generation: Cell<u64>,
    sequence: Cell<u64>,
    written_ms: Cell<i64>,
    /// Somebody looks whether it is idle.
    watched: Cell<bool>,
}

#[derive(Debug, Default)]
struct JournalFile {
    file: RefCell<Option<Arc<RawFile>>>,
    /// Its size.
    bytes: Cell<u64>,
    /// Where the next record goes.
    end: Cell<u64>,
    generation: Cell<u64>,
    /// The logs that its records are of, each once.
    members: RefCell<Vec<Rc<Log>>>,
    /// Its records are needed no more.
    free: Cell<bool>,
}

impl Journal {
    pub fn new(options: Option<JournalOptions>) -> Journal {
        let files = [JournalFile::default(), JournalFile::default()];
        Journal {
            options,
            phase: Cell::new(Phase::Unmade),
            files,
            current: Cell::new(0),
            waiting: RefCell::default(),
            writing: Cell::new(false),
            draining: Cell::new(false),
            stuck: Cell::new(false),
            not_before_ms: Cell::new(0),
            generation: Cell::new(0),
            sequence: Cell::new(0),
            written_ms: Cell::new(0),
            watched: Cell::new(false),
        }
    }

    fn current(&self) -> &JournalFile {
        &self.files[self.current.get()]
    }

    fn other(&self) -> &JournalFile {
        &self.files[1 - self.current.get()]
    }

    /// Lets go of the logs it knows.
    #[cfg(test)]
    pub fn abandon(&self) {
        self.waiting.take();
        for file in &self.files {
            file.members.take();
        }
    }
}

/// What a log has to do with its shard's journal.
#[derive(Debug)]
pub(super) struct Journaled {
    /// In the list of those whose batches go into the next record.
    waiting: Cell<bool>,
    /// Which files of the journal hold batches of it.
    member: [Cell<bool>; 2],
    /// All below this is in the segments.
    filled: Cell<Offset>,
    /// The segments are to be filled up to this.
    fill_to: Cell<Offset>,
    /// A flush of what was filled is under way.
    syncing: Cell<bool>,
    /// It is to be tried again to fill them.
    retrying: Cell<bool>,
}

impl Journaled {
    /// `end` is the end of a log that was just loaded.
    pub fn new(end: Offset) -> Journaled {
        Journaled {
            waiting: Cell::new(false),
            member: [Cell::new(false), Cell::new(false)],
            filled: Cell::new(end),
            fill_to: Cell::new(Offset(0)),
            syncing: Cell::new(false),
            retrying: Cell::new(false),
        }
    }
}
