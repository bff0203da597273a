//! Why a broker does not start or does not run on, each with one sentence and an exit code of its own.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::config::ConfigError;
use crate::runtime::SetupError;

/// What ends the process. The codes are part of the interface: service managers and scripts act on them.
#[derive(Debug)]
pub enum StartError {
    /// A configuration that is not valid.
    Config(ConfigError),
    /// A configuration file that cannot be read.
    ConfigFile { path: PathBuf, error: io::Error },
    /// The data directory, or something in it, may not be used by this user.
    NoPermission { path: PathBuf, error: io::Error },
    /// The data directory cannot be made or opened for another reason.
    Directory { path: PathBuf, error: io::Error },
    /// Another process has the data directory.
    DirectoryLocked { path: PathBuf },
    /// The directory belongs to a broker with another id.
    NodeIdDiffers { path: PathBuf, stored: i32, configured: i32 },
    /// Something in the directory that a start cannot do without is damaged or of an unknown version.
    Damaged { path: PathBuf, what: String },
    /// Reading or writing the data directory failed.
    Storage { path: PathBuf, error: io::Error },
    /// The file system takes no writes.
    ReadOnly { path: PathBuf },
    /// Not even what a start or stop writes finds room.
    DiskFull { path: PathBuf },
    /// The broker has stopped, but its directory is not what a clean stop leaves.
    NotClean { what: String },
    /// Somebody listens on a port already.
    PortBusy { listener: String, address: String },
    /// A port below 1024 without the right to it.
    PortForbidden { listener: String, address: String },
    /// An address that this machine does not have, or a name that gives none.
    AddressUnusable { listener: String, address: String, error: io::Error },
    /// No ring.
    Ring(SetupError),
    /// The limit of open files is too low for a single shard.
    TooFewDescriptors { limit: u64, needed: u64 },
    /// The system refused something ordinary, such as a thread, or a bug of ours.
    Internal { what: String },
}

/// The code of a stop by a second signal, as a shell would have it for the first (128 + SIGINT).
pub const EXIT_IMPATIENT: i32 = 130;

impl StartError {
    /// The exit code. Those up to 78 are of sysexits.h; 2 is a wrong command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Damaged { .. } => 65,
            StartError::ConfigFile { .. } => 66,
            StartError::Internal { .. } => 70,
            StartError::Directory { .. } => 73,
            StartError::Storage { .. } => 74,
            StartError::NoPermission { .. } | StartError::PortForbidden { .. } => 77,
            StartError::Config(_) => 78,
            StartError::DirectoryLocked { .. } => 80,
            StartError::NodeIdDiffers { .. } => 81,
            StartError::PortBusy { .. } => 82,
            StartError::AddressUnusable { .. } => 83,
            StartError::TooFewDescriptors { .. } => 84,
            StartError::ReadOnly { .. } => 85,
            StartError::DiskFull { .. } => 86,
            StartError::NotClean { .. } => 87,
            StartError::Ring(error) => match error {
                SetupError::DisabledBySysctl { .. } => 90,
                SetupError::Forbidden => 91,
                SetupError::Missing | SetupError::TooOld { .. } => 92,
                SetupError::Memory { .. } => 93,
                SetupError::Descriptors => 84,
                SetupError::Other(_) => 94,
            },
        }
    }

    /// An error of the data directory, by what stands behind it.
    pub fn storage(path: impl Into<PathBuf>, error: io::Error) -> StartError {
        let path = path.into();
        match error.kind() {
            io::ErrorKind::PermissionDenied => StartError::NoPermission { path, error },
            io::ErrorKind::ReadOnlyFilesystem => StartError::ReadOnly { path },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StartError::DiskFull { path },
            _ => StartError::Storage { path, error },
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => error.fmt(f),
            StartError::ConfigFile { path, error } => {
                write!(f, "The configuration file {} cannot be read: {error}.", path.display())
            }
            StartError::NoPermission { path, error } => write!(
                f,
                "{} may not be used by this user: {error}. Give it the directory, or set log.dirs to another one.",
                path.display()
            ),
            StartError::Directory { path, error } => {
                write!(f, "The data directory {} cannot be used: {error}.", path.display())
            }
            StartError::DirectoryLocked { path } => write!(
                f,
                "The data directory {} is in use by another broker: stop that one, or set log.dirs to another directory.",
                path.display()
            ),
            StartError::NodeIdDiffers { path, stored, configured } => write!(
                f,
                "{} belongs to the broker with node.id {stored}, and node.id is {configured}: set node.id={stored}, or \
                 use another directory.",
                path.display()
            ),
            StartError::Damaged { path, what } => write!(f, "{} is damaged: {what}.", path.display()),
            StartError::Storage { path, error } => {
                write!(f, "Reading or writing {} failed: {error}.", path.display())
            }
            StartError::ReadOnly { path } => write!(
                f,
                "The file system of {} is read-only: the kernel's log (dmesg) says if it turned so by an error; then check \
                 it, and remount it with mount -o remount,rw.",
                path.display()
            ),
            StartError::DiskFull { path } => write!(
                f,
                "The disk of {} is full, and the broker needs a little room to start: free some. Nothing stored is lost.",
                path.display()
            ),
            StartError::NotClean { what } => {
                write!(f, "Stopped, but not cleanly: {what}. The next start recovers what was acknowledged.")
            }
            StartError::PortBusy { listener, address } => write!(
                f,
                "The address {address} of the listener {listener} is in use: stop who listens there, or set another port \
                 in listeners."
            ),
            StartError::PortForbidden { listener, address } => write!(
                f,
                "The address {address} of the listener {listener} may not be used by this user: ports below 1024 need \
                 CAP_NET_BIND_SERVICE."
            ),
            StartError::AddressUnusable { listener, address, error } => {
                write!(f, "The address {address} of the listener {listener} cannot be listened on: {error}.")
            }
            StartError::Ring(error) => write!(f, "No shard can start: {error}."),
            StartError::TooFewDescriptors { limit, needed } => write!(
                f,
                "The limit of {limit} open files is too low, at least {needed} are needed: raise it (ulimit -n, or \
                 LimitNOFILE= of the systemd unit)."
            ),
            StartError::Internal { what } => write!(f, "Something unexpected stopped the broker: {what}."),
        }
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> StartError {
        StartError::Config(error)
    }
}

