//! The device under two loads at once, as when a consumer catches up beside producers: reads past the page cache, and
//! writes at a fixed rate that are each flushed.

use std::{
    cell::Cell,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use corelane::runtime::{
    self,
    file::{self, AlignedBuf, RawFile},
};
use hdrhistogram::Histogram;

use super::{
    Limits,
    disk::{self, READ_BYTES, READS_IN_FLIGHT},
};
use crate::{error::Error, generator::measure::histogram};

/// Long enough that neither the device nor what is below it has all of it in a cache of its own.
const READ_FILE_BYTES: u64 = 2 << 30;
const WRITE_FILE_BYTES: u64 = 256 << 20;
/// A batch as producers send them.
const WRITE_BYTES: usize = 64 << 10;
/// So many that are due go out as one, as a broker's do that came while it was flushing.
const WRITES_AT_ONCE: u64 = 16;

/// What is asked of the device, in bytes a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub writes: f64,
    /// None for as fast as it reads.
    pub reads: Option<f64>,
}

struct Seen {
    read: u64,
    written: u64,
    took: Histogram<u64>,
    seconds: f64,
}

pub fn measure(limits: &mut Limits, directory: &Path, each: Duration, rates: Rates) -> Result<(), Error> {
    let (directory, runtime) = super::scratch(directory)?;
    let seen = runtime.block_on(async {
        let reads = prepare(&directory.path().join("reads"), READ_FILE_BYTES).await?;
        let writes = prepare(&directory.path().join("writes"), WRITE_FILE_BYTES).await?;
        both(&reads, &writes, each, rates).await
    })?;
    let rate = |bytes: u64| bytes as f64 / 1e6 / seen.seconds;
    let note = format!("{} KiB at depth {READS_IN_FLIGHT}, O_DIRECT, beside the writes", READ_BYTES >> 10);
    limits.add("read-beside-writes", "read, cold, beside writes", rate(seen.read), "MB/s", &note);
    let note = format!(
        "{} KiB (all that are due at once) and fdatasync, {:.0} MB/s asked for",
        WRITE_BYTES >> 10,
        rates.writes / 1e6
    );
    limits.add("write-beside-reads", "write and flush beside reads", rate(seen.written), "MB/s", &note);
    for (id, name, quantile) in [
        ("flush-p50-beside-reads", "write and flush beside reads, p50", 0.5),
        ("flush-p99-beside-reads", "write and flush beside reads, p99", 0.99),
    ] {
        limits.add(id, name, seen.took.value_at_quantile(quantile) as f64 / 1e3, "ms", "from when it was due");
    }
    Ok(())
}

async fn prepare(path: &Path, bytes: u64) -> Result<Arc<RawFile>, Error> {
    let file = disk::open(path, true)?;
    disk::write(&file, bytes, Duration::MAX).await?;
    Ok(file)
}

async fn both(reads: &Arc<RawFile>, writes: &Arc<RawFile>, each: Duration, rates: Rates) -> Result<Seen, Error> {
    let begin = Instant::now();
    let end = begin + each;
    let (next, read) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
    let mut readers = Vec::new();
    for _ in 0..READS_IN_FLIGHT {
        let (file, next, read) = (Arc::clone(reads), Rc::clone(&next), Rc::clone(&read));
        readers.push(runtime::spawn(async move {
            let mut buffer = AlignedBuf::with_capacity(READ_BYTES);
            while Instant::now() < end {
                let position = next.replace(next.get() + READ_BYTES as u64);
                if let Some(rate) = rates.reads {
                    runtime::sleep_until(begin + Duration::from_secs_f64(position as f64 / rate)).await;
                }
                let (count, back) = file::read_at(&file, buffer, position % READ_FILE_BYTES).await;
                read.set(read.get() + count.map_err(|error| Error::Io("reading", error))? as u64);
                buffer = back;
            }
            Ok::<(), Error>(())
        }));
    }
    let mut took = histogram();
    let mut buffer = AlignedBuf::with_capacity(WRITE_BYTES * WRITES_AT_ONCE as usize);
    let (mut written, mut position) = (0_u64, 0);
    let due = |number: u64| begin + Duration::from_secs_f64((number * WRITE_BYTES as u64) as f64 / rates.writes);
    while took.is_empty() || Instant::now() < end {
        runtime::sleep_until(due(written)).await;
        let now = Instant::now();
        let count = (1..=WRITES_AT_ONCE).take_while(|ahead| due(written + ahead - 1) <= now).count().max(1);
        buffer.clear();
        buffer.put_zeros(WRITE_BYTES * count);
        if position + buffer.len() as u64 > WRITE_FILE_BYTES {
            position = 0;
        }
        position += buffer.len() as u64;
        let (outcome, back) = file::write_at(writes, buffer, position - (WRITE_BYTES * count) as u64).await;
        outcome.map_err(|error| Error::Io("writing", error))?;
        buffer = back;
        file::fdatasync(writes).await.map_err(|error| Error::Io("flushing", error))?;
        for number in written..written + count as u64 {
            took.saturating_record(due(number).elapsed().as_micros() as u64);
        }
        written += count as u64;
    }
    for reader in readers {
        reader.await?;
    }
    Ok(Seen { read: read.get(), written: written * WRITE_BYTES as u64, took, seconds: begin.elapsed().as_secs_f64() })
}
