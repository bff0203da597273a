//! The values of records: everything in one follows from its id and its partition, so that what is read can be told
//! whole from altered, and in its place from out of place, without a list of what was sent.
//!
//! ```text
//! 0 id u64    8 CRC-32C of "topic-partition" u32    12 filling
//! ```

const HEADER_BYTES: usize = 12;

pub fn place(topic: &str, partition: i32) -> u32 {
    crc32c::crc32c(format!("{topic}-{partition}").as_bytes())
}

/// Mostly some hundred bytes, at times many blocks.
fn filling_bytes(id: u64) -> usize {
    let random = scramble(id ^ 0x5eed) as usize;
    match random % 100 {
        0..70 => random / 100 % 400,
        70..95 => random / 100 % 4_000,
        95..99 => random / 100 % 16_000,
        _ => random / 100 % 60_000,
    }
}

/// The finalizer of splitmix64.
fn scramble(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

pub fn value(id: u64, place: u32) -> Vec<u8> {
    let filling = filling_bytes(id);
    let mut value = Vec::with_capacity(HEADER_BYTES + filling);
    value.extend_from_slice(&id.to_be_bytes());
    value.extend_from_slice(&place.to_be_bytes());
    let mut state = id;
    while value.len() < HEADER_BYTES + filling {
        state = scramble(state);
        let left = HEADER_BYTES + filling - value.len();
        value.extend_from_slice(&state.to_le_bytes()[..left.min(8)]);
    }
    value
}

/// The id of a value that is whole and in its place.
pub fn id_of(bytes: &[u8], place: u32) -> Option<u64> {
    let id = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == value(id, place)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_by_its_bytes_and_its_place() {
        for id in 0..500 {
            let here = place("topic", 1);
            let whole = value(id, here);
            assert_eq!(id_of(&whole, here), Some(id));
            assert_eq!(id_of(&whole, place("topic", 2)), None);
            let mut altered = whole.clone();
            *altered.last_mut().unwrap() ^= 1;
            assert_eq!(id_of(&altered, here), None);
            assert_eq!(id_of(&whole[..whole.len() - 1], here), None);
        }
    }
}
