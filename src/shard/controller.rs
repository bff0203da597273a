//! The controller: the one writer of the catalog, on shard 0.
//!
//! A command is checked against the image, becomes records, and is done when those are flushed to
//! `__cluster_metadata`, the placement of new partitions is stored, and every shard has taken over the new view. One
//! command runs at a time.

mod alter_configs;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::commands::{
    self, CreatedTopic, ManualAssignment, NewPartitions, NewTopic, PlacingRules, Registration, TopicRef,
};
use crate::catalog::{
    Catalog, CatalogChange, CatalogError, CatalogImage, CommandError, LastRun, MetadataRecord, Placement, Prepared,
    SnapshotJob,
};
use crate::error_code::ErrorCode;
use crate::log::{AppendBatch, Claim, DiskLevel, FULL_TRIES_MAX, Log, LogError, wait_for_room, with_room};
use crate::runtime;
use crate::runtime::sync::Semaphore;
use crate::types::{KafkaUuid, PartitionId, ProducerId, ShardId, TopicId};

use super::cluster_view::ClusterView;
use super::join::join_all;
use super::message::{ProducerIdBlock, ShardReply, ShardRequest};
use super::{OFFSETS_TOPIC, Shard};

pub use alter_configs::{Alteration, ResourceToAlter};

/// What the controller is asked to do.
pub enum Command {
    CreateTopics {
        topics: Vec<TopicToCreate>,
        validate_only: bool,
    },
    /// With the broker's defaults, or as the internal topic of that name is made.
    AutoCreateTopic(String),
    DeleteTopics(Vec<TopicToDelete>),
    CreatePartitions {
        topics: Vec<PartitionsToCreate>,
        validate_only: bool,
    },
    AlterConfigs {
        resources: Vec<ResourceToAlter>,
        validate_only: bool,
    },
    AllocateProducerIds,
}

/// `CreatableTopic` of a CreateTopics request.
#[derive(Clone, Debug, Default)]
pub struct TopicToCreate {
    pub name: String,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<ManualAssignment>,
    pub configs: Vec<(String, Option<String>)>,
}

#[derive(Clone, Debug)]
pub enum TopicToDelete {
    Name(String),
    Id(TopicId),
}

#[derive(Clone, Debug)]
pub struct PartitionsToCreate {
    pub topic: String,
    pub count: i32,
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// What became of a command; one row for each topic or resource of the request, in its order.
pub enum CommandOutcome {
    Done,
    Failed(ErrorCode),
    TopicsCreated(Vec<(String, Result<CreatedTopic, CommandError>)>),
    TopicsDeleted(Vec<(Option<String>, TopicId, Result<(), CommandError>)>),
    PartitionsCreated(Vec<(String, Result<(), CommandError>)>),
    ConfigsAltered(Vec<Result<(), CommandError>>),
    ProducerIds(ProducerIdBlock),
}

/// Why records could not be written.
#[derive(Debug)]
pub enum NotWritten {
    /// Not even what the reserve kept back is left.
    DiskFull,
    Other(String),
}

impl std::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotWritten::DiskFull => f.write_str("the disk is full"),
            NotWritten::Other(why) => f.write_str(why),
        }
    }
}

impl From<LogError> for NotWritten {
    fn from(error: LogError) -> NotWritten {
        match error {
            LogError::DiskFull => NotWritten::DiskFull,
            other => NotWritten::Other(other.to_string()),
        }
    }
}

pub struct Controller {
    this: Weak<Controller>,
    catalog: RefCell<Catalog>,
    log: Rc<Log>,
    one_at_a_time: Semaphore,
    /// Lines appended to the placement's file since it was written anew.
    placement_lines: Cell<usize>,
    /// What a step placed could not be stored.
    placement_missed: Cell<bool>,
}

/// So many lines may be out of date in the placement's file, besides two for each topic.
const PLACEMENT_LINES_SPARE: usize = 10_000;

