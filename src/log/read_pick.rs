//! Picks whole batches out of bytes of a segment. Pure.
//!
//! What is handed out was read from a device, and is checked as if it came from a network: its CRC (10 GB/s and more,
//! of bytes that the send is about to copy anyway), and the offsets, which lie outside of the CRC, against those of the
//! segment and of the batches before.

use std::ops::Range;

use crate::record::{BATCH_HEADER_BYTES, BatchError, BatchHeader, check_crc};
use crate::types::Offset;

/// What a reader wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub from: Offset,
    pub end_exclusive: Offset,
    pub bytes_max: usize,
    pub at_least_one: bool,
}

/// What is in the bytes at hand, which begin with a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Picked {
    /// The batches from `start` to `end`, and the offset behind them. `start == end`: the first does not fit.
    Found { start: usize, end: usize, next_offset: Offset },
    /// The batch at `at` is the first that is needed or may be, and not all of it is here. It has `bytes`.
    Need { at: usize, bytes: usize },
    /// All batches here lie before the offset; the bytes end where a batch does.
    Before { end: usize },
    /// The first batch at or behind the offset is not to be seen yet.
    Hidden,
}

/// What stands where a batch should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct BadBatch {
    /// In the bytes.
    pub at: usize,
    /// The first offset that cannot be read.
    pub offset: Offset,
    pub error: BatchError,
}

/// Picks what is wanted of `bytes` of a segment that holds the offsets `within`. Batches in front of a bad one are
/// handed out as if it was the end.
pub(super) fn pick(bytes: &[u8], within: &Range<Offset>, wanted: Wanted) -> Result<Picked, BadBatch> {
    let mut found: Option<(usize, Offset)> = None;
    // What the next batch cannot begin below.
    let mut next_offset = None;
    let mut before = None;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let bad = |error| BadBatch { at, offset: next_offset.unwrap_or(wanted.from).min(wanted.from), error };
        let header = match header_of(rest, within, next_offset)
            .and_then(|header| not_contradicted(header, rest, next_offset.unwrap_or(wanted.from)))
        {
            Ok(header) => header,
            Err(error) => match found {
                Some((start, next_offset)) => return Ok(Picked::Found { start, end: at, next_offset }),
                None => return Err(bad(error)),
            },
        };
        let whole = header.filter(|header| header.size() <= rest.len());
        let Some(batch) = whole else {
            return Ok(match (found, rest.is_empty()) {
                (Some((start, next_offset)), _) => Picked::Found { start, end: at, next_offset },
                (None, true) => Picked::Before { end: at },
                (None, false) => {
                    // Of a batch that is before the offset the header says enough to step over it.
                    let bytes = header.map_or(BATCH_HEADER_BYTES, |header| header.size());
                    Picked::Need { at, bytes }
                }
            });
        };
        let next = at + batch.size();
        if batch.last_offset() < wanted.from {
            before = Some((at, batch));
            (at, next_offset) = (next, Some(batch.next_offset()));
            continue;
        }
        // The offset asked for is in no batch: compaction leaves it so, and a batch that seems to end too early.
        if found.is_none()
            && batch.base_offset > wanted.from
            && let Some((at, batch)) = before
            && let Err(error) = check_crc(bytes.get(at..at + batch.size()).unwrap_or_default())
        {
            return Err(BadBatch { at, offset: batch.base_offset, error });
        }
        let start = found.map_or(at, |(start, _)| start);
        let fits = next - start <= wanted.bytes_max || (wanted.at_least_one && found.is_none());
        if batch.last_offset() >= wanted.end_exclusive || !fits {
            return Ok(match found {
                Some((start, next_offset)) => Picked::Found { start, end: at, next_offset },
                None if fits => Picked::Hidden,
                None => Picked::Found { start: at, end: at, next_offset: wanted.from },
            });
        }
        if let Err(error) = check_crc(rest.get(..batch.size()).unwrap_or_default()) {
            return match found {
                Some((start, next_offset)) => Ok(Picked::Found { start, end: at, next_offset }),
                // The offsets may be as wrong as the rest, unless they continue those before.
                None => {
                    Err(BadBatch { offset: next_offset.unwrap_or(batch.base_offset).min(wanted.from), ..bad(error) })
                }
            };
        }
        found = Some((start, batch.next_offset()));
        (at, next_offset) = (next, Some(batch.next_offset()));
    }
}

/// The header at the front of the bytes, if they hold one.
pub(super) fn header_of(
    bytes: &[u8],
    within: &Range<Offset>,
    next_offset: Option<Offset>,
) -> Result<Option<BatchHeader>, BatchError> {
    if bytes.len() < BATCH_HEADER_BYTES {
        return Ok(None);
    }
    let header = BatchHeader::parse_prefix(bytes)?;
    let continues = header.base_offset >= next_offset.unwrap_or(within.start).max(within.start)
        && header.last_offset_delta >= 0
        && header.last_offset() < within.end;
    if continues { Ok(Some(header)) } else { Err(BatchError::Header("its offsets do not continue those before it")) }
}

