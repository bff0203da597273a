//! Blocking calls away from the shards: a few helper threads of the process, for the rare metadata call (open, rename,
//! fallocate, syncfs) that has no place on a ring.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use super::threads;

/// More than a shard ever needs at once; a stuck syncfs must not hold up an open.
const THREADS_MAX: usize = 8;
const IDLE_MAX: Duration = Duration::from_secs(30);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Pool {
    state: Mutex<State>,
    wake: Condvar,
}

static POOL: Pool =
    Pool { state: Mutex::new(State { jobs: VecDeque::new(), threads: 0, idle: 0 }), wake: Condvar::new() };

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn submit(&'static self, job: Job) {
        let mut state = lock(&self.state);
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle {
            self.wake.notify_one();
        } else if state.threads < THREADS_MAX {
            state.threads += 1;
            drop(state);
            if threads::spawn("corelane-help", None, || self.work()).is_err() {
                let mut state = lock(&self.state);
                state.threads -= 1;
                if state.threads == 0 {
                    // No thread to be had at all: better a slow shard than a stuck one.
                    let jobs = std::mem::take(&mut state.jobs);
                    drop(state);
                    for job in jobs {
                        job();
                    }
                }
            }
        }
    }

    fn work(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (woken, time_out) = self.wake.wait_timeout(state, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if time_out.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

enum Outcome<T> {
    Running(Option<Waker>),
    Done(T),
    Panicked(Box<dyn Any + Send>),
    Taken,
}

fn submit(job: Job) {
    #[cfg(test)]
    if let Some(turns) = super::observe::pause() {
        let later = async move {
            for _ in 0..turns {
                super::end_of_turn().await;
            }
            job();
        };
        drop(super::spawn(later));
        return;
    }
    POOL.submit(job);
}

/// Runs a blocking call on a helper thread. It starts at once, and runs to its end even if the future is dropped. A
/// panic of the call goes on in whoever awaits it.
pub fn offload<T, F>(call: F) -> impl Future<Output = T> + use<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let outcome = Arc::new(Mutex::new(Outcome::Running(None)));
    let theirs = Arc::clone(&outcome);
    submit(Box::new(move || {
        let result = match catch_unwind(AssertUnwindSafe(call)) {
            Ok(value) => Outcome::Done(value),
            Err(panic) => Outcome::Panicked(panic),
        };
        let before = std::mem::replace(&mut *lock(&theirs), result);
        if let Outcome::Running(Some(waker)) = before {
            waker.wake();
        }
    }));
    std::future::poll_fn(move |cx| {
        let mut outcome = lock(&outcome);
        match std::mem::replace(&mut *outcome, Outcome::Taken) {
            Outcome::Running(_) => {
                *outcome = Outcome::Running(Some(cx.waker().clone()));
                Poll::Pending
            }
            Outcome::Done(value) => Poll::Ready(value),
            Outcome::Panicked(panic) => {
                drop(outcome);
                resume_unwind(panic)
            }
            Outcome::Taken => panic!("an offloaded call was polled after it was done"),
        }
    })
}
