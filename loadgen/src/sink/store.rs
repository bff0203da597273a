//! What is done with produced batches: written into recycled files (`Files`), or next to nothing (`Echo`).
//!
//! Both flush as a broker does that answers after its flush: one flush at a time, for all whose writes are done when it
//! begins; what comes meanwhile is written meanwhile and waits for the next.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use corelane::runtime::{
    self,
    file::{self, AlignedBuf, RawFile},
    fs::{self, OpenFlags},
    sync::{Event, Permit},
};

use super::{Flush, answers::Answer, fail};
use crate::error::Error;

/// Batches up to this size share buffers; larger ones have their own, padded to whole blocks.
pub const SMALL_BYTES_MAX: usize = 16 << 10;
const SHARED_BYTES: usize = 64 << 10;
const BLOCK: usize = 4096;
/// Of one operation.
const WRITE_BYTES_MAX: usize = 1 << 20;
const PIECES_MAX: usize = 256;
/// Of all files together.
const WRITES_IN_FLIGHT: usize = 8;
const FILE_BYTES_MIN: u64 = 40 << 20;
const ECHO_FILE_BYTES: u64 = 64 << 20;
const PREPARE_BYTES: usize = 1 << 20;
const PREPARES_IN_FLIGHT: usize = 4;

pub enum Store {
    Files(Rc<Files>),
    Echo(Rc<Echo>),
}

impl Store {
    pub fn files(directory: &Path, flush: Flush, topic_bytes: u64) -> Store {
        let files = Rc::new(Files {
            directory: directory.to_path_buf(),
            topic_bytes,
            flush,
            made: Cell::new(0),
            dirty: RefCell::default(),
            in_flight: Cell::new(0),
            written: RefCell::default(),
            to_write: Event::new(),
            to_flush: Event::new(),
        });
        runtime::spawn(Rc::clone(&files).write());
        runtime::spawn(Rc::clone(&files).flush());
        Store::Files(files)
    }

    pub async fn echo(directory: &Path, flush: Flush) -> Result<Store, Error> {
        let echo = Rc::new(Echo {
            file: prepare(&directory.join("echo"), ECHO_FILE_BYTES).await?,
            flush,
            waiting: RefCell::default(),
            head: RefCell::new(AlignedBuf::with_capacity(BLOCK)),
            news: Event::new(),
        });
        runtime::spawn(Rc::clone(&echo).run());
        Ok(Store::Echo(echo))
    }
}

/// A file whose blocks were all written before, so that a flush has no metadata to write.
async fn prepare(path: &Path, bytes: u64) -> Result<Arc<RawFile>, Error> {
    let wrong = |error: std::io::Error| Error::file(path, &error);
    let file = Arc::new(fs::open(path, OpenFlags::CREATE.direct(true)).map_err(wrong)?);
    fs::fallocate(&file, 0, bytes, false).map_err(wrong)?;
    let next = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for _ in 0..PREPARES_IN_FLIGHT {
        let (file, next) = (Arc::clone(&file), Rc::clone(&next));
        tasks.push(runtime::spawn(async move {
            let mut buffer = AlignedBuf::with_capacity(PREPARE_BYTES);
            buffer.put_zeros(PREPARE_BYTES);
            while next.get() < bytes {
                let position = next.replace(next.get() + PREPARE_BYTES as u64);
                let (written, back) = file::write_at(&file, buffer, position).await;
                written?;
                buffer = back;
            }
            Ok::<(), std::io::Error>(())
        }));
    }
    for task in tasks {
        task.await.map_err(wrong)?;
    }
    file::fsync(&file).await.map_err(wrong)?;
    Ok(file)
}

/// One recycled file for each partition.
pub struct Files {
    directory: PathBuf,
    topic_bytes: u64,
    flush: Flush,
    made: Cell<u64>,
    /// Files that have something to write, each once.
    dirty: RefCell<VecDeque<Rc<Recycled>>>,
    in_flight: Cell<usize>,
    /// What is written and not flushed.
    written: RefCell<Vec<Written>>,
    to_write: Event,
    to_flush: Event,
}

