//! The end of a partition: its directory is renamed durably, so that the topic can be made anew at once, and its
//! files are removed `file.delete.delay.ms` later. Whoever holds one open goes on reading it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::runtime::fs;
use crate::types::{KafkaUuid, TopicId, TopicPartition};

use super::error::{LogError, is_disk_full};
use super::full::with_room;
use super::log::{Log, State};
use super::names;
use super::partition_metadata;

impl Log {
    /// Deletes one log; see [`delete_all`].
    pub async fn delete(self: &Rc<Self>) -> Result<(), LogError> {
        delete_all(vec![Rc::clone(self)]).await.pop().unwrap_or(Ok(()))
    }

    /// Takes no more appends, and forgets those that are not on their way to the device.
    fn begin_delete(&self) {
        if matches!(self.state().replace(State::Closed), State::Poisoned { .. }) {
            self.shard().room.metrics().add_offline_replicas(-1);
        }
        self.gone.set(true);
        for segment in self.live().borrow_mut().iter_mut() {
            segment.forget_placed();
        }
        self.fail_waiters(&LogError::Closed);
    }

    async fn quiet(&self) {
        self.until(|| self.is_quiet()).await;
    }
}

/// Deletes logs of one shard. When this answers their directories have `-delete` names, durably; an answer for each,
/// in order.
pub async fn delete_all(logs: Vec<Rc<Log>>) -> Vec<Result<(), LogError>> {
    for log in &logs {
        log.begin_delete();
    }
    for log in &logs {
        log.quiet().await;
    }
    let renames: Vec<(Arc<Path>, Arc<Path>)> = logs
        .iter()
        .map(|log| {
            let dir = log.dir();
            let aside = aside(&dir, log.topic_partition());
            (dir, aside)
        })
        .collect();
    let Some(first) = logs.first() else { return Vec::new() };
    let call = || {
        let jobs = renames.clone();
        move || {
            let renamed = rename_all(&jobs);
            let full = renamed.iter().any(|result| result.as_ref().is_err_and(is_disk_full));
            if full { Err(renamed) } else { Ok(renamed) }
        }
    };
    let (Ok(renamed) | Err(renamed)) = with_room(&first.shard().options().room, |_| true, call).await;
    let mut results = Vec::with_capacity(logs.len());
    for ((log, (dir, aside)), renamed) in logs.iter().zip(renames).zip(renamed) {
        log.release();
        results.push(match renamed {
            Ok(()) => {
                log.set_dir(Arc::clone(&aside));
                log.bury_dir(aside);
                Ok(())
            }
            Err(error) => Err(LogError::io("delete", &dir, &error)),
        });
    }
    results
}

/// Renames directories and makes their names durable, each parent's once.
fn rename_all(renames: &[(Arc<Path>, Arc<Path>)]) -> Vec<io::Result<()>> {
    let mut results: Vec<io::Result<()>> =
        renames.iter().map(|(from, to)| fs::if_exists(fs::rename(from, to)).map(drop)).collect();
    let parents: BTreeSet<&Path> = renames.iter().filter_map(|(_, to)| to.parent()).collect();
    for parent in parents {
        if let Err(error) = fs::sync_dir(parent) {
            for ((_, to), result) in renames.iter().zip(&mut results) {
                if to.parent() == Some(parent) && result.is_ok() {
                    *result = Err(io::Error::new(error.kind(), error.to_string()));
                }
            }
        }
    }
    results
}

/// Renames the directory of a deleted partition that was never opened, because of damage; answers its new name. One
/// that belongs to another topic stays. Blocks; the caller removes it.
pub fn set_aside(dir: &Path, partition: &TopicPartition, topic_id: TopicId) -> io::Result<Option<PathBuf>> {
    if !matches!(partition_metadata::read(dir), Ok(Some(found)) if found == topic_id) {
        return Ok(None);
    }
    let aside = aside(dir, partition);
    fs::rename(dir, &aside)?;
    fs::sync_parent(&aside)?;
    Ok(Some(aside.to_path_buf()))
}

fn aside(dir: &Path, partition: &TopicPartition) -> Arc<Path> {
    let unique = format!("{:032x}", u128::from_be_bytes(KafkaUuid::random().0));
    dir.with_file_name(names::delete_dir_name(partition, &unique)).into()
}
