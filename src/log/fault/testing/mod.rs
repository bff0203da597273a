//! A data directory that can lose power at any moment.
//!
//! The real code runs on real files, watched: [`SimulatedDisk`] notes every change that it makes and when each became
//! durable, as [`Event`]s. Of that one run [`DiskModel`] makes any number of power cuts: it takes the events up to a
//! moment, keeps what had been flushed by then, and of the rest what a device may have kept: of each 4 KiB block any version
//! it had since its last flush, of the names in each directory and of the size changes of each file any prefix since their
//! last sync. What comes of it is a directory again, on which the next start runs.
//!
//! All happens on one thread: helpers' calls and completions of the ring are put off by so many turns of the loop as
//! the seed says, and the clock is made up. So a seed gives the same run every time.

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;

mod disk_model;
mod file_model;
mod simulated;

pub use disk_model::{DiskModel, Event};
pub use simulated::SimulatedDisk;

/// Does `before` and then `body`, both blocking, in an empty directory, and cuts the power at every event of `body` and,
/// more often, right behind it. `look` is shown each directory that this leaves, is told whether `body` was over, and
/// gets the seed of the cut to name it.
pub fn power_cuts(before: impl FnOnce(&Path), body: impl FnOnce(&Path), mut look: impl FnMut(&Path, bool, u64)) {
    let (events, begun) = watched(before, body);
    let mut model = DiskModel::default();
    for (at, event) in events.iter().enumerate() {
        for seed in 0..if at < begun { 0 } else { 3 } {
            show(&model, seed, |left| look(left, false, seed));
        }
        model.apply(event);
    }
    for seed in 0..30 {
        show(&model, seed, |left| look(left, true, seed));
    }
}

/// As [`power_cuts`], but right behind `body` alone.
pub fn power_cuts_behind(before: impl FnOnce(&Path), body: impl FnOnce(&Path), mut look: impl FnMut(&Path, u64)) {
    let mut model = DiskModel::default();
    watched(before, body).0.iter().for_each(|event| model.apply(event));
    for seed in 0..20 {
        show(&model, seed, |left| look(left, seed));
    }
}

fn watched(before: impl FnOnce(&Path), body: impl FnOnce(&Path)) -> (Vec<Event>, usize) {
    let root = scratch();
    let disk = SimulatedDisk::new(root.path(), DiskModel::default(), 1);
    let session = disk.watch();
    before(root.path());
    let begun = disk.event_count();
    body(root.path());
    drop(session);
    (disk.take_events(), begun)
}

fn show(model: &DiskModel, seed: u64, look: impl FnOnce(&Path)) {
    let mut random = StdRng::seed_from_u64(seed);
    let left = scratch();
    model.power_cut(&mut random).write_to(left.path(), &mut random);
    look(left.path());
}

/// In memory where that is possible: a sync costs nothing there.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}
