//! From a checked start to running shards, and back.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use crate::api::{Addresses, Door, ListenerAddresses};
use crate::config::ShardListeners;
use crate::log::{CleanShutdownMarks, DirCheckpoints, DiskRoom};
use crate::net::Gate;
use crate::runtime::mesh::mesh;
use crate::runtime::sync::channel as orders;
use crate::runtime::threads::{self, JoinHandle};
use crate::shard::Parcel;
use crate::shard::cluster_view::ClusterView;
use crate::types::ShardId;

use super::directory::Place;
use super::loading::{self, Found};
use super::reserve::{self, Keeper};
use super::shard_thread::{self, ControllerSeed, Order, ShardSeed, Told};
use super::{Endpoint, Start, StartError};

/// A shard's thread and the way to it.
struct Running {
    orders: orders::Sender<Order>,
    told: Receiver<Told>,
    thread: JoinHandle<()>,
}

/// Running shards.
pub struct Broker {
    shards: Vec<Running>,
    marks: CleanShutdownMarks,
    checkpoints: Arc<DirCheckpoints>,
    view: Arc<ClusterView>,
    directory: std::path::PathBuf,
    place: Arc<Place>,
    keeper: Keeper,
    offline: usize,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

/// Recovers the data directory and starts all shards. When it returns, clients are served.
pub fn start(start: &Start) -> Result<Broker, StartError> {
    reserve::make_way(&start.directory.path);
    let mut found = loading::load(start)?;
    let offline = found.offline.len() + found.logs.values().filter(|loaded| loaded.damage.is_some()).count();
    let shares = loading::shares(&mut found);
    let Found { marks, checkpoints, catalog, metadata_log, view, .. } = found;
    let place = Arc::clone(&start.directory.place);
    let room = DiskRoom::guarded(Arc::clone(start.metrics.storage()));
    let reserve_bytes = reserve::bytes_wanted(start.config.log.reserve_bytes, start.directory.total_bytes);
    let keeper = Keeper::start(Arc::clone(&place), reserve_bytes, &room)
        .map_err(|error| StartError::Internal { what: format!("a thread cannot be started ({error})") })?;
    let mut controller =
        Some(ControllerSeed { catalog, log: metadata_log, registration: loading::registration(start) });
    let addresses = Arc::new(addresses(start));
    let config = Arc::new(start.config.clone());
    let for_gate = Arc::clone(&config);
    let gate = Gate::new(config.network.connections_max, move |address| for_gate.network.connections_max_of(address));
    let shards = config.shards;
    let mut view = view;
    let mut running = Vec::with_capacity(shards);
    for ((index, share), mesh) in shares.into_iter().enumerate().zip(mesh::<Parcel>(shards)) {
        let id = ShardId(index as u16);
        let seed = ShardSeed {
            id,
            config: Arc::clone(&config),
            addresses: Arc::clone(&addresses),
            doors: doors(&start.endpoints, id),
            io: start.io,
            block_bytes: start.directory.direct.map_or(4096, |direct| u64::from(direct.offset).max(4096)),
            descriptors_max: config.log.open_files_per_shard(start.descriptors, config.network.connections_max, shards),
            mesh,
            lock: start.directory.lock_file().map_err(|error| StartError::storage(&start.directory.path, error))?,
            room: Arc::clone(&room),
            checkpoints: Arc::clone(&checkpoints),
            share,
            metrics: Arc::clone(&start.metrics),
            gate: Arc::clone(&gate),
        };
        let shard = spawn(start, seed, controller.take(), Arc::clone(&view))?;
        // Shard 0 raises and stores the leader epochs before any shard opens a partition.
        if index == 0 {
            view = match shard.told.recv() {
                Ok(Told::Begun(begun)) => begun,
                other => return Err(failure(other.ok())),
            };
        }
        running.push(shard);
    }
    for shard in &running {
        match shard.told.recv() {
            Ok(Told::Serving) => {}
            other => return Err(failure(other.ok())),
        }
    }
    let directory = start.directory.path.clone();
    Ok(Broker { shards: running, marks, checkpoints, view, directory, place, keeper, offline })
}

fn spawn(
    start: &Start,
    seed: ShardSeed,
    controller: Option<ControllerSeed>,
    view: Arc<ClusterView>,
) -> Result<Running, StartError> {
    let (tell, told) = channel();
    let (order, ordered) = orders::channel(4);
    let index = seed.id.index();
    let core = start.cores.get(index % start.cores.len().max(1)).copied();
    let ending = start.ending.clone();
    let thread = threads::spawn(&format!("corelane-{index}"), core, move || {
        let run = std::panic::AssertUnwindSafe(|| shard_thread::run(seed, controller, view, ordered, &tell));
        if std::panic::catch_unwind(run).is_err() {
            ending.fail(StartError::Internal { what: format!("shard {index} has panicked; see the log") });
        }
    })
    .map_err(|error| StartError::Internal { what: format!("a shard's thread cannot be started ({error})") })?;
    Ok(Running { orders: order, told, thread })
}

fn failure(told: Option<Told>) -> StartError {
    match told {
        Some(Told::Failed(error)) => error,
        _ => StartError::Internal { what: "a shard ended while it started".to_owned() },
    }
}

/// Where each shard accepts: on every shared port, and with per-core listeners on its own ones.
fn doors(endpoints: &[Endpoint], shard: ShardId) -> Vec<(std::net::SocketAddr, Door)> {
    let mut doors = Vec::new();
    for (listener, endpoint) in endpoints.iter().enumerate() {
        doors.push((endpoint.address, Door { listener, shard: None }));
        if let Some(own) = endpoint.shards.get(shard.index()) {
            doors.push((*own, Door { listener, shard: Some(shard) }));
        }
    }
    doors
}

fn addresses(start: &Start) -> Addresses {
    Addresses {
        listeners: start
            .endpoints
            .iter()
            .map(|endpoint| ListenerAddresses {
                name: endpoint.name.clone(),
                host: endpoint.advertised_host.clone(),
                port: endpoint.advertised_port,
                shard_ports: endpoint.shards.iter().map(std::net::SocketAddr::port).collect(),
            })
            .collect(),
        per_core: start.config.shard_listeners == ShardListeners::PerCore,
    }
}

impl Broker {
    /// What there is to say once clients are served, such as the count of partitions; may be empty.
    pub fn summary(&self) -> String {
        let (topics, partitions) = (self.view.image.topic_count(), self.view.image.partition_count());
        let mut summary = match (topics, partitions) {
            (0, _) => "no topics yet".to_owned(),
            (1, 1) => "1 topic with 1 partition".to_owned(),
            (1, partitions) => format!("1 topic with {partitions} partitions"),
            (topics, partitions) => format!("{topics} topics with {partitions} partitions"),
        };
        if self.offline > 0 {
            let _ = write!(summary, " ({} offline, see the log)", self.offline);
        }
        summary
    }

