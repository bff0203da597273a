//! Why bytes are no message, and why a message has no bytes in a version.

use std::fmt;

/// Bytes that do not hold what their API and version say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub problem: DecodeProblem,
    /// `Struct.field` of the schema, or empty outside one.
    pub field: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeProblem {
    /// The bytes end before the value does.
    Truncated { needed: usize, left: usize },
    /// A length below -1, or above what any frame could hold.
    BadLength(i64),
    /// An array claims more elements than the rest of the bytes could hold.
    ArrayTooLong { claimed: u64, left: usize },
    /// The arrays of the frame would take more memory than its size allows.
    TooManyElements,
    /// Null where the version has no null.
    Null,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A variable-length number that does not end in time.
    BadVarint,
    /// A nullable struct opens with something else than -1 or 1.
    BadPresence(i8),
    /// A tagged field is longer than its value.
    TaggedFieldTooLong { tag: u32, left: usize },
    /// A version the schema does not have.
    UnknownVersion(i16),
    /// A number that is no API of Kafka's.
    UnknownApi(i16),
}

impl DecodeError {
    /// Names the field, unless a field inside it was named already.
    #[must_use]
    pub(super) fn at(mut self, field: &'static str) -> DecodeError {
        if self.field.is_empty() {
            self.field = field;
        }
        self
    }
}

impl From<DecodeProblem> for DecodeError {
    fn from(problem: DecodeProblem) -> DecodeError {
        DecodeError { problem, field: "" }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        match self.problem {
            DecodeProblem::Truncated { needed, left } => write!(f, "{needed} bytes needed, {left} are left"),
            DecodeProblem::BadLength(length) => write!(f, "a length of {length}"),
            DecodeProblem::ArrayTooLong { claimed, left } => {
                write!(f, "{claimed} elements claimed, {left} bytes are left")
            }
            DecodeProblem::TooManyElements => f.write_str("more elements than a frame of this size may hold"),
            DecodeProblem::Null => f.write_str("null in a version that has no null here"),
            DecodeProblem::NotUtf8 => f.write_str("a string that is not UTF-8"),
            DecodeProblem::BadVarint => f.write_str("a variable-length number that is too long"),
            DecodeProblem::BadPresence(byte) => write!(f, "{byte} where -1 (null) or 1 (a value) is due"),
            DecodeProblem::TaggedFieldTooLong { tag, left } => {
                write!(f, "{left} bytes too many in the field with tag {tag}")
            }
            DecodeProblem::UnknownVersion(version) => write!(f, "unknown version {version}"),
            DecodeProblem::UnknownApi(number) => write!(f, "unknown API {number}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A value that a version of its schema cannot carry. This is our own mistake, never the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A field the version does not have is not at its default, and Kafka does not call it ignorable.
    NotInVersion { field: &'static str, version: i16 },
    /// Null in a version that has no null here.
    Null { field: &'static str, version: i16 },
    /// A string above 32,767 bytes, or an array or bytes above 2,147,483,647.
    TooLong { length: usize },
    /// A version the schema does not have.
    UnknownVersion { name: &'static str, version: i16 },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::NotInVersion { field, version } => write!(f, "version {version} has no {field}"),
            EncodeError::Null { field, version } => write!(f, "{field} is null, which version {version} cannot say"),
            EncodeError::TooLong { length } => write!(f, "a length of {length} does not fit"),
            EncodeError::UnknownVersion { name, version } => write!(f, "{name} has no version {version}"),
        }
    }
}

impl std::error::Error for EncodeError {}
