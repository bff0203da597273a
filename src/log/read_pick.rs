//! Picks whole batches out of bytes of a segment. Pure.

use crate::record::{BATCH_HEADER_BYTES, BatchError, BatchHeader};
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

pub(super) fn pick(bytes: &[u8], wanted: Wanted) -> Result<Picked, (usize, BatchError)> {
    let mut found: Option<(usize, Offset)> = None;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let header = if rest.len() < BATCH_HEADER_BYTES {
            None
        } else {
            Some(BatchHeader::parse_prefix(rest).map_err(|error| (at, error))?)
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
            at = next;
            continue;
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
        found = Some((start, batch.next_offset()));
        at = next;
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
        assert_eq!(pick(&all, want(0, 50, usize::MAX, true)), found(0, all.len(), 50));
        assert_eq!(pick(&all, want(15, 50, usize::MAX, true)), found(ends[0], all.len(), 50));
        assert_eq!(pick(&all, want(15, 40, usize::MAX, true)), found(ends[0], ends[3], 40));
        assert_eq!(
            pick(&all, want(15, 39, usize::MAX, true)),
            found(ends[0], ends[2], 30),
            "whole batches below the end"
        );
        assert_eq!(pick(&all, want(15, 50, 1, true)), found(ends[0], ends[1], 20));
        assert_eq!(pick(&all, want(15, 50, 1, false)), found(ends[0], ends[0], 15));
        assert_eq!(pick(&all, want(15, 19, usize::MAX, true)), Ok(Picked::Hidden));
        assert_eq!(pick(&all, want(50, 60, usize::MAX, true)), Ok(Picked::Before { end: all.len() }));
        // Cut anywhere: nothing but whole batches, and the size of the first that is missing.
        for cut in 0..all.len() {
            let here = ends.iter().filter(|end| **end <= cut).count();
            let picked = pick(&all[..cut], want(20, 50, usize::MAX, true)).unwrap();
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
        assert_eq!(pick(&bad, want(20, 50, 100, true)).unwrap_err().0, ends[1]);
    }
}
