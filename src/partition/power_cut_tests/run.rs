//! One run of the broker's lower half on a simulated disk: a start as the server does it, clients that produce and
//! consume, perhaps a clean stop. Where it ends is for others to say: the power can be cut anywhere in its events.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::{Settings, Sources, TopicConfig};
use crate::log::fault::testing::{DiskModel, Event, SimulatedDisk};
use crate::log::{
    self, Chunk, CleanShutdownMarks, DirCheckpoints, FaultKind, FaultOp, FaultPlan, FlushAcks, LoadOptions, LogError,
    LogShard, PartitionOffsets, names,
};
use crate::partition::{AppendError, Origin, Partition};
use crate::record::{self, BatchBuilder, BatchHeader, BatchOptions, Producer};
use crate::runtime::{self, Runtime, end_of_turn, observe, spawn};
use crate::types::{KafkaUuid, LeaderEpoch, Offset, TopicPartition};

use super::setup::{Fault, Setup};
use super::world::{Ending, Known, Mark, PRODUCER, Sent, World};

mod upkeep;

/// A client has no more batches under way than a broker remembers.
const UNANSWERED_MAX: usize = 5;
/// A run that takes longer, by its own clock, is stuck.
const TIME_MAX: Duration = Duration::from_secs(10_000);

/// What a run left behind.
pub struct Record {
    /// The disk as the run found it.
    pub disk: DiskModel,
    pub events: Vec<Event>,
    pub marks: Vec<Mark>,
    /// The events of the start come before this.
    pub started_at: usize,
    pub recycled_segments: u64,
    /// Segments that compaction put others in the place of.
    pub compacted_segments: u64,
    pub journal_records: u64,
}

pub struct Run {
    setup: Setup,
    root: PathBuf,
    disk: Rc<SimulatedDisk>,
    marks: RefCell<Vec<Mark>>,
    /// As of now.
    world: RefCell<World>,
    partitions: RefCell<Vec<Rc<Partition>>>,
    random: RefCell<StdRng>,
    faults: Arc<FaultPlan>,
    /// Where partitions stood when a write or flush failed.
    poisoned: RefCell<BTreeMap<usize, i64>>,
    started_at: Cell<usize>,
    recycled_segments: Cell<u64>,
    compacted_segments: Cell<u64>,
    journal_records: Cell<u64>,
    wrong: RefCell<Option<String>>,
}

thread_local! {
    static RUNTIME_OPTIONS: runtime::RuntimeOptions = runtime::RuntimeOptions {
        submission_entries: 64,
        completion_entries: 256,
        recv_buffers: 1,
        recv_buffer_bytes: 4096,
        arena_bytes: 0,
        ..runtime::RuntimeOptions::default()
    };
}

fn topic_config() -> Rc<TopicConfig> {
    thread_local! {
        static CONFIG: Rc<TopicConfig> = {
            let settings = Settings::load(&Sources::default()).expect("the defaults hold").0;
            Rc::new(TopicConfig::resolve(&settings, []).expect("the defaults hold"))
        };
    }
    CONFIG.with(Rc::clone)
}

