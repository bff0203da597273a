//! The life of one shard's thread: open what belongs to it, serve, close.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::api::{Addresses, Api, Door};
use crate::catalog::{Catalog, LastRun};
use crate::config::{self, BrokerConfig};
use crate::log::{
    Claim, DirCheckpoints, DiskRoom, FlushAcks, IoMode, JournalOptions, LoadError, LoadedLog, Log, LogShard,
    LogShardOptions, PartitionOffsets, names, with_room,
};
use crate::metrics::{Metrics, ShardMetrics};
use crate::net::{Gate, Net, NetOptions};
use crate::runtime::file::RawFile;
use crate::runtime::mesh::Endpoint as MeshEndpoint;
use crate::runtime::net::{BindOptions, TcpListener};
use crate::runtime::sync::channel;
use crate::runtime::{self, FeatureSet, Runtime, RuntimeOptions};
use crate::shard::cluster_view::ClusterView;
use crate::shard::controller::{Controller, NotWritten};
use crate::shard::{Parcel, Shard, ShardStart};
use crate::types::ShardId;

use super::StartError;
use super::loading::ShardShare;
use super::service::KafkaService;

/// How long a clean stop waits for answers that are under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What a shard's thread starts with.
pub struct ShardSeed {
    pub id: ShardId,
    pub config: Arc<BrokerConfig>,
    pub addresses: Arc<Addresses>,
    /// What this shard binds: the shared ports, then its own.
    pub doors: Vec<(SocketAddr, Door)>,
    pub io: config::IoMode,
    pub block_bytes: u64,
    pub descriptors_max: usize,
    pub mesh: MeshEndpoint<Parcel>,
    /// The locked file of the data directory, for the ring to hold.
    pub lock: RawFile,
    pub room: Arc<DiskRoom>,
    pub checkpoints: Arc<DirCheckpoints>,
    pub share: ShardShare,
    pub metrics: Arc<Metrics>,
    pub gate: Arc<Gate>,
}

/// The catalog's writer, which shard 0 alone has.
pub struct ControllerSeed {
    pub catalog: Catalog,
    pub log: LoadedLog,
    pub registration: crate::catalog::commands::Registration,
}

/// What a shard's thread tells the one that started it.
pub enum Told {
    /// Shard 0 has opened the catalog's epoch: the view with which all shards open their partitions.
    Begun(Arc<ClusterView>),
    Serving,
    /// All logs are closed, so many of them not as a clean stop would have it.
    Closed {
        failed: usize,
    },
    /// Shard 0 has written its last words.
    /// With the broker's epoch, and the view that was the last.
    Ended(LastRun, i64, Arc<ClusterView>),
    Failed(StartError),
}

/// What a shard's thread is told.
pub enum Order {
    /// No more requests; answers out; logs closed.
    Close,
    /// To shard 0, when all shards have closed: the catalog's last words.
    End,
}