impl Controller {
    pub fn new(catalog: Catalog, log: Rc<Log>) -> Rc<Controller> {
        Rc::new_cyclic(|this| Controller {
            this: Weak::clone(this),
            catalog: RefCell::new(catalog),
            log,
            one_at_a_time: Semaphore::new(1),
            placement_lines: Cell::new(0),
            placement_missed: Cell::new(false),
        })
    }

    /// The log of `__cluster_metadata-0`.
    pub fn log(&self) -> &Rc<Log> {
        &self.log
    }

    pub async fn run(self: Rc<Self>, shard: &Rc<Shard>, command: Command) -> CommandOutcome {
        let _turn = self.one_at_a_time.acquire(1).await;
        match command {
            Command::CreateTopics { topics, validate_only } => self.create_topics(shard, &topics, validate_only).await,
            Command::AutoCreateTopic(name) => {
                let topic = automatic_topic(shard, name);
                match self.create_topics(shard, std::slice::from_ref(&topic), false).await {
                    CommandOutcome::TopicsCreated(mut rows) => match rows.pop() {
                        Some((_, Err(error))) => CommandOutcome::Failed(error.code),
                        _ => CommandOutcome::Done,
                    },
                    other => other,
                }
            }
            Command::DeleteTopics(topics) => self.delete_topics(shard, topics).await,
            Command::CreatePartitions { topics, validate_only } => {
                self.create_partitions(shard, topics, validate_only).await
            }
            Command::AlterConfigs { resources, validate_only } => {
                self.alter_configs(shard, &resources, validate_only).await
            }
            Command::AllocateProducerIds => self.allocate_producer_ids(shard).await,
        }
    }

    /// Opens this run's epoch of the catalog: the registration, and a new leader epoch for every partition. Answers
    /// the image that they make.
    pub async fn begin(&self, registration: &Registration) -> Result<Arc<CatalogImage>, NotWritten> {
        let prepared = self.catalog.borrow_mut().begin(registration, runtime::wall_ms());
        let prepared = prepared.map_err(|error| NotWritten::Other(error.to_string()))?;
        self.append_step(&prepared).await?;
        Ok(Arc::clone(self.catalog.borrow().image()))
    }

    /// The last words of a clean stop. Answers how the catalog was left, and the broker's epoch.
    pub async fn end(&self) -> Result<(LastRun, i64), String> {
        let prepared = self.catalog.borrow_mut().end(runtime::wall_ms()).map_err(|error| error.to_string())?;
        if let Some(prepared) = prepared {
            self.append_step(&prepared).await.map_err(|error| error.to_string())?;
        }
        let catalog = self.catalog.borrow();
        Ok((catalog.stopped(), catalog.image().broker_epoch()))
    }

    async fn create_topics(&self, shard: &Rc<Shard>, topics: &[TopicToCreate], validate_only: bool) -> CommandOutcome {
        let config = &shard.config;
        let rules = PlacingRules {
            default_partitions: config.topics.partitions,
            strict_replication_factor: config.topics.replication_factor_strict,
        };
        let wanted: Vec<NewTopic<'_>> = topics
            .iter()
            .map(|topic| NewTopic {
                name: &topic.name,
                num_partitions: topic.num_partitions,
                replication_factor: topic.replication_factor,
                assignments: topic.assignments.clone(),
                configs: topic.configs.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect(),
            })
            .collect();
        let mut rows: Vec<(String, Result<CreatedTopic, CommandError>)> = {
            let catalog = self.catalog.borrow();
            commands::create_topics(
                catalog.image(),
                shard.view().config().settings(),
                rules,
                &wanted,
                KafkaUuid::random,
            )
            .into_iter()
            .map(|(name, row)| (name.to_string(), row))
            .collect()
        };
        if validate_only {
            return CommandOutcome::TopicsCreated(rows);
        }
        for (name, row) in &rows {
            if let Ok(CreatedTopic { warning: Some(warning), .. }) = row {
                tracing::warn!(topic = name, "{warning}");
            }
        }
        let records: Vec<MetadataRecord> =
            rows.iter().filter_map(|(_, row)| row.as_ref().ok()).flat_map(|topic| topic.records.clone()).collect();
        let internal = topics.iter().all(|topic| topic.name == OFFSETS_TOPIC);
        if !records.is_empty()
            && let Err(error) = self.commit_new(shard, records, internal).await
        {
            for (_, row) in rows.iter_mut().filter(|(_, row)| row.is_ok()) {
                *row = Err(error.clone());
            }
        }
        CommandOutcome::TopicsCreated(rows)
    }

