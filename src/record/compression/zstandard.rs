//! zstd frames, with the decoder's context kept per thread.

use std::cell::RefCell;
use std::fmt;

use zstd::stream::raw::{DParameter, Decoder, Operation};

/// The largest window that zstd's own default accepts, and level 22 writes: 128 MiB, of which a decoder touches only
/// what the frame fills.
const WINDOW_LOG_MAX: u32 = 27;
/// A context that made more than this is not kept: its window memory stays with it.
const KEEP_AFTER_BYTES_MAX: u64 = 4 << 20;

thread_local! {
    static SPARE: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// Reads the zstd frames that a batch's records are.
pub struct ZstdReader<'a> {
    rest: &'a [u8],
    /// Always there until dropped.
    decoder: Option<Decoder<'static>>,
    produced: u64,
    /// Inside a frame: the input must not end here.
    in_frame: bool,
}

impl<'a> ZstdReader<'a> {
    pub fn new(records: &'a [u8]) -> Result<ZstdReader<'a>, &'static str> {
        let decoder = match SPARE.with_borrow_mut(Option::take) {
            Some(decoder) => decoder,
            None => new_decoder().ok_or("no memory for a zstd context")?,
        };
        Ok(ZstdReader { rest: records, decoder: Some(decoder), produced: 0, in_frame: true })
    }

    pub fn next_chunk(&mut self, out: &mut [u8]) -> Result<Option<usize>, &'static str> {
        let decoder = self.decoder.as_mut().ok_or("the stream has failed before")?;
        loop {
            if self.rest.is_empty() && !self.in_frame {
                return Ok(None);
            }
            let status = decoder.run_on_buffers(self.rest, out).map_err(|_| "not a zstd stream")?;
            self.rest = self.rest.get(status.bytes_read..).unwrap_or_default();
            self.in_frame = status.remaining > 0;
            if !self.in_frame {
                decoder.reinit().map_err(|_| "the zstd context cannot be used again")?;
            }
            if status.bytes_written > 0 {
                self.produced += status.bytes_written as u64;
                return Ok(Some(status.bytes_written));
            }
            if status.bytes_read == 0 && self.in_frame {
                return Err("the zstd stream is cut off");
            }
        }
    }
}

fn new_decoder() -> Option<Decoder<'static>> {
    let mut decoder = Decoder::new().ok()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).ok()?;
    Some(decoder)
}

impl Drop for ZstdReader<'_> {
    fn drop(&mut self) {
        if self.produced > KEEP_AFTER_BYTES_MAX {
            return;
        }
        if let Some(mut decoder) = self.decoder.take()
            && decoder.reinit().is_ok()
        {
            // At the end of a thread its spares are gone already.
            let _ = SPARE.try_with(|spare| *spare.borrow_mut() = Some(decoder));
        }
    }
}

impl fmt::Debug for ZstdReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZstdReader").field("rest", &self.rest.len()).field("produced", &self.produced).finish()
    }
}
