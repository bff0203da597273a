//! What a recorded disk saw, in order: writes, zeroed ranges and flushes, each when it came and when it was answered.
//!
//! A *position* is a number of events: at position `n` the first `n` events have happened. Whoever hears of something
//! and then reads the position knows that its cause lies before it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes of one event in the file: its kind and three numbers.
const EVENT_BYTES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write came; its bytes lie at `data_at` of the log's data.
    Write { offset: u64, len: u64, data_at: u64 },
    /// A range was discarded or asked to be zero; both read as zeros afterwards.
    Zero { offset: u64, len: u64 },
    /// The write or range at this position was answered.
    Done { of: u64 },
    /// A flush came.
    Flush,
    /// The flush at this position was answered.
    Flushed { of: u64 },
}

#[derive(Default)]
pub struct OpLog {
    pub events: Vec<Event>,
    pub data: Vec<u8>,
}

/// What a log amounts to, for the one line about it.
#[derive(Default, Debug, Clone, Copy)]
pub struct Counts {
    pub writes: usize,
    pub zeroed: usize,
    pub flushes: usize,
    /// Flushes that came while a write was unanswered, which they do not cover.
    pub flushes_beside_writes: usize,
}

impl OpLog {
    /// Its position in the log.
    pub fn push(&mut self, event: Event) -> u64 {
        self.events.push(event);
        self.events.len() as u64 - 1
    }

    pub fn push_write(&mut self, offset: u64, bytes: &[u8]) -> u64 {
        let data_at = self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        self.push(Event::Write { offset, len: bytes.len() as u64, data_at })
    }

    /// The bytes of a write.
    pub fn bytes(&self, data_at: u64, len: u64) -> &[u8] {
        &self.data[data_at as usize..(data_at + len) as usize]
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let mut unanswered = 0_usize;
        for event in &self.events {
            match event {
                Event::Write { .. } => {
                    counts.writes += 1;
                    unanswered += 1;
                }
                Event::Zero { .. } => {
                    counts.zeroed += 1;
                    unanswered += 1;
                }
                Event::Done { .. } => unanswered = unanswered.saturating_sub(1),
                Event::Flush => {
                    counts.flushes += 1;
                    counts.flushes_beside_writes += usize::from(unanswered > 0);
                }
                Event::Flushed { .. } => {}
            }
        }
        counts
    }

    pub fn save(&self, dir: &Path) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.events.len() * EVENT_BYTES);
        for event in &self.events {
            let words = match *event {
                Event::Write { offset, len, data_at } => [1, offset, len, data_at],
                Event::Zero { offset, len } => [2, offset, len, 0],
                Event::Done { of } => [3, of, 0, 0],
                Event::Flush => [4, 0, 0, 0],
                Event::Flushed { of } => [5, of, 0, 0],
            };
            for word in words {
                bytes.extend_from_slice(&u64::to_le_bytes(word));
            }
        }
        fs::write(dir.join("events"), bytes).context("saving the recorded events")?;
        fs::write(dir.join("data"), &self.data).context("saving the recorded bytes")
    }

    pub fn load(dir: &Path) -> Result<OpLog> {
        let bytes = fs::read(dir.join("events")).context("reading the recorded events")?;
        let data = fs::read(dir.join("data")).context("reading the recorded bytes")?;
        let mut events = Vec::with_capacity(bytes.len() / EVENT_BYTES);
        for event in bytes.chunks_exact(EVENT_BYTES) {
            let word = |n: usize| u64::from_le_bytes(event[n * 8..n * 8 + 8].try_into().expect("eight bytes"));
            events.push(match word(0) {
                1 => Event::Write { offset: word(1), len: word(2), data_at: word(3) },
                2 => Event::Zero { offset: word(1), len: word(2) },
                3 => Event::Done { of: word(1) },
                4 => Event::Flush,
                5 => Event::Flushed { of: word(1) },
                other => bail!("an event of kind {other} in {}", dir.display()),
            });
        }
        Ok(OpLog { events, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_was_saved() {
        let dir = std::env::temp_dir().join(format!("powercut-oplog-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut log = OpLog::default();
        let write = log.push_write(4096, b"abc");
        let flush = log.push(Event::Flush);
        log.push(Event::Done { of: write });
        log.push(Event::Zero { offset: 0, len: 512 });
        log.push(Event::Flushed { of: flush });
        log.save(&dir).unwrap();
        let read = OpLog::load(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(read.events, log.events);
        assert_eq!(read.data, log.data);
        assert_eq!(read.counts().flushes_beside_writes, 1);
    }
}
