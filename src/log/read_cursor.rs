//! Where readers of a log stopped: the next read of a sequential one needs no index, and finds its bytes read ahead.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;

use crate::runtime::{Task, spawn};
use crate::types::Offset;

use super::error::LogError;
use super::log::Log;
use super::read::SegmentView;

/// Readers that are told apart per partition; more of them take each other's place.
const CURSORS_MAX: usize = 16;

/// What is read ahead is looked through for what is gone from so many on.
const TIDY_FROM: usize = 64;

/// The position behind the last batch that one reader got.
pub(super) struct Cursor {
    pub offset: Offset,
    pub base_offset: Offset,
    pub position: u64,
    ahead: Option<Rc<Ahead>>,
}

type Reading = Task<Result<Arrived, LogError>>;

/// What is read ahead for one reader, on its way or there already.
struct Ahead(Cell<Option<Reading>>);

/// Bytes read ahead, from the cursor's position on.
struct Arrived {
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

/// All that a shard reads ahead, and has until somebody comes for it.
#[derive(Default)]
pub(super) struct ReadAhead {
    bytes: Rc<Cell<usize>>,
    /// Oldest first.
    order: RefCell<Vec<Weak<Ahead>>>,
}

impl ReadAhead {
    /// Room for so many bytes. What readers never came back for goes first, or it would be in the way of others for ever.
    fn reserve(&self, bytes: usize, bytes_max: usize) -> Option<Held> {
        let mut order = self.order.borrow_mut();
        if order.len() >= TIDY_FROM && order.len() == order.capacity() {
            order.retain(|ahead| ahead.strong_count() > 0);
        }
        let is_over = || self.bytes.get() + bytes > bytes_max;
        if is_over() {
            order.retain(|ahead| {
                let Some(ahead) = ahead.upgrade().filter(|_| is_over()) else { return ahead.strong_count() > 0 };
                match ahead.0.take() {
                    // Nobody can stop what the device was asked for.
                    Some(reading) if !reading.is_finished() => ahead.0.set(Some(reading)),
                    reading => drop(reading),
                }
                true
            });
        }
        if is_over() {
            return None;
        }
        self.bytes.set(self.bytes.get() + bytes);
        Some(Held { budget: Rc::clone(&self.bytes), bytes })
    }

    fn add(&self, reading: Reading) -> Rc<Ahead> {
        let ahead = Rc::new(Ahead(Cell::new(Some(reading))));
        self.order.borrow_mut().push(Rc::downgrade(&ahead));
        ahead
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
        let reading = self.ahead.take()?.0.take()?;
        match reading.await {
            Ok(arrived) => Some(arrived.bytes),
            // The read that is made instead tells what is wrong.
            Err(_) => None,
        }
    }

    /// Reads the next `bytes` of the segment while the reader is busy with what it got. The caller is among the files.
    pub fn read_ahead(&mut self, log: &Rc<Log>, view: SegmentView, bytes: u64) {
        let bytes = bytes.min(view.size.saturating_sub(self.position));
        if bytes == 0 {
            return;
        }
        let shard = Rc::clone(log.shard());
        let Some(held) = shard.read_ahead.reserve(bytes as usize, shard.options.read_ahead_bytes_max) else { return };
        let (log, position) = (Rc::clone(log), self.position);
        let files = log.share_files();
        let reading = spawn(async move {
            let _files = files;
            if !log.is_still(view) {
                // Compacted or removed: nobody asks for these bytes any more.
                return Err(log.out_of_range(view.base_offset));
            }
            let bytes = log.window(view, position, bytes).await?;
            Ok(Arrived { bytes, _held: held })
        });
        self.ahead = Some(shard.read_ahead.add(reading));
    }
}
