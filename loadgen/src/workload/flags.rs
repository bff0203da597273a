//! The flags of a workload. What a flag does not say comes from the named workload or the file.

use std::path::PathBuf;

use clap::Args;

use super::{Keys, NAMED, Workload, named, parse_bytes, units, yaml};
use crate::error::Error;

#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// A named workload, or a YAML file with the OpenMessaging Benchmark's keys; other flags change it
    #[arg(long, short, value_name = "NAME|FILE", help_heading = "Workload")]
    pub workload: Option<String>,
    /// Use this topic (created if missing, and kept) instead of new ones
    #[arg(long, help_heading = "Workload")]
    pub topic: Option<String>,
    /// Leave the topics that a run makes
    #[arg(long, help_heading = "Workload")]
    pub keep_topics: bool,
    #[arg(long, help_heading = "Workload")]
    pub topics: Option<u32>,
    /// Partitions of each topic
    #[arg(long, help_heading = "Workload")]
    pub partitions: Option<u32>,
    /// Bytes of a record's value: 1024, 10, or a range such as 100..2K
    #[arg(long, value_name = "BYTES", help_heading = "Workload")]
    pub record_size: Option<String>,
    /// none, uniform:COUNT or zipf:COUNT[:EXPONENT]
    #[arg(long, value_name = "DISTRIBUTION", help_heading = "Workload")]
    pub keys: Option<String>,
    /// Bytes of a batch before compression
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Workload")]
    pub batch_size: Option<u64>,
    /// How long a batch waits for more records, in milliseconds
    #[arg(long, allow_negative_numbers = true, value_name = "MS", help_heading = "Workload")]
    pub linger: Option<f64>,
    #[arg(long, value_name = "CODEC", value_parser = clap::builder::PossibleValuesParser::new(units::codecs()), help_heading = "Workload")]
    pub compression: Option<String>,
    /// The share of each value that is the same in all: 0 for random bytes
    #[arg(long, allow_negative_numbers = true, value_name = "0..1", help_heading = "Workload")]
    pub compressibility: Option<f64>,
    /// Cut values from this file
    #[arg(long, value_name = "FILE", help_heading = "Workload")]
    pub payload_file: Option<PathBuf>,
    #[arg(long, help_heading = "Workload")]
    pub seed: Option<u64>,
    /// 0, 1 or all
    #[arg(long, value_parser = acks, help_heading = "Workload", allow_hyphen_values = true)]
    pub acks: Option<i16>,
    /// Send as an idempotent producer does
    #[arg(long, help_heading = "Workload")]
    pub idempotence: bool,
    /// Producers of each topic
    #[arg(long, help_heading = "Workload")]
    pub producers: Option<u32>,
    /// Produce requests in flight on each connection
    #[arg(long, help_heading = "Workload")]
    pub in_flight: Option<usize>,
    /// Bytes of a produce request, in which several partitions share
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Workload")]
    pub request_size: Option<u64>,
    /// Records a second of all producers together, by a fixed schedule; `max` for as many as the broker takes
    #[arg(long, allow_negative_numbers = true, value_parser = rate, help_heading = "Workload")]
    pub rate: Option<f64>,
    /// Groups of consumers that each read everything
    #[arg(long, help_heading = "Workload")]
    pub subscriptions: Option<u32>,
    /// Consumers of each topic and subscription
    #[arg(long, help_heading = "Workload")]
    pub consumers: Option<u32>,
    /// Write so much first, then measure how fast it is read
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Workload")]
    pub backlog: Option<u64>,
    /// Write so much first, then have each group of consumers read the last so much over and over; producers pause, or go
    /// on at --rate
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Workload")]
    pub reread: Option<u64>,
    /// Empty the page cache before the backlog is read (needs root)
    #[arg(long, help_heading = "Workload")]
    pub drop_page_cache: bool,
    /// Seconds that are not measured
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", help_heading = "Workload")]
    pub warm_up: Option<f64>,
    /// Seconds that are measured
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", help_heading = "Workload")]
    pub duration: Option<f64>,
    /// Check every record: none lost, duplicated, reordered or altered (exit code 2 if one is)
    #[arg(long, help_heading = "Workload")]
    pub verify: bool,
}

impl Flags {
    /// The workload that is asked for, on top of `base` where no other is named.
    pub fn workload(&self, base: Workload) -> Result<Workload, Error> {
        let mut workload = match &self.workload {
            None => base,
            Some(name) => find(name)?,
        };
        self.apply(&mut workload)?;
        workload.check()?;
        Ok(workload)
    }

