//! Frames on the wire: a size of four bytes, big-endian and signed, then so many bytes.
//!
//! ```text
//! | size: i32 | request: size bytes | size: i32 | ...
//! ```
//!
//! A size below the smallest request (negative ones included) or above the largest is no request, and there is no way
//! to find the next one behind it. Memory for a request grows with what has arrived, never by what was claimed alone.

use std::fmt;

use bytes::BytesMut;

use crate::limits::FRAME_HEADER_BYTES;

/// A first piece of memory for a request, and what its claim alone can have us allocate.
const FIRST_BYTES_MAX: usize = 64 * 1024;

/// Later pieces are as large as all before, so that every byte is copied once at most on average.
const GROWTH: usize = 2;

/// A claimed size that is no request's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FrameError {
    TooSmall { claimed: i32, min: usize },
    TooLarge { claimed: i32, max: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooSmall { claimed, min } => {
                write!(f, "a request claims a size of {claimed} bytes, and none has less than {min}")
            }
            FrameError::TooLarge { claimed, max } => {
                write!(f, "a request claims {claimed} bytes, more than the {max} of socket.request.max.bytes")
            }
        }
    }
}

/// What the framer is waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Bytes of the next size.
    Size,
    /// The go-ahead for a request of so many bytes.
    Admission(usize),
    /// Bytes of the request.
    Body,
    /// Somebody to take the request.
    Complete,
}

/// From so much of a request on that is missing, receiving it straight into place is worth an operation of its own.
const LENT_BYTES_MIN: usize = 32 * 1024;

/// Cuts what arrives into requests. Holds no memory between them.
#[derive(Debug)]
pub(super) struct Framer {
    stage: Stage,
    size: [u8; FRAME_HEADER_BYTES],
    size_len: u8,
    body: BytesMut,
    wanted: usize,
    /// The largest request that has come whole. A claim up to this is believed.
    largest: usize,
}

