//! Where readers of a log stopped: the next read of a sequential one needs no index, and finds its bytes read ahead.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use bytes::Bytes;

use crate::record::{BATCH_HEADER_BYTES, BatchHeader};
use crate::runtime::{Task, spawn};
use crate::types::Offset;

use super::error::LogError;
use super::log::Log;
use super::read::SegmentView;

/// Readers that are told apart per partition; more of them take each other's place.
const CURSORS_MAX: usize = 16;

/// Less than this is not worth reading ahead.
const READ_AHEAD_BYTES_MIN: u64 = 32 << 10;

/// What is read ahead is looked through for what is gone from so many on.
const TIDY_FROM: usize = 64;

/// The position behind the last batch that one reader got.
pub(super) struct Cursor {
    pub offset: Offset,
    pub base_offset: Offset,
    pub position: u64,
    /// Whole batches from the position on.
    kept: Option<Kept>,
    /// What comes behind them.
    ahead: Option<Rc<Ahead>>,
}

struct Kept {
    ahead: Rc<Ahead>,
    bytes: usize,
}

/// What is read ahead for one reader. Nothing, when it had to make room for others.
struct Ahead(Cell<Option<State>>);

enum State {
    Coming(Task<Result<Arrived, LogError>>),
    There(Arrived),
}

/// Bytes that were read ahead.
pub(super) struct Arrived {
    pub bytes: Bytes,
    held: Held,
    /// They end where a batch does.
    is_whole: bool,
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
                    Some(State::Coming(reading)) if !reading.is_finished() => ahead.0.set(Some(State::Coming(reading))),
                    state => drop(state),
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

    fn add(&self, state: State) -> Rc<Ahead> {
        let ahead = Rc::new(Ahead(Cell::new(Some(state))));
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
        Cursor { offset, base_offset, position, kept: None, ahead: None }
    }

    /// The bytes that were read ahead for this reader, if they came.
    pub async fn arrived(&mut self) -> Option<Arrived> {
        if let Some(kept) = self.kept.take() {
            if let Some(State::There(arrived)) = kept.ahead.0.take() {
                return Some(arrived);
            }
            // It had to go, and what comes behind it is not what comes next.
            self.ahead = None;
        }
        match self.ahead.take()?.0.take()? {
            // The read that is made instead of a failed one tells what is wrong.
            State::Coming(reading) => reading.await.ok(),
            State::There(arrived) => Some(arrived),
        }
    }

    /// Keeps what is left of what arrived behind the cursor's position, as far as it is whole batches, for the reader that
    /// was at `before`.
    pub fn keep(&mut self, log: &Log, arrived: Arrived, taken: usize, before: Cursor) {
        let Arrived { bytes, held, is_whole } = arrived;
        let rest = bytes.slice(taken..);
        let len = if is_whole { rest.len() } else { whole_batches(&rest) };
        if is_whole {
            self.ahead = before.ahead;
        }
        if len > 0 {
            let arrived = Arrived { bytes: rest.slice(..len), held, is_whole: true };
            self.kept = Some(Kept { ahead: log.shard().read_ahead.add(State::There(arrived)), bytes: len });
        }
    }

    /// Reads on in the segment while the reader is busy with what it got, `bytes` from where that ends. The caller is among
    /// the files.
    pub fn read_ahead(&mut self, log: &Rc<Log>, view: SegmentView, bytes: u64) {
        let position = self.position + self.kept.as_ref().map_or(0, |kept| kept.bytes as u64);
        let left = view.size.saturating_sub(position);
        let bytes = bytes.min(left);
        if self.ahead.is_some() || left < READ_AHEAD_BYTES_MIN {
            return;
        }
        let shard = Rc::clone(log.shard());
        let Some(held) = shard.read_ahead.reserve(bytes as usize, shard.options.read_ahead_bytes_max) else { return };
        let log = Rc::clone(log);
        let files = log.share_files();
        let reading = spawn(async move {
            let _files = files;
            if !log.is_still(view) {
                // Compacted or removed: nobody asks for these bytes any more.
                return Err(log.out_of_range(view.base_offset));
            }
            let bytes = log.window(view, position, bytes).await?;
            Ok(Arrived { bytes, held, is_whole: false })
        });
        self.ahead = Some(shard.read_ahead.add(State::Coming(reading)));
    }
}

/// How many of the bytes, which begin with a batch, are whole batches by what their headers claim.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let header = if rest.len() < BATCH_HEADER_BYTES { None } else { BatchHeader::parse_prefix(rest).ok() };
        match header.filter(|header| header.size() <= rest.len()) {
            Some(header) => at += header.size(),
            None => return at,
        }
    }
}
