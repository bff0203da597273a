//! A segment's file as the appender sees it: the seam at which a test puts a failing device under the real code.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::runtime::file::{self as ring, AlignedBuf, RawFile};
use crate::runtime::fs;

#[cfg(test)]
use super::fault::testing::SimulatedDisk;
use super::fault::{FaultOp, FaultPlan};

/// How segments are read and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoMode {
    /// O_DIRECT in whole blocks into preallocated room.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// An open segment.
#[derive(Clone, Debug)]
pub(super) enum File {
    Direct(Arc<RawFile>),
    Buffered(Arc<RawFile>),
    Fault { file: Arc<RawFile>, mode: IoMode, plan: Arc<FaultPlan> },
}

/// What one write carries.
#[derive(Clone, Debug)]
pub(super) enum WriteData {
    /// Whole blocks at an aligned address.
    Blocks(Bytes),
    /// Batches one behind the other.
    Batches(Vec<Bytes>),
}

impl WriteData {
    pub fn len(&self) -> usize {
        match self {
            WriteData::Blocks(bytes) => bytes.len(),
            WriteData::Batches(batches) => batches.iter().map(Bytes::len).sum(),
        }
    }

    #[cfg(test)]
    fn to_bytes(&self) -> Bytes {
        match self {
            WriteData::Blocks(bytes) => bytes.clone(),
            WriteData::Batches(batches) => Bytes::from(batches.concat()),
        }
    }

    /// What is left behind the first `bytes`.
    fn skip(&mut self, mut bytes: usize) {
        match self {
            WriteData::Blocks(data) => *data = data.split_off(bytes.min(data.len())),
            WriteData::Batches(batches) => {
                let whole = batches
                    .iter()
                    .take_while(|batch| {
                        let fits = batch.len() <= bytes;
                        if fits {
                            bytes -= batch.len();
                        }
                        fits
                    })
                    .count();
                batches.drain(..whole);
                if let Some(first) = batches.first_mut() {
                    *first = first.split_off(bytes);
                }
            }
        }
    }

    fn truncated(&self, bytes_max: usize) -> WriteData {
        match self {
            WriteData::Blocks(data) => WriteData::Blocks(data.slice(..data.len().min(bytes_max))),
            WriteData::Batches(batches) => {
                let mut left = bytes_max;
                let mut kept = Vec::new();
                for batch in batches {
                    let take = batch.len().min(left);
                    left -= take;
                    if take > 0 {
                        kept.push(batch.slice(..take));
                    }
                }
                WriteData::Batches(kept)
            }
        }
    }
}

/// A write under way.
type Writing = Pin<Box<dyn Future<Output = io::Result<usize>>>>;

fn result_of<B>(writing: impl Future<Output = (io::Result<usize>, B)> + 'static) -> Writing {
    Box::pin(async move { writing.await.0 })
}

impl File {
    pub fn new(file: Arc<RawFile>, mode: IoMode, plan: Option<&Arc<FaultPlan>>) -> File {
        match (plan, mode) {
            (Some(plan), mode) => File::Fault { file, mode, plan: Arc::clone(plan) },
            (None, IoMode::Direct) => File::Direct(file),
            (None, IoMode::Buffered) => File::Buffered(file),
        }
    }

    pub fn raw(&self) -> &Arc<RawFile> {
        match self {
            File::Direct(file) | File::Buffered(file) | File::Fault { file, .. } => file,
        }
    }

    fn mode(&self) -> IoMode {
        match self {
            File::Direct(_) => IoMode::Direct,
            File::Buffered(_) => IoMode::Buffered,
            File::Fault { mode, .. } => *mode,
        }
    }

