//! The generator: threads with the broker's own runtime, producers and consumers on them, and what they measure.

mod consumer;
mod context;
mod join;
pub mod measure;
mod payload;
mod pipe;
mod producer;
mod run;
mod schedule;
mod template;
mod thread;
mod verify;

pub use context::{Consume, Plan, Produce};
pub use payload::Payload;
pub use run::{Live, Outcome, Second, Setup, execute};
pub use template::Templates;
pub use verify::{Findings, Identities};