    async fn delete_topics(&self, shard: &Rc<Shard>, topics: Vec<TopicToDelete>) -> CommandOutcome {
        let mut rows = Vec::with_capacity(topics.len());
        let mut records = Vec::new();
        let mut removed: Vec<TopicId> = Vec::new();
        for topic in topics {
            let (name, id, wanted) = match &topic {
                TopicToDelete::Name(name) => (Some(name.clone()), TopicId::ZERO, TopicRef::Name(name)),
                TopicToDelete::Id(id) => (None, *id, TopicRef::Id(*id)),
            };
            let found = if shard.config.topics.delete_enabled {
                commands::delete_topic(self.catalog.borrow().image(), wanted)
            } else {
                Err(CommandError::new(ErrorCode::TopicDeletionDisabled, "delete.topic.enable is false."))
            };
            rows.push(match found {
                Ok((image, _)) if removed.contains(&image.id) => {
                    (name, id, Err(CommandError::new(ErrorCode::InvalidRequest, "The topic is named twice.")))
                }
                Ok((image, record)) => {
                    removed.push(image.id);
                    records.push(record);
                    (Some(image.name.to_string()), image.id, Ok(()))
                }
                Err(error) => (name, id, Err(error)),
            });
        }
        if !records.is_empty()
            && let Err(error) = self.commit(shard, records).await
        {
            for (_, _, row) in rows.iter_mut().filter(|(_, _, row)| row.is_ok()) {
                *row = Err(error.clone());
            }
        }
        CommandOutcome::TopicsDeleted(rows)
    }

    async fn create_partitions(
        &self,
        shard: &Rc<Shard>,
        topics: Vec<PartitionsToCreate>,
        validate_only: bool,
    ) -> CommandOutcome {
        let mut rows: Vec<(String, Result<(), CommandError>)> = Vec::with_capacity(topics.len());
        let mut records = Vec::new();
        for topic in topics {
            let request =
                NewPartitions { topic: &topic.topic, count: topic.count, assignments: topic.assignments.clone() };
            let twice = rows.iter().any(|(name, _)| *name == topic.topic);
            let made = if twice {
                Err(CommandError::new(ErrorCode::InvalidRequest, "Duplicate topic in request."))
            } else {
                commands::create_partitions(self.catalog.borrow().image(), &request)
            };
            rows.push((topic.topic.clone(), made.map(|made| records.extend(made))));
        }
        if !validate_only
            && !records.is_empty()
            && let Err(error) = self.commit_new(shard, records, false).await
        {
            for (_, row) in rows.iter_mut().filter(|(_, row)| row.is_ok()) {
                *row = Err(error.clone());
            }
        }
        CommandOutcome::PartitionsCreated(rows)
    }

    async fn allocate_producer_ids(&self, shard: &Rc<Shard>) -> CommandOutcome {
        let allocated = commands::allocate_producer_ids(self.catalog.borrow().image());
        let (block, record) = match allocated {
            Ok(allocated) => allocated,
            Err(error) => return CommandOutcome::Failed(error.code),
        };
        match self.commit(shard, vec![record]).await {
            Ok(()) => CommandOutcome::ProducerIds(ProducerIdBlock {
                first: ProducerId(block.first),
                count: block.count as i32,
            }),
            Err(error) => CommandOutcome::Failed(error.code),
        }
    }