impl Framer {
    pub fn new() -> Framer {
        Framer { stage: Stage::Size, size: [0; 4], size_len: 0, body: BytesMut::new(), wanted: 0, largest: 0 }
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether part of a request has arrived.
    pub fn is_amid(&self) -> bool {
        self.size_len > 0 || self.stage != Stage::Size
    }

    /// Takes bytes off the front of `input`, and gives how many. The rest waits for the next stage.
    pub fn feed(&mut self, input: &[u8], min: usize, max: usize) -> Result<usize, FrameError> {
        match self.stage {
            Stage::Size => self.feed_size(input, min, max),
            Stage::Body => Ok(self.feed_body(input)),
            Stage::Admission(_) | Stage::Complete => Ok(0),
        }
    }

    fn feed_size(&mut self, input: &[u8], min: usize, max: usize) -> Result<usize, FrameError> {
        let mut taken = 0;
        for (slot, byte) in self.size.iter_mut().skip(usize::from(self.size_len)).zip(input) {
            *slot = *byte;
            taken += 1;
        }
        self.size_len += taken as u8;
        if usize::from(self.size_len) == FRAME_HEADER_BYTES {
            let claimed = i32::from_be_bytes(self.size);
            let size = usize::try_from(claimed).ok().filter(|size| *size >= min);
            let size = size.ok_or(FrameError::TooSmall { claimed, min })?;
            if size > max {
                return Err(FrameError::TooLarge { claimed, max });
            }
            self.wanted = size;
            self.stage = Stage::Admission(size);
        }
        Ok(taken)
    }

    /// Goes on to the body.
    pub fn admit(&mut self) {
        debug_assert!(matches!(self.stage, Stage::Admission(_)));
        self.stage = if self.wanted == 0 { Stage::Complete } else { Stage::Body };
    }

    fn feed_body(&mut self, input: &[u8]) -> usize {
        let missing = self.wanted - self.body.len();
        let part = input.get(..missing).unwrap_or(input);
        self.make_room(part.len());
        self.body.extend_from_slice(part);
        if part.len() == missing {
            self.stage = Stage::Complete;
        }
        part.len()
    }

    fn make_room(&mut self, bytes: usize) {
        let len = self.body.len();
        if self.body.capacity() - len < bytes {
            let grown = (len * GROWTH).max(FIRST_BYTES_MAX).max(self.largest).max(len + bytes);
            self.body.reserve(grown.min(self.wanted) - len);
        }
    }

    /// Whether so much of a request is missing that it had better be received straight into place.
    pub fn may_lend(&self) -> bool {
        self.stage == Stage::Body && self.wanted - self.body.len() >= LENT_BYTES_MIN
    }

    /// Lends the request as far as it is there, with room for so many bytes more. `give_back` has to follow before
    /// anything else.
    pub fn lend(&mut self) -> (BytesMut, usize) {
        debug_assert!(self.may_lend());
        self.make_room(1);
        let missing = self.wanted - self.body.len();
        let room = self.body.capacity() - self.body.len();
        (std::mem::take(&mut self.body), room.min(missing))
    }

    pub fn give_back(&mut self, body: BytesMut) {
        debug_assert!(self.body.is_empty() && body.len() <= self.wanted);
        self.body = body;
        if self.body.len() == self.wanted {
            self.stage = Stage::Complete;
        }
    }

    /// Hands out the complete request, without its size.
    pub fn take(&mut self) -> BytesMut {
        debug_assert_eq!(self.stage, Stage::Complete);
        self.stage = Stage::Size;
        self.size_len = 0;
        self.largest = self.largest.max(self.wanted);
        self.wanted = 0;
        std::mem::take(&mut self.body)
    }

    /// Whether a request of so many bytes is large enough for its rest to be received into place.
    pub fn is_bulk(request: &BytesMut) -> bool {
        request.len() > LENT_BYTES_MIN
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const MIN: usize = 2;
    const MAX: usize = 1 << 20;

    fn claim(size: i32) -> Result<usize, FrameError> {
        Framer::new().feed(&size.to_be_bytes(), MIN, MAX)
    }

    #[test]
    fn sizes_that_are_no_requests_are_refused() {
        for size in [-1, i32::MIN, 0, 1] {
            assert_eq!(claim(size), Err(FrameError::TooSmall { claimed: size, min: MIN }));
        }
        for size in [MAX as i32 + 1, i32::MAX, 0x4745_5420] {
            assert_eq!(claim(size), Err(FrameError::TooLarge { claimed: size, max: MAX }));
        }
        assert_eq!(claim(MAX as i32), Ok(4));
    }

    #[test]
    fn a_claim_alone_allocates_little() {
        let mut framer = Framer::new();
        framer.feed(&(MAX as i32).to_be_bytes(), MIN, MAX).unwrap();
        assert_eq!(framer.stage(), Stage::Admission(MAX));
        assert_eq!(framer.feed(&[1; 10], MIN, MAX), Ok(0), "nothing is taken before the go-ahead");
        framer.admit();
        assert_eq!(framer.body.capacity(), 0);
        framer.feed(&[1; 10], MIN, MAX).unwrap();
        assert!(framer.body.capacity() <= FIRST_BYTES_MAX);
        framer.feed(&vec![1; FIRST_BYTES_MAX], MIN, MAX).unwrap();
        assert!(framer.body.capacity() <= 3 * FIRST_BYTES_MAX);
    }

    #[test]
    fn a_claim_is_believed_up_to_what_has_come_before() {
        let mut framer = Framer::new();
        let mut claim_and_lend = |size: usize, sent: usize| {
            framer.feed(&(size as i32).to_be_bytes(), MIN, MAX).unwrap();
            framer.admit();
            let (mut body, room) = framer.lend();
            assert!(body.capacity() <= FIRST_BYTES_MAX.max(sent));
            body.extend_from_slice(&vec![1; room.min(size)]);
            framer.give_back(body);
            while framer.stage() == Stage::Body {
                framer.feed(&[1; 1000], MIN, MAX).unwrap();
            }
            framer.take();
            room
        };
        assert_eq!(claim_and_lend(200_000, 0), FIRST_BYTES_MAX);
        assert_eq!(claim_and_lend(150_000, 200_000), 150_000, "no room beyond its end either");
        assert_eq!(claim_and_lend(900_000, 200_000), 200_000);
    }

    #[test]
    fn requests_come_out_as_they_went_in_however_they_are_cut() {
        let seed: u64 = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for largest_cut in [1, 3, 100, 70_000] {
            let requests: Vec<Vec<u8>> = (0..30)
                .map(|_| {
                    let len = if random.random_bool(0.1) { 200_000 } else { random.random_range(MIN..300) };
                    (0..len).map(|_| random.random()).collect()
                })
                .collect();
            let mut wire = Vec::new();
            for request in &requests {
                wire.extend_from_slice(&(request.len() as i32).to_be_bytes());
                wire.extend_from_slice(request);
            }
            let mut framer = Framer::new();
            let mut out = Vec::new();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                let (mut piece, behind) = rest.split_at(random.random_range(1..=largest_cut).min(rest.len()));
                rest = behind;
                loop {
                    if framer.may_lend() && random.random_bool(0.5) {
                        let (mut body, room) = framer.lend();
                        assert!(room <= body.capacity() - body.len());
                        let (filled, behind) = piece.split_at(random.random_range(0..=room).min(piece.len()));
                        body.extend_from_slice(filled);
                        framer.give_back(body);
                        piece = behind;
                    }
                    let taken = framer.feed(piece, MIN, MAX).unwrap();
                    piece = &piece[taken..];
                    match framer.stage() {
                        Stage::Admission(_) => framer.admit(),
                        Stage::Complete => out.push(framer.take().to_vec()),
                        Stage::Size | Stage::Body if piece.is_empty() => break,
                        Stage::Size | Stage::Body => {}
                    }
                }
            }
            assert!(!framer.is_amid());
            assert!(out == requests);
        }
    }
}