pub struct Recycled {
    file: Arc<RawFile>,
    bytes: u64,
    position: Cell<u64>,
    waiting: RefCell<VecDeque<Piece>>,
    is_dirty: Cell<bool>,
}

/// Batches in one buffer.
struct Piece {
    buffer: AlignedBuf,
    batches: Vec<Batch>,
}

struct Batch {
    answer: Option<Rc<Answer>>,
    /// Of the bytes that may be held. Given back when they are written.
    held: Option<Permit>,
}

struct Written {
    file: Rc<Recycled>,
    batches: Vec<Batch>,
}

impl Files {
    /// Makes the files of a topic.
    pub async fn make(&self, partitions: usize) -> Result<Vec<Rc<Recycled>>, Error> {
        let share = self.topic_bytes / partitions.max(1) as u64;
        let bytes = share.max(FILE_BYTES_MIN).next_multiple_of(PREPARE_BYTES as u64);
        let mut files = Vec::new();
        for _ in 0..partitions {
            let path = self.directory.join(format!("{}", self.made.replace(self.made.get() + 1)));
            let file = prepare(&path, bytes).await?;
            // Nobody needs its name: it is gone with the sink, or with the topic.
            fs::remove_file(&path).map_err(|error| Error::file(&path, &error))?;
            let (position, waiting, is_dirty) = (Cell::new(0), RefCell::default(), Cell::new(false));
            files.push(Rc::new(Recycled { file, bytes, position, waiting, is_dirty }));
        }
        Ok(files)
    }

    pub fn put(&self, file: &Rc<Recycled>, mut buffer: AlignedBuf, held: Permit, answer: Option<Rc<Answer>>) {
        pad(&mut buffer);
        let batches = vec![Batch { answer, held: Some(held) }];
        file.waiting.borrow_mut().push_back(Piece { buffer, batches });
        self.mark(file);
    }

    pub fn put_small(&self, file: &Rc<Recycled>, bytes: &[u8], held: Permit, answer: Option<Rc<Answer>>) {
        let mut waiting = file.waiting.borrow_mut();
        let batch = Batch { answer, held: Some(held) };
        let shared = waiting.back_mut().filter(|piece| piece.buffer.remaining() >= bytes.len());
        if let Some(piece) = shared {
            piece.buffer.put(bytes);
            piece.batches.push(batch);
        } else {
            let mut buffer = AlignedBuf::with_capacity(SHARED_BYTES);
            buffer.put(bytes);
            waiting.push_back(Piece { buffer, batches: vec![batch] });
        }
        drop(waiting);
        self.mark(file);
    }

    fn mark(&self, file: &Rc<Recycled>) {
        if !file.is_dirty.replace(true) {
            self.dirty.borrow_mut().push_back(Rc::clone(file));
            self.to_write.notify_all();
        }
    }

    /// Starts writes, as many as may be under way, of what came by the time this task's turn comes.
    async fn write(self: Rc<Self>) {
        loop {
            let news = self.to_write.listen();
            while self.in_flight.get() < WRITES_IN_FLIGHT {
                let Some(file) = self.dirty.borrow_mut().pop_front() else { break };
                file.is_dirty.set(false);
                self.in_flight.set(self.in_flight.get() + 1);
                let (pieces, written, position) = next_write(&file);
                if !file.waiting.borrow().is_empty() {
                    self.mark(&file);
                }
                runtime::spawn(Rc::clone(&self).write_one(pieces, written, position));
            }
            news.await;
        }
    }