/// Runs a shard until it is told to close. `view` is for all shards but 0, which makes it.
pub fn run(
    seed: ShardSeed,
    controller: Option<ControllerSeed>,
    view: Arc<ClusterView>,
    mut orders: channel::Receiver<Order>,
    told: &Sender<Told>,
) {
    let tell = |what: Told| {
        // Nobody listens any more only when the process is on its way out.
        let _ = told.send(what);
    };
    let options = RuntimeOptions {
        shards: seed.config.shards,
        disable: FeatureSet::parse(&seed.config.runtime.disable).unwrap_or_default(),
        spin: seed.config.runtime.spin,
        ..RuntimeOptions::default()
    };
    let runtime = match Runtime::new(&options) {
        Ok(runtime) => runtime,
        Err(error) => return tell(Told::Failed(StartError::Ring(error))),
    };
    if let Err(error) = runtime.hold(&seed.lock) {
        tracing::warn!("the ring cannot hold the lock of the data directory: {error}");
    }
    runtime.block_on(async {
        let log_shard = LogShard::new(log_shard_options(&seed));
        let controller = match begin(controller, &log_shard).await {
            Ok(controller) => controller,
            Err(error) => return tell(Told::Failed(error)),
        };
        let view = match &controller {
            None => view,
            Some((_, image)) => {
                let begun = Arc::new(view.next(Arc::clone(image), view.placement.clone()));
                tell(Told::Begun(Arc::clone(&begun)));
                begun
            }
        };
        let start = ShardStart {
            id: seed.id,
            config: Arc::clone(&seed.config),
            view,
            mesh: seed.mesh,
            checkpoints: Arc::clone(&seed.checkpoints),
        };
        let shard = Shard::new(start, log_shard);
        let controller = controller.map(|(controller, _)| controller);
        if let Some(controller) = &controller {
            shard.set_controller(Rc::clone(controller));
            if let Some(interval) = seed.config.catalog.snapshot_interval {
                drop(runtime::spawn(Rc::clone(controller).keep_snapshots(interval)));
            }
        }
        for log in seed.share.logs {
            shard.open(log);
        }
        for (id, _, why) in seed.share.offline {
            shard.set_offline(id, why);
        }
        shard.start();
        let metrics = seed.metrics.shard(seed.id);
        drop(runtime::spawn(keep_checkpoints(Rc::clone(&shard), Arc::clone(&metrics))));
        drop(runtime::spawn(Rc::clone(&shard).keep_retention()));
        drop(runtime::spawn(Rc::clone(&shard).keep_compacted(Arc::clone(&metrics))));
        drop(runtime::spawn(Rc::clone(&shard).keep_offsets_retention()));
        drop(runtime::spawn(Rc::clone(&shard).keep_producers()));

        let api = Api::new(Rc::clone(&shard), Arc::clone(&seed.addresses));
        let doors = seed.doors.iter().map(|(_, door)| *door).collect();
        let service = KafkaService::new(api, doors, Arc::clone(&metrics));
        let server = Net::new(net_options(&seed.config), seed.gate, metrics, service);
        for (number, (address, door)) in seed.doors.into_iter().enumerate() {
            match TcpListener::bind(address, &bind_options(&seed.config)) {
                Ok(listener) => server.serve(listener, number),
                Err(error) => {
                    let listener = seed.addresses.listeners.get(door.listener);
                    return tell(Told::Failed(StartError::AddressUnusable {
                        listener: listener.map(|listener| listener.name.clone()).unwrap_or_default(),
                        address: address.to_string(),
                        error,
                    }));
                }
            }
        }
        tell(Told::Serving);

        while let Some(order) = orders.recv().await {
            match order {
                Order::Close => {
                    // Members may wait for others for minutes.
                    shard.end_coordinators().await;
                    server.drain(DRAIN_MAX).await;
                    let failed = close(&shard).await;
                    tell(Told::Closed { failed });
                    // Others may still ask this shard: it serves them until the end.
                }
                Order::End => {
                    if let Some(controller) = &controller {
                        match end(controller, &seed.checkpoints).await {
                            Ok((last_run, epoch)) => tell(Told::Ended(last_run, epoch, shard.view())),
                            Err(what) => tell(Told::Failed(StartError::NotClean { what })),
                        }
                    }
                    break;
                }
            }
        }
    });
}

type Begun = (Rc<Controller>, Arc<crate::catalog::CatalogImage>);

/// Opens the catalog's log and this run's epoch of it.
async fn begin(seed: Option<ControllerSeed>, log_shard: &Rc<LogShard>) -> Result<Option<Begun>, StartError> {
    let Some(seed) = seed else { return Ok(None) };
    let dir = seed.log.dir.clone();
    let epoch = seed.catalog.leader_epoch();
    if let Some(damage) = &seed.log.damage {
        return Err(StartError::Damaged { path: dir, what: damage.to_string() });
    }
    let log = Log::open(seed.log, log_shard, epoch);
    log.set_claim(Claim::Core);
    let controller = Controller::new(seed.catalog, log);
    let image = controller.begin(&seed.registration).await.map_err(|error| match error {
        NotWritten::DiskFull => StartError::DiskFull { path: dir },
        NotWritten::Other(what) => StartError::Damaged { path: dir, what },
    })?;
    Ok(Some((controller, image)))
}

fn net_options(config: &BrokerConfig) -> NetOptions {
    let network = &config.network;
    NetOptions {
        request_bytes_max: network.request_bytes_max,
        requests_in_flight_max: network.requests_in_flight_max,
        queued_request_bytes_max: network.queued_request_bytes_per_shard(config.shards),
        queued_response_bytes_max: network.queued_response_bytes_per_shard(config.shards),
        idle_max: network.idle_max,
        ..NetOptions::default()
    }
}

fn bind_options(config: &BrokerConfig) -> BindOptions {
    BindOptions {
        reuse_port: true,
        backlog: config.network.backlog,
        recv_buffer_bytes: config.network.receive_buffer_bytes,
        send_buffer_bytes: config.network.send_buffer_bytes,
    }
}

