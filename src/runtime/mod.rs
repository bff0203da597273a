//! The only door to the kernel: rings, executor, timers, sockets, files, cross-shard queues. The only `unsafe`.

pub mod fs;
