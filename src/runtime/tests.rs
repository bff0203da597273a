//! Tests of the runtime as a whole. Each runs with everything the kernel has, and with every feature masked.

use std::future::Future;

use super::*;
pub(super) use super::{spawn, yield_now};

pub(super) fn run<F: Future>(future: F) -> F::Output {
    Runtime::new(&RuntimeOptions::default()).unwrap().block_on(future)
}
