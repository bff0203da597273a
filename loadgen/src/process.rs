//! What Linux knows of a process: processor time, memory, bytes to the device (`/proc`).

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

/// Clock ticks a second in `/proc/PID/stat`; fixed by Linux's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counters of a process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub cpu_seconds: f64,
    pub rss_bytes: u64,
    /// The largest it ever was.
    pub rss_peak_bytes: u64,
    /// Bytes to storage, as far as the kernel counts them for the process (`write_bytes` less what was cancelled).
    pub written_bytes: u64,
    pub read_bytes: u64,
}

/// What a process did between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub seconds: f64,
    pub cpu_seconds: f64,
    /// Of how many cores it may run on.
    pub cores_allowed: usize,
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
    pub written_bytes: u64,
    pub read_bytes: u64,
}

impl Sample {
    /// The counters of a process; none if it is gone or hidden.
    pub fn of(pid: u32) -> Option<Sample> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; what follows it is numbers.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Some(Sample {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            rss_bytes: number_after(&status, "VmRSS:") * 1024,
            rss_peak_bytes: number_after(&status, "VmHWM:") * 1024,
            written_bytes: number_after(&io, "write_bytes:")
                .saturating_sub(number_after(&io, "cancelled_write_bytes:")),
            read_bytes: number_after(&io, "\nread_bytes:"),
        })
    }

    pub fn until(&self, later: &Sample, seconds: f64, pid: u32) -> Usage {
        Usage {
            seconds,
            cpu_seconds: later.cpu_seconds - self.cpu_seconds,
            cores_allowed: cores_allowed(pid).unwrap_or(1),
            rss_bytes: later.rss_bytes,
            rss_peak_bytes: later.rss_peak_bytes,
            written_bytes: later.written_bytes.saturating_sub(self.written_bytes),
            read_bytes: later.read_bytes.saturating_sub(self.read_bytes),
        }
    }
}

impl Usage {
    /// The share of the cores it may run on that it used.
    pub fn busy(&self) -> f64 {
        if self.seconds > 0.0 { self.cpu_seconds / self.seconds / self.cores_allowed as f64 } else { 0.0 }
    }
}

fn number_after(text: &str, key: &str) -> u64 {
    let rest = text.split_once(key).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// On how many cores a process may run.
fn cores_allowed(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status.split_once("Cpus_allowed_list:")?.1.lines().next()?;
    parse_cores(list).ok().map(|cores| cores.len())
}

/// Reads a list of cores such as `0,2-5`.
pub fn parse_cores(list: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("{list:?} is no list of cores such as 0,2-5");
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
        if last < first || last > 4096 {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

/// Processor time of a thread of ours, in seconds.
pub fn thread_cpu_seconds(thread_id: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread_id}/schedstat")).unwrap_or_default();
    stat.split_whitespace().next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Whether a process is there and no corpse.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned));
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// Who listens on a port of this machine, as far as we may look.
pub fn listener_on(port: u16) -> Option<u32> {
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(&"0A"), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
                continue;
            };
            let here = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            if here == Some(port) {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    pids.into_iter().find(|pid| {
        let descriptors =
            fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| {
            let target = target.to_string_lossy();
            inodes.iter().any(|inode| *inode == target)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        let before = Sample::of(pid).unwrap();
        assert!(before.rss_bytes > 1 << 20 && before.rss_peak_bytes >= before.rss_bytes);
        let mut sum = 0_u64;
        while Sample::of(pid).unwrap().cpu_seconds < before.cpu_seconds + 0.02 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let usage = before.until(&Sample::of(pid).unwrap(), 1.0, pid);
        assert!(usage.cpu_seconds > 0.01 && usage.cores_allowed >= 1);
        assert!(is_alive(pid) && !is_alive(u32::MAX));
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener_on(socket.local_addr().unwrap().port()), Some(std::process::id()));
    }

    #[test]
    fn lists_of_cores() {
        assert_eq!(parse_cores("0,2-4").unwrap(), [0, 2, 3, 4]);
        assert!(parse_cores("4-2").is_err() && parse_cores("a").is_err() && parse_cores("").is_err());
    }
}
