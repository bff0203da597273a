//! Lengths of time as ISO 8601 and Java's `Duration` write them.

const DAY_MS: i64 = 86_400_000;

/// `P7DT2H30M5.5S`: days, hours, minutes and seconds, each of which may be left out. Milliseconds; none for what is no
/// length of time, or one below zero.
pub fn iso_duration_ms(text: &str) -> Option<i64> {
    let rest = text.strip_prefix(['P', 'p'])?;
    let (days, time) = match rest.split_once(['T', 't']) {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    if !days.is_empty() {
        let count: i64 = days.strip_suffix(['D', 'd'])?.parse().ok()?;
        total = count.checked_mul(DAY_MS)?;
    }
    let mut rest = time;
    let mut units = [('H', 3_600_000), ('M', 60_000), ('S', 1000)].into_iter();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (amount, unit) = (rest.get(..end)?, rest.get(end..=end)?.to_ascii_uppercase());
        // Each at most once, in this order.
        let (name, ms) = units.find(|(name, _)| unit.starts_with(*name))?;
        let value = match amount.split_once('.') {
            Some((whole, fraction)) if name == 'S' => {
                whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(fraction_ms(fraction)?)?
            }
            Some(_) => return None,
            None => amount.parse::<i64>().ok()?.checked_mul(ms)?,
        };
        total = total.checked_add(value)?;
        rest = rest.get(end + 1..)?;
    }
    (total >= 0).then_some(total)
}

/// The digits behind a point, as milliseconds; what is finer is cut off.
pub fn fraction_ms(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<3}").get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_is_too_long_to_be_told() {
        assert_eq!(iso_duration_ms("PT9223372036854775.807S"), Some(i64::MAX));
        for long in ["PT9223372036854775.808S", "PT9223372036854776S", "P106751991168D", "P106751991167DT24H"] {
            assert_eq!(iso_duration_ms(long), None, "{long}");
        }
    }
}
