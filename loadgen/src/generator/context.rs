//! What the tasks of one generator thread share, and what all threads of a run share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    measure::{Clock, Recorder},
    template::{Partials, Templates},
    verify::Identities,
};
use crate::{cluster::Cluster, workload::Workload};

/// What is sent and read, and from when to when.
pub struct Plan {
    pub workload: Workload,
    pub cluster: Cluster,
    pub templates: Templates,
    /// With `--verify`.
    pub identities: Option<Arc<Identities>>,
    pub produce: Option<Produce>,
    pub consume: Option<Consume>,
    pub clock: Clock,
}

#[derive(Clone, Copy, Debug)]
pub struct Produce {
    /// Records a second of all producers; 0 for a closed loop.
    pub rate: f64,
    /// Records of all producers together, after which they end.
    pub records_max: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Consume {
    /// Where to begin, for each partition of each topic in turn.
    pub from: Vec<i64>,
    /// Where a consumer is done; without, it reads until it is told to end.
    pub until: Option<Vec<i64>>,
    /// Of each partition, how many records before its end a consumer goes back to whenever it comes there.
    pub window: Option<Vec<i64>>,
    /// Whether batches are followed from producer to consumer.
    pub follows: bool,
}

/// The times of a run, known when all threads are ready.
#[allow(clippy::struct_field_names)] // the unit belongs in the name
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub start_ns: u64,
    /// The measured time.
    pub measure_from_ns: u64,
    pub measure_to_ns: u64,
    /// Answers are waited for until then.
    pub drain_to_ns: u64,
}

/// How the control thread tells the generator threads to end.
#[derive(Debug)]
pub struct Stop {
    consumers: AtomicBool,
    all: AtomicBool,
    end_ns: AtomicU64,
}

impl Default for Stop {
    fn default() -> Stop {
        Stop { consumers: AtomicBool::new(false), all: AtomicBool::new(false), end_ns: AtomicU64::new(u64::MAX) }
    }
}

impl Stop {
    pub fn consumers(&self) {
        self.consumers.store(true, Ordering::Relaxed);
    }

    pub fn all(&self) {
        self.all.store(true, Ordering::Relaxed);
        self.consumers();
    }

    /// The measured time ends before the clock says so: what was to be read has been. Nothing more is due from then on.
    pub fn end_at(&self, end_ns: u64) {
        self.end_ns.fetch_min(end_ns, Ordering::Relaxed);
    }

    pub fn end_ns(&self) -> u64 {
        self.end_ns.load(Ordering::Relaxed)
    }

    pub fn stops_consumers(&self) -> bool {
        self.consumers.load(Ordering::Relaxed)
    }

    pub fn stops_all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }
}

/// What the tasks of one thread share.
pub struct Context {
    pub plan: Arc<Plan>,
    pub stop: Arc<Stop>,
    times: Cell<Times>,
    pub recorder: Recorder,
    pub partials: RefCell<Partials>,
}

impl Context {
    pub fn new(plan: Arc<Plan>, stop: Arc<Stop>) -> Rc<Context> {
        let follows = plan.consume.as_ref().is_some_and(|consume| consume.follows) && plan.produce.is_some();
        let recorder = Recorder::new(follows);
        Rc::new(Context { plan, stop, times: Cell::default(), recorder, partials: RefCell::default() })
    }

    /// All threads are ready, and the run begins.
    pub fn begin(&self, times: Times) {
        self.times.set(times);
        self.recorder.measure(times.measure_from_ns..times.measure_to_ns);
    }

    pub fn times(&self) -> Times {
        self.times.get()
    }

    /// When the measured time ends, as far as is known by now.
    pub fn measure_to_ns(&self) -> u64 {
        self.times.get().measure_to_ns.min(self.stop.end_ns())
    }

    /// Counts no more than what belongs to the measured time, should it have ended early.
    pub fn close_measured(&self) {
        self.recorder.measure(self.times.get().measure_from_ns..self.measure_to_ns());
    }

    pub fn now_ns(&self) -> u64 {
        self.plan.clock.ns()
    }
}
