//! Checksum and memory copy, one thread.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use super::Limits;

/// Larger than a core's caches, as a stream of batches is.
const COPY_BYTES: usize = 64 << 20;
const CHECKSUM_BYTES: usize = 1 << 20;

pub fn measure(limits: &mut Limits, each: Duration) {
    let data = vec![0x5a_u8; CHECKSUM_BYTES];
    let rate = rate(each, CHECKSUM_BYTES, || {
        black_box(crc32c::crc32c(black_box(&data)));
    });
    limits.add("crc32c", "CRC-32C", rate, "MB/s", "1 MiB in cache, one core");
    let (from, mut to) = (vec![1_u8; COPY_BYTES], vec![0_u8; COPY_BYTES]);
    let rate = self::rate(each, COPY_BYTES, || black_box(&mut to).copy_from_slice(black_box(&from)));
    limits.add("memory-copy", "memory copy", rate, "MB/s", "64 MiB, one core");
}

fn rate(each: Duration, bytes: usize, mut once: impl FnMut()) -> f64 {
    once();
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < each || rounds == 0 {
        once();
        rounds += 1;
    }
    f64::from(rounds) * bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()
}