    /// Writes all of `data` at `position`, however often the kernel stops short. With `durable` each part is on the
    /// device when it is done (RWF_DSYNC). The first part is handed over before this returns: what a caller found out
    /// about flushes in flight still holds then.
    pub fn write_all(
        &self,
        mut data: WriteData,
        mut position: u64,
        block: u64,
        durable: bool,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let file = self.clone();
        let mut writing = self.write_once(data.clone(), position, block, durable);
        async move {
            let mut left = data.len();
            loop {
                let written = writing.await?;
                if written >= left {
                    return Ok(());
                }
                // A direct write goes on at a block's beginning: what was written of that block is written again.
                let done = match file.mode() {
                    IoMode::Direct => written - written % block as usize,
                    IoMode::Buffered => written,
                };
                if written == 0 {
                    return Err(io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes"));
                }
                data.skip(done);
                left -= done;
                position += done as u64;
                writing = file.write_once(data.clone(), position, block, durable);
            }
        }
    }

    fn write_once(&self, data: WriteData, position: u64, block: u64, durable: bool) -> Writing {
        let data = match self {
            File::Direct(_) | File::Buffered(_) => data,
            File::Fault { plan, mode, .. } => match plan.check(FaultOp::Write) {
                Ok(usize::MAX) => data,
                // The double writes whole blocks, at least one, since the kernel takes no other direct writes.
                Ok(bytes) if *mode == IoMode::Direct => data.truncated(bytes.next_multiple_of(block as usize)),
                Ok(bytes) => data.truncated(bytes.max(1)),
                Err(error) => return Box::pin(std::future::ready(Err(error))),
            },
        };
        #[cfg(test)]
        if let Some(disk) = SimulatedDisk::current() {
            return Box::pin(disk.write(Arc::clone(self.raw()), data.to_bytes(), position, durable));
        }
        match (data, durable) {
            (WriteData::Blocks(bytes), false) => result_of(ring::write_at(self.raw(), bytes, position)),
            (WriteData::Blocks(bytes), true) => result_of(ring::write_durable_at(self.raw(), bytes, position)),
            (WriteData::Batches(batches), false) => result_of(ring::writev_at(self.raw(), batches, position)),
            (WriteData::Batches(batches), true) => result_of(ring::writev_durable_at(self.raw(), batches, position)),
        }
    }

    pub fn fdatasync(&self) -> impl Future<Output = io::Result<()>> + use<> {
        let fault = match self {
            File::Fault { plan, .. } => plan.check(FaultOp::Flush).err(),
            _ => None,
        };
        #[cfg(test)]
        let simulated = SimulatedDisk::current().filter(|_| fault.is_none());
        #[cfg(test)]
        let flush = simulated.as_ref().and_then(|disk| disk.begin_flush(self.raw()));
        #[cfg(test)]
        let on_ring = fault.is_none() && simulated.is_none();
        #[cfg(not(test))]
        let on_ring = fault.is_none();
        let sync = on_ring.then(|| ring::fdatasync(self.raw()));
        async move {
            #[cfg(test)]
            if let Some(disk) = simulated {
                disk.end_flush(flush).await;
                return Ok(());
            }
            match (sync, fault) {
                (Some(sync), _) => sync.await,
                (None, Some(error)) => Err(error),
                (None, None) => Ok(()),
            }
        }
    }

    /// Blocking: makes all of the file system durable.
    pub fn syncfs(&self) -> io::Result<()> {
        if let File::Fault { plan, .. } = self {
            plan.check(FaultOp::Flush)?;
        }
        fs::syncfs(self.raw())
    }

    /// Reads up to `bytes` at `position`, both multiples of the block in direct mode; less only at the end of the file.
    pub async fn read_at(&self, position: u64, bytes: usize) -> io::Result<AlignedBuf> {
        if let File::Fault { plan, .. } = self {
            plan.check(FaultOp::Read)?;
        }
        #[cfg(test)]
        if let Some(disk) = SimulatedDisk::current() {
            return disk.read(self.raw(), position, bytes).await;
        }
        let (result, mut buffer) = ring::read_at(self.raw(), AlignedBuf::with_capacity(bytes), position).await;
        let mut have = result?;
        // The kernel may stop short before the end of the file too: go on until it says that there is no more.
        while have < bytes {
            let from = match self.mode() {
                IoMode::Direct if !have.is_multiple_of(crate::runtime::file::ALIGNMENT) => break,
                _ => have,
            };
            let (result, more) =
                ring::read_at(self.raw(), AlignedBuf::with_capacity(bytes - from), position + from as u64).await;
            if result? == 0 {
                break;
            }
            have += buffer.put(&more);
        }
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_short_write_goes_on_where_it_stopped() {
        let all = b"aaabbbbcc";
        for cut in 0..all.len() {
            let parts = || vec![Bytes::from_static(b"aaa"), Bytes::from_static(b"bbbb"), Bytes::from_static(b"cc")];
            let mut rest = WriteData::Batches(parts());
            rest.skip(cut);
            let WriteData::Batches(rest) = rest else { unreachable!() };
            assert_eq!(rest.concat(), all[cut..]);
            let WriteData::Batches(head) = WriteData::Batches(parts()).truncated(cut) else { unreachable!() };
            assert_eq!(head.concat(), all[..cut]);
        }
    }
}