    /// As [`commit`](Controller::commit), for what takes room for good: on a full disk that is refused.
    async fn commit_new(
        &self,
        shard: &Rc<Shard>,
        records: Vec<MetadataRecord>,
        internal: bool,
    ) -> Result<(), CommandError> {
        let claim = if internal { Claim::Coordinator } else { Claim::User };
        if shard.log_shard.options().room.level() != DiskLevel::Lost && !shard.log_shard.options().room.allows(claim) {
            let message = "The disk is full: nothing can be created until there is room.";
            return Err(CommandError::new(ErrorCode::KafkaStorageError, message));
        }
        self.commit(shard, records).await
    }

    /// Makes records durable, then places what is new and tells every shard.
    async fn commit(&self, shard: &Rc<Shard>, records: Vec<MetadataRecord>) -> Result<(), CommandError> {
        let changes = self.append(records).await.map_err(|error| {
            tracing::error!("the catalog's log cannot be written: {error}");
            let message = format!("The catalog's log cannot be written: {error}.");
            CommandError::new(ErrorCode::KafkaStorageError, message)
        })?;
        let before = shard.view();
        let image = Arc::clone(self.catalog.borrow().image());
        let mut placement = before.placement.clone();
        let placed = placement.follow(&changes);
        if self.placement_missed.get() {
            // A step before this one is in the catalog, and its partitions have no shard yet.
            placement = placement.settled(&image, before.shards);
        }
        if !placed.is_empty() || self.placement_missed.get() {
            self.store(shard, &placement, placed, image.topic_count()).await?;
        }
        let view = Arc::new(before.next(image, placement));
        let told = (0..view.shards)
            .map(|to| Box::pin(shard.call(ShardId(to), ShardRequest::Adopt(Arc::clone(&view)))))
            .collect();
        for reply in join_all(told).await {
            if let ShardReply::Adopted(failed) = reply {
                for (partition, why) in failed {
                    tracing::error!(%partition, "the partition could not be opened: {why}");
                }
            }
        }
        Ok(())
    }

    /// Which shard owns which partition is durable before anything is written to it. New lines are appended to the
    /// file; it is written anew when most of its lines are out of date, or one of them may be torn.
    async fn store(
        &self,
        shard: &Rc<Shard>,
        placement: &Placement,
        placed: Vec<TopicId>,
        topics: usize,
    ) -> Result<(), CommandError> {
        let last_run = LastRun::Running { leader_epoch: self.log.leader_epoch() };
        let lines = self.placement_lines.get().saturating_add(placed.len());
        let anew = self.placement_missed.get() || lines > 2 * topics + PLACEMENT_LINES_SPARE;
        self.placement_lines.set(if anew { 0 } else { lines });
        // A full disk may have torn a line.
        let anew = Cell::new(anew);
        let stored = with_room(&shard.log_shard.options().room, CatalogError::is_disk_full, || {
            let (placement, placed, directory) = (placement.clone(), placed.clone(), shard.config.directory.clone());
            let anew = anew.replace(true);
            move || if anew { placement.write(&directory, last_run) } else { placement.append(&directory, &placed) }
        })
        .await;
        self.placement_missed.set(stored.is_err());
        stored.map_err(|error| {
            tracing::error!("the placement of partitions cannot be stored: {error}");
            CommandError::new(ErrorCode::KafkaStorageError, "The placement of partitions cannot be stored.")
        })
    }

    /// Makes records durable; answers what they changed.
    async fn append(&self, records: Vec<MetadataRecord>) -> Result<Vec<CatalogChange>, NotWritten> {
        let prepared = self.catalog.borrow_mut().prepare(&records, runtime::wall_ms());
        let prepared = prepared.map_err(|error| NotWritten::Other(error.message))?;
        self.append_step(&prepared).await?;
        let due = self.catalog.borrow_mut().snapshot_due();
        self.write_snapshot(due);
        Ok(prepared.changes)
    }

