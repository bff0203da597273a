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

mod disk_model;
mod file_model;
mod simulated;

pub use disk_model::{DiskModel, Event};
pub use simulated::SimulatedDisk;
