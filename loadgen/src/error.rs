//! Why a run ends before it is done.

use std::{fmt, io};

use corelane::{
    error_code::ErrorCode,
    protocol::{DecodeError, EncodeError},
};

#[derive(Debug)]
pub enum Error {
    Io(&'static str, io::Error),
    Encode(EncodeError),
    Decode(DecodeError),
    /// The broker answered something that no workload can go on with.
    Answer(String),
    /// The connection ended.
    Closed,
    /// What was asked for makes no sense, or cannot be had on this machine.
    Wrong(String),
}

impl Error {
    /// `what` could not be done since the broker answered `code`.
    pub fn code(what: &str, code: i16) -> Error {
        Error::Answer(format!("{what}: the broker answers {}", code_name(code)))
    }

    /// A file that could not be read or written.
    pub fn file(path: &std::path::Path, error: &io::Error) -> Error {
        Error::Wrong(format!("{}: {error}", path.display()))
    }
}

/// The name of an error code of Kafka, or its number.
pub fn code_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.name().to_owned())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(what, error) => write!(f, "{what}: {error}"),
            Error::Encode(error) => write!(f, "a request cannot be encoded: {error}"),
            Error::Decode(error) => write!(f, "an answer cannot be read: {error}"),
            Error::Closed => f.write_str("the broker closed the connection"),
            Error::Answer(what) | Error::Wrong(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Error {
        Error::Encode(error)
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        Error::Decode(error)
    }
}
