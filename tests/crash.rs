//! `kill -9` under load: what was acknowledged is there once, at the offset it was acknowledged with.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use rand::Rng;
use rdkafka::message::Message;

use crate::harness::client::{Producer, Report, create_topic, read_all};
use crate::harness::{Broker, seeded};

const PARTITIONS: i32 = 3;

/// Produces until it is told to stop by the broker's end, then gives what was acknowledged.
struct Load {
    producer: Producer,
    topic: &'static str,
    sent: usize,
}

impl Load {
    fn new(broker: &Broker, topic: &'static str, idempotent: bool, first: usize) -> Load {
        let producer = Producer::new(
            broker,
            &[
                ("acks", "all"),
                ("enable.idempotence", if idempotent { "true" } else { "false" }),
                ("compression.type", if idempotent { "lz4" } else { "none" }),
                ("linger.ms", "1"),
                ("queue.buffering.max.messages", "20000"),
                ("message.timeout.ms", "60000"),
            ],
        );
        Load { producer, topic, sent: first }
    }

    /// The value says which record it is, so that one read can be told from another.
    fn value(topic: &str, tag: usize) -> Vec<u8> {
        format!("{topic} {tag} {}", "x".repeat(tag % 900)).into_bytes()
    }

    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let tag = self.sent;
            let partition = (tag as i32) % PARTITIONS;
            self.producer.send_value(tag, self.topic, partition, &Load::value(self.topic, tag));
            self.sent += 1;
        }
    }
}

/// Every acknowledged record is at its offset, and (for an idempotent producer) nothing is there twice.
fn check(broker: &Broker, topic: &str, acknowledged: &[Report], once: bool) {
    let mut tags_seen: HashMap<usize, i64> = HashMap::new();
    let mut by_offset = HashMap::new();
    for partition in 0..PARTITIONS {
        let records = read_all(broker, topic, partition);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.offset(), index as i64, "{topic}-{partition} has no gap");
            let value = record.payload().expect("a value").to_vec();
            let text = std::str::from_utf8(&value).expect("text");
            let tag: usize = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
            assert!(value == Load::value(topic, tag), "{topic}-{partition} at {index}: the bytes are whole");
            let before = tags_seen.insert(tag, record.offset());
            if once {
                assert_eq!(before, None, "{topic}-{partition}: record {tag} is there twice");
            }
            by_offset.insert((partition, record.offset()), tag);
        }
    }
    for report in acknowledged {
        let offset = report.result.expect("acknowledged");
        let found = by_offset.get(&(report.partition, offset));
        assert_eq!(
            found,
            Some(&report.tag),
            "{topic}-{} at {offset}: acknowledged as record {}",
            report.partition,
            report.tag
        );
    }
    let mut offsets: Vec<_> = acknowledged.iter().map(|r| (r.partition, r.result.expect("acknowledged"))).collect();
    let count = offsets.len();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), count, "{topic}: no offset was given to two records");
}

#[test]
fn twenty_crashes_under_load_lose_nothing_that_was_acknowledged() {
    const CYCLES: usize = 20;
    let mut random = seeded();
    let mut broker = Broker::start(&[]);
    // Small segments, so that some crashes fall into a roll.
    let configs = [("segment.bytes", "1048576"), ("index.interval.bytes", "4096")];
    create_topic(&broker, "idempotent", PARTITIONS, &configs);
    create_topic(&broker, "plain", PARTITIONS, &configs);
    let mut loads = [Load::new(&broker, "idempotent", true, 0), Load::new(&broker, "plain", false, 0)];
    let mut acknowledged: [Vec<Report>; 2] = [Vec::new(), Vec::new()];
    for cycle in 0..CYCLES {
        let pause = Duration::from_millis(random.random_range(20..400));
        thread::scope(|scope| {
            for load in &mut loads {
                scope.spawn(move || {
                    for _ in 0..40 {
                        load.send(50);
                        thread::sleep(Duration::from_millis(5));
                    }
                });
            }
            thread::sleep(pause);
            broker.kill();
            broker.launch();
        });
        // The producers go on across the crash: all that they sent is acknowledged in the end.
        for (load, acknowledged) in loads.iter().zip(&mut acknowledged) {
            let reports = load.producer.finish();
            let failed: Vec<_> = reports.iter().filter(|report| report.result.is_err()).take(3).collect();
            assert!(failed.is_empty(), "cycle {cycle}: {} was not resumed: {failed:?}", load.topic);
            acknowledged.extend(reports);
        }
        for ((load, acknowledged), once) in loads.iter().zip(&acknowledged).zip([true, false]) {
            assert_eq!(acknowledged.len(), load.sent);
            // Reading it all after every crash would take longer than the crashes; the last check reads all again.
            if cycle % 5 == 0 || cycle + 1 == CYCLES {
                check(&broker, load.topic, acknowledged, once);
            }
        }
    }
}

/// Kills while nothing retries: what was acknowledged before the crash must be there though no producer sends again.
#[test]
fn what_was_acknowledged_before_a_crash_is_there_without_any_retry() {
    let mut random = seeded();
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "t", PARTITIONS, &[]);
    let mut acknowledged: Vec<Report> = Vec::new();
    let mut sent = 0;
    for cycle in 0..20 {
        // One that gives up at once: a record without an answer counts as failed and is never sent again.
        let settings: &[(&str, &str)] = if cycle % 2 == 0 {
            &[("acks", "all"), ("retries", "0"), ("enable.idempotence", "false"), ("message.timeout.ms", "4000")]
        } else {
            &[("acks", "1"), ("retries", "0"), ("enable.idempotence", "false"), ("message.timeout.ms", "4000")]
        };
        let producer = Producer::new(&broker, settings);
        let pause = Duration::from_millis(random.random_range(30..250));
        let first = sent;
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                for tag in first..first + 2_000 {
                    producer.send_value(tag, "t", (tag as i32) % PARTITIONS, &Load::value("t", tag));
                    if tag % 20 == 0 {
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            });
            thread::sleep(pause);
            broker.kill();
            // Taken while the broker is down: these are the promises that it must keep.
            acknowledged.extend(producer.taken().into_iter().filter(|report| report.result.is_ok()));
            sender.join().expect("the sender");
        });
        sent += 2_000;
        // Purging drops what is still queued, so that nothing is sent after the restart.
        use rdkafka::producer::{Producer as _, PurgeConfig};
        producer.inner().purge(PurgeConfig::default().queue().inflight());
        acknowledged.extend(producer.finish().into_iter().filter(|report| report.result.is_ok()));
        drop(producer);
        broker.launch();
        check(&broker, "t", &acknowledged, false);
    }
    assert!(acknowledged.len() > 1_000, "only {} records were acknowledged in all", acknowledged.len());
}

#[test]
fn an_idempotent_producer_resumes_across_a_clean_restart() {
    let mut broker = Broker::start(&[]);
    create_topic(&broker, "idempotent", PARTITIONS, &[]);
    let mut load = Load::new(&broker, "idempotent", true, 0);
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        thread::scope(|scope| {
            let load = &mut load;
            scope.spawn(move || {
                for _ in 0..100 {
                    load.send(20);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            thread::sleep(Duration::from_millis(60));
            broker.restart();
        });
        acknowledged.extend(load.producer.finish_ok());
        check(&broker, "idempotent", &acknowledged, true);
    }
}