fn log_shard_options(seed: &ShardSeed) -> LogShardOptions {
    let shards = seed.config.shards.max(1);
    LogShardOptions {
        io: match seed.io {
            config::IoMode::Direct => IoMode::Direct,
            config::IoMode::Buffered => IoMode::Buffered,
        },
        flush_acks: match seed.config.log.flush_acks {
            config::FlushAcks::All => FlushAcks::All,
            config::FlushAcks::None => FlushAcks::None,
        },
        tail_bytes_max: seed.config.log.tail_memory_bytes / shards,
        descriptors_max: seed.descriptors_max,
        block_bytes: seed.block_bytes,
        room: Arc::clone(&seed.room),
        recycled_segments_max: seed.config.log.recycled_segments_max,
        journal: journal_options(seed),
        ..LogShardOptions::default()
    }
}

/// None where a journal would be too small to be of use.
fn journal_options(seed: &ShardSeed) -> Option<JournalOptions> {
    const BYTES_MIN: u64 = 1 << 20;
    let bytes = seed.config.log.journal_bytes_max / seed.config.shards.max(1) as u64;
    let dir = seed.config.directory.join(names::UNCLEAN_DIR);
    (bytes >= BYTES_MIN).then(|| JournalOptions::new(dir, usize::from(seed.id.0), bytes / 2))
}

/// Feeds the directory's checkpoints, and has them written now and then.
async fn keep_checkpoints(shard: Rc<Shard>, metrics: Arc<ShardMetrics>) {
    let log = &shard.config.log;
    // All files have one rhythm, the fastest that is asked for: a high watermark that was written tells a damaged log from
    // one with a torn tail. Shard 0 writes for all.
    let interval = log.recovery_point_checkpoint_interval.min(log.high_watermark_checkpoint_interval);
    let recovery_points = shard.log_shard.on_recovery_point();
    let mut next = recovery_points.listen();
    note_damage(&shard, &metrics);
    loop {
        // A log whose recovery point has moved a long way does not wait for the others.
        let moved = runtime::timeout(interval, next).await.is_ok();
        next = recovery_points.listen();
        note_damage(&shard, &metrics);
        let writes_for_all = shard.id == ShardId(0);
        if writes_for_all {
            // One that is long in answering is noted the next time.
            let _ = runtime::timeout(interval, Box::pin(shard.note_all_offsets())).await;
        } else if moved {
            shard.note_offsets();
        }
        if moved || writes_for_all {
            let room = &shard.log_shard.options().room;
            let written = with_room(room, LoadError::is_disk_full, || {
                let checkpoints = Arc::clone(&shard.checkpoints);
                move || checkpoints.write()
            });
            if room.lost().is_none()
                && let Err(error) = written.await
            {
                tracing::error!("the checkpoints of the data directory cannot be written: {error}");
            }
        }
    }
}

/// What an operator is to be woken for.
fn note_damage(shard: &Rc<Shard>, metrics: &ShardMetrics) {
    let damaged_reads = shard.log_shard.stats().damaged_reads;
    metrics.log_damaged_reads.add(damaged_reads - metrics.log_damaged_reads.get());
}

/// Closes all logs. Answers how many could not be.
async fn close(shard: &Rc<Shard>) -> usize {
    let closing: Vec<_> = shard
        .partitions()
        .into_iter()
        .map(|partition| {
            let log_shard = Rc::clone(&shard.log_shard);
            runtime::spawn(async move {
                let closed = partition.log.close().await;
                if let Err(error) = &closed
                    && log_shard.may_tell()
                {
                    tracing::error!(partition = %partition.name, "the log could not be closed cleanly: {error}");
                }
                closed.is_ok()
            })
        })
        .collect();
    let mut failed = 0;
    for task in closing {
        failed += usize::from(!task.await);
    }
    // What waited for its removal does not wait for the next start.
    shard.log_shard.empty_graves().await;
    shard.note_offsets();
    failed
}

async fn end(controller: &Rc<Controller>, checkpoints: &Arc<DirCheckpoints>) -> Result<(LastRun, i64), String> {
    let ended = controller.end().await?;
    let log = controller.log();
    let recovery_point = log.close().await.map_err(|error| error.to_string())?;
    let offsets = PartitionOffsets {
        recovery_point,
        log_start_offset: log.log_start_offset(),
        high_watermark: log.high_watermark(),
        compacted_to: None,
    };
    checkpoints.update([(log.topic_partition().clone(), offsets)]);
    Ok(ended)
}