    /// Stops cleanly: no new requests, answers out, logs and checkpoints written.
    pub fn stop(self) -> Result<(), StartError> {
        // All the room there is, for the files that a clean stop completes.
        drop(self.keeper);
        let mut clean = true;
        let mut failed_logs = 0;
        for shard in &self.shards {
            clean &= shard.orders.try_send(Order::Close).is_ok();
        }
        for shard in &self.shards {
            match shard.told.recv() {
                Ok(Told::Closed { failed }) => failed_logs += failed,
                _ => clean = false,
            }
        }
        let (mut ended, mut failed_end) = (None, None);
        for shard in &self.shards {
            clean &= shard.orders.try_send(Order::End).is_ok();
        }
        if let Some(first) = self.shards.first() {
            match first.told.recv() {
                Ok(Told::Ended(last_run, epoch, view)) => ended = Some((last_run, epoch, view)),
                Ok(Told::Failed(error)) => failed_end = Some(error),
                _ => clean = false,
            }
        }
        for shard in self.shards {
            clean &= shard.thread.join().is_ok();
        }
        if let Err(reason) = self.place.check() {
            return Err(StartError::NotClean { what: reason });
        }
        let failed = |error: crate::log::LoadError| StartError::NotClean { what: error.to_string() };
        self.checkpoints.write().map_err(failed)?;
        if failed_logs > 0 {
            let what = format!("{failed_logs} partitions could not be closed, see above");
            return Err(StartError::NotClean { what });
        }
        if let Some(error) = failed_end {
            return Err(error);
        }
        let Some((last_run, epoch, view)) = ended.filter(|_| clean) else {
            return Err(StartError::Internal { what: "not every shard stopped cleanly".to_owned() });
        };
        view.placement
            .write(&self.directory, last_run)
            .map_err(|error| StartError::NotClean { what: error.to_string() })?;
        if self.offline > 0 {
            // A start trusts what was stopped cleanly: the damage would be served, or cut away as a torn tail.
            tracing::warn!(
                "{} partitions are offline: the data directory stays marked as not stopped cleanly, so that the next start \
                 looks at their files again",
                self.offline
            );
            return Ok(());
        }
        self.marks.finish(epoch).map_err(failed)
    }
}
