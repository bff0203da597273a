//! What values a key takes: Kafka's types and validators, and their canonical text.

use std::fmt;

use crate::config::iso_duration::iso_duration_ms;

/// The type of a key's value and the bounds on it.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Boolean,
    Integer {
        width: Width,
        min: i64,
        max: i64,
        /// One value outside the bounds that is allowed too (`compression.gzip.level` is 1 to 9, or -1).
        or: Option<i64>,
    },
    Double {
        min: f64,
        max: f64,
    },
    Text,
    OneOf(&'static [&'static str]),
    /// Where to begin to read: earliest, latest, or so far back (KIP-1106).
    OffsetReset,
    /// Values separated by commas.
    List,
    /// Values separated by commas, each one of these.
    ListOf(&'static [&'static str]),
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

/// The Java type of a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Short,
    Int,
    Long,
}

pub const BOOLEAN: Kind = Kind::Boolean;
pub const SHORT: Kind = Kind::Integer { width: Width::Short, min: i16::MIN as i64, max: i16::MAX as i64, or: None };
pub const INT: Kind = Kind::Integer { width: Width::Int, min: i32::MIN as i64, max: i32::MAX as i64, or: None };
pub const LONG: Kind = Kind::Integer { width: Width::Long, min: i64::MIN, max: i64::MAX, or: None };
pub const DOUBLE: Kind = Kind::Double { min: f64::MIN, max: f64::MAX };
pub const RATIO: Kind = Kind::Double { min: 0.0, max: 1.0 };
pub const TEXT: Kind = Kind::Text;
pub const OFFSET_RESET: Kind = Kind::OffsetReset;
pub const LIST: Kind = Kind::List;
pub const CLASS: Kind = Kind::Class;
pub const PASSWORD: Kind = Kind::Password;

/// What `compression.type` takes.
pub const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

pub const fn one_of(words: &'static [&'static str]) -> Kind {
    Kind::OneOf(words)
}

pub const fn list_of(words: &'static [&'static str]) -> Kind {
    Kind::ListOf(words)
}

impl Kind {
    /// A whole number with a lower bound. Constant evaluation stops the build for any other kind.
    #[must_use]
    pub const fn at_least(self, min: i64) -> Kind {
        match self {
            Kind::Integer { width, max, or, .. } => Kind::Integer { width, min, max, or },
            _ => panic!("only whole numbers have bounds here"),
        }
    }

    /// A whole number with both bounds, inclusive.
    #[must_use]
    pub const fn between(self, min: i64, max: i64) -> Kind {
        match self {
            Kind::Integer { width, or, .. } => Kind::Integer { width, min, max, or },
            _ => panic!("only whole numbers have bounds here"),
        }
    }

    /// Allows one more value outside the bounds.
    #[must_use]
    pub const fn or(self, value: i64) -> Kind {
        match self {
            Kind::Integer { width, min, max, .. } => Kind::Integer { width, min, max, or: Some(value) },
            _ => panic!("only whole numbers have bounds here"),
        }
    }

    /// The value as Kafka writes it (trimmed, booleans in small letters, lists without blanks), or what was
    /// expected instead.
    pub fn canonical(self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let fits = match self {
            Kind::Boolean => {
                let small = value.to_ascii_lowercase();
                return if small == "true" || small == "false" { Ok(small) } else { Err(self.to_string()) };
            }
            Kind::Integer { min, max, or, .. } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) || or == Some(number) => return Ok(number.to_string()),
                _ => false,
            },
            Kind::Double { min, max } => value.parse::<f64>().is_ok_and(|n| n.is_finite() && (min..=max).contains(&n)),
            Kind::OneOf(words) => words.contains(&value),
            Kind::OffsetReset => match value.strip_prefix("by_duration:") {
                Some(back) => iso_duration_ms(back).is_some(),
                None => value == "earliest" || value == "latest",
            },
            Kind::List => return Ok(items(value).collect::<Vec<_>>().join(",")),
            Kind::ListOf(words) => {
                let given: Vec<_> = items(value).collect();
                if given.iter().all(|item| words.contains(item)) {
                    return Ok(given.join(","));
                }
                false
            }
            Kind::Text | Kind::Class | Kind::Password => true,
        };
        if fits { Ok(value.to_owned()) } else { Err(self.to_string()) }
    }

    /// `DescribeConfigsResponse.ConfigType` (KIP-569).
    pub fn wire_type(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::Text | Kind::OneOf(_) | Kind::OffsetReset => 2,
            Kind::Integer { width: Width::Int, .. } => 3,
            Kind::Integer { width: Width::Short, .. } => 4,
            Kind::Integer { width: Width::Long, .. } => 5,
            Kind::Double { .. } => 6,
            Kind::List | Kind::ListOf(_) => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Kafka's name of the type.
    pub fn type_name(self) -> &'static str {
        match self.wire_type() {
            1 => "boolean",
            2 => "string",
            3 => "int",
            4 => "short",
            5 => "long",
            6 => "double",
            7 => "list",
            8 => "class",
            _ => "password",
        }
    }

    pub fn is_sensitive(self) -> bool {
        matches!(self, Kind::Password)
    }
}