    /// Changes what flags say.
    pub fn apply(&self, workload: &mut Workload) -> Result<(), Error> {
        let w = workload;
        set(&mut w.topics, self.topics);
        set(&mut w.partitions, self.partitions);
        set(&mut w.batch_bytes, self.batch_size.map(|bytes| bytes as usize));
        set(&mut w.linger_ms, self.linger);
        set(&mut w.compression, self.compression.clone());
        set(&mut w.compressibility, self.compressibility);
        set(&mut w.seed, self.seed);
        set(&mut w.acks, self.acks);
        set(&mut w.producers, self.producers);
        set(&mut w.in_flight, self.in_flight);
        set(&mut w.request_bytes, self.request_size.map(|bytes| bytes as usize));
        set(&mut w.rate, self.rate);
        set(&mut w.subscriptions, self.subscriptions);
        set(&mut w.consumers, self.consumers);
        set(&mut w.backlog_bytes, self.backlog);
        set(&mut w.reread_bytes, self.reread);
        set(&mut w.warm_up_seconds, self.warm_up);
        set(&mut w.seconds, self.duration);
        w.keep_topics |= self.keep_topics;
        w.idempotence |= self.idempotence;
        w.drop_page_cache |= self.drop_page_cache;
        w.verify |= self.verify;
        if self.topic.is_some() {
            w.topic.clone_from(&self.topic);
        }
        if self.payload_file.is_some() {
            w.payload_file.clone_from(&self.payload_file);
        }
        if let Some(text) = &self.record_size {
            (w.record_bytes_min, w.record_bytes_max) = record_size(text).map_err(Error::Wrong)?;
        }
        if let Some(text) = &self.keys {
            w.keys = keys(text).map_err(Error::Wrong)?;
        }
        Ok(())
    }
}

/// A workload by its name, or from a file.
pub fn find(name: &str) -> Result<Workload, Error> {
    if let Some(workload) = named(name) {
        return Ok(workload);
    }
    let path = std::path::Path::new(name);
    if path.exists() {
        return yaml::read(path);
    }
    let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
    Err(Error::Wrong(format!("there is no workload {name}, and no such file; the named ones are {}", names.join(", "))))
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn acks(text: &str) -> Result<i16, String> {
    match text {
        "all" | "-1" => Ok(-1),
        "0" => Ok(0),
        "1" => Ok(1),
        _ => Err("expected 0, 1 or all".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    if text == "max" {
        return Ok(0.0);
    }
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => (text.strip_suffix(['m', 'M']).unwrap_or(text), if text.ends_with(['m', 'M']) { 1e6 } else { 1.0 }),
    };
    match digits.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate * factor),
        _ => Err("expected records a second, such as 50000 or 50k, or max".to_owned()),
    }
}

fn record_size(text: &str) -> Result<(usize, usize), String> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let bytes = |part: &str| parse_bytes(part).map_err(|what| format!("--record-size: {what}, or a range of them"));
    Ok((bytes(min)? as usize, bytes(max)? as usize))
}

fn keys(text: &str) -> Result<Keys, String> {
    let wrong = || format!("--keys is none, uniform:COUNT or zipf:COUNT[:EXPONENT], not {text:?}");
    let parts: Vec<&str> = text.split(':').collect();
    let count = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    match parts.as_slice() {
        ["none"] => Ok(Keys::None),
        ["uniform"] => Ok(Keys::Uniform { count: 10_000 }),
        ["uniform", keys] => Ok(Keys::Uniform { count: count(keys)? }),
        ["zipf"] => Ok(Keys::Zipf { count: 10_000, exponent: 1.0 }),
        ["zipf", keys] => Ok(Keys::Zipf { count: count(keys)?, exponent: 1.0 }),
        ["zipf", keys, exponent] => {
            Ok(Keys::Zipf { count: count(keys)?, exponent: exponent.parse().map_err(|_| wrong())? })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_what_the_named_workload_says() {
        let flags = Flags {
            workload: Some("throughput-16".to_owned()),
            record_size: Some("100..2K".to_owned()),
            keys: Some("zipf:7:1.5".to_owned()),
            acks: Some(1),
            ..Flags::default()
        };
        let workload = flags.workload(Workload::default()).unwrap();
        assert_eq!((workload.partitions, workload.acks), (16, 1));
        assert_eq!((workload.record_bytes_min, workload.record_bytes_max), (100, 2048));
        assert_eq!(workload.keys, Keys::Zipf { count: 7, exponent: 1.5 });
        assert_eq!((rate("50k"), rate("max"), rate("0").is_err()), (Ok(50_000.0), Ok(0.0), true));
        for wrong in ["zipf:1.5", "uniform:-1", "zipf:1:x", "zipf:1:1:1", "gauss"] {
            let said = keys(wrong).expect_err(wrong);
            assert!(said.contains("--keys") && said.contains(wrong), "{said}");
        }
        assert!(find("nothing-such").unwrap_err().to_string().contains("throughput-16"));
    }
}
