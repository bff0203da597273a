//! Ctrl-C and SIGTERM: whatever a run started is stopped, and whatever it wrote beside its report is gone.
//!
//! A broker of ours stops when its standard input ends, which our own end brings about anyway. What has to be waited for is
//! its data directory, which it removes itself; then the directory around it goes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ChildStdin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use corelane::runtime::{signals, threads};

/// As shells report a death by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// Brokers get so long to stop; a second signal ends the waiting.
const PATIENCE: Duration = Duration::from_secs(30);

/// The ends that brokers hang on, by process id.
static BROKERS: Mutex<Option<HashMap<u32, ChildStdin>>> = Mutex::new(None);
/// What is removed at the end.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn lock<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens for the signals from now on. Call it before any other thread is started.
pub fn watch() {
    if signals::hold_stop_signals().is_err() {
        return;
    }
    // Without this thread a signal would be held for ever; the process then needs a SIGKILL, and the brokers end with it.
    let _ = threads::spawn("loadgen-signals", None, || {
        if signals::wait_for_stop_blocking().is_ok() {
            let _ = threads::spawn("loadgen-stop", None, || {
                clean();
                std::process::exit(EXIT_INTERRUPTED)
            });
            let _ = signals::wait_for_stop_blocking();
            std::process::exit(EXIT_INTERRUPTED);
        }
    });
}

fn clean() {
    eprintln!("loadgen: interrupted; stopping what was started");
    INTERRUPTED.store(true, Ordering::SeqCst);
    lock(&BROKERS).take();
    let deadline = Instant::now() + PATIENCE;
    let scratch = lock(&SCRATCH).clone();
    while scratch.iter().any(|path| holds_a_broker(path)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    for path in scratch {
        std::fs::remove_dir_all(path).ok();
    }
}

fn holds_a_broker(scratch: &Path) -> bool {
    let entries = std::fs::read_dir(scratch).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(BROKER_PREFIX))
}

/// What the data directories of brokers begin with.
pub const BROKER_PREFIX: &str = "loadgen-broker-";

/// Does not return after a signal: what failed then failed because of it, and is nothing to complain about.
pub fn end_here_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        // The thread that cleans up ends the process.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Keeps a broker running until `let_go`; not at all after a signal.
pub fn hold(pid: u32, stdin: ChildStdin) {
    let mut brokers = lock(&BROKERS);
    if INTERRUPTED.load(Ordering::SeqCst) {
        return;
    }
    brokers.get_or_insert_default().insert(pid, stdin);
}

/// Ends a broker's standard input.
pub fn let_go(pid: u32) {
    if let Some(brokers) = lock(&BROKERS).as_mut() {
        brokers.remove(&pid);
    }
}

/// Remembers a directory that a signal shall not leave behind.
pub fn remember(scratch: &Path) {
    lock(&SCRATCH).push(scratch.to_path_buf());
}
