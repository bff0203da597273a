//! What is refused before anything runs: each refusal is one sentence with the flag, the key of a file (where it has one),
//! the value, and what was expected.

use corelane::record::Codec;

use super::{IDENTITY_BYTES, Keys, Workload};
use crate::error::Error;

/// As many as nobody wants; above it, sums of these numbers would not fit.
const COUNT_MAX: u32 = 100_000;
const SECONDS_MAX: f64 = 31.0 * 86_400.0;
const RATE_MAX: f64 = 1e9;
const RECORD_BYTES_MAX: usize = 512 << 20;
const BATCH_BYTES_MAX: usize = 1 << 30;

impl Workload {
    /// Refuses what could not be run or would not mean what it says.
    pub fn check(&self) -> Result<(), Error> {
        self.numbers()
            .and_then(|()| self.belongs_together())
            .and_then(|()| self.verifiable())
            .map_err(|what| Error::Wrong(format!("workload {}: {what}", self.name)))
    }

    fn numbers(&self) -> Result<(), String> {
        count("--topics (topics)", self.topics, 1)?;
        count("--partitions (partitionsPerTopic)", self.partitions, 1)?;
        count("--producers (producersPerTopic)", self.producers, 0)?;
        count("--consumers (consumerPerSubscription)", self.consumers, 0)?;
        count("--subscriptions (subscriptionsPerTopic)", self.subscriptions, 0)?;
        let producers = u64::from(self.topics) * u64::from(self.producers);
        within("--topics times --producers", producers as f64, 0.0, f64::from(u16::MAX))?;
        let consumers = u64::from(self.topics) * u64::from(self.consumers) * u64::from(self.subscriptions);
        within("--topics times --subscriptions times --consumers", consumers as f64, 0.0, f64::from(COUNT_MAX))?;
        within("--in-flight (maxInFlight)", self.in_flight as f64, 1.0, 10_000.0)?;
        within("--record-size (messageSize)", self.record_bytes_max as f64, 0.0, RECORD_BYTES_MAX as f64)?;
        within("--batch-size (batchSize)", self.batch_bytes as f64, 1.0, BATCH_BYTES_MAX as f64)?;
        within("--request-size", self.request_bytes as f64, 1.0, BATCH_BYTES_MAX as f64)?;
        within("--compressibility (1 - randomBytesRatio)", self.compressibility, 0.0, 1.0)?;
        within("--rate (producerRate), records a second, 0 for as many as it takes,", self.rate, 0.0, RATE_MAX)?;
        within("--linger (lingerMs), milliseconds,", self.linger_ms, 0.0, 60_000.0)?;
        within("--warm-up (warmupDurationMinutes), seconds,", self.warm_up_seconds, 0.0, SECONDS_MAX)?;
        within("--duration (testDurationMinutes), seconds,", self.seconds, 0.001, SECONDS_MAX)?;
        match self.keys {
            Keys::Uniform { count } | Keys::Zipf { count, .. } if count == 0 || count > 10_000_000 => {
                Err(format!("--keys (keys) is a count of 1 to 10,000,000 keys, not {count}"))
            }
            Keys::Zipf { exponent, .. } if !(0.0..=100.0).contains(&exponent) => {
                Err(format!("--keys zipf:COUNT:EXPONENT (zipfExponent) has an exponent of 0 to 100, not {exponent}"))
            }
            _ => Ok(()),
        }
    }

    fn belongs_together(&self) -> Result<(), String> {
        if Codec::from_name(&self.compression).is_none() {
            let codec = &self.compression;
            return Err(format!("--compression (compressionType) is none, gzip, snappy, lz4 or zstd, not {codec:?}"));
        }
        if !(-1..=1).contains(&self.acks) {
            return Err(format!("--acks (acks) is 0, 1 or all, not {}", self.acks));
        }
        if self.producers == 0 && (self.consumers == 0 || self.subscriptions == 0) {
            return Err(
                "--producers 0 without consumers neither sends nor reads: one of them has to be more".to_owned()
            );
        }
        if self.backlog_bytes > 0 && (self.producers == 0 || self.consumers == 0 || self.subscriptions == 0) {
            return Err(format!(
                "--backlog {} (consumerBacklogSizeGB) is written by producers and read by consumers: it needs both",
                self.backlog_bytes
            ));
        }
        if self.reread_bytes > 0 && (self.producers == 0 || self.consumers == 0 || self.subscriptions == 0) {
            return Err(format!(
                "--reread {} (rereadBytes) is written by producers and read by consumers: it needs both",
                self.reread_bytes
            ));
        }
        if self.reread_bytes > 0 && self.backlog_bytes > 0 {
            return Err(format!(
                "--reread {} and --backlog {} are two ways to read: only one of them is possible",
                self.reread_bytes, self.backlog_bytes
            ));
        }
        if let Some(topic) = self.topic.as_ref().filter(|_| self.topics > 1) {
            return Err(format!("--topic {topic} is one topic, which cannot be --topics {}", self.topics));
        }
        if self.record_bytes_min > self.record_bytes_max {
            return Err(format!(
                "--record-size {}..{} (messageSize, messageSizeMax) begins above its end: the smaller comes first",
                self.record_bytes_min, self.record_bytes_max
            ));
        }
        if self.idempotence && (self.acks != -1 || self.in_flight > 5) {
            let acks = if self.acks == -1 { "all".to_owned() } else { self.acks.to_string() };
            return Err(format!(
                "--idempotence (enableIdempotence) with acks={acks} and --in-flight {} is not possible: it needs acks=all and \
                 at most 5 requests in flight, as in Kafka's clients",
                self.in_flight
            ));
        }
        Ok(())
    }

