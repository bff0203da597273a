//! Corelane's load generator: it drives any broker that speaks Kafka's protocol and says what it saw, beside the limits of
//! the machine.
//!
//! `workload` says what to do, `generator` does it on threads with the broker's own runtime, `session` runs one workload
//! against one broker, `quick`, `compare` and `calibrate` are what a user asks for, `report` is what is left behind, `sink` is
//! what a broker is compared with when the question is how much there is to gain. It
//! shares its codec with the broker: figures come from here, proof of what is on the wire from real clients.

mod brokers;
mod calibrate;
mod cli;
mod client;
mod cluster;
mod compare;
mod error;
mod generator;
mod interrupt;
mod process;
mod produce;
mod progress;
mod quick;
mod report;
mod session;
mod sink;
mod workload;

use std::process::ExitCode;

/// The embedded broker runs in this binary, and shall do so as in its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