/// What is expected, to follow "expected ".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Boolean => f.write_str("true or false"),
            Kind::Integer { width, min, max, or } => {
                let widest = match width {
                    Width::Short => i64::from(i16::MIN),
                    Width::Int => i64::from(i32::MIN),
                    Width::Long => i64::MIN,
                };
                match (*min == widest, *max == i64::MAX) {
                    (true, true) => f.write_str("a whole number")?,
                    (false, true) => write!(f, "a whole number of at least {min}")?,
                    _ => write!(f, "a whole number from {min} to {max}")?,
                }
                or.map_or(Ok(()), |value| write!(f, ", or {value}"))
            }
            Kind::Double { min, max } if *min > f64::MIN && *max < f64::MAX => {
                write!(f, "a number from {min} to {max}")
            }
            Kind::Double { .. } => f.write_str("a number"),
            Kind::Text => f.write_str("text"),
            Kind::OneOf(words) => write!(f, "{}", Words(words, "or")),
            Kind::OffsetReset => f.write_str("earliest, latest or by_duration:PnDTnHnMn.nS"),
            Kind::List => f.write_str("values separated by commas"),
            Kind::ListOf(words) => write!(f, "{}, separated by commas", Words(words, "and")),
            Kind::Class => f.write_str("the name of a class"),
            Kind::Password => f.write_str("a secret"),
        }
    }
}

/// The values of a list, without the blanks around them and without empty ones.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

struct Words(&'static [&'static str], &'static str);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words(words, last) = self;
        for (i, word) in words.iter().enumerate() {
            match (i, i + 1 == words.len()) {
                (0, _) => f.write_str(word)?,
                (_, true) => write!(f, " {last} {word}")?,
                _ => write!(f, ", {word}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_canonical() {
        assert_eq!(BOOLEAN.canonical(" TRUE ").as_deref(), Ok("true"));
        assert_eq!(INT.canonical("+7").as_deref(), Ok("7"));
        assert_eq!(LIST.canonical(" a , b,,c ").as_deref(), Ok("a,b,c"));
        assert_eq!(LIST.canonical("").as_deref(), Ok(""));
        assert_eq!(list_of(&["compact", "delete"]).canonical("compact, delete").as_deref(), Ok("compact,delete"));
        assert_eq!(RATIO.canonical("0.5").as_deref(), Ok("0.5"));
        assert_eq!(INT.between(1, 9).or(-1).canonical("-1").as_deref(), Ok("-1"));
        assert_eq!(OFFSET_RESET.canonical("by_duration:PT1H").as_deref(), Ok("by_duration:PT1H"));
        assert_eq!(DOUBLE.canonical("1.7976931348623157E308").as_deref(), Ok("1.7976931348623157E308"));
    }

    #[test]
    fn what_was_expected_is_said() {
        let expected = |kind: Kind, value: &str| kind.canonical(value).expect_err("the value does not fit");
        assert_eq!(expected(BOOLEAN, "yes"), "true or false");
        assert_eq!(expected(INT, "1.5"), "a whole number from -2147483648 to 2147483647");
        assert_eq!(expected(INT.at_least(1), "0"), "a whole number from 1 to 2147483647");
        assert_eq!(expected(SHORT.at_least(1), "40000"), "a whole number from 1 to 32767");
        assert_eq!(expected(LONG.at_least(-1), "-2"), "a whole number of at least -1");
        assert_eq!(expected(INT.between(1, 9).or(-1), "0"), "a whole number from 1 to 9, or -1");
        assert_eq!(expected(LONG, "9223372036854775808"), "a whole number");
        assert_eq!(expected(RATIO, "1.1"), "a number from 0 to 1");
        assert_eq!(expected(RATIO, "NaN"), "a number from 0 to 1");
        assert_eq!(expected(one_of(&["all", "none"]), "some"), "all or none");
        for wrong in ["Earliest", "by_duration:", "by_duration:-PT1H", "by_duration:1h"] {
            assert_eq!(expected(OFFSET_RESET, wrong), "earliest, latest or by_duration:PnDTnHnMn.nS");
        }
        assert_eq!(expected(list_of(&["compact", "delete"]), "compact,x"), "compact and delete, separated by commas");
    }
}
