//! Workload files: YAML with the keys of the OpenMessaging Benchmark's workloads and of the producer and consumer
//! settings of its Kafka driver that mean something here, and keys of our own for what it has no key for.
//!
//! Differences that matter: `producerRate: 0` is the maximum here too, found by a closed loop and not by a search for
//! a rate; batching (`batchSize`, `lingerMs`) belongs to the workload and not to a driver file.

use std::path::Path;

use serde::Deserialize;

use super::{Keys, Workload};
use crate::error::Error;

/// Larger than any workload file.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WorkloadFile {
    name: Option<String>,
    topics: Option<u32>,
    partitions_per_topic: Option<u32>,
    key_distributor: Option<String>,
    message_size: Option<usize>,
    use_randomized_payloads: Option<bool>,
    random_bytes_ratio: Option<f64>,
    /// A pool of payloads is made from the seed here, whatever its size there.
    #[allow(dead_code)]
    randomized_payload_pool_size: Option<u64>,
    payload_file: Option<std::path::PathBuf>,
    subscriptions_per_topic: Option<u32>,
    producers_per_topic: Option<u32>,
    consumer_per_subscription: Option<u32>,
    producer_rate: Option<f64>,
    #[serde(rename = "consumerBacklogSizeGB")]
    consumer_backlog_size_gb: Option<f64>,
    /// There it says when producers pause; here they do not produce beside a backlog unless a rate is set.
    #[allow(dead_code)]
    backlog_drain_ratio: Option<f64>,
    test_duration_minutes: Option<f64>,
    warmup_duration_minutes: Option<f64>,
    // Ours from here on.
    message_size_max: Option<usize>,
    keys: Option<u32>,
    zipf_exponent: Option<f64>,
    batch_size: Option<usize>,
    linger_ms: Option<f64>,
    compression_type: Option<String>,
    acks: Option<Acks>,
    enable_idempotence: Option<bool>,
    max_in_flight: Option<usize>,
    request_size: Option<usize>,
    reread_bytes: Option<u64>,
    test_duration_seconds: Option<f64>,
    warmup_duration_seconds: Option<f64>,
    drop_page_cache: Option<bool>,
    verify: Option<bool>,
    seed: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Acks {
    Number(i16),
    Word(String),
}

