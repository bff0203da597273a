//! The profiles of `tuning/`, compiled in.

use super::ConfigError;

/// A file of `tuning/`.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    pub name: &'static str,
    pub file: &'static str,
    pub text: &'static str,
}

/// The profile of a start that names none.
pub const DEFAULT: &str = "balanced";

pub const PROFILES: [Profile; 3] = [
    Profile { name: "balanced", file: "tuning/balanced.toml", text: include_str!("../../tuning/balanced.toml") },
    Profile { name: "throughput", file: "tuning/throughput.toml", text: include_str!("../../tuning/throughput.toml") },
    Profile { name: "latency", file: "tuning/latency.toml", text: include_str!("../../tuning/latency.toml") },
];

pub fn find(name: &str) -> Result<Profile, ConfigError> {
    PROFILES
        .into_iter()
        .find(|profile| profile.name == name)
        .ok_or_else(|| ConfigError::UnknownProfile { name: name.to_owned(), known: "balanced, throughput or latency" })
}
