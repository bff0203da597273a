//! From a checked start to running shards, and back.

use super::{Start, StartError};

/// Running shards.
pub struct Broker;

/// Recovers the data directory and starts all shards. When it returns, clients are served.
pub fn start(_start: &Start) -> Result<Broker, StartError> {
    Ok(Broker)
}

impl Broker {
    /// What there is to say once clients are served, such as the count of partitions; may be empty.
    pub fn summary(&self) -> String {
        String::new()
    }

    /// Stops cleanly: no new requests, answers out, logs and checkpoints written.
    #[allow(clippy::unnecessary_wraps)]
    pub fn stop(self) -> Result<(), StartError> {
        Ok(())
    }
}