/// A batch behind a gap, which compaction leaves, unless its successor begins before it ends: then its own base offset
/// is wrong.
fn not_contradicted(
    header: Option<BatchHeader>,
    bytes: &[u8],
    expected: Offset,
) -> Result<Option<BatchHeader>, BatchError> {
    let Some(header) = header else { return Ok(None) };
    if header.base_offset <= expected {
        return Ok(Some(header));
    }
    let next = bytes.get(header.size()..).filter(|next| next.len() >= BATCH_HEADER_BYTES);
    match next.map(BatchHeader::parse_prefix) {
        Some(Ok(next)) if next.base_offset < header.next_offset() && next.base_offset > expected => {
            Err(BatchError::Header("its offsets do not continue those before it"))
        }
        _ => Ok(Some(header)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::batch;

    #[test]
    fn whole_batches_are_picked_by_offset_and_size() {
        let batches: Vec<_> = (0..5).map(|at| batch(at * 10, 10, 0, &vec![1; 10 + at as usize])).collect();
        let ends: Vec<usize> = batches
            .iter()
            .scan(0, |end, batch| {
                Some({
                    *end += batch.len();
                    *end
                })
            })
            .collect();
        let all = batches.concat();
        let want = |from, end, bytes_max, at_least_one| Wanted {
            from: Offset(from),
            end_exclusive: Offset(end),
            bytes_max,
            at_least_one,
        };
        let found = |start, end, next| Ok(Picked::Found { start, end, next_offset: Offset(next) });
        assert_eq!(pick(&all, &all_of_it(), want(0, 50, usize::MAX, true)), found(0, all.len(), 50));
        assert_eq!(pick(&all, &all_of_it(), want(15, 50, usize::MAX, true)), found(ends[0], all.len(), 50));
        assert_eq!(pick(&all, &all_of_it(), want(15, 40, usize::MAX, true)), found(ends[0], ends[3], 40));
        assert_eq!(
            pick(&all, &all_of_it(), want(15, 39, usize::MAX, true)),
            found(ends[0], ends[2], 30),
            "whole batches below the end"
        );
        assert_eq!(pick(&all, &all_of_it(), want(15, 50, 1, true)), found(ends[0], ends[1], 20));
        assert_eq!(pick(&all, &all_of_it(), want(15, 50, 1, false)), found(ends[0], ends[0], 15));
        assert_eq!(pick(&all, &all_of_it(), want(15, 19, usize::MAX, true)), Ok(Picked::Hidden));
        assert_eq!(pick(&all, &all_of_it(), want(50, 60, usize::MAX, true)), Ok(Picked::Before { end: all.len() }));
        // Cut anywhere: nothing but whole batches, and the size of the first that is missing.
        for cut in 0..all.len() {
            let here = ends.iter().filter(|end| **end <= cut).count();
            let picked = pick(&all[..cut], &all_of_it(), want(20, 50, usize::MAX, true)).unwrap();
            if here > 2 {
                assert_eq!(Ok(picked), found(ends[1], ends[here - 1], here as i64 * 10));
            } else if cut == 0 || ends.contains(&cut) {
                assert_eq!(picked, Picked::Before { end: cut });
            } else {
                let at = if here == 0 { 0 } else { ends[here - 1] };
                let bytes = if cut - at < BATCH_HEADER_BYTES { BATCH_HEADER_BYTES } else { ends[here] - at };
                assert_eq!(picked, Picked::Need { at, bytes });
            }
        }
        let mut bad = all.clone();
        bad[ends[1] + 16] = 7;
        let hurt = pick(&bad, &all_of_it(), want(20, 50, 100, true)).unwrap_err();
        assert_eq!((hurt.at, hurt.offset), (ends[1], Offset(20)));
    }

    #[test]
    fn a_bad_batch_is_refused_and_those_before_it_are_not() {
        let batches: Vec<_> = (0..5).map(|at| batch(at * 10, 10, 0, b"value")).collect();
        let one = batches[0].len();
        let all = batches.concat();
        let want =
            |from| Wanted { from: Offset(from), end_exclusive: Offset(50), bytes_max: usize::MAX, at_least_one: true };
        // Length, base offset, magic, attributes, the last offset delta, a record.
        for byte in [11, 7, 16, 22, 26, 80] {
            for sign in [1, 0x80] {
                let mut bad = all.clone();
                bad[2 * one + byte] ^= sign;
                let picked = pick(&bad, &all_of_it(), want(5));
                let before = Picked::Found { start: 0, end: 2 * one, next_offset: Offset(20) };
                assert_eq!(picked, Ok(before), "byte {byte}");
                let hurt = pick(&bad, &all_of_it(), want(25)).unwrap_err();
                assert_eq!((hurt.at, hurt.offset), (2 * one, Offset(20)), "byte {byte}: {}", hurt.error);
                // Without what is before it.
                let hurt = pick(&bad[2 * one..], &all_of_it(), want(20)).unwrap_err();
                assert_eq!((hurt.at, hurt.offset), (0, Offset(20)), "byte {byte}: {}", hurt.error);
                let hurt = pick(&bad, &all_of_it(), want(29)).unwrap_err();
                assert_eq!((hurt.at, hurt.offset), (2 * one, Offset(20)), "byte {byte}: {}", hurt.error);
                let behind = pick(&bad[3 * one..], &all_of_it(), want(30));
                assert_eq!(behind, Ok(Picked::Found { start: 0, end: 2 * one, next_offset: Offset(50) }));
            }
        }
    }

    fn all_of_it() -> Range<Offset> {
        Offset(0)..Offset(50)
    }
}
