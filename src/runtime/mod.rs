//! The shard runtime: the only door to the kernel, and the only `unsafe`.
//!
//! Each shard is a pinned thread with a ring of its own and a small executor. A turn of its loop polls what is ready,
//! then submits, reaps and sleeps in one `io_uring_enter`. A shard thread blocks on nothing but its ring: rare blocking
//! calls go through `offload`, and `fs` is for ordinary threads.
//!
//! Inside a runtime: `spawn`, `sleep`, `timeout`, `now`, the operations of `file` and `net`, `sync` between its tasks,
//! `mesh` between shards. From outside: `Handle`, `sync::channel`.

#![allow(unsafe_code)]

mod aligned;
pub mod clock;
mod driver;
mod executor;
pub mod file;
pub mod fs;
mod lock;
mod mapping;
pub mod mesh;
pub mod net;
pub mod observe;
mod offload;
mod op;
mod ops;
mod options;
mod recv_buffers;
mod remote;
pub mod reuse;
mod ring;
mod send_share;
pub mod signals;
pub mod sync;
pub mod threads;
mod timer;

#[cfg(test)]
mod tests;

pub use executor::{
    Runtime, RuntimeStats, Starter, Task, end_of_turn, features, handle, now, prepare, spawn, stats, wall_ms, yield_now,
};
pub use offload::offload;
pub use options::{Feature, FeatureSet, RuntimeOptions, SetupError};
pub use remote::Handle;
pub use timer::{Sleep, TimedOut, sleep, sleep_until, timeout};
