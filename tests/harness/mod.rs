//! What the integration tests stand on: the real binary in a directory of its own (`broker`), librdkafka in a few
//! calls (`client`), a file system that can be filled and broken (`small_disk`), and a plain socket for what librdkafka cannot say (`wire`, `batch`).
//!
//! Environment:
//! - `CORELANE_TEST_IO=direct|buffered`: `log.io` of every broker started.
//! - `CORELANE_TEST_PROFILE=NAME`: the profile of `tuning/` of every broker started; its `log.io` yields to the one above.
//! - `CORELANE_TEST_SETTINGS="k=v;k=v"`: further settings of every broker started.
//! - `CORELANE_TEST_BROKER=kafka`: a real Apache Kafka in place of Corelane, to test the tests (needs Java, Maven).
//! - `CORELANE_TEST_MOUNTS=1`: fail, instead of skipping, what cannot mount a file system of its own.
//! - `CORELANE_TEST_BIN=PATH`: the broker, in place of this build's.
//! - `CORELANE_TEST_SEED=N`: the seed of random test data, which a failure prints.

pub mod batch;
pub mod broker;
pub mod client;
pub mod small_disk;
pub mod wire;

pub use broker::Broker;
pub use small_disk::SmallDisk;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Random test data that can be had again: the seed is printed, and shown by the test runner when the test fails.
pub fn seeded() -> StdRng {
    let seed =
        std::env::var("CORELANE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("CORELANE_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
