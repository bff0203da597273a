//! The device below a directory: sequential writes past the page cache into new, preallocated and recycled files, the
//! time of a flush, and reads, cold and cached.

use std::{
    cell::Cell,
    io::Read,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use corelane::runtime::{
    self,
    file::{self, AlignedBuf, RawFile},
    fs::{self, OpenFlags},
};

use super::{FLUSH_P50, Limits, READ_COLD, WRITE_NEW, WRITE_PREALLOCATED, WRITE_RECYCLED};
use crate::{error::Error, generator::measure::histogram};

/// What a file of these measurements grows to at most.
const FILE_BYTES_MAX: u64 = 1 << 30;
const WRITE_BYTES: usize = 1 << 20;
const WRITES_IN_FLIGHT: usize = 4;
pub(super) const READ_BYTES: usize = 256 << 10;
pub(super) const READS_IN_FLIGHT: usize = 4;
const BLOCK: usize = 4096;

pub fn measure(limits: &mut Limits, directory: &Path, each: Duration) -> Result<(), Error> {
    let (directory, runtime) = super::scratch(directory)?;
    let path = directory.path().join("data");
    let probe = fs::open(&directory.path().join("probe"), OpenFlags::CREATE.direct(true));
    let direct = probe.is_ok();
    let way = if direct { "O_DIRECT" } else { "through the page cache: no O_DIRECT here" };
    let note = format!("{} MiB at depth {WRITES_IN_FLIGHT}, {way}, with the final flush", WRITE_BYTES >> 20);

    let file = open(&path, direct)?;
    let (rate, _) = runtime.block_on(write(&file, FILE_BYTES_MAX, each))?;
    limits.add(WRITE_NEW, "write, new file", rate, "MB/s", &note);
    drop(file);
    fs::remove_file(&path).map_err(|error| Error::file(&path, &error))?;

    let file = open(&path, direct)?;
    fs::fallocate(&file, 0, FILE_BYTES_MAX, false)
        .map_err(|error| Error::Wrong(format!("{}: no room for {FILE_BYTES_MAX} bytes ({error})", path.display())))?;
    let (rate, written) = runtime.block_on(write(&file, FILE_BYTES_MAX, each))?;
    limits.add(WRITE_PREALLOCATED, "write, preallocated file", rate, "MB/s", &note);

    let (rate, _) = runtime.block_on(write(&file, written, each))?;
    limits.add(WRITE_RECYCLED, "write, recycled file", rate, "MB/s", &note);

    let flushes = runtime.block_on(flush(&file, written, each))?;
    let ms = |quantile| flushes.value_at_quantile(quantile) as f64 / 1e3;
    let note = "a 4 KiB write over old blocks, then fdatasync";
    limits.add(FLUSH_P50, "write and flush, p50", ms(0.5), "ms", note);
    limits.add("flush-p99", "write and flush, p99", ms(0.99), "ms", note);
    limits.add("flushes", "writes and flushes", 1e6 / flushes.mean(), "/s", "one after the other");

    let rate = runtime.block_on(read(&file, written, each))?;
    let note = format!("{} KiB at depth {READS_IN_FLIGHT}, {way}", READ_BYTES >> 10);
    let name = if direct { "read, cold" } else { "read (not cold: no O_DIRECT here)" };
    limits.add(READ_COLD, name, rate, "MB/s", &note);
    drop(file);
    // What was written past the page cache is not in it: the first pass is cold, the second is not.
    let mut bytes = written;
    for (id, name) in [("read-cold-buffered", "read, cold, through the page cache"), ("read-cached", "read, cached")] {
        if id == "read-cold-buffered" && !direct {
            continue;
        }
        let (rate, read) = read_buffered(&path, bytes, each)?;
        limits.add(id, name, rate, "MB/s", "256 KiB, one after the other");
        bytes = read;
    }
    Ok(())
}

pub(super) fn open(path: &Path, direct: bool) -> Result<Arc<RawFile>, Error> {
    fs::open(path, OpenFlags::CREATE.direct(direct)).map(Arc::new).map_err(|error| Error::file(path, &error))
}

/// Writes from the beginning until the time or the room is up; MB/s, and how far it came.
pub(super) async fn write(file: &Arc<RawFile>, bytes_max: u64, each: Duration) -> Result<(f64, u64), Error> {
    let begin = Instant::now();
    let next = Rc::new(Cell::new(0_u64));
    let mut tasks = Vec::new();
    for _ in 0..WRITES_IN_FLIGHT {
        let (file, next) = (Arc::clone(file), Rc::clone(&next));
        tasks.push(runtime::spawn(async move {
            let mut buffer = AlignedBuf::with_capacity(WRITE_BYTES);
            buffer.as_mut_capacity().fill(0x5a);
            buffer.set_len(WRITE_BYTES);
            // The first piece is written whatever the time, so that there is something to read.
            while next.get() == 0 || (begin.elapsed() < each && next.get() + WRITE_BYTES as u64 <= bytes_max) {
                let position = next.replace(next.get() + WRITE_BYTES as u64);
                let (written, back) = file::write_at(&file, buffer, position).await;
                match written {
                    Ok(WRITE_BYTES) => buffer = back,
                    Ok(_) => return Err(Error::Wrong("the device took half a write".to_owned())),
                    Err(error) => return Err(Error::Io("writing", error)),
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    file::fdatasync(file).await.map_err(|error| Error::Io("flushing", error))?;
    Ok((next.get() as f64 / 1e6 / begin.elapsed().as_secs_f64(), next.get()))
}

async fn flush(file: &Arc<RawFile>, bytes: u64, each: Duration) -> Result<hdrhistogram::Histogram<u64>, Error> {
    let mut took = histogram();
    let mut buffer = AlignedBuf::with_capacity(BLOCK);
    buffer.as_mut_capacity().fill(0x5a);
    buffer.set_len(BLOCK);
    let end = Instant::now() + each;
    let mut position = 0;
    while took.is_empty() || Instant::now() < end {
        let begin = Instant::now();
        let (written, back) = file::write_at(file, buffer, position).await;
        written.map_err(|error| Error::Io("writing", error))?;
        buffer = back;
        file::fdatasync(file).await.map_err(|error| Error::Io("flushing", error))?;
        took.saturating_record(begin.elapsed().as_micros() as u64);
        position = (position + BLOCK as u64) % (bytes - BLOCK as u64).max(1);
        position -= position % BLOCK as u64;
    }
    Ok(took)
}

async fn read(file: &Arc<RawFile>, bytes: u64, each: Duration) -> Result<f64, Error> {
    let begin = Instant::now();
    let (next, done) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let mut tasks = Vec::new();
    for _ in 0..READS_IN_FLIGHT {
        let (file, next, done) = (Arc::clone(file), Rc::clone(&next), Rc::clone(&done));
        tasks.push(runtime::spawn(async move {
            let mut buffer = AlignedBuf::with_capacity(READ_BYTES);
            while next.get() < bytes && (next.get() == 0 || begin.elapsed() < each) {
                let position = next.replace(next.get() + READ_BYTES as u64);
                let (read, back) = file::read_at(&file, buffer, position).await;
                done.set(done.get() + read.map_err(|error| Error::Io("reading", error))? as u64);
                buffer = back;
            }
            Ok::<(), Error>(())
        }));
    }
    for task in tasks {
        task.await?;
    }
    Ok(done.get() as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

fn read_buffered(path: &Path, bytes: u64, each: Duration) -> Result<(f64, u64), Error> {
    let mut file = std::fs::File::open(path).map_err(|error| Error::file(path, &error))?;
    let mut buffer = vec![0; READ_BYTES];
    let begin = Instant::now();
    let mut done = 0;
    while done < bytes && (done == 0 || begin.elapsed() < each) {
        match file.read(&mut buffer).map_err(|error| Error::file(path, &error))? {
            0 => break,
            read => done += read as u64,
        }
    }
    Ok((done as f64 / 1e6 / begin.elapsed().as_secs_f64(), done))
}
