//! Sizes as people write them.

use clap::builder::PossibleValue;

/// Reads `1024`, `64K`, `1M`, `5G`: binary multiples, as Kafka's users mean them.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let trimmed = text.trim().trim_end_matches("iB").trim_end_matches(['b', 'B']);
    let (digits, shift) = match trimmed.char_indices().last() {
        Some((at, 'k' | 'K')) => (&trimmed[..at], 10),
        Some((at, 'm' | 'M')) => (&trimmed[..at], 20),
        Some((at, 'g' | 'G')) => (&trimmed[..at], 30),
        Some((at, 't' | 'T')) => (&trimmed[..at], 40),
        _ => (trimmed, 0),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("{text:?} is no size such as 1024, 64K, 1M or 5G"))?;
    if !(0.0..9e18).contains(&number) {
        return Err(format!("{text:?} is no size"));
    }
    Ok((number * f64::from(1_u32 << (shift / 2)) * f64::from(1_u32 << (shift / 2))) as u64)
}

/// A size in the largest unit that leaves it whole or nearly so.
pub fn bytes(count: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in units {
        if count >= unit {
            let value = count as f64 / unit as f64;
            return if count.is_multiple_of(unit) {
                format!("{value:.0} {name}")
            } else {
                format!("{value:.1} {name}")
            };
        }
    }
    format!("{count} bytes")
}

/// The codecs, for help texts.
pub fn codecs() -> [PossibleValue; 5] {
    ["none", "gzip", "snappy", "lz4", "zstd"].map(PossibleValue::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let read = |text| parse_bytes(text).unwrap();
        assert_eq!((read("10"), read("64K"), read("1MiB"), read("5G")), (10, 65_536, 1 << 20, 5 << 30));
        assert_eq!(read("0.5M"), 1 << 19);
        assert!(parse_bytes("many").is_err() && parse_bytes("-1").is_err());
        assert_eq!((bytes(1024), bytes(1536), bytes(10)), ("1 KiB".into(), "1.5 KiB".into(), "10 bytes".into()));
    }
}