    async fn write_one(self: Rc<Self>, mut pieces: Vec<Bytes>, mut written: Written, mut position: u64) {
        while !pieces.is_empty() {
            let (outcome, mut back) = file::writev_at(&written.file.file, pieces, position).await;
            let mut count = outcome.unwrap_or_else(|error| fail("writing", &error));
            position += count as u64;
            while let Some(first) = back.first_mut().filter(|_| count > 0) {
                let part = count.min(first.len());
                bytes::Buf::advance(first, part);
                count -= part;
                if first.is_empty() {
                    back.remove(0);
                }
            }
            pieces = back;
        }
        for batch in &mut written.batches {
            batch.held = None;
        }
        self.in_flight.set(self.in_flight.get() - 1);
        self.to_write.notify_all();
        if self.flush == Flush::None {
            done(&written.batches);
        } else {
            self.written.borrow_mut().push(written);
            self.to_flush.notify_all();
        }
    }

    async fn flush(self: Rc<Self>) {
        loop {
            let news = self.to_flush.listen();
            let written = std::mem::take(&mut *self.written.borrow_mut());
            if written.is_empty() {
                news.await;
                continue;
            }
            let mut files: Vec<&Rc<Recycled>> = Vec::new();
            for one in &written {
                if !files.iter().any(|file| Rc::ptr_eq(file, &one.file)) {
                    files.push(&one.file);
                }
            }
            // Each is under way from here on.
            let flushes: Vec<_> = files.iter().map(|file| file::fdatasync(&file.file)).collect();
            for flush in flushes {
                flush.await.unwrap_or_else(|error| fail("flushing", &error));
            }
            for one in &written {
                done(&one.batches);
            }
        }
    }
}

/// Takes what is written next of a file, and says where to.
fn next_write(file: &Rc<Recycled>) -> (Vec<Bytes>, Written, u64) {
    let mut waiting = file.waiting.borrow_mut();
    let (mut pieces, mut batches, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(piece) = waiting.front() {
        let more = piece.buffer.len().next_multiple_of(BLOCK);
        if bytes > 0 && (bytes + more > WRITE_BYTES_MAX || pieces.len() == PIECES_MAX) {
            break;
        }
        let Some(mut piece) = waiting.pop_front() else { break };
        pad(&mut piece.buffer);
        bytes += more;
        pieces.push(piece.buffer.freeze());
        batches.append(&mut piece.batches);
    }
    let mut position = file.position.get();
    if position + bytes as u64 > file.bytes {
        position = 0;
    }
    file.position.set(position + bytes as u64);
    (pieces, Written { file: Rc::clone(file), batches }, position)
}

fn pad(buffer: &mut AlignedBuf) {
    buffer.put_zeros(buffer.len().next_multiple_of(BLOCK) - buffer.len());
}

fn done(batches: &[Batch]) {
    for answer in batches.iter().filter_map(|batch| batch.answer.as_ref()) {
        answer.done();
    }
}

/// One write of a block and one flush for whatever came since the last.
pub struct Echo {
    file: Arc<RawFile>,
    flush: Flush,
    waiting: RefCell<Vec<Rc<Answer>>>,
    /// The beginning of what came.
    head: RefCell<AlignedBuf>,
    news: Event,
}

impl Echo {
    pub fn put(&self, bytes: &[u8], answer: &Rc<Answer>) {
        if self.flush == Flush::None {
            return;
        }
        answer.wait_for_one();
        self.head.borrow_mut().put(bytes);
        self.waiting.borrow_mut().push(Rc::clone(answer));
        self.news.notify_all();
    }

    async fn run(self: Rc<Self>) {
        let (mut position, mut spare) = (0, AlignedBuf::with_capacity(BLOCK));
        loop {
            let news = self.news.listen();
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            if waiting.is_empty() {
                news.await;
                continue;
            }
            spare.clear();
            let mut block = self.head.replace(spare);
            block.put_zeros(BLOCK);
            let (written, back) = file::write_at(&self.file, block, position).await;
            match written {
                Ok(BLOCK) => {}
                Ok(_) => fail("writing", &std::io::ErrorKind::WriteZero.into()),
                Err(error) => fail("writing", &error),
            }
            spare = back;
            position = (position + BLOCK as u64) % ECHO_FILE_BYTES;
            file::fdatasync(&self.file).await.unwrap_or_else(|error| fail("flushing", &error));
            for answer in waiting {
                answer.done();
            }
        }
    }
}
