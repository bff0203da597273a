//! Corelane's load generator: it drives any broker that speaks Kafka's protocol and says what it saw.
//!
//! One thread with the broker's own runtime, so that it costs the machine little beside what it measures. It shares its
//! codec with the broker: figures come from here, proof of what is on the wire from real clients.

mod client;
mod produce;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Drives a broker that speaks Kafka's protocol, and prints rates and latencies.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Connections that each keep one produce request in flight
    Produce(produce::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().workload {
        Workload::Produce(options) => produce::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}
