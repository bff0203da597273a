//! The load that is recorded: producers of three kinds, a consumer, commits, and topics that come and go, all at once
//! and across crashes of the broker's process. Every thread notes what it is told.

mod consume;
mod produce;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kafka_protocol::messages::ApiKey;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::facts::{Fact, Notebook, Run};
use crate::wire::Wire;

use produce::new_values;

/// Written to by idempotent producers of this rig: one with acks=all, one with acks=1.
pub const ALL: (&str, i32) = ("acks-all", 4);
pub const ONE: (&str, i32) = ("acks-one", 3);
/// Written to by librdkafka with enable.idempotence.
pub const LIBRDKAFKA: (&str, i32) = ("librdkafka", 3);

const RECONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Answers after which a client asks again: no leader or coordinator yet, a request that timed out, no room.
const RETRIABLE: &[i16] = &[3, 5, 6, 7, 14, 15, 16, 19];

/// What one thread of a load does until it is told to stop.
type Thread = fn(&Load) -> Result<()>;

#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub notebook: Notebook,
    pub seed: u64,
    /// Tells this load's records and topics from those of loads before it on the same disk.
    pub number: u64,
    pub stop: Arc<AtomicBool>,
}

impl Load {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn random(&self, thread: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(31).wrapping_add(thread))
    }

    /// Ids of one thread; each record of all loads has its own.
    fn ids(&self, thread: u64) -> std::ops::RangeFrom<u64> {
        (self.number << 48 | thread << 40)..
    }

    /// Connects, again and again while the broker is down.
    fn connect(&self) -> Result<Option<Wire>> {
        for _ in 0..12_000 {
            match Wire::connect(self.address) {
                Ok(wire) => return Ok(Some(wire)),
                Err(_) if self.stopped() => return Ok(None),
                Err(_) => thread::sleep(RECONNECT_PAUSE),
            }
        }
        bail!("no broker at {} for a minute", self.address)
    }

    /// Starts all threads; each ends after `stop` is set, with what was not as it should be.
    pub fn start(&self) -> Vec<thread::JoinHandle<Result<()>>> {
        let threads: [(&str, Thread); 7] = [
            ("acks-all", |load| load.produce(1, -1, ALL)),
            ("acks-one", |load| load.produce(2, 1, ONE)),
            ("librdkafka", |load| load.produce_with_librdkafka(3)),
            ("topics", |load| load.make_topics(4)),
            ("commits", |load| load.commit(5)),
            ("deletions", |load| load.trim(6)),
            ("consumer", Load::consume),
        ];
        threads
            .into_iter()
            .map(|(name, run)| {
                let load = self.clone();
                thread::spawn(move || run(&load).with_context(|| format!("the thread {name} of the load")))
            })
            .collect()
    }

    /// Makes the topics that the load writes to, those that an earlier load made left as they are.
    pub fn make_static_topics(&self, configs: &[(&str, &str)]) -> Result<()> {
        let mut wire = Wire::connect(self.address)?;
        for (topic, partitions) in [ALL, ONE, LIBRDKAFKA] {
            let error = wire.create_topic(topic, partitions, configs)?;
            ensure!(error == 0 || error == 36, "creating {topic}: error {error}");
            self.notebook.note(Fact::TopicMade { topic: topic.to_owned(), partitions });
        }
        Ok(())
    }

    fn make_topics(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let mut ids = self.ids(thread);
        let mut number = 0;
        let mut made: Vec<String> = Vec::new();
        'connection: while let Some(mut wire) = self.connect()? {
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(20..250)));
                if made.len() > 2 && random.random_bool(0.5) {
                    let topic = made.swap_remove(random.random_range(0..made.len()));
                    self.notebook.note(Fact::DeletionAsked { topic: topic.clone() });
                    let Ok(error) = wire.delete_topic(&topic) else { continue 'connection };
                    ensure!(error == 0, "deleting {topic}: error {error}");
                    self.notebook.note(Fact::Deleted { topic });
                    continue;
                }
                number += 1;
                let topic = format!("extra-{}-{number}", self.number);
                let partitions = random.random_range(1..4);
                let Ok(error) = wire.create_topic(&topic, partitions, &[]) else { continue 'connection };
                ensure!(error == 0, "creating {topic}: error {error}");
                self.notebook.note(Fact::TopicMade { topic: topic.clone(), partitions });
                for _ in 0..random.random_range(0..4) {
                    let partition = random.random_range(0..partitions);
                    let values = new_values(&mut random, &mut ids, &topic, partition);
                    let Ok(answer) = wire.produce(-1, &topic, partition, values.batch(None, 0)) else {
                        continue 'connection;
                    };
                    match answer {
                        (0, base_offset) => {
                            let run = Run { topic: topic.clone(), partition, base_offset, ids: values.ids };
                            self.notebook.note(Fact::Acknowledged(run));
                        }
                        (error, _) => ensure!(RETRIABLE.contains(&error), "{topic}-{partition}: error {error}"),
                    }
                }
                made.push(topic);
            }
            return Ok(());
        }
        Ok(())
    }

    fn commit(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let (topic, partitions) = ALL;
        let mut next = self.number as i64 * 1_000_000;
        let mut looks_for_coordinator = true;
        'connection: while let Some(mut wire) = self.connect()? {
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(1..30)));
                next += 1;
                let group = format!("group-{}", random.random_range(0..3));
                if looks_for_coordinator {
                    let Ok(error) = wire.find_coordinator(&group) else { continue 'connection };
                    looks_for_coordinator = error != 0;
                }
                let partition = random.random_range(0..partitions);
                let asked = (group.clone(), topic.to_owned(), partition, next);
                let (group, topic, partition, offset) = asked.clone();
                self.notebook.note(Fact::CommitAsked { group, topic, partition, offset });
                let (group, topic, partition, offset) = asked;
                let Ok(error) = wire.commit(&group, &topic, partition, offset) else { continue 'connection };
                if error == 0 {
                    self.notebook.note(Fact::Committed { group, topic, partition, offset });
                } else {
                    ensure!(RETRIABLE.contains(&error), "committing for {group}: error {error}");
                    looks_for_coordinator = true;
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// Deletes records at the beginning of partitions.
    fn trim(&self, thread: u64) -> Result<()> {
        let mut random = self.random(thread);
        let (topic, partitions) = LIBRDKAFKA;
        'connection: while let Some(mut wire) = self.connect()? {
            if let Ok(false) = wire.knows(ApiKey::DeleteRecords) {
                return Ok(());
            }
            while !self.stopped() {
                thread::sleep(Duration::from_millis(random.random_range(50..400)));
                let partition = random.random_range(0..partitions);
                let Ok(end) = wire.list_offset(topic, partition, -1) else { continue 'connection };
                let offset = random.random_range(0..=end / 2);
                let topic = topic.to_owned();
                self.notebook.note(Fact::TrimAsked { topic: topic.clone(), partition, offset });
                match wire.delete_records(&topic, partition, offset) {
                    Ok((0, start)) => {
                        ensure!(start >= offset, "{topic}-{partition}: deleted up to {start}, asked for {offset}");
                        self.notebook.note(Fact::Trimmed { topic, partition, offset });
                    }
                    Ok((error, _)) => ensure!(RETRIABLE.contains(&error), "deleting records: error {error}"),
                    Err(_) => continue 'connection,
                }
            }
            return Ok(());
        }
        Ok(())
    }
}