    fn verifiable(&self) -> Result<(), String> {
        if !self.verify {
            return Ok(());
        }
        let refuse = |what: String| Err(format!("--verify (verify) is not possible {what}"));
        if self.record_bytes_min < IDENTITY_BYTES {
            return refuse(format!(
                "with --record-size {}: records need at least {IDENTITY_BYTES} bytes, to know each from the others",
                self.record_bytes_min
            ));
        }
        if self.acks == 0 {
            return refuse("with --acks 0: nobody says what was stored; 1 or all is needed".to_owned());
        }
        if self.reread_bytes > 0 {
            return refuse("with --reread: each record is to be read once".to_owned());
        }
        if self.backlog_bytes > 0 {
            return refuse("with --backlog: records are checked that are read while they are written".to_owned());
        }
        if self.keys != Keys::None {
            return refuse("with --keys: it is for records without keys (--keys none)".to_owned());
        }
        if self.consumers == 0 || self.producers == 0 || self.subscriptions == 0 {
            return refuse("without producers and consumers: what is sent has to be read".to_owned());
        }
        Ok(())
    }
}

fn count(key: &str, value: u32, min: u32) -> Result<(), String> {
    within(key, f64::from(value), f64::from(min), f64::from(COUNT_MAX))
}

/// Also refuses what is no number.
fn within(key: &str, value: f64, min: f64, max: f64) -> Result<(), String> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(format!("{key} lies between {min} and {max}, not {value}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The change, and what the sentence has to name.
    type Case = (fn(&mut Workload), &'static [&'static str]);

    #[test]
    fn what_makes_no_sense_is_refused_with_key_value_and_what_was_expected() {
        let cases: &[Case] = &[
            (|w| w.acks = 2, &["--acks", "not 2", "0, 1 or all"]),
            (|w| w.compression = "brotli".to_owned(), &["--compression", "\"brotli\"", "zstd"]),
            (|w| (w.verify, w.record_bytes_min) = (true, 4), &["--verify", "--record-size 4", "at least 8 bytes"]),
            (|w| (w.idempotence, w.acks) = (true, 1), &["--idempotence", "acks=1", "needs acks=all"]),
            (|w| w.rate = -5.0, &["--rate", "producerRate", "not -5"]),
            (|w| w.rate = f64::NAN, &["--rate", "not NaN"]),
            (|w| w.seconds = f64::INFINITY, &["--duration", "testDurationMinutes", "not inf"]),
            (|w| (w.reread_bytes, w.backlog_bytes) = (5, 6), &["--reread 5", "--backlog 6", "only one"]),
            (|w| (w.reread_bytes, w.verify) = (5, true), &["--verify", "--reread", "read once"]),
            (|w| (w.reread_bytes, w.consumers) = (5, 0), &["--reread 5", "needs both"]),
            (|w| w.partitions = 0, &["--partitions", "partitionsPerTopic", "not 0"]),
            (|w| (w.topics, w.producers) = (100_000, 100_000), &["--topics times --producers", "not 10000000000"]),
            (|w| w.keys = Keys::Zipf { count: 1, exponent: f64::NAN }, &["zipfExponent", "not NaN"]),
            (|w| (w.record_bytes_min, w.record_bytes_max) = (9, 3), &["--record-size 9..3", "the smaller comes first"]),
        ];
        for (change, expected) in cases {
            let mut workload = Workload::default();
            change(&mut workload);
            let said = workload.check().expect_err("it makes no sense").to_string();
            assert!(expected.iter().all(|word| said.contains(word)) && !said.contains('\n'), "{said}: {expected:?}");
        }
        assert!(Workload::default().check().is_ok());
    }
}