/// Runs on a directory as `ending` left it, and compares what its start finds with what was promised.
pub fn run(
    setup: &Setup,
    root: &Path,
    disk: &DiskModel,
    world: &World,
    ending: Ending,
    seed: u64,
) -> Result<Record, String> {
    let simulated = SimulatedDisk::new(root, disk.clone(), seed);
    let run = Rc::new(Run {
        setup: setup.clone(),
        root: root.to_owned(),
        disk: Rc::clone(&simulated),
        marks: RefCell::default(),
        world: RefCell::new(world.clone()),
        partitions: RefCell::default(),
        random: RefCell::new(StdRng::seed_from_u64(!seed)),
        faults: Arc::new(FaultPlan::new()),
        poisoned: RefCell::default(),
        started_at: Cell::new(usize::MAX),
        recycled_segments: Cell::new(0),
        compacted_segments: Cell::new(0),
        journal_records: Cell::new(0),
        wrong: RefCell::default(),
    });
    let runtime = RUNTIME_OPTIONS.with(Runtime::new).map_err(|error| error.to_string())?;
    let session = simulated.watch();
    let whole = runtime::timeout(TIME_MAX, Rc::clone(&run).whole(ending));
    let result = runtime.block_on(whole).unwrap_or_else(|_| Err("it hangs".to_owned()));
    simulated.set_onlooker(None);
    let events = simulated.take_events();
    drop(session);
    run.partitions.borrow_mut().clear();
    drop(runtime);
    result?;
    // What is left of a short write may meet a flush that began meanwhile.
    let violation = simulated.violation().filter(|_| setup.fault != Fault::ShortWrites);
    if let Some(wrong) = run.wrong.take().or(violation) {
        return Err(wrong);
    }
    let started_at = run.started_at.get().min(events.len());
    let (recycled_segments, compacted_segments) = (run.recycled_segments.get(), run.compacted_segments.get());
    Ok(Record {
        disk: disk.clone(),
        events,
        marks: run.marks.take(),
        started_at,
        recycled_segments,
        compacted_segments,
        journal_records: run.journal_records.get(),
    })
}

impl Run {
    async fn whole(self: Rc<Self>, ending: Ending) -> Result<(), String> {
        // Keeps the loop from sleeping: time passes by its turns alone.
        let ticker = spawn(async {
            loop {
                end_of_turn().await;
            }
        });
        let marks = CleanShutdownMarks::new(&self.root);
        let (checkpoints, shard) = self.start(&marks, ending)?;
        self.work(&checkpoints).await?;
        self.recycled_segments.set(shard.stats().recycled_segments);
        self.compacted_segments.set(shard.stats().compacted_segments);
        self.journal_records.set(shard.stats().journal_records);
        let stops = self.setup.steps.is_multiple_of(3);
        if stops {
            self.stop(&marks, &checkpoints).await?;
        }
        shard.abandon();
        drop(ticker);
        Ok(())
    }

    /// As `server::loading` and the shards do it, with the catalog's part made up.
    fn start(
        self: &Rc<Self>,
        marks: &CleanShutdownMarks,
        ending: Ending,
    ) -> Result<(Arc<DirCheckpoints>, Rc<LogShard>), String> {
        let failed = |error: log::LoadError| format!("the start failed: {error}");
        let reach = self.setup.commit_reach_bytes();
        let state = marks.begin(reach).map_err(failed)?;
        let (epoch, stopped) = (self.world.borrow().epoch, self.world.borrow().stopped);
        if stopped && !state.clean {
            return Err("a clean stop was forgotten".to_owned());
        }
        let (checkpoints, malformed) = DirCheckpoints::open(&self.root).map_err(failed)?;
        if let Some(error) = malformed.first() {
            return Err(format!("a checkpoint is malformed: {error}"));
        }
        let options: Vec<LoadOptions> = (0..self.setup.partitions)
            .map(|lane| {
                let topic_partition = TopicPartition { topic: Arc::from("t"), partition: lane as i32 };
                let known = checkpoints.get(&topic_partition);
                LoadOptions {
                    dir: names::partition_dir(&self.root, &topic_partition),
                    topic_partition,
                    topic_id: KafkaUuid([7; 16]),
                    config: self.setup.log,
                    clean: state.clean,
                    recovery_point: known.recovery_point,
                    flushed_offset: state.flushed_offset(known.high_watermark),
                    log_start_offset: known.log_start_offset,
                    leader_epoch: LeaderEpoch(epoch),
                    adopted: state.adopted && epoch > 0,
                    commit_reach_bytes: state.commit_reach_bytes,
                    accept_damage: false,
                    now_ms: runtime::wall_ms(),
                }
            })
            .collect();
        let mut logs = Vec::new();
        for (loaded, lane) in log::load_all(&options, 1, |_| {}).into_iter().zip(&self.world.borrow().lanes) {
            let loaded = loaded.map_err(|error| format!("a partition cannot be loaded: {error}"))?;
            lane.check(&loaded, ending, self.setup.compact)?;
            logs.push(loaded);
        }
        marks.loaded(reach).map_err(failed)?;
        self.mark(Mark::Epoch(epoch + 1));
        let options =
            log::LogShardOptions { faults: Some(Arc::clone(&self.faults)), ..self.setup.shard_options(&self.root) };
        let shard = LogShard::new(options);
        for (lane, loaded) in logs.into_iter().enumerate() {
            // The log start was moved past what outlived the power cut: the log begins anew there.
            let is_empty = loaded.log_start_offset == loaded.log_end_offset && loaded.producers.is_empty();
            let lost_producer = is_empty && self.setup.flush_acks == FlushAcks::None;
            self.mark(Mark::Opened { lane, end: loaded.log_end_offset.0, lost_producer });
            let compacted_to = checkpoints.get(&loaded.topic_partition).compacted_to;
            let partition = Partition::open(loaded, &shard, LeaderEpoch(epoch + 1), topic_config());
            partition.log.set_compacted_to(compacted_to);
            self.partitions.borrow_mut().push(partition);
        }
        self.started_at.set(self.disk.event_count());
        let run = Rc::downgrade(self);
        self.disk.set_onlooker(Some(Box::new(move || run.upgrade().map(|run| run.look()).unwrap_or_default())));
        Ok((Arc::new(checkpoints), shard))
    }