/// Reads a workload file.
pub fn read(path: &Path) -> Result<Workload, Error> {
    let size = std::fs::metadata(path).map_err(|error| Error::file(path, &error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::Wrong(format!("{} is too large for a workload file", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, &error))?;
    let name = path.file_stem().map_or_else(|| "workload".to_owned(), |stem| stem.to_string_lossy().into_owned());
    parse(&text, &name).map_err(|what| Error::Wrong(format!("{}: {what}", path.display())))
}

fn parse(text: &str, name: &str) -> Result<Workload, String> {
    let file: WorkloadFile = serde_saphyr::from_str(text).map_err(|error| explain(text, &error.to_string()))?;
    let mut workload = Workload { name: file.name.clone().unwrap_or_else(|| name.to_owned()), ..Workload::default() };
    set(&mut workload.topics, file.topics);
    set(&mut workload.partitions, file.partitions_per_topic);
    if let Some(bytes) = file.message_size {
        workload.record_bytes_min = bytes;
        workload.record_bytes_max = bytes;
    }
    set(&mut workload.record_bytes_max, file.message_size_max);
    workload.keys = keys(&file)?;
    if file.use_randomized_payloads == Some(true) {
        let random = file.random_bytes_ratio.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&random) {
            return Err(format!("randomBytesRatio lies between 0 and 1, not {random}"));
        }
        workload.compressibility = 1.0 - random;
    }
    workload.payload_file = file.payload_file;
    set(&mut workload.subscriptions, file.subscriptions_per_topic);
    set(&mut workload.producers, file.producers_per_topic);
    set(&mut workload.consumers, file.consumer_per_subscription);
    set(&mut workload.rate, file.producer_rate);
    set(&mut workload.request_bytes, file.request_size);
    set(&mut workload.reread_bytes, file.reread_bytes);
    if let Some(gigabytes) = file.consumer_backlog_size_gb {
        if !(0.0..=1e6).contains(&gigabytes) {
            return Err(format!("consumerBacklogSizeGB lies between 0 and 1000000, not {gigabytes}"));
        }
        workload.backlog_bytes = (gigabytes * 1e9) as u64;
    }
    for (minutes, seconds, name) in [
        (file.test_duration_minutes, file.test_duration_seconds, "testDuration"),
        (file.warmup_duration_minutes, file.warmup_duration_seconds, "warmupDuration"),
    ] {
        if let (Some(minutes), Some(seconds)) = (minutes, seconds) {
            return Err(format!("{name}Minutes: {minutes} and {name}Seconds: {seconds} are both there: one is enough"));
        }
    }
    set(&mut workload.seconds, file.test_duration_minutes.map(|minutes| minutes * 60.0).or(file.test_duration_seconds));
    let warm_up = file.warmup_duration_minutes.map(|minutes| minutes * 60.0).or(file.warmup_duration_seconds);
    set(&mut workload.warm_up_seconds, warm_up);
    set(&mut workload.batch_bytes, file.batch_size);
    set(&mut workload.linger_ms, file.linger_ms);
    set(&mut workload.compression, file.compression_type);
    set(&mut workload.idempotence, file.enable_idempotence);
    set(&mut workload.in_flight, file.max_in_flight);
    set(&mut workload.drop_page_cache, file.drop_page_cache);
    set(&mut workload.verify, file.verify);
    set(&mut workload.seed, file.seed);
    if let Some(acks) = file.acks {
        workload.acks = match acks {
            Acks::Number(number) => number,
            Acks::Word(word) if word == "all" => -1,
            Acks::Word(word) => word.parse().map_err(|_| format!("acks is 0, 1 or all, not {word:?}"))?,
        };
    }
    Ok(workload)
}

/// One sentence with the line of the file in it, out of what the YAML reader says in several.
fn explain(text: &str, said: &str) -> String {
    let said = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let Some((place, what)) = said.split_once(": ").filter(|(place, _)| place.starts_with("line ")) else {
        return said.to_owned();
    };
    let number = place.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
    let line = text.lines().nth(number.saturating_sub(1)).unwrap_or_default().trim();
    let what = match what {
        "invalid u16" | "invalid u32" | "invalid u64" | "invalid i16" => "a whole number was expected",
        what if what.starts_with("invalid float") => "a number was expected",
        what if what.starts_with("invalid bool") => "true or false was expected",
        other => other,
    };
    format!("line {number}, {line:?}: {what}")
}

fn keys(file: &WorkloadFile) -> Result<Keys, String> {
    let count = file.keys.unwrap_or(10_000);
    match file.key_distributor.as_deref() {
        // Their round-robin keys spread records evenly over partitions without meaning anything: ours have none then.
        None | Some("NO_KEY" | "KEY_ROUND_ROBIN") => Ok(Keys::None),
        Some("RANDOM_NANO" | "UNIFORM") => Ok(Keys::Uniform { count }),
        Some("ZIPF") => Ok(Keys::Zipf { count, exponent: file.zipf_exponent.unwrap_or(1.0) }),
        Some(other) => {
            Err(format!("keyDistributor is NO_KEY, KEY_ROUND_ROBIN, RANDOM_NANO, UNIFORM or ZIPF, not {other:?}"))
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `workloads/1-topic-16-partitions-1kb.yaml` of the OpenMessaging Benchmark, with its comments gone.
    const OF_OPEN_MESSAGING: &str = "name: 1 producer / 1 consumers on 1 topic\n\ntopics: 1\npartitionsPerTopic: 16\n\
        keyDistributor: \"NO_KEY\"\nmessageSize: 1024\npayloadFile: \"payload/payload-1Kb.data\"\n\
        subscriptionsPerTopic: 1\nconsumerPerSubscription: 1\nproducersPerTopic: 1\n\
        producerRate: 50000\nconsumerBacklogSizeGB: 0\ntestDurationMinutes: 15\n";

    #[test]
    fn a_file_of_the_open_messaging_benchmark_reads_unchanged() {
        let workload = parse(OF_OPEN_MESSAGING, "x").unwrap();
        assert_eq!(workload.name, "1 producer / 1 consumers on 1 topic");
        assert_eq!((workload.topics, workload.partitions, workload.record_bytes_max), (1, 16, 1024));
        assert_eq!((workload.rate, workload.seconds, workload.backlog_bytes), (50_000.0, 900.0, 0));
    }

    #[test]
    fn a_key_that_nobody_knows_is_an_error_and_not_ignored() {
        let error = parse("topics: 1\npartitonsPerTopic: 16\n", "x").unwrap_err();
        assert!(error.contains("partitonsPerTopic: 16") && error.contains("expected one of"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_one_sentence_with_key_value_and_what_was_expected() {
        for (text, expected) in [
            ("topics: 1\npartitionsPerTopic: many\n", "line 2, \"partitionsPerTopic: many\": a whole number"),
            ("messageSize: -1\n", "line 1, \"messageSize: -1\": a whole number"),
            ("producerRate: fast\n", "line 1, \"producerRate: fast\": a number"),
            ("verify: perhaps\n", "line 1, \"verify: perhaps\": true or false"),
            ("acks: banana\n", "acks is 0, 1 or all, not \"banana\""),
            ("testDurationMinutes: 1\ntestDurationSeconds: 5\n", "one is enough"),
        ] {
            let error = parse(text, "x").unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn keys_of_our_own_are_there() {
        let text = "messageSize: 100\nmessageSizeMax: 200\nkeyDistributor: ZIPF\nkeys: 50\nacks: all\nlingerMs: 5\n\
            compressionType: zstd\ntestDurationSeconds: 3\nconsumerBacklogSizeGB: 5\n";
        let workload = parse(text, "mine").unwrap();
        assert_eq!((workload.name.as_str(), workload.record_bytes_min, workload.record_bytes_max), ("mine", 100, 200));
        assert_eq!(workload.keys, Keys::Zipf { count: 50, exponent: 1.0 });
        assert_eq!((workload.acks, workload.linger_ms, workload.seconds), (-1, 5.0, 3.0));
        assert_eq!(workload.backlog_bytes, 5_000_000_000);
    }
}