impl From<SetupError> for StartError {
    fn from(error: SetupError) -> StartError {
        StartError::Ring(error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn one_of_each() -> Vec<StartError> {
        let io = || io::Error::from(io::ErrorKind::PermissionDenied);
        let path = || PathBuf::from("/data");
        let text = || "x".to_owned();
        let mut all = vec![
            StartError::Config(ConfigError::NotAnAssignment { text: text() }),
            StartError::ConfigFile { path: path(), error: io() },
            StartError::NoPermission { path: path(), error: io() },
            StartError::Directory { path: path(), error: io() },
            StartError::DirectoryLocked { path: path() },
            StartError::NodeIdDiffers { path: path(), stored: 1, configured: 2 },
            StartError::Damaged { path: path(), what: text() },
            StartError::Storage { path: path(), error: io() },
            StartError::ReadOnly { path: path() },
            StartError::DiskFull { path: path() },
            StartError::NotClean { what: text() },
            StartError::PortBusy { listener: text(), address: text() },
            StartError::PortForbidden { listener: text(), address: text() },
            StartError::AddressUnusable { listener: text(), address: text(), error: io() },
            StartError::TooFewDescriptors { limit: 1, needed: 2 },
            StartError::Internal { what: text() },
        ];
        all.extend(
            [
                SetupError::DisabledBySysctl { value: 2 },
                SetupError::Forbidden,
                SetupError::Missing,
                SetupError::TooOld { lacks: "x" },
                SetupError::Memory { locked_bytes_max: 1 },
                SetupError::Descriptors,
                SetupError::Other(io()),
            ]
            .map(StartError::Ring),
        );
        all
    }

    #[test]
    fn each_error_is_a_sentence() {
        for error in one_of_each() {
            let sentence = error.to_string();
            assert!(sentence.ends_with('.') && !sentence.ends_with("..") && !sentence.contains('\n'), "{sentence}");
        }
    }

    #[test]
    fn codes_tell_errors_apart() {
        // The same remedy, so the same code: a right that is missing, descriptors, a newer kernel.
        let shared = HashMap::from([(77, 2), (84, 2), (92, 2)]);
        let mut seen: HashMap<u8, usize> = HashMap::new();
        for error in one_of_each() {
            assert!(error.exit_code() > 2, "{error}");
            *seen.entry(error.exit_code()).or_default() += 1;
        }
        for (code, count) in seen {
            assert_eq!(count, shared.get(&code).copied().unwrap_or(1), "{code}");
        }
    }

    #[test]
    fn a_storage_error_says_what_to_do() {
        let of = |kind: io::ErrorKind| StartError::storage("/data", io::Error::from(kind)).exit_code();
        assert_eq!(of(io::ErrorKind::PermissionDenied), 77);
        assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), 85);
        assert_eq!(of(io::ErrorKind::StorageFull), 86);
        assert_eq!(of(io::ErrorKind::QuotaExceeded), 86);
        assert_eq!(of(io::ErrorKind::TimedOut), 74);
    }
}
