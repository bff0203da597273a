//! Loading the groups of a partition from its log, away from the shard: at a start, and after something could not be
//! stored.

use std::rc::Rc;

use crate::coordinator::GroupsPartition;
use crate::log::{HOW_TO_GO_ON, LogError, LogScanner, wait_for_room};
use crate::runtime;
use crate::shard::{OFFSETS_TOPIC, Shard};
use crate::types::Offset;

use super::coordinator::Coordinator;
use crate::error_code::ErrorCode;

/// A loading that is under way.
struct Loading {
    scanner: LogScanner,
    groups: GroupsPartition,
    partition: i32,
    next_offset: Offset,
    /// What a helper thread reads before it sees to other work (`offsets.load.buffer.size`).
    step_bytes: usize,
}

enum Step {
    More(Box<Loading>),
    Done(Box<GroupsPartition>),
}

impl Shard {
    /// Loads what stands in a coordinator's log, and has it answer from then on.
    pub(super) async fn load_coordinator(self: &Rc<Self>, coordinator: Rc<Coordinator>) {
        let run = coordinator.run();
        let partition = Rc::clone(&coordinator.partition);
        let log = &partition.log;
        // What is being appended is in the log afterwards, or will never be.
        let writable = loop {
            match log.wait_acknowledged(log.log_end_offset()).await {
                Ok(()) => break true,
                Err(LogError::DiskFull) => wait_for_room().await,
                Err(LogError::Closed) => return coordinator.end(self, ErrorCode::NotCoordinator),
                Err(_) => break false,
            }
        };
        let _turn = self.coordinators.load_turns.acquire(1).await;
        let began = runtime::now();
        let end = if writable { log.log_end_offset() } else { log.high_watermark() };
        // Compaction leaves the segments alone until all of them are read.
        let files = log.hold_files().await;
        let (dir, from) = (log.dir(), log.log_start_offset());
        let number = partition.id.partition;
        let (metadata_max_len, step_bytes) =
            (self.config.offsets.metadata_bytes_max, self.config.offsets.load_buffer_bytes);
        let mut step = runtime::offload(move || {
            let groups = GroupsPartition::new(metadata_max_len);
            if end <= from {
                return Ok(Step::Done(Box::new(groups)));
            }
            let scanner = LogScanner::open(&dir, from, end).map_err(|error| damaged(from, &error.to_string()))?;
            go_on(Loading { scanner, groups, partition: number, next_offset: from, step_bytes })
        })
        .await;
        let loaded = loop {
            match step {
                Ok(Step::More(loading)) => step = runtime::offload(move || go_on(*loading)).await,
                Ok(Step::Done(groups)) => break Ok(groups),
                Err(sentence) => break Err(sentence),
            }
        };
        drop(files);
        if coordinator.run() != run {
            return;
        }
        match loaded {
            Ok(groups) => {
                let took_ms = runtime::now().saturating_duration_since(began).as_millis();
                tracing::debug!(partition = %partition.name, "{} groups are loaded after {took_ms} ms", groups.len());
                if writable {
                    coordinator.activate(self, *groups);
                } else {
                    coordinator.show_only(*groups);
                }
            }
            Err(sentence) if !writable => {
                tracing::error!(partition = %partition.name, "what is committed cannot be shown: {sentence}");
                coordinator.end(self, ErrorCode::NotCoordinator);
            }
            Err(sentence) => {
                // A topic that is deleted takes its files with it.
                if self.partition(partition.id).is_some() {
                    tracing::error!(partition = %partition.name, "{sentence}");
                    self.take_offline(&partition, sentence).await;
                }
                coordinator.end(self, ErrorCode::CoordinatorNotAvailable);
            }
        }
    }
}

fn go_on(mut loading: Loading) -> Result<Step, String> {
    let mut bytes = 0;
    while bytes < loading.step_bytes {
        let Loading { scanner, groups, partition, next_offset, .. } = &mut loading;
        let batch = scanner.next_batch().map_err(|error| damaged(*next_offset, &error.to_string()))?;
        let Some((header, batch)) = batch else { return Ok(Step::Done(Box::new(loading.groups))) };
        let unreadable = |offset, problem| {
            tracing::warn!(partition, offset, "a record of {OFFSETS_TOPIC} is passed over: {problem}");
        };
        groups.load_batch(batch, unreadable).map_err(|error| damaged(header.base_offset, &error.to_string()))?;
        *next_offset = header.next_offset();
        bytes += header.size();
    }
    Ok(Step::More(Box::new(loading)))
}

fn damaged(offset: Offset, what: &str) -> String {
    format!("{what}, offset {offset}; the partition stays offline{HOW_TO_GO_ON}")
}