    /// Appends a step and takes it over once it is flushed.
    async fn append_step(&self, step: &Prepared) -> Result<(), LogError> {
        let first = step.batches.first().map(|batch| batch.base_offset);
        let mut written = self.write_step(step).await;
        // Nothing of it is in the log, and the reserve is on the way.
        let mut tries = 0;
        while matches!(written, Err(LogError::DiskFull))
            && Some(self.log.log_end_offset()) == first
            && tries < FULL_TRIES_MAX
        {
            tries += 1;
            wait_for_room().await;
            written = self.write_step(step).await;
        }
        match &written {
            Ok(()) => {
                self.catalog.borrow_mut().commit(step);
            }
            Err(_) => self.catalog.borrow_mut().step_failed(self.log.log_end_offset()),
        }
        written
    }

    async fn write_step(&self, step: &Prepared) -> Result<(), LogError> {
        let mut end_offset = self.log.log_end_offset();
        for batch in &step.batches {
            end_offset = batch.last_offset.plus(1);
            self.log.append(AppendBatch {
                bytes: batch.bytes.clone(),
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
                leader_epoch: batch.leader_epoch,
                max_timestamp: batch.max_timestamp,
            })?;
        }
        self.log.wait_flushed(end_offset).await
    }

    /// Writes a snapshot of what has changed every `interval` (`metadata.log.max.snapshot.interval.ms`). Never ends.
    pub async fn keep_snapshots(self: Rc<Self>, interval: Duration) {
        loop {
            runtime::sleep(interval).await;
            let due = self.catalog.borrow_mut().snapshot_of_changes();
            self.write_snapshot(due);
        }
    }

    /// Bounds the catalog's log: a snapshot now and then, written off the shard.
    fn write_snapshot(&self, job: Option<SnapshotJob>) {
        let Some(job) = job else { return };
        let this = self.this.clone();
        drop(runtime::spawn(async move {
            let result = runtime::offload(move || job.run()).await;
            if let Err(error) = &result {
                tracing::error!("a snapshot of the catalog cannot be written: {error}");
            }
            let Some(this) = this.upgrade() else { return };
            let covered = this.catalog.borrow_mut().snapshot_ended(&result);
            if let Some(offset) = covered {
                match this.log.set_log_start(offset) {
                    Ok(()) => drop(this.log.remove_below_start()),
                    Err(error) => tracing::warn!("the catalog's log keeps what its snapshot covers: {error}"),
                }
            }
        }));
    }
}

/// A topic that nobody described: the broker's defaults, or for an internal topic what its keys say
/// (`AutoTopicCreationManager`, `GroupCoordinator.groupMetadataTopicConfigs`).
fn automatic_topic(shard: &Shard, name: String) -> TopicToCreate {
    if name != OFFSETS_TOPIC {
        return TopicToCreate { name, num_partitions: -1, replication_factor: -1, ..TopicToCreate::default() };
    }
    let offsets = &shard.config.offsets;
    let set = |key: &str, value: String| (key.to_owned(), Some(value));
    TopicToCreate {
        name,
        num_partitions: offsets.partitions,
        // One node holds one replica, whatever offsets.topic.replication.factor says.
        replication_factor: 1,
        configs: vec![
            set("cleanup.policy", "compact".to_owned()),
            set("compression.type", "producer".to_owned()),
            set("segment.bytes", offsets.segment_bytes.to_string()),
        ],
        ..TopicToCreate::default()
    }
}

/// The partitions of a view that belong to a shard.
pub fn owned(view: &ClusterView, shard: ShardId) -> impl Iterator<Item = PartitionId> + use<'_> {
    view.image.topics().flat_map(move |topic| {
        (0..topic.partition_count())
            .map(|partition| PartitionId { topic_id: topic.id, partition })
            .filter(move |id| view.shard_of(*id) == Some(shard))
    })
}
