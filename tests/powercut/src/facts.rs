//! What clients were told, each with the position of the recorded disk at that moment: after hearing it, or, for what
//! they asked for, before asking.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Records at consecutive offsets of a partition, by their ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub topic: String,
    pub partition: i32,
    pub base_offset: i64,
    pub ids: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// Acknowledged with acks=all.
    Acknowledged(Run),
    /// Acknowledged with acks=1: to survive a crash of the process, not a power cut.
    Written(Run),
    /// Given to a consumer.
    Seen(Run),
    /// A high watermark that a consumer was told.
    HighWatermark {
        topic: String,
        partition: i32,
        offset: i64,
    },
    CommitAsked {
        group: String,
        topic: String,
        partition: i32,
        offset: i64,
    },
    Committed {
        group: String,
        topic: String,
        partition: i32,
        offset: i64,
    },
    TopicMade {
        topic: String,
        partitions: i32,
    },
    /// DeleteRecords up to an offset.
    TrimAsked {
        topic: String,
        partition: i32,
        offset: i64,
    },
    Trimmed {
        topic: String,
        partition: i32,
        offset: i64,
    },
    DeletionAsked {
        topic: String,
    },
    Deleted {
        topic: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Noted {
    pub at: u64,
    pub fact: Fact,
}

/// Where the threads of a load write down what they hear.
#[derive(Clone)]
pub struct Notebook {
    position: Arc<AtomicU64>,
    noted: Arc<Mutex<Vec<Noted>>>,
}

impl Notebook {
    pub fn new(position: Arc<AtomicU64>, known: Vec<Noted>) -> Notebook {
        Notebook { position, noted: Arc::new(Mutex::new(known)) }
    }

    /// To be called after an answer has come, or before a request is sent.
    pub fn note(&self, fact: Fact) {
        let mut noted = self.noted.lock().expect("no writer panics");
        let at = self.position.load(Ordering::SeqCst);
        noted.push(Noted { at, fact });
    }

    pub fn take(&self) -> Vec<Noted> {
        std::mem::take(&mut self.noted.lock().expect("no writer panics"))
    }
}

pub fn save(noted: &[Noted], path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path).context("saving what clients were told")?);
    for one in noted {
        serde_json::to_writer(&mut file, one)?;
        file.write_all(b"\n")?;
    }
    file.flush().context("saving what clients were told")
}

pub fn load(path: &Path) -> Result<Vec<Noted>> {
    let file = BufReader::new(File::open(path).context("reading what clients were told")?);
    file.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

/// What was known at a cut, for a load that starts on the disk that the cut left: all before its first write.
pub fn known_at(noted: &[Noted], position: u64) -> Vec<Noted> {
    let before = noted.iter().filter(|one| one.at <= position && !matches!(one.fact, Fact::Written(_)));
    before.map(|one| Noted { at: 0, fact: one.fact.clone() }).collect()
}

/// The moments at which something was heard, one of each per position, by kind: so that cuts right behind a rare one
/// are as likely as behind a frequent one.
pub fn moments(noted: &[Noted]) -> Vec<Vec<u64>> {
    let mut kinds = vec![BTreeSet::new(); 5];
    for one in noted.iter().filter(|one| one.at > 0) {
        let kind = match one.fact {
            Fact::Acknowledged(_) => 0,
            Fact::Seen(_) | Fact::HighWatermark { .. } => 1,
            Fact::Committed { .. } => 2,
            Fact::TopicMade { .. } | Fact::Deleted { .. } => 3,
            Fact::Trimmed { .. } => 4,
            _ => continue,
        };
        kinds[kind].insert(one.at);
    }
    kinds.into_iter().filter(|kind| !kind.is_empty()).map(|kind| kind.into_iter().collect()).collect()
}

/// How often each thing was heard that every load has to bring about, in the last load.
pub fn counts(noted: &[Noted]) -> [(&'static str, usize); 5] {
    let count = |is: fn(&Fact) -> bool| noted.iter().filter(|one| one.at > 0 && is(&one.fact)).count();
    [
        ("acknowledged with acks=all", count(|fact| matches!(fact, Fact::Acknowledged(_)))),
        ("acknowledged with acks=1", count(|fact| matches!(fact, Fact::Written(_)))),
        ("seen by a consumer", count(|fact| matches!(fact, Fact::Seen(_)))),
        ("committed", count(|fact| matches!(fact, Fact::Committed { .. }))),
        ("created", count(|fact| matches!(fact, Fact::TopicMade { .. }))),
    ]
}
