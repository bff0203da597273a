//! Threads, cores and the limits of the process.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};

pub use std::thread::JoinHandle;

/// The cores this process may run on, in ascending order.
pub fn affinity() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// Pins the calling thread to one core.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Starts a named thread (the kernel shows 15 bytes of it), pinned if a core is given. A core that cannot be had is
/// logged and done without.
pub fn spawn<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(core) = core
            && let Err(error) = pin_to_core(core)
        {
            tracing::warn!("the thread cannot be pinned to core {core}: {error}");
        }
        run()
    })
}

/// Applies `run` to every item on up to `threads` threads, and answers in the items' order. A panic of one is the caller's.
pub fn map_parallel<T: Sync, R: Send>(items: &[T], threads: usize, run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            match items.get(at) {
                Some(item) => results.push((at, run(item))),
                None => return results,
            }
        }
    };
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Raises the limit of open files to the hard one, and gives it.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The limit of locked memory in bytes.
pub fn locked_memory_limit() -> u64 {
    getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft)
}

/// Whether the limit of locked memory does not apply to this process (CAP_IPC_LOCK).
pub fn may_lock_without_limit() -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let Ok(status) = super::fs::read_bounded("/proc/self/status", 64 * 1024) else { return false };
    let status = String::from_utf8_lossy(&status);
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|caps| caps & CAP_IPC_LOCK != 0)
}

/// Sleeps the calling thread; never on a shard.
pub fn block_for(duration: std::time::Duration) {
    thread::sleep(duration);
}

/// The number the kernel knows the calling thread by.
pub fn thread_id() -> i32 {
    nix::unistd::gettid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_results_come_in_order() {
        let items: Vec<u32> = (0..1000).collect();
        for threads in [0, 1, 3] {
            let doubled = map_parallel(&items, threads, |item| item * 2);
            assert!(doubled.iter().zip(&items).all(|(double, item)| *double == item * 2) && doubled.len() == 1000);
        }
        assert!(map_parallel(&[0; 0], 4, |item: &u8| *item).is_empty());
    }

    #[test]
    fn a_thread_runs_on_the_core_it_is_pinned_to() {
        let cores = affinity().unwrap();
        let last = *cores.last().unwrap();
        let seen = spawn("pinned", Some(last), || affinity().unwrap()).unwrap().join().unwrap();
        assert_eq!(seen, [last]);
    }
}
