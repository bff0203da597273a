//! The workloads with a name: the questions that people ask of a broker first.

use super::{Keys, Workload};

/// Names, and what each asks.
pub const NAMED: &[(&str, &str)] = &[
    ("throughput", "1 KiB records, one partition, as many as the broker takes"),
    ("throughput-16", "the same over 16 partitions"),
    ("large-batches", "1 KiB records in batches of 1 MiB, nobody reads"),
    ("single", "one 1 KiB record a request, 64 connections with one in flight each, nobody reads"),
    ("single-16", "the same over 16 partitions"),
    ("alone", "one 1 KiB record a request, one connection with one in flight, nobody reads"),
    ("small", "10-byte records, as many as the broker takes"),
    ("zstd", "100-byte records in zstd batches, as many as the broker takes"),
    ("latency", "1 KiB records, 1,000 a second by schedule, each on its own: the time of one durable write"),
    ("latency-16", "1 KiB records, 20,000 a second by schedule over 16 partitions"),
    ("tail", "1 KiB records: the last 16 MiB read over and over from memory by one group, producers pause"),
    ("tail-10", "the same by 10 groups"),
    ("tail-100", "the same by 100 groups"),
    ("fan-out", "1 KiB records read by four subscriptions"),
    ("keyed", "1 KiB records with keys by Zipf's law over 16 partitions"),
    ("many-partitions", "1 KiB records over 1,000 partitions, 2,000 a second by schedule"),
    ("spread-16", "4 KiB batches, 100 connections with 64 KiB in flight each, over 16 partitions, nobody reads"),
    ("spread-1000", "the same over 1,000 partitions in 10 topics"),
    ("spread-10000", "the same over 10,000 partitions in 100 topics"),
    ("spread-50000", "the same over 50,000 partitions in 100 topics"),
    ("catch-up", "5 GB written first, page cache dropped, then read from the beginning"),
];

const SPREAD_CONNECTIONS: u32 = 100;

/// The workload of a name.
pub fn named(name: &str) -> Option<Workload> {
    // What it takes to find out how much a broker takes: several connections, and batches as large as busy producers'.
    let busy = Workload { producers: 4, batch_bytes: 256 << 10, ..Workload::default() };
    let busy = Workload { name: name.to_owned(), ..busy };
    let base = Workload { name: name.to_owned(), ..Workload::default() };
    let single = Workload {
        batch_bytes: 1,
        request_bytes: 1,
        in_flight: 1,
        producers: 64,
        linger_ms: 0.0,
        consumers: 0,
        ..base.clone()
    };
    let tail = Workload { reread_bytes: 16 << 20, ..busy.clone() };
    // Whatever the partitions, so many connections and bytes in flight.
    let spread = |topics: u32, partitions: u32| Workload {
        topics,
        partitions,
        producers: SPREAD_CONNECTIONS / topics,
        batch_bytes: 4 << 10,
        request_bytes: 64 << 10,
        in_flight: 1,
        consumers: 0,
        ..base.clone()
    };
    Some(match name {
        "throughput" => busy,
        "throughput-16" => Workload { partitions: 16, ..busy },
        "large-batches" => Workload { batch_bytes: 1 << 20, consumers: 0, ..busy },
        "single" => single,
        "single-16" => Workload { partitions: 16, ..single },
        "alone" => Workload { producers: 1, ..single },
        "tail" => tail,
        "tail-10" => Workload { subscriptions: 10, ..tail },
        "tail-100" => Workload { subscriptions: 100, ..tail },
        "spread-16" => spread(1, 16),
        "spread-1000" => spread(10, 100),
        "spread-10000" => spread(100, 100),
        "spread-50000" => spread(100, 500),
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
    fn what_is_spread_over_more_partitions_is_the_same_work() {
        let few = named("spread-16").unwrap();
        for name in ["spread-1000", "spread-10000", "spread-50000"] {
            let many = named(name).unwrap();
            assert_eq!(many.producers_total(), few.producers_total(), "{name}");
            let shape =
                Workload { name: name.to_owned(), topics: many.topics, partitions: many.partitions, ..few.clone() };
            assert_eq!(Workload { producers: many.producers, ..shape }, many);
        }
    }

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
