//! Bare counterparts of a broker: what the same requests cost when next to nothing is done for them. A broker's figures are
//! divided by those of a sink in the same run.
//!
//! ```text
//! write   receive, CRC-32C, one copy into aligned buffers, O_DIRECT into recycled files, fdatasync, answer
//! echo    receive, one write of 4 KiB and one fdatasync for all that came meanwhile, answer
//! send    answer each fetch from batches prepared in memory, as fast as the socket takes them
//! ```
//!
//! One thread on the broker's own runtime. It shares the ring, the wire format and the batch format with the broker, and
//! nothing else: no log, no offsets on disk, no waiting fetches, no recovery, no second client's rights. What it stores is
//! never read. A write that fails ends it, so that no figure comes from a sink that stores nothing.

mod answers;
mod connection;
mod input;
mod prepared;
mod produce;
mod store;
mod topics;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
};

use clap::{Args, ValueEnum};
use corelane::runtime::{
    self, Runtime, RuntimeOptions,
    net::{BindOptions, TcpListener},
    sync::Semaphore,
    threads,
};

use crate::{cli, error::Error, interrupt, workload::parse_bytes};
use prepared::Prepared;
use store::Store;
use topics::Topics;

/// What is received and not written yet, in all. Whoever sends more waits.
const HELD_BYTES_MAX: usize = 256 << 20;
/// The unit in which it is counted.
const HELD_UNIT: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Store what is produced
    Write,
    /// Store 4 KiB of it for all that came together
    Echo,
    /// Serve fetches from memory (producers beside them as --produce says)
    Send,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// Answer when it is on the device
    Fdatasync,
    /// Answer when it is written (write), or at once (echo)
    None,
}

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[arg(long, value_enum, default_value_t = Mode::Write)]
    mode: Mode,
    #[arg(long, value_enum, default_value_t = Flush::Fdatasync)]
    flush: Flush,
    /// What `--mode send` does with what is produced: write or echo
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    produce: Mode,
    /// Where its files are for as long as it runs [default: where brokers would keep their data]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The port clients connect to; a free one without
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Bytes of the value of each record that is served
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "1024")]
    record_bytes: u64,
    /// Bytes of each batch that is served
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "64K")]
    batch_bytes: u64,
    /// Bytes that the served batches have in all; by default as many as the workloads `tail*` read over and over
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "16M")]
    set_bytes: u64,
    /// Bytes of the recycled files of one topic together
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "1G")]
    files_bytes: u64,
    /// Connections at a time; more are closed
    #[arg(long, default_value_t = 4096)]
    connections: usize,
    /// Receive buffers of all connections together
    #[arg(long, default_value_t = 256, hide = true)]
    recv_buffers: u16,
    /// Bytes of each of them
    #[arg(long, default_value_t = 64 << 10, hide = true)]
    recv_buffer_bytes: u32,
    /// End when the standard input does
    #[arg(long, hide = true)]
    with_input: bool,
}

/// What all connections share.
struct Sink {
    address: SocketAddr,
    topics: Topics,
    store: Store,
    prepared: Option<Prepared>,
    held: Semaphore,
}

/// Serves until SIGTERM or Ctrl-C, or until the input ends.
pub fn serve(options: &Options) -> Result<(), Error> {
    // Who started us made it for us; what a user names may hold other things.
    let (directory, _own) = match &options.dir {
        Some(dir) if options.with_input => (dir.clone(), None),
        dir => {
            let own = cli::scratch(dir.as_deref())?;
            (own.path().to_path_buf(), Some(own))
        }
    };
    std::fs::create_dir_all(&directory).map_err(|error| Error::file(&directory, &error))?;
    interrupt::remember(&directory);
    threads::raise_open_files_limit().map_err(|error| Error::Io("raising the limit of open files", error))?;
    if options.with_input {
        let directory = directory.clone();
        threads::spawn("sink-input", None, move || {
            let mut ignored = [0; 64];
            while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
            std::fs::remove_dir_all(&directory).ok();
            std::process::exit(0)
        })
        .map_err(|error| Error::Io("starting a thread", error))?;
    }
    let runtime = RuntimeOptions {
        completion_entries: 32 * 1024,
        recv_buffers: options.recv_buffers,
        recv_buffer_bytes: options.recv_buffer_bytes,
        aligned_retained_bytes_max: HELD_BYTES_MAX,
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::new(&runtime).map_err(|error| Error::Wrong(error.to_string()))?;
    runtime.block_on(accept(options, &directory))
}

async fn accept(options: &Options, directory: &Path) -> Result<(), Error> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], options.port)), &BindOptions::default())
        .map_err(|error| Error::Io("listening", error))?;
    let produce = if options.mode == Mode::Send { options.produce } else { options.mode };
    let store = match produce {
        Mode::Write => Store::files(directory, options.flush, options.files_bytes),
        Mode::Echo => Store::echo(directory, options.flush).await?,
        Mode::Send => return Err(Error::Wrong("--produce is write or echo".to_owned())),
    };
    let prepared = match options.mode {
        Mode::Send => Some(Prepared::new(
            options.record_bytes as usize,
            options.batch_bytes as usize,
            options.set_bytes as usize,
        )?),
        Mode::Write | Mode::Echo => None,
    };
    let held = Semaphore::new(HELD_BYTES_MAX / HELD_UNIT);
    let sink = Rc::new(Sink { address: listener.local_addr(), topics: Topics::default(), store, prepared, held });
    println!(
        "ready {} {} bare sink, {:?}, flush {:?}",
        listener.local_addr(),
        std::process::id(),
        options.mode,
        options.flush
    );
    std::io::stdout().flush().ok();
    let open = Semaphore::new(options.connections);
    loop {
        let stream = listener.accept().await.map_err(|error| Error::Io("accepting", error))?;
        let Some(place) = open.try_acquire(1) else { continue };
        let sink = Rc::clone(&sink);
        runtime::spawn(async move {
            if let Err(error) = connection::serve(&sink, Rc::new(stream)).await {
                eprintln!("sink: a connection ends: {error}");
            }
            drop(place);
        });
    }
}

/// A sink that cannot store is none.
fn fail(what: &str, error: &std::io::Error) -> ! {
    eprintln!("sink: {what}: {error}");
    std::process::exit(1)
}
