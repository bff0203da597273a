//! The open segments of a shard: least recently used ones are closed when there are too many.
//!
//! An operation or range in flight holds its file by itself, so that closing here never pulls one away from under it;
//! the budget may be exceeded by those for a moment.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::runtime::file::RawFile;
use crate::types::Offset;

/// A segment of a log, by the number that the shard gave the log.
pub(super) type SegmentKey = (u64, Offset);

#[derive(Debug)]
struct Open {
    file: Arc<RawFile>,
    used: u64,
}

#[derive(Debug)]
pub(super) struct Descriptors {
    budget: usize,
    open: RefCell<HashMap<SegmentKey, Open>>,
    clock: Cell<u64>,
}

impl Descriptors {
    pub fn new(budget: usize) -> Descriptors {
        Descriptors { budget: budget.max(1), open: RefCell::new(HashMap::new()), clock: Cell::new(0) }
    }

    pub fn get(&self, key: SegmentKey) -> Option<Arc<RawFile>> {
        let now = self.tick();
        let mut open = self.open.borrow_mut();
        let entry = open.get_mut(&key)?;
        entry.used = now;
        Some(Arc::clone(&entry.file))
    }

    /// Keeps a file that was just opened. Answers with those that are to be closed for it: closing can block, so the
    /// caller does that elsewhere.
    #[must_use]
    pub fn insert(&self, key: SegmentKey, file: Arc<RawFile>) -> Vec<Arc<RawFile>> {
        let used = self.tick();
        let mut closed = self.surplus(Some(key));
        closed.extend(self.open.borrow_mut().insert(key, Open { file, used }).map(|old| old.file));
        closed
    }

    /// Takes out what is open beyond the budget and not in use.
    #[must_use]
    pub fn trim(&self) -> Vec<Arc<RawFile>> {
        self.surplus(None)
    }

    /// Makes room for `wanted`, if it is not open already.
    fn surplus(&self, wanted: Option<SegmentKey>) -> Vec<Arc<RawFile>> {
        let mut open = self.open.borrow_mut();
        let len = open.len() + usize::from(wanted.is_some_and(|key| !open.contains_key(&key)));
        if len <= self.budget {
            return Vec::new();
        }
        let mut idle: Vec<_> = open
            .iter()
            .filter(|(_, entry)| Arc::strong_count(&entry.file) == 1)
            .map(|(key, entry)| (entry.used, *key))
            .collect();
        idle.sort_unstable();
        // An eighth more at once, so that the search for the oldest is rare.
        let surplus = len - self.budget + self.budget / 8;
        idle.iter().take(surplus).filter_map(|(_, key)| open.remove(key)).map(|entry| entry.file).collect()
    }

    /// Whether so many are in use that no more should be opened now.
    pub fn is_overdrawn(&self) -> bool {
        self.open.borrow().len() > self.budget + self.budget / 4
    }

    pub fn is_over_budget(&self) -> bool {
        self.open.borrow().len() > self.budget
    }

    #[must_use]
    pub fn remove(&self, key: SegmentKey) -> Option<Arc<RawFile>> {
        self.open.borrow_mut().remove(&key).map(|entry| entry.file)
    }

    /// Takes out all files of one log.
    #[must_use]
    pub fn remove_log(&self, log: u64) -> Vec<Arc<RawFile>> {
        let mut open = self.open.borrow_mut();
        open.extract_if(|key, _| key.0 == log).map(|(_, entry)| entry.file).collect()
    }

    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<RawFile> {
        Arc::new(RawFile::from(tempfile::tempfile().unwrap()))
    }

    #[test]
    fn the_least_recently_used_are_closed_and_never_those_in_use() {
        let descriptors = Descriptors::new(3);
        for log in 0..3 {
            assert!(descriptors.insert((log, Offset(0)), file()).is_empty());
        }
        let in_use = descriptors.get((0, Offset(0)));
        descriptors.get((1, Offset(0)));
        assert_eq!(descriptors.insert((3, Offset(0)), file()).len(), 1);
        assert!(descriptors.get((2, Offset(0))).is_none());
        assert_eq!(descriptors.insert((4, Offset(0)), file()).len(), 1);
        assert!(descriptors.get((0, Offset(0))).is_some() && descriptors.get((1, Offset(0))).is_none());
        drop(in_use);
        assert_eq!(descriptors.remove_log(0).len(), 1);
        assert_eq!(descriptors.len(), 2);
    }
}
