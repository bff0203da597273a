//! Makes written segments durable: one flush in flight per shard, over every segment whose writes are done by then.
//!
//! `flush(set of files)` is the one interface: few files get an `fdatasync` each, side by side on the ring; more get one
//! `syncfs(2)` per file system, which the ring does not have, on a helper thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{end_of_turn, offload, spawn};
use crate::types::Offset;

use super::file::File;
use super::log::{Log, State};
use super::log_shard::LogShard;
use super::names;

/// A segment with bytes that are written and not flushed.
#[derive(Debug)]
struct Unflushed {
    log: Rc<Log>,
    base_offset: Offset,
    file: File,
    end_offset: Offset,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Flusher {
    /// At most one entry per segment.
    unflushed: RefCell<Vec<Unflushed>>,
    running: Cell<bool>,
}

impl Flusher {
    #[cfg(test)]
    pub fn abandon(&self) {
        self.unflushed.take();
    }

    pub fn is_idle(&self) -> bool {
        !self.running.get() && self.unflushed.borrow().is_empty()
    }

    /// A write that flushes itself takes the place of the one flush in flight.
    pub fn begin_durable_write(&self, log: &Log, base_offset: Offset) {
        self.running.set(true);
        log.flushing().set(Some(base_offset));
    }
}

impl Log {
    /// Flushes a segment whose file was closed for other partitions' sake: without a write nobody else opens it.
    pub(super) fn flush_reopened(self: &Rc<Self>, base_offset: Offset) {
        let path = names::log_file(&self.dir(), base_offset);
        let flags = OpenFlags::READ_WRITE.direct(self.shard().is_direct());
        let log = Rc::clone(self);
        drop(spawn(async move {
            let opened = offload({
                let path = path.clone();
                move || fs::open(&path, flags)
            });
            match opened.await {
                Ok(_) if !matches!(*log.state().borrow(), State::Open | State::Full { .. }) => {}
                Ok(file) => {
                    log.keep_open(base_offset, &Arc::new(file));
                    log.flush_written();
                }
                Err(error) => tracing::warn!("{} cannot be opened to be flushed: {error}", path.display()),
            }
        }));
    }
}

impl LogShard {
    pub(super) fn end_durable_write(self: &Rc<Self>, log: &Rc<Log>) {
        log.flushing().set(None);
        self.flusher.running.set(false);
        self.run_flusher();
    }

    /// Has a segment flushed, up to `end_offset` at least, which is `bytes` further than before.
    pub(super) fn flush_soon(
        self: &Rc<Self>,
        log: &Rc<Log>,
        base_offset: Offset,
        file: &File,
        end_offset: Offset,
        bytes: u64,
    ) {
        let mut unflushed = self.flusher.unflushed.borrow_mut();
        // Where the log's last entry is, if it is one of this set.
        let same = log.flush_slot().get().and_then(|at| unflushed.get_mut(at as usize));
        if let Some(entry) = same.filter(|entry| entry.base_offset == base_offset) {
            entry.end_offset = entry.end_offset.max(end_offset);
            entry.bytes += bytes;
        } else {
            log.flush_slot().set(Some(unflushed.len() as u32));
            unflushed.push(Unflushed { log: Rc::clone(log), base_offset, file: file.clone(), end_offset, bytes });
        }
        drop(unflushed);
        self.run_flusher();
    }

    fn run_flusher(self: &Rc<Self>) {
        if !self.flusher.unflushed.borrow().is_empty() && !self.flusher.running.replace(true) {
            drop(spawn(Rc::clone(self).flush_all()));
        }
    }

    async fn flush_all(self: Rc<Self>) {
        loop {
            // Writes that complete in this turn of the loop are covered too.
            end_of_turn().await;
            let set = std::mem::take(&mut *self.flusher.unflushed.borrow_mut());
            if set.is_empty() {
                self.flusher.running.set(false);
                return;
            }
            for entry in &set {
                entry.log.flushing().set(Some(entry.base_offset));
                entry.log.flush_slot().set(None);
            }
            let results = self.flush(&set).await;
            for (entry, result) in set.iter().zip(results) {
                entry.log.flushing().set(None);
                let unflushed = entry.log.unflushed_bytes();
                unflushed.set(unflushed.get().saturating_sub(entry.bytes));
                match result {
                    Ok(()) => entry.log.note_flushed(entry.end_offset),
                    Err(error) => {
                        entry.log.poison_by(&format!("flushing segment {} failed", entry.base_offset), &error);
                    }
                }
            }
            let logs: Vec<_> = set.into_iter().map(|entry| entry.log).collect();
            self.trim_descriptors();
            for log in logs {
                log.next_commit();
            }
        }
    }

    /// Makes all bytes of these files durable that were written before this call.
    async fn flush(&self, set: &[Unflushed]) -> Vec<io::Result<()>> {
        self.count(|stats| stats.flushes += 1);
        if let [entry] = set {
            return vec![entry.file.fdatasync().await];
        }
        if set.len() <= self.options.fdatasync_files_max {
            // Queued all at once, awaited in turn.
            let syncs: Vec<_> = set.iter().map(|entry| entry.file.fdatasync()).collect();
            let mut results = Vec::with_capacity(set.len());
            for sync in syncs {
                results.push(sync.await);
            }
            return results;
        }
        self.count(|stats| stats.file_system_flushes += 1);
        // Directories of different `log.dirs` may be on different file systems.
        let mut roots: Vec<(PathBuf, File)> = Vec::new();
        let mut root_of = Vec::with_capacity(set.len());
        for entry in set {
            let dir = entry.log.dir();
            let root = dir.parent().unwrap_or(Path::new("/"));
            let at = roots.iter().position(|(known, _)| known == root).unwrap_or_else(|| {
                roots.push((root.to_owned(), entry.file.clone()));
                roots.len() - 1
            });
            root_of.push(at);
        }
        let synced = offload(move || roots.iter().map(|(_, file)| file.syncfs()).collect::<Vec<_>>()).await;
        let result = |at: usize| match synced.get(at) {
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            _ => Ok(()),
        };
        root_of.into_iter().map(result).collect()
    }
}
