//! Why a configuration does not start a broker: each error is one sentence for the person who wrote it.

use std::fmt;

use super::settings::Origin;

/// A configuration that cannot be used. All of them end the start with exit code 78 (`EX_CONFIG`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A file that does not parse.
    Syntax { file: String, line: usize, problem: String },
    /// A value in a file that is neither a single value nor a list.
    Shape { file: String, key: String },
    /// `--set` without `=`.
    NotAnAssignment { text: String },
    /// A profile that is not one of ours.
    UnknownProfile { name: String, known: &'static str },
    /// A value that the key does not take.
    BadValue { key: String, value: String, expected: String, origin: Option<Origin> },
    /// A value of a known key that would be dangerous to ignore.
    Refused { key: &'static str, value: String, reason: &'static str, origin: Option<Origin> },
    /// Values that do not go together.
    Conflict { sentence: String },
}

impl ConfigError {
    /// A value of a key that the key does not take, whatever set it.
    pub(super) fn bad_value(
        key: &str,
        value: &str,
        expected: impl Into<String>,
        origin: Option<&Origin>,
    ) -> ConfigError {
        ConfigError::BadValue {
            key: key.into(),
            value: value.into(),
            expected: expected.into(),
            origin: origin.cloned(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Syntax { file, line, problem } => write!(f, "{file}, line {line}: {problem}."),
            ConfigError::Shape { file, key } => {
                write!(f, "{file}: {key} has to be a single value or a list of values.")
            }
            ConfigError::NotAnAssignment { text } => write!(f, "--set {text} is not of the form key=value."),
            ConfigError::UnknownProfile { name, known } => {
                write!(f, "There is no profile {name}: expected {known}.")
            }
            ConfigError::BadValue { key, value, expected, origin } => {
                write!(f, "{key}={value}{} is not valid: expected {expected}.", At(origin.as_ref()))
            }
            ConfigError::Refused { key, value, reason, origin } => {
                write!(f, "{key}={value}{} cannot be taken: {reason}.", At(origin.as_ref()))
            }
            ConfigError::Conflict { sentence } => f.write_str(sentence),
        }
    }
}

impl std::error::Error for ConfigError {}

struct At<'a>(Option<&'a Origin>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |origin| write!(f, " ({origin})"))
    }
}

/// Something in a configuration that stops nothing, but that its writer should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigNote {
    UnknownKey {
        key: String,
        origin: Origin,
        nearest: Option<&'static str>,
    },
    /// Keys of Kafka that nothing follows from here, those with the same reason together.
    WithoutEffect {
        keys: Vec<String>,
        reason: &'static str,
    },
}

impl fmt::Display for ConfigNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigNote::UnknownKey { key, origin, nearest } => {
                write!(f, "Unknown key {key} ({origin})")?;
                nearest.map_or(Ok(()), |nearest| write!(f, ": did you mean {nearest}?"))
            }
            ConfigNote::WithoutEffect { keys, reason } => {
                write!(f, "Without effect here: {} ({reason})", keys.join(", "))
            }
        }
    }
}
