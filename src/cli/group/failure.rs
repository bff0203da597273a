//! Why a command of `corelane group` ends before it is done.

use std::{fmt, io};

use crate::error_code::ErrorCode;
use crate::protocol::{DecodeError, EncodeError};

/// Exit codes of sysexits.h, where one fits.
const EXIT_REFUSED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NO_INPUT: u8 = 66;
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_PROTOCOL: u8 = 76;

#[derive(Debug)]
pub enum Failure {
    /// No broker of the bootstrap list answers.
    Unreachable {
        bootstrap: String,
        error: io::Error,
    },
    /// A connection ended or gave no answer in time; tried again until the command's time is over.
    Io {
        to: String,
        error: io::Error,
    },
    /// The broker speaks no version of this request that we speak.
    NoVersion {
        to: String,
        request: &'static str,
    },
    Encode(EncodeError),
    Decode(DecodeError),
    /// The broker's own refusal of the whole.
    Code {
        what: String,
        code: i16,
    },
    /// A file named on the command line.
    File {
        path: String,
        error: String,
    },
    /// What was asked for makes no sense, or not now.
    Wrong(String),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Unreachable { .. } | Failure::Io { .. } => EXIT_UNAVAILABLE,
            Failure::NoVersion { .. } | Failure::Encode(_) | Failure::Decode(_) => EXIT_PROTOCOL,
            Failure::Code { .. } => EXIT_REFUSED,
            Failure::File { .. } => EXIT_NO_INPUT,
            Failure::Wrong(_) => EXIT_USAGE,
        }
    }

    pub fn code(what: impl Into<String>, code: i16) -> Failure {
        Failure::Code { what: what.into(), code }
    }

    /// Whether the same request may succeed after a while, at another broker perhaps.
    pub fn may_pass(&self) -> bool {
        match self {
            Failure::Unreachable { .. } | Failure::Io { .. } => true,
            Failure::Code { code, .. } => passing(*code),
            _ => false,
        }
    }
}

/// Whether an error goes away by itself: a coordinator that is loading or has moved, a leader that is on its way.
pub fn passing(code: i16) -> bool {
    ErrorCode::from_code(code).is_some_and(|code| {
        matches!(
            code,
            ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::RequestTimedOut
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::KafkaStorageError
                | ErrorCode::NetworkException
                | ErrorCode::UnstableOffsetCommit
        )
    })
}

/// A code in words, with its name.
pub fn explain(code: i16) -> String {
    let Some(known) = ErrorCode::from_code(code) else { return format!("the broker answers error {code}") };
    let words = match known {
        ErrorCode::GroupIdNotFound => "there is no such group",
        ErrorCode::NonEmptyGroup => "the group has members",
        ErrorCode::GroupSubscribedToTopic => "a member is subscribed to the topic",
        ErrorCode::UnknownTopicOrPartition => "there is no such partition",
        ErrorCode::GroupAuthorizationFailed => "not allowed for this group",
        ErrorCode::TopicAuthorizationFailed => "not allowed for this topic",
        ErrorCode::ClusterAuthorizationFailed => "not allowed for this cluster",
        ErrorCode::InvalidGroupId => "no valid group id",
        ErrorCode::CoordinatorLoadInProgress => "its coordinator is still loading",
        ErrorCode::CoordinatorNotAvailable => "there is no coordinator for it",
        ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => "the group has members by now",
        _ => return format!("the broker answers {}", known.name()),
    };
    format!("{words} ({})", known.name())
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable { bootstrap, error } => write!(f, "no broker answers at {bootstrap}: {error}"),
            Failure::Io { to, error } => write!(f, "{to}: {error}"),
            Failure::NoVersion { to, request } => write!(f, "the broker at {to} has no {request} that we know"),
            Failure::Encode(error) => write!(f, "a request cannot be encoded: {error}"),
            Failure::Decode(error) => write!(f, "an answer cannot be read: {error}"),
            Failure::Code { what, code } => write!(f, "{what}: {}", explain(*code)),
            Failure::File { path, error } => write!(f, "{path}: {error}"),
            Failure::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<EncodeError> for Failure {
    fn from(error: EncodeError) -> Failure {
        Failure::Encode(error)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Failure {
        Failure::Decode(error)
    }
}
