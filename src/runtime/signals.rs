//! The signals that ask the process to stop.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    sync::{Mutex, PoisonError},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use super::{executor, op::Op, ops::poll::Poll};

static MASKED: Mutex<bool> = Mutex::new(false);

fn stop_signals() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    set
}

/// Keeps SIGTERM and SIGINT for `wait_for_stop`. Call it before any thread is started: threads inherit the mask, and
/// one without it would still die of the signal.
pub fn hold_stop_signals() -> io::Result<()> {
    let mut masked = MASKED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*masked {
        stop_signals().thread_block()?;
        *masked = true;
    }
    Ok(())
}

struct Watch(SignalFd);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Waits for SIGTERM or SIGINT and gives its name.
pub async fn wait_for_stop() -> io::Result<&'static str> {
    hold_stop_signals()?;
    let watch = Rc::new(Watch(SignalFd::with_flags(&stop_signals(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?));
    loop {
        Op::start(&executor::current(), Poll { on: Rc::clone(&watch), events: libc::POLLIN }).await?;
        if let Some(info) = watch.0.read_signal()? {
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            return Ok(signal.map_or("signal", Signal::as_str));
        }
    }
}

/// As `wait_for_stop`, for an ordinary thread.
pub fn wait_for_stop_blocking() -> io::Result<&'static str> {
    hold_stop_signals()?;
    Ok(stop_signals().wait()?.as_str())
}
