use std::process::ExitCode;

/// Shards allocate what they receive and keep the newest of it, so their heaps grow all the time. glibc grows the heap of
/// any thread but the first by one mprotect(2) for each page, which made up most of a busy shard's system calls.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    corelane::cli::main()
}
