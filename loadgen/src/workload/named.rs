//! The workloads with a name: the questions that people ask of a broker first.

use super::{Keys, Workload};

/// Names, and what each asks.
pub const NAMED: &[(&str, &str)] = &[
    ("throughput", "1 KiB records, one partition, as many as the broker takes"),
    ("throughput-16", "the same over 16 partitions"),
    ("small", "10-byte records, as many as the broker takes"),
    ("zstd", "100-byte records in zstd batches, as many as the broker takes"),
    ("latency", "1 KiB records, 1,000 a second by schedule, each on its own: the time of one durable write"),
    ("latency-16", "1 KiB records, 20,000 a second by schedule over 16 partitions"),
    ("fan-out", "1 KiB records read by four subscriptions"),
    ("keyed", "1 KiB records with keys by Zipf's law over 16 partitions"),
    ("many-partitions", "1 KiB records over 1,000 partitions, 2,000 a second by schedule"),
    ("catch-up", "5 GB written first, page cache dropped, then read from the beginning"),
];

/// The workload of a name.
pub fn named(name: &str) -> Option<Workload> {
    // What it takes to find out how much a broker takes: several connections, and batches as large as busy producers'.
    let busy = Workload { producers: 4, batch_bytes: 256 << 10, ..Workload::default() };
    let busy = Workload { name: name.to_owned(), ..busy };
    let base = Workload { name: name.to_owned(), ..Workload::default() };
    Some(match name {
        "throughput" => busy,
        "throughput-16" => Workload { partitions: 16, ..busy },
        "small" => small(busy, 10),
        "zstd" => Workload { compression: "zstd".to_owned(), compressibility: 0.7, ..small(busy, 100) },
        "latency" => Workload { rate: 1_000.0, linger_ms: 0.0, ..base },
        "latency-16" => Workload { rate: 20_000.0, partitions: 16, producers: 4, ..base },
        "fan-out" => Workload { subscriptions: 4, partitions: 4, ..busy },
        "keyed" => Workload { keys: Keys::Zipf { count: 10_000, exponent: 1.0 }, partitions: 16, ..busy },
        "many-partitions" => Workload { rate: 2_000.0, partitions: 1_000, producers: 10, linger_ms: 0.0, ..base },
        "catch-up" => {
            Workload { partitions: 4, backlog_bytes: 5_000_000_000, drop_page_cache: true, seconds: 120.0, ..busy }
        }
        _ => return None,
    })
}

fn small(base: Workload, bytes: usize) -> Workload {
    Workload { record_bytes_min: bytes, record_bytes_max: bytes, ..base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_workload_that_can_run() {
        for (name, _) in NAMED {
            let workload = named(name).unwrap_or_else(|| panic!("{name} is listed and not there"));
            assert_eq!(workload.name, *name);
            workload.check().unwrap();
        }
        assert_eq!(named("no-such"), None);
    }
}
