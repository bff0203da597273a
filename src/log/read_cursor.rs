//! Where readers of a log stopped: the next read of a sequential one needs no index, and finds its bytes read ahead.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;

use crate::runtime::{Task, spawn};
use crate::types::Offset;

use super::error::LogError;
use super::log::Log;
use super::read::SegmentView;

/// Readers that are told apart per partition; more of them take each other's place.
const CURSORS_MAX: usize = 4;

/// The position behind the last batch that one reader got.
pub(super) struct Cursor {
    pub offset: Offset,
    pub base_offset: Offset,
    pub position: u64,
    ahead: Option<Task<Result<Ahead, LogError>>>,
}

/// Bytes read ahead, from the cursor's position on.
pub(super) struct Ahead {
    bytes: Bytes,
    _held: Held,
}

/// What read-ahead takes of the shard's budget until it is used or dropped.
struct Held {
    budget: Rc<Cell<usize>>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.set(self.budget.get() - self.bytes);
    }
}

#[derive(Default)]
pub(super) struct Cursors {
    list: Vec<Cursor>,
}

impl Cursors {
    /// Takes out the cursor of a reader that goes on at `offset`.
    pub fn take(&mut self, offset: Offset, base_offset: Offset) -> Option<Cursor> {
        let at = self.list.iter().position(|cursor| cursor.offset == offset && cursor.base_offset == base_offset)?;
        Some(self.list.remove(at))
    }

    pub fn put(&mut self, cursor: Cursor) {
        if self.list.len() == CURSORS_MAX {
            self.list.remove(0);
        }
        self.list.push(cursor);
    }
}

impl Cursor {
    pub fn new(offset: Offset, base_offset: Offset, position: u64) -> Cursor {
        Cursor { offset, base_offset, position, ahead: None }
    }

    /// The bytes that were read ahead for this reader, if they came.
    pub async fn ahead(&mut self) -> Option<Bytes> {
        match self.ahead.take()?.await {
            Ok(ahead) => Some(ahead.bytes),
            // The read that is made instead tells what is wrong.
            Err(_) => None,
        }
    }

    /// Reads the next `bytes` of the segment while the reader is busy with what it got. The caller is among the files.
    pub fn read_ahead(&mut self, log: &Rc<Log>, view: SegmentView, bytes: u64) {
        let bytes = bytes.min(view.size.saturating_sub(self.position));
        let budget = &log.shard().read_ahead_bytes;
        let in_use = budget.get() + bytes as usize;
        if bytes == 0 || in_use > log.shard().options.read_ahead_bytes_max {
            return;
        }
        budget.set(in_use);
        let held = Held { budget: Rc::clone(budget), bytes: bytes as usize };
        let (log, position) = (Rc::clone(log), self.position);
        let files = log.share_files();
        self.ahead = Some(spawn(async move {
            let _files = files;
            if !log.is_still(view) {
                // Compacted or removed: nobody asks for these bytes any more.
                return Err(log.out_of_range(view.base_offset));
            }
            let bytes = log.window(view, position, bytes).await?;
            Ok(Ahead { bytes, _held: held })
        }));
    }
}
