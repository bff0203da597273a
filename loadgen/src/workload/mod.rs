//! A workload as a value: what is sent and read, how fast and for how long. It comes from flags, from a YAML file with
//! the keys of the OpenMessaging Benchmark, or is one of those with a name, and stands in every report.

mod check;
mod flags;
mod named;
mod units;
mod yaml;

use std::path::PathBuf;

use corelane::record::Codec;
use serde::{Deserialize, Serialize};

pub use flags::{Flags, find};
pub use named::{NAMED, named};
pub use units::parse_bytes;

/// Bytes that tell a record from every other when all are checked: its producer and its number.
pub const IDENTITY_BYTES: usize = 8;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    pub name: String,
    pub topics: u32,
    /// Of each topic.
    pub partitions: u32,
    /// A topic that is there already, or one to create under this name; otherwise each run makes topics of its own
    /// and deletes them.
    pub topic: Option<String>,
    /// Whether the topics of the run stay.
    pub keep_topics: bool,
    /// Bytes of a record's value: a size is drawn between both for each.
    pub record_bytes_min: usize,
    pub record_bytes_max: usize,
    pub keys: Keys,
    /// Bytes of a batch before compression.
    pub batch_bytes: usize,
    /// How long a batch waits for more records.
    pub linger_ms: f64,
    /// none, gzip, snappy, lz4 or zstd.
    pub compression: String,
    /// The share of each value that is the same in all of them: 0 for random bytes, 1 for nothing new.
    pub compressibility: f64,
    /// Values are cut from this file instead.
    pub payload_file: Option<PathBuf>,
    pub seed: u64,
    /// 0, 1 or -1 (all).
    pub acks: i16,
    pub idempotence: bool,
    /// For each topic. Each has a connection to every broker that leads partitions of its topic.
    pub producers: u32,
    /// Produce requests of one connection that are not answered yet.
    pub in_flight: usize,
    /// One request carries a batch for each of several partitions, up to so many bytes.
    pub request_bytes: usize,
    /// Records a second of all producers together, sent by a fixed schedule; 0 for as many as the broker takes.
    pub rate: f64,
    /// Groups of consumers; each reads everything.
    pub subscriptions: u32,
    /// For each topic and subscription; they share its partitions.
    pub consumers: u32,
    pub fetch_min_bytes: i32,
    pub fetch_wait_ms: i32,
    pub fetch_bytes: i32,
    pub partition_fetch_bytes: i32,
    /// Bytes of values that lie there before consumers start to read.
    pub backlog_bytes: u64,
    /// So many bytes of values are written first; then each group of consumers reads the last so many over and over, while
    /// producers pause, or send by a schedule.
    pub reread_bytes: u64,
    /// Whether the kernel's page cache is emptied before the backlog is read (needs root).
    pub drop_page_cache: bool,
    pub warm_up_seconds: f64,
    pub seconds: f64,
    /// How long records that are still under way at the end are waited for.
    pub drain_seconds: f64,
    /// Whether every record is checked.
    pub verify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// No keys: a producer fills a batch for one partition, then one for the next.
    None,
    /// So many keys, each as likely as the others.
    Uniform { count: u32 },
    /// Key number k is drawn in proportion to 1/k^exponent.
    Zipf { count: u32, exponent: f64 },
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            name: "custom".to_owned(),
            topics: 1,
            partitions: 1,
            topic: None,
            keep_topics: false,
            record_bytes_min: 1024,
            record_bytes_max: 1024,
            keys: Keys::None,
            batch_bytes: 64 << 10,
            linger_ms: 1.0,
            compression: "none".to_owned(),
            compressibility: 0.5,
            payload_file: None,
            seed: 1,
            acks: -1,
            idempotence: false,
            producers: 1,
            in_flight: 5,
            request_bytes: 1 << 20,
            rate: 0.0,
            subscriptions: 1,
            consumers: 1,
            fetch_min_bytes: 1,
            fetch_wait_ms: 500,
            fetch_bytes: 50 << 20,
            partition_fetch_bytes: 1 << 20,
            backlog_bytes: 0,
            reread_bytes: 0,
            drop_page_cache: false,
            warm_up_seconds: 2.0,
            seconds: 10.0,
            drain_seconds: 10.0,
            verify: false,
        }
    }
}

impl Workload {
    pub fn codec(&self) -> Codec {
        Codec::from_name(&self.compression).unwrap_or(Codec::None)
    }

    /// Whether producers send by a schedule instead of as fast as answers come.
    pub fn is_open_loop(&self) -> bool {
        self.rate > 0.0
    }

    pub fn record_bytes_mean(&self) -> f64 {
        (self.record_bytes_min + self.record_bytes_max) as f64 / 2.0
    }

    pub fn producers_total(&self) -> u32 {
        self.topics * self.producers
    }

    /// Whether both ask the same of a broker. What it is called, for how long it goes on and where it is stored is not
    /// part of that.
    pub fn is_same_work(&self, other: &Workload) -> bool {
        let bare = |workload: &Workload| Workload {
            name: String::new(),
            topic: None,
            keep_topics: false,
            seed: 0,
            warm_up_seconds: 0.0,
            seconds: 0.0,
            drain_seconds: 0.0,
            verify: false,
            ..workload.clone()
        };
        bare(self) == bare(other)
    }

    /// One line for tables and headings.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.producers > 0 {
            let size = if self.record_bytes_min == self.record_bytes_max {
                units::bytes(self.record_bytes_max as u64)
            } else {
                format!(
                    "{} to {}",
                    units::bytes(self.record_bytes_min as u64),
                    units::bytes(self.record_bytes_max as u64)
                )
            };
            parts.push(format!("records of {size}"));
            parts.push(if self.reread_bytes > 0 && !self.is_open_loop() {
                format!("{} of them written before", units::bytes(self.reread_bytes))
            } else if self.is_open_loop() {
                format!("{:.0} a second by schedule", self.rate)
            } else {
                "as many as it takes".to_owned()
            });
            parts.push(format!("batches up to {}", units::bytes(self.batch_bytes as u64)));
            if self.codec() != Codec::None {
                parts.push(self.compression.clone());
            }
            parts.push(format!("acks={}", if self.acks == -1 { "all".to_owned() } else { self.acks.to_string() }));
        }
        let plural = |count: u32, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        if self.topics > 1 {
            parts.push(plural(self.topics, "topic"));
        }
        parts.push(plural(self.partitions, "partition"));
        parts.push(plural(self.producers_total(), "producer"));
        parts.push(plural(self.topics * self.subscriptions * self.consumers, "consumer"));
        if self.reread_bytes > 0 {
            parts.push(format!("the last {} read over and over", units::bytes(self.reread_bytes)));
        }
        if self.backlog_bytes > 0 {
            parts.push(format!("backlog of {}", units::bytes(self.backlog_bytes)));
        }
        parts.join(", ")
    }
}
