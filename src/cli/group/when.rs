//! Points in time and lengths of time as Kafka's tools take them: ISO 8601.

use crate::config::{fraction_ms, iso_duration_ms};

const DAY_MS: i64 = 86_400_000;

/// `2026-11-21T15:30:00.000`, with `Z` or an offset such as `+02:00` behind; without one it is UTC, as for Kafka's
/// tools. The time of day may be left out. Milliseconds since 1970.
pub fn datetime(text: &str) -> Result<i64, String> {
    parse_datetime(text.trim()).ok_or_else(|| {
        format!("{text} is no date and time such as 2026-11-21T15:30:00.000 or 2026-11-21T15:30:00+01:00")
    })
}

/// `P7DT2H30M5.5S`: days, hours, minutes and seconds, each of which may be left out. Milliseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    iso_duration_ms(text.trim()).ok_or_else(|| format!("{text} is no length of time such as P7D, PT2H30M or P1DT12H"))
}

fn parse_datetime(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-');
    let (year, month, day) = (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_since_1970(year, month, day) * DAY_MS;
    let Some(time) = time else { return Some(midnight) };
    let (clock, zone_ms) = split_zone(time)?;
    Some(midnight + of_day(clock)? - zone_ms)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fraction`, in milliseconds of the day.
fn of_day(clock: &str) -> Option<i64> {
    let (whole, fraction) = match clock.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = whole.splitn(3, ':');
    let (hours, minutes) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let seconds = match parts.next() {
        Some(seconds) => number(seconds, 2)?,
        None if fraction.is_none() => 0,
        None => return None,
    };
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let fraction = fraction.map_or(Some(0), fraction_ms)?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}

/// The time of day, and by how much its zone is ahead of UTC.
fn split_zone(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (clock, zone) = time.split_at(at);
    let (sign, zone) = zone.split_at(1);
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None if zone.len() == 4 => zone.split_at(2),
        None => (zone, "00"),
    };
    let ahead = (number(hours, 2)? * 60 + number(minutes, 2)?) * 60_000;
    Some((clock, if sign == "-" { -ahead } else { ahead }))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit())).then(|| text.parse().ok())?
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00.000", 0),
            ("2000-02-29T12:34:56.789", 951_827_696_789),
            ("2026-11-21T15:30:00Z", 1_795_275_000_000),
            ("2026-11-21T15:30", 1_795_275_000_000),
            ("2026-11-21T16:30:00+01:00", 1_795_275_000_000),
            ("2026-11-21T10:00:00.0-0530", 1_795_275_000_000),
            ("1969-12-31T23:59:59.999", -1),
        ] {
            assert_eq!(datetime(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_point_in_time() {
        for text in
            ["", "now", "2026-13-01", "2026-02-29", "2026-1-1", "2026-01-01T", "2026-01-01T25:00", "2026-01-01T10:00.5"]
        {
            assert!(datetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (text, ms) in [
            ("P1D", DAY_MS),
            ("PT1H", 3_600_000),
            ("PT90M", 5_400_000),
            ("P7DT2H30M5.5S", 7 * DAY_MS + 9_005_500),
            ("PT0.25S", 250),
            ("P0D", 0),
        ] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for text in ["", "P", "PT", "1D", "P1H", "PT1D", "PT1M1H", "PT1.5H", "P-1D", "PT1M1M", "P99999999999999D"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
