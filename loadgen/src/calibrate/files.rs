//! Many files, as a broker of many partitions has them: 4 KiB to each, then all of it made durable once.

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use corelane::runtime::{
    self,
    file::{self, AlignedBuf, RawFile},
    fs::{self, OpenFlags},
    threads,
};

use super::Limits;
use crate::error::Error;

const BLOCK: usize = 4096;
/// Of each file, all of them written before.
const FILE_BYTES: usize = 4 * BLOCK;
const IN_FLIGHT: usize = 64;
/// Descriptors that stay free for everything else.
const RESERVE: usize = 500;
const COUNT_MAX: usize = 200_000;

#[derive(Clone, Copy, PartialEq)]
enum Durable {
    /// fdatasync(2) of each file, many at a time.
    Each,
    /// One syncfs(2).
    Whole,
}

/// The files, open all the time as far as descriptors allow.
struct Files {
    directory: PathBuf,
    count: usize,
    open: Vec<Arc<RawFile>>,
}

impl Files {
    fn get(&self, at: usize) -> Result<Arc<RawFile>, Error> {
        match self.open.get(at) {
            Some(file) => Ok(Arc::clone(file)),
            None => self.open_one(at),
        }
    }

    fn open_one(&self, at: usize) -> Result<Arc<RawFile>, Error> {
        let path = self.directory.join(at.to_string());
        fs::open(&path, OpenFlags::CREATE.direct(true)).map(Arc::new).map_err(|error| Error::file(&path, &error))
    }
}

/// Adds what `count` files take: the better of both ways to make them durable.
pub fn measure(limits: &mut Limits, directory: &Path, each: Duration, count: usize) -> Result<(), Error> {
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(Error::Wrong(format!("--files lies between 1 and {COUNT_MAX}, not {count}")));
    }
    let descriptors = threads::raise_open_files_limit().map_err(|error| Error::Io("asking for open files", error))?;
    let (directory, runtime) = super::scratch(directory)?;
    let mut files = Files { directory: directory.path().to_path_buf(), count, open: Vec::new() };
    for at in 0..count.min((descriptors as usize).saturating_sub(RESERVE)) {
        files.open.push(files.open_one(at)?);
    }
    let files = Rc::new(files);
    let whole = runtime.block_on(async {
        write_all(&files, 0, FILE_BYTES).await?;
        make_durable(&files, Durable::Whole).await?;
        rounds(&files, each, Durable::Whole).await
    })?;
    let mut best = (whole, "one syncfs");
    // A file that is not open has nothing to be flushed by.
    if files.open.len() == count {
        let single = runtime.block_on(rounds(&files, each, Durable::Each))?;
        if single > best.0 {
            best = (single, "fdatasync of each");
        }
    }
    let opened = if files.open.len() == count { "" } else { ", some opened for each write" };
    let note = format!("O_DIRECT at depth {IN_FLIGHT} over old blocks, then {}{opened}", best.1);
    let name = format!("4 KiB to each of {count} files");
    limits.add(&format!("files-{count}"), &name, best.0, "/s", &note);
    limits.add(&format!("files-{count}-bytes"), &name, best.0 * BLOCK as f64 / 1e6, "MB/s", &note);
    Ok(())
}

/// Rounds for as long as asked, one at least; writes a second.
async fn rounds(files: &Rc<Files>, each: Duration, durable: Durable) -> Result<f64, Error> {
    let (begin, mut round) = (Instant::now(), 0);
    while round == 0 || begin.elapsed() < each {
        let position = (round % (FILE_BYTES / BLOCK) * BLOCK) as u64;
        write_all(files, position, BLOCK).await?;
        make_durable(files, durable).await?;
        round += 1;
    }
    Ok((round * files.count) as f64 / begin.elapsed().as_secs_f64())
}

async fn write_all(files: &Rc<Files>, position: u64, bytes: usize) -> Result<(), Error> {
    let next = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT.min(files.count) {
        let (files, next) = (Rc::clone(files), Rc::clone(&next));
        tasks.push(runtime::spawn(async move {
            let mut buffer = AlignedBuf::with_capacity(bytes);
            buffer.put_zeros(bytes);
            while next.get() < files.count {
                let at = next.replace(next.get() + 1);
                let (written, back) = file::write_at(&files.get(at)?, buffer, position).await;
                if written.map_err(|error| Error::Io("writing", error))? != bytes {
                    return Err(Error::Wrong("the device took half a write".to_owned()));
                }
                buffer = back;
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}

async fn make_durable(files: &Rc<Files>, durable: Durable) -> Result<(), Error> {
    let flushing = |error| Error::Io("flushing", error);
    if durable == Durable::Whole {
        let on = files.get(0)?;
        return runtime::offload(move || fs::syncfs(&on)).await.map_err(flushing);
    }
    let next = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for _ in 0..IN_FLIGHT.min(files.count) {
        let (files, next) = (Rc::clone(files), Rc::clone(&next));
        tasks.push(runtime::spawn(async move {
            while next.get() < files.count {
                let file = files.get(next.replace(next.get() + 1))?;
                file::fdatasync(&file).await.map_err(|error| Error::Io("flushing", error))?;
            }
            Ok::<(), Error>(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(())
}
