//! Kafka's zigzag varints (`ByteUtils.readVarint`, `readVarlong`): at most 5 and 10 bytes, least significant first.

/// Takes a varint off the front of `input`. `None`: cut off or longer than any varint.
#[inline]
pub fn take_varint(input: &mut &[u8]) -> Option<i32> {
    // Lengths, offset deltas and header counts of a record are nearly all of one to three bytes; spelled out, these
    // take a third of the time of the loop.
    let (value, rest) = match *input {
        [a, rest @ ..] if *a < 0x80 => (u32::from(*a), rest),
        [a, b, rest @ ..] if *b < 0x80 => (low7(*a) | low7(*b) << 7, rest),
        [a, b, c, rest @ ..] if *c < 0x80 => (low7(*a) | low7(*b) << 7 | low7(*c) << 14, rest),
        // Bits past the 32nd are dropped, as Java's shift drops them.
        _ => take_unsigned(input, 5).map(|(value, rest)| (value as u32, rest))?,
    };
    *input = rest;
    Some(zigzag32(value))
}

/// Takes a varlong off the front of `input`. `None`: cut off or longer than any varlong.
#[inline]
pub fn take_varlong(input: &mut &[u8]) -> Option<i64> {
    let (value, rest) = match *input {
        [a, rest @ ..] if *a < 0x80 => (u64::from(*a), rest),
        [a, b, rest @ ..] if *b < 0x80 => (u64::from(low7(*a) | low7(*b) << 7), rest),
        [a, b, c, rest @ ..] if *c < 0x80 => (u64::from(low7(*a) | low7(*b) << 7 | low7(*c) << 14), rest),
        _ => take_unsigned(input, 10)?,
    };
    *input = rest;
    Some(zigzag64(value))
}

#[inline]
fn low7(byte: u8) -> u32 {
    u32::from(byte & 0x7f)
}

fn take_unsigned(input: &[u8], bytes_max: usize) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, &byte) in input.iter().take(bytes_max).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((value, input.get(i + 1..)?));
        }
    }
    None
}

pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// How many bytes `put_varint` writes.
pub fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// How many bytes `put_varlong` writes.
pub fn varlong_len(value: i64) -> usize {
    unsigned_len(((value << 1) ^ (value >> 63)) as u64)
}

#[inline]
pub fn zigzag32(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[inline]
pub fn zigzag64(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unsigned_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::record::tests::seeded(256))]

        #[test]
        fn varints_read_back(value: i32, long: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            for cut in 0..out.len() {
                prop_assert_eq!(take_varint(&mut &out[..cut]), None);
            }
            out.clear();
            put_varlong(&mut out, long);
            prop_assert_eq!(out.len(), varlong_len(long));
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varlong(&mut rest), Some(long));
            prop_assert!(rest.is_empty());
            for cut in 0..out.len() {
                prop_assert_eq!(take_varlong(&mut &out[..cut]), None);
            }
        }
    }

    #[test]
    fn the_bounds_of_varints() {
        for (value, bytes) in [(0, 1), (-1, 1), (63, 1), (64, 2), (-65, 2), (i32::MAX, 5), (i32::MIN, 5)] {
            assert_eq!(varint_len(value), bytes, "{value}");
        }
        assert_eq!(varlong_len(i64::MIN), 10);
        assert_eq!(take_varint(&mut [0xff; 5].as_slice()), None);
        assert_eq!(take_varlong(&mut [0xff; 10].as_slice()), None);
    }
}
