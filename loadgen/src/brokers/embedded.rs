//! Our own broker, out of this very binary: what `cargo run --release -p loadgen` measures without anything installed.

use std::{
    io::{Read, Write},
    path::PathBuf,
};

use clap::Args;
use corelane::{
    config::{BrokerConfig, Settings, Sources},
    server::{self, Embedded},
};

use crate::error::Error;

#[derive(Args, Clone, Debug)]
pub struct EmbeddedOptions {
    /// Where its data is kept; removed at the end
    #[arg(long)]
    pub dir: PathBuf,
    /// The port clients connect to; a free one without
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Serves until the standard input ends.
pub fn serve(options: &EmbeddedOptions) -> Result<(), Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Wrong(error.to_string());
    let data = options.dir.join("data");
    // What is asked for goes before what is chosen here.
    let mut sets = options.set.clone();
    for (key, value) in
        [("log.dirs", data.display().to_string()), ("listeners", format!("PLAINTEXT://127.0.0.1:{}", options.port))]
    {
        if !sets.iter().any(|set| set.split('=').next() == Some(key)) {
            sets.push(format!("{key}={value}"));
        }
    }
    let sources = Sources { sets, ..Sources::default() };
    let (settings, notes) = Settings::load(&sources).map_err(|error| wrong(&error))?;
    for note in notes {
        eprintln!("{note}");
    }
    let config = BrokerConfig::new(settings, &server::machine()).map_err(|error| wrong(&error))?;
    let broker = Embedded::start(config).map_err(|error| wrong(&error))?;
    let address = broker.endpoints().first().map(|endpoint| endpoint.address.to_string()).unwrap_or_default();
    println!("ready {address} {} Corelane {}", std::process::id(), env!("CARGO_PKG_VERSION"));
    std::io::stdout().flush().ok();
    let mut ignored = [0; 64];
    while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
    let stopped = broker.stop().map_err(|error| wrong(&error));
    std::fs::remove_dir_all(&options.dir).ok();
    stopped
}
