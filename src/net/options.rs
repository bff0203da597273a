//! The bounds of a shard's connections.

use std::time::Duration;

use crate::limits;

/// Each bound is a key of the configuration; those over all shards lie in [`Gate`](super::Gate).
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// A request that claims less closes its connection.
    pub request_bytes_min: usize,
    /// A request that claims more closes its connection (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Requests of one connection that run at the same time (`max.requests.in.flight.per.connection`).
    pub requests_in_flight_max: usize,
    /// Bytes of requests of one connection that run at the same time. One request is always let in.
    pub request_bytes_in_flight_max: usize,
    /// This shard's share of `queued.max.request.bytes`: requests being received or answered. At least the largest
    /// request.
    pub queued_request_bytes_max: usize,
    /// This shard's share of `queued.max.response.bytes`: answers in memory that are not sent yet.
    pub queued_response_bytes_max: usize,
    /// `connections.max.idle.ms`; none keeps idle connections.
    pub idle_max: Option<Duration>,
    /// A connection that others wait for, because it holds memory for a request that does not arrive or an answer that
    /// it does not take, is closed when it has not moved for so long.
    pub stalled_max: Duration,
}

impl Default for NetOptions {
    fn default() -> Self {
        NetOptions {
            request_bytes_min: limits::REQUEST_BYTES_MIN,
            request_bytes_max: 100 * 1024 * 1024,
            requests_in_flight_max: 64,
            request_bytes_in_flight_max: 32 * 1024 * 1024,
            queued_request_bytes_max: 256 * 1024 * 1024,
            queued_response_bytes_max: 256 * 1024 * 1024,
            idle_max: Some(Duration::from_secs(600)),
            stalled_max: Duration::from_secs(30),
        }
    }
}
