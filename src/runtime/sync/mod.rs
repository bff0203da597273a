//! Waiting for one another: within a shard (`Event`, `oneshot`, `Semaphore`), and from any thread (`channel`).

pub mod channel;
mod event;
pub mod oneshot;
mod semaphore;

pub use event::{Event, Listener};
pub use semaphore::{Acquire, Permit, Semaphore};
