//! Tests of the runtime as a whole. Each runs with everything the kernel has, with each feature masked alone, and with
//! all of them masked.

use std::future::Future;

use super::*;
pub(super) use super::{spawn, yield_now};

mod budget;
mod executor;
mod files;
mod meshes;
mod sockets;

/// Small enough that several runtimes fit 64 KiB of locked memory.
pub(super) fn options() -> RuntimeOptions {
    RuntimeOptions { shards: 8, ..RuntimeOptions::default() }
}

pub(super) fn run<F: Future>(future: F) -> F::Output {
    Runtime::new(&options()).unwrap().block_on(future)
}

/// Everything, nothing, and everything but one.
pub(super) fn masks() -> Vec<FeatureSet> {
    let mut masks = vec![FeatureSet::NONE, FeatureSet::all()];
    masks.extend(Feature::ALL.map(|feature| FeatureSet::NONE.with(feature)));
    masks
}

pub(super) fn masked(disable: FeatureSet) -> Runtime {
    // Few and small receive buffers, so that they run out.
    let options = RuntimeOptions { disable, recv_buffers: 16, recv_buffer_bytes: 2048, ..options() };
    let runtime = Runtime::new(&options).unwrap();
    for feature in disable.iter() {
        assert!(!runtime.features().has(feature), "{feature:?} is masked and in use");
    }
    runtime
}

/// Runs a test once for each mask.
pub(super) fn run_masked<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for mask in masks() {
        println!("masked: {mask}");
        masked(mask).block_on(test());
    }
}