    fn mark(&self, mark: Mark) {
        self.disk.mark(self.note(mark));
    }

    fn note(&self, mark: Mark) -> usize {
        self.world.borrow_mut().apply(&mark);
        let mut marks = self.marks.borrow_mut();
        marks.push(mark);
        marks.len() - 1
    }

    /// What consumers and clients can know by now.
    fn look(&self) -> Vec<usize> {
        let mut noted = Vec::new();
        for (lane, partition) in self.partitions.borrow().iter().enumerate() {
            let offsets = partition.log.offsets();
            let (end, durable, written) = {
                let world = self.world.borrow();
                (world.lanes[lane].end, world.lanes[lane].durable, world.lanes[lane].written)
            };
            if offsets.log_end.0 < end {
                noted.push(self.note(Mark::TakenBack { lane, end: offsets.log_end.0 }));
            }
            let start = self.world.borrow().lanes[lane].log_start;
            if offsets.log_start.0 > start {
                noted.push(self.note(Mark::LogStart { lane, offset: offsets.log_start.0 }));
            }
            let shown = match self.setup.flush_acks {
                FlushAcks::All => offsets.high_watermark.max(offsets.flushed).0,
                FlushAcks::None => offsets.flushed.0,
            };
            if matches!(partition.log.state_error(), Some(LogError::Poisoned { .. })) {
                let then = *self.poisoned.borrow_mut().entry(lane).or_insert(shown);
                if shown > then {
                    self.blame(format!("t-{lane}: {shown} was promised after a failure at {then}"));
                }
            }
            if shown > durable {
                noted.push(self.note(Mark::Visible { lane, end: shown }));
            }
            if offsets.written.0 > written {
                noted.push(self.note(Mark::Written { lane, end: offsets.written.0 }));
            }
        }
        noted
    }

    fn chance(&self, probability: f64) -> bool {
        self.random.borrow_mut().random_bool(probability)
    }

    fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().random_range(0..bound)
    }

    async fn work(self: &Rc<Self>, checkpoints: &Arc<DirCheckpoints>) -> Result<(), String> {
        // A broker remembers no more than the last batch of a producer across its next stop.
        for lane in 0..self.setup.partitions * self.setup.steps.min(1) {
            let unanswered = self.world.borrow().lanes[lane].unanswered.len();
            for _ in 0..unanswered {
                self.produce(lane);
            }
        }
        let fault_at = self.below(self.setup.steps.max(1));
        for step in 0..self.setup.steps {
            if step == fault_at {
                self.begin_fault();
            }
            let lane = self.below(self.setup.partitions);
            match self.below(21) {
                0..=11 => {
                    for _ in 0..=self.below(4) {
                        self.produce(if self.chance(0.5) { lane } else { self.below(self.setup.partitions) });
                    }
                }
                12..=14 => self.turns(30).await,
                15 => self.consume(lane).await?,
                16 => self.checkpoint(checkpoints).await,
                17 => self.delete_records(lane),
                18 => self.settle(lane).await,
                19 => self.retain(lane).await,
                _ => observe::advance_ms(50),
            }
            if self.setup.compact && self.chance(0.2) {
                self.compact(lane);
            }
            self.turns(4).await;
            if let Some(wrong) = self.wrong.borrow().clone() {
                return Err(wrong);
            }
        }
        self.recover_from_faults().await
    }

    fn begin_fault(&self) {
        let random = self.random.borrow_mut().random();
        match self.setup.fault {
            Fault::None => {}
            Fault::ShortWrites => self.faults.set_short_writes(random),
            Fault::Full => self.faults.set_full(true),
            Fault::Operation(op) => self.faults.fail(op, random as u32 % 10, FaultKind::Io),
            Fault::Call => self.disk.fail_call(random as u32 % 20, 5),
        }
    }

    /// What has to hold when nothing fails any more: a full disk is forgotten, and whoever was not hit goes on.
    async fn recover_from_faults(self: &Rc<Self>) -> Result<(), String> {
        if !matches!(self.setup.fault, Fault::Full | Fault::Operation(FaultOp::Flush | FaultOp::Write)) {
            return Ok(());
        }
        self.faults.set_full(false);
        let mut poisoned = 0;
        for lane in 0..self.setup.partitions * self.setup.steps.min(1) {
            let partition = Rc::clone(&self.partitions.borrow()[lane]);
            for _ in 0..100 {
                self.produce(lane);
                self.turns(20).await;
                self.settle(lane).await;
                match partition.log.state_error() {
                    Some(LogError::DiskFull) => observe::advance_ms(50),
                    _ => break,
                }
            }
            match partition.log.state_error() {
                None => {}
                Some(LogError::Poisoned { .. }) if self.setup.fault != Fault::Full => poisoned += 1,
                Some(error) => return Err(format!("t-{lane}: it does not go on: {error}")),
            }
        }
        // One syncfs that fails is that of many, and so is a write to the journal.
        if self.setup.fault == Fault::Operation(FaultOp::Write) && self.setup.journal.is_none() && poisoned > 1 {
            return Err(format!("one failed write poisoned {poisoned} partitions"));
        }
        Ok(())
    }

    async fn turns(&self, below: usize) {
        for _ in 0..self.below(below) {
            end_of_turn().await;
        }
    }

    /// The client of a partition sends its next batch, or again the first one that it has no answer for.
    fn produce(self: &Rc<Self>, lane: usize) {
        let (again, full, next) = {
            let world = self.world.borrow();
            let lane = &world.lanes[lane];
            let again = lane.unanswered.iter().find(|sent| !sent.in_flight).cloned();
            (again, lane.unanswered.len() >= UNANSWERED_MAX, lane.next_sequence)
        };
        let sent = match again {
            Some(sent) => sent,
            None if full => return,
            None => {
                let sent = self.new_batch(lane, next);
                self.mark(Mark::Made { lane, sent: sent.clone() });
                sent
            }
        };
        let partition = Rc::clone(&self.partitions.borrow()[lane]);
        self.disk.glance();
        let end = partition.log.log_end_offset().0;
        let (base, last) = (i64::from(sent.sequence), i64::from(sent.sequence + sent.count));
        let origin = Origin::Client { version: 9 };
        let appended = match partition.append(BytesMut::from(&*sent.bytes), origin, runtime::wall_ms()) {
            Ok(appended) => appended,
            Err(AppendError::Log(LogError::DiskFull | LogError::Poisoned { .. } | LogError::Closed)) => return,
            // The one before it was taken back, and its client has not heard of it yet.
            Err(AppendError::Producer(_)) if end < base => return,
            // Without flushes a start can begin behind a batch that was not answered: of those before its last one a
            // broker knows nothing then, as Apache Kafka.
            Err(AppendError::Producer(_)) if self.setup.flush_acks == FlushAcks::None => {
                return self.mark(Mark::Answered { lane, end: last });
            }
            Err(error) => return self.blame(format!("t-{lane}: batch {base} was refused: {error}")),
        };
        let durable = partition.wait_acknowledged(appended.end_offset, -1);
        let flushed = partition.log.wait_flushed(appended.end_offset);
        if appended.base_offset.0 != base || appended.end_offset.0 != last {
            return self.blame(format!("t-{lane}: batch {base} was appended at {}", appended.base_offset));
        }
        if base >= end {
            let mut bytes = BytesMut::from(&*sent.bytes);
            record::stamp(&mut bytes, Offset(base), partition.leader_epoch());
            let known = Known { end: last, epoch: partition.leader_epoch().0, bytes: bytes.freeze() };
            self.mark(Mark::Appended { lane, base, known });
        }
        self.set_in_flight(lane, base, true);
        let run = Rc::clone(self);
        let none = self.setup.flush_acks == FlushAcks::None;
        let waits_for_flush = none && self.chance(0.3);
        drop(spawn(async move {
            let result = if none && !waits_for_flush { durable.await } else { flushed.await };
            match result {
                Ok(()) if none && !waits_for_flush => run.mark(Mark::Answered { lane, end: last }),
                Ok(()) => run.mark(Mark::Acknowledged { lane, end: last }),
                Err(_) => run.set_in_flight(lane, base, false),
            }
        }));
    }

    /// The client begins or gives up to wait for its batches from this one on.
    fn set_in_flight(&self, lane: usize, base: i64, in_flight: bool) {
        let mut world = self.world.borrow_mut();
        for sent in &mut world.lanes[lane].unanswered {
            if i64::from(sent.sequence) == base || (!in_flight && i64::from(sent.sequence) > base) {
                sent.in_flight = in_flight;
            }
        }
    }

    fn new_batch(&self, lane: usize, sequence: i32) -> Sent {
        let mut random = self.random.borrow_mut();
        let count = if self.setup.equal_bytes.is_some() { 1 } else { random.random_range(1..=4) };
        let options = BatchOptions {
            producer: Producer { id: PRODUCER, epoch: 0, base_sequence: sequence },
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        let timestamp = 1_700_000_000_000 + i64::from(sequence);
        for _ in 0..count {
            let size = self.setup.equal_bytes.unwrap_or_else(|| random.random_range(0..=self.setup.value_bytes_max));
            let mut value = vec![random.random::<u8>(); size];
            for (slot, byte) in
                value.iter_mut().zip((lane as u64).to_le_bytes().into_iter().chain(random.random::<[u8; 8]>()))
            {
                *slot = byte;
            }
            if self.setup.compact {
                let key = [b'k', random.random_range(0..6)];
                let value = random.random_bool(0.9).then_some(&value[..]);
                builder.append(timestamp, Some(&key), value, &[]);
            } else {
                builder.append(timestamp, None, Some(&value), &[]);
            }
        }
        Sent { sequence, count, bytes: builder.build().freeze(), in_flight: false }
    }

    /// A consumer reads from somewhere on: it gets what was appended.
    async fn consume(&self, lane: usize) -> Result<(), String> {
        let partition = Rc::clone(&self.partitions.borrow()[lane]);
        let offsets = partition.log.offsets();
        let (start, end) = (offsets.log_start.0, offsets.high_watermark.0);
        if start >= end {
            return Ok(());
        }
        let from = self.random.borrow_mut().random_range(start..end);
        let bytes_max = 1 + self.below(100_000);
        let read = partition.read(Offset(from), LeaderEpoch::UNKNOWN, LeaderEpoch::UNKNOWN, bytes_max, true).await;
        let read = match read {
            Ok(read) => read,
            // It was deleted meanwhile.
            Err(_) if partition.log.log_start_offset().0 > from => return Ok(()),
            Err(_) if matches!(self.setup.fault, Fault::Operation(FaultOp::Read) | Fault::Call) => return Ok(()),
            Err(error) => return Err(format!("t-{lane}: a read from {from} failed: {error:?}")),
        };
        let mut content = Vec::new();
        for chunk in &read.records.chunks {
            match chunk {
                Chunk::Mem(bytes) => content.extend_from_slice(bytes),
                Chunk::File(range) => {
                    let mut bytes = vec![0; range.len as usize];
                    runtime::fs::pread(&range.file, &mut bytes, range.position).map_err(|error| error.to_string())?;
                    content.extend_from_slice(&bytes);
                }
            }
        }
        let mut rest = &content[..];
        if rest.is_empty() {
            return Err(format!("t-{lane}: a read from {from} of {end} found nothing"));
        }
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).map_err(|error| format!("t-{lane}: read from {from}: {error}"))?;
            let (batch, behind) = rest.split_at(header.size());
            let base = header.base_offset.0;
            let same = self.world.borrow().lanes[lane]
                .known
                .get(&base)
                .is_some_and(|known| known.bytes == batch || (self.setup.compact && known.is_left_by(batch)));
            if !same || header.next_offset().0 > partition.log.high_watermark().0 {
                return Err(format!("t-{lane}: a consumer saw a batch at {base} that was not appended"));
            }
            rest = behind;
        }
        Ok(())
    }

    fn note_offsets(&self, checkpoints: &DirCheckpoints) {
        let partitions = self.partitions.borrow();
        checkpoints.update(partitions.iter().map(|partition| {
            let log = &partition.log;
            let offsets = PartitionOffsets {
                recovery_point: log.recovery_point(),
                log_start_offset: log.log_start_offset(),
                high_watermark: log.high_watermark(),
                compacted_to: log.compacted_to(),
            };
            (partition.name.clone(), offsets)
        }));
    }

    async fn checkpoint(&self, checkpoints: &Arc<DirCheckpoints>) {
        self.note_offsets(checkpoints);
        let writing = Arc::clone(checkpoints);
        if let Err(error) = runtime::offload(move || writing.write()).await
            && self.setup.fault != Fault::Call
        {
            self.blame(format!("the checkpoints cannot be written: {error}"));
        }
    }

    /// Waits until all that was appended is durable.
    async fn settle(&self, lane: usize) {
        let partition = Rc::clone(&self.partitions.borrow()[lane]);
        let _ = partition.log.wait_flushed(partition.log.log_end_offset()).await;
    }

    async fn stop(
        self: &Rc<Self>,
        marks: &CleanShutdownMarks,
        checkpoints: &Arc<DirCheckpoints>,
    ) -> Result<(), String> {
        let partitions = self.partitions.borrow().clone();
        let closing: Vec<_> = partitions
            .iter()
            .map(|partition| {
                let log = Rc::clone(&partition.log);
                spawn(async move { log.close().await })
            })
            .collect();
        for closed in closing {
            match closed.await {
                Ok(_) => {}
                Err(LogError::Poisoned { .. }) => return Ok(()),
                Err(_) if self.setup.fault == Fault::Call => return Ok(()),
                Err(error) => return Err(format!("a log cannot be closed: {error}")),
            }
        }
        // The last answers go out.
        end_of_turn().await;
        end_of_turn().await;
        self.note_offsets(checkpoints);
        let failed = |error: log::LoadError| format!("the stop failed: {error}");
        match checkpoints.write().and_then(|()| marks.finish(0)) {
            Err(_) if self.setup.fault == Fault::Call => return Ok(()),
            stopped => stopped.map_err(failed)?,
        }
        self.mark(Mark::Stopped);
        Ok(())
    }

    fn blame(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }
}
