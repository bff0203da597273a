//! Connections: who may connect, how frames come in, in which order requests start, and how answers leave.
//!
//! Each shard has one [`Net`]. It accepts on any number of listeners and runs one task for each connection, which reads
//! frames, hands them to the [`Service`], and sends the answers in the order of the requests. What a request means is
//! the service's business; this module knows the four bytes of a frame's size and no more of Kafka.

mod answers;
mod connection;
mod frame;
mod gate;
mod log_limit;
mod options;
mod server;
mod service;

#[cfg(test)]
mod tests;

pub use gate::Gate;
pub use options::NetOptions;
pub use server::Net;
pub use service::{Answer, Call, ConnectionInfo, Service};

pub use crate::runtime::net::{FileRange, SendPart};
