//! The reserve: a plain file at the root of the data directory that keeps room back, and the thread that keeps it.
//!
//! When an operation meets a full disk, user data is refused everywhere (`log/disk_room.rs`), those who took room for it
//! come to their end, and then the first three quarters of the file are released: for offsets, rolls, checkpoints and
//! deletions. If they are used up too, the rest is for what the broker itself cannot do without. When the file can be made
//! whole again, with a margin so that producers do not stop at their first request, user data is taken again.
//!
//! Whether there is room is asked of the file system by taking it: free blocks say nothing about quotas. A start and a
//! clean stop do without the file, so that they have all the room there is; so Apache Kafka never meets it.
//!
//! The same thread looks now and then whether the data directory is still where it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::log::{DiskLevel, DiskRoom, is_disk_full, names};
use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::threads::{self, JoinHandle};

use super::directory::Place;

/// The least that is kept back unless `log.reserve.bytes` says so: the files of a topic of 50 partitions take 1 MiB.
const BYTES_MIN: u64 = 4 << 20;
/// The most: the indexes of 50 GiB of active segments, which a stop completes.
const BYTES_MAX: u64 = 256 << 20;
/// Of a small file system no more than this part is kept back.
const PART_MAX: u64 = 16;
/// Beside the reserve, at least so much has to be free before producers are served again.
const MARGIN_BYTES_MIN: u64 = 1 << 20;
/// How often a full disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the data directory is looked for.
const PLACE_EVERY: Duration = Duration::from_secs(2);
/// The longest pause after room that the file system promised turned out not to be there, as under a quota.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// A disk that gets full again sooner than this is not told of again; the metrics count it.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a release waits for those who took room for user data when the disk got full.
const WRITERS_MAX: Duration = Duration::from_secs(2);

/// How much is kept back on a file system of so many bytes.
pub fn bytes_wanted(configured: Option<u64>, total_bytes: u64) -> u64 {
    configured.unwrap_or_else(|| (total_bytes / 100).clamp(BYTES_MIN, BYTES_MAX).min(total_bytes / PART_MAX))
}

/// Gives a start all the room there is.
pub fn make_way(directory: &Path) {
    if let Err(error) = fs::remove_file(&directory.join(names::RESERVE)) {
        tracing::warn!("{} cannot be removed: {error}", names::RESERVE);
    }
}

/// The thread that keeps the reserve. When this is dropped it ends, and the file is gone.
#[derive(Debug)]
pub struct Keeper {
    room: Arc<DiskRoom>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Keeper {
    /// Takes the reserve, or finds the disk full, and watches over it from now on.
    pub fn start(place: Arc<Place>, bytes: u64, room: &Arc<DiskRoom>) -> std::io::Result<Keeper> {
        let path = place.path().join(names::RESERVE);
        let mut reserve = Reserve::new(place, bytes, Arc::clone(room));
        reserve.begin();
        let thread = threads::spawn("corelane-disk", None, move || reserve.keep())?;
        Ok(Keeper { room: Arc::clone(room), thread: Some(thread), path })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.room.stop_keeper();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed.
            let _ = thread.join();
        }
        if self.room.lost().is_none() {
            let _ = fs::remove_file(&self.path);
        }
        self.room.metrics().set_reserve_bytes(0);
    }
}

/// Room that the file system gave, or did not.
enum Taken {
    Yes,
    No,
    /// It cannot reserve blocks at all.
    Unsupported,
}

struct Reserve {
    place: Arc<Place>,
    path: PathBuf,
    room: Arc<DiskRoom>,
    bytes: u64,
    held: u64,
    full_since: Instant,
    retry_after: Duration,
    retry_at: Instant,
    /// Whether the log was told of this full disk, and when it was last told of one.
    told: bool,
    told_at: Option<Instant>,
    offline_told: i64,
}

impl Reserve {
    fn new(place: Arc<Place>, bytes: u64, room: Arc<DiskRoom>) -> Reserve {
        let now = Instant::now();
        Reserve {
            path: place.path().join(names::RESERVE),
            place,
            room,
            bytes,
            held: 0,
            full_since: now,
            retry_after: LOOK_EVERY,
            retry_at: now,
            told: false,
            told_at: None,
            offline_told: 0,
        }
    }

    /// The part that offsets of consumers have no claim on.
    fn core_bytes(&self) -> u64 {
        self.bytes / 4
    }

    fn margin_bytes(&self) -> u64 {
        (self.bytes / 2).max(MARGIN_BYTES_MIN)
    }

    fn begin(&mut self) {
        if !matches!(self.take(self.bytes, 0), Taken::No) {
            return;
        }
        let level = match self.take(self.core_bytes(), 0) {
            Taken::No => DiskLevel::Exhausted,
            _ => DiskLevel::Full,
        };
        self.room.set_level(level);
        self.tell_full();
    }

    fn keep(mut self) {
        loop {
            let level = self.room.level();
            let full = matches!(level, DiskLevel::Full | DiskLevel::Exhausted);
            let news = self.room.wait_for_news(if full { LOOK_EVERY } else { PLACE_EVERY });
            if news.stop {
                return;
            }
            self.tell_offline();
            if level == DiskLevel::Lost {
                continue;
            }
            if let Err(reason) = self.place.check() {
                tracing::error!(
                    "{reason}. Nothing is taken any more; stop the broker, put the directory back, and start it again"
                );
                self.room.set_lost(&reason);
            } else if news.full {
                self.release_first();
            } else if news.short && self.room.level() == DiskLevel::Full {
                self.release_rest();
            } else if full {
                self.look_for_room();
            }
        }
    }

    fn release_first(&mut self) {
        self.full_since = Instant::now();
        while self.room.has_user_writers() && self.full_since.elapsed() < WRITERS_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.shrink(self.core_bytes());
        self.room.note_released(DiskLevel::Full);
        self.tell_full();
    }

    fn release_rest(&mut self) {
        self.shrink(0);
        self.room.note_released(DiskLevel::Exhausted);
        tracing::error!(
            "The disk of {} is full and the reserve used up: offsets of consumers cannot be committed until there is room",
            self.place.path().display()
        );
    }

    fn look_for_room(&mut self) {
        let now = Instant::now();
        if now < self.retry_at {
            return;
        }
        let Ok(info) = fs::fs_info(self.place.path()) else { return };
        let there = info.usable_bytes + self.held;
        let level = if there >= self.bytes + self.margin_bytes() {
            let taken = self.take(self.bytes, self.margin_bytes());
            if matches!(taken, Taken::No) { None } else { Some(DiskLevel::Room) }
        } else if self.room.level() == DiskLevel::Exhausted && there >= self.bytes {
            let taken = self.take(self.core_bytes(), self.bytes - self.core_bytes());
            if matches!(taken, Taken::No) { None } else { Some(DiskLevel::Full) }
        } else {
            return;
        };
        let Some(level) = level else {
            self.retry_at = now + self.retry_after;
            self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
            return;
        };
        self.retry_after = LOOK_EVERY;
        self.room.set_level(level);
        if level == DiskLevel::Room && self.told {
            tracing::info!(
                "The disk of {} has room again after {:.1} s: producers are served",
                self.place.path().display(),
                self.full_since.elapsed().as_secs_f64()
            );
        }
    }

    /// Makes the file hold `bytes` if there is room for them and the margin. It is left as it was otherwise.
    fn take(&mut self, bytes: u64, margin_bytes: u64) -> Taken {
        let wanted = bytes + margin_bytes;
        if wanted == 0 {
            return Taken::Yes;
        }
        let taken = fs::open(&self.path, OpenFlags::CREATE).and_then(|file| {
            let taken = fs::fallocate(&file, 0, wanted, false);
            fs::truncate(&file, if taken.is_ok() { bytes } else { self.held })?;
            taken
        });
        match taken {
            Ok(()) => self.held = bytes,
            Err(error) if is_disk_full(&error) => return Taken::No,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::Unsupported {
                    tracing::warn!("No room can be kept back in {}: {error}", self.path.display());
                }
                return Taken::Unsupported;
            }
        }
        self.room.metrics().set_reserve_bytes(self.held);
        if self.held == 0 {
            let _ = fs::remove_file(&self.path);
        }
        Taken::Yes
    }

    fn shrink(&mut self, bytes: u64) {
        if bytes >= self.held {
            return;
        }
        let shrunk = if bytes == 0 {
            fs::remove_file(&self.path).map(|_| ())
        } else {
            fs::open(&self.path, OpenFlags::READ_WRITE).and_then(|file| fs::truncate(&file, bytes))
        };
        match shrunk {
            Ok(()) => self.held = bytes,
            Err(error) => tracing::warn!("{} cannot be released: {error}", self.path.display()),
        }
        self.room.metrics().set_reserve_bytes(self.held);
    }

    /// A disk that is filled as fast as retention makes room gets full many times a minute.
    fn tell_full(&mut self) {
        self.told = self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if !self.told {
            return;
        }
        self.told_at = Some(Instant::now());
        tracing::warn!(
            "The disk of {} is full. Producers are told NOT_ENOUGH_REPLICAS, which they retry, and nothing of theirs is \
             lost; reads, commits of offsets and deletions go on in a reserve of {:.1} MiB. Free some room: delete topics \
             or records, shorten retention, or make the file system larger. It goes on by itself",
            self.place.path().display(),
            self.bytes as f64 / f64::from(1 << 20)
        );
    }

    /// A line when more partitions have failed, however many lines they had of their own.
    fn tell_offline(&mut self) {
        let offline = self.room.metrics().offline_replicas();
        if offline > self.offline_told {
            tracing::error!("Partitions that take no appends because their storage failed: {offline}");
        }
        self.offline_told = offline;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_fits_the_file_system() {
        assert_eq!(bytes_wanted(None, 1 << 20), 64 << 10);
        assert_eq!(bytes_wanted(None, 64 << 20), 4 << 20);
        assert_eq!(bytes_wanted(None, 10 << 30), (10 << 30) / 100);
        assert_eq!(bytes_wanted(None, 1 << 40), 256 << 20);
        assert_eq!(bytes_wanted(Some(0), 1 << 40), 0);
    }

    #[test]
    fn the_file_is_there_while_the_keeper_is() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Arc::new(Place::new(root.path()).expect("it is there"));
        std::fs::write(root.path().join(".lock"), "").expect("it is written");
        let file = root.path().join("corelane.reserve");
        let room = DiskRoom::guarded(Arc::default());
        let keeper = Keeper::start(place, 1 << 20, &room).expect("a thread starts");
        assert_eq!(file.metadata().expect("the reserve").len(), 1 << 20);
        assert_eq!((room.level(), room.metrics().reserve_bytes()), (DiskLevel::Room, 1 << 20));
        drop(keeper);
        assert!(!file.exists());
    }

    #[test]
    fn a_release_has_two_parts_and_all_of_it_comes_back() {
        let root = tempfile::tempdir().expect("a directory");
        let place = Arc::new(Place::new(root.path()).expect("it is there"));
        let file = root.path().join("corelane.reserve");
        let room = DiskRoom::guarded(Arc::default());
        let mut reserve = Reserve::new(place, 1 << 20, Arc::clone(&room));
        reserve.begin();
        reserve.release_first();
        assert_eq!((room.level(), file.metadata().expect("it").len()), (DiskLevel::Full, 256 << 10));
        reserve.release_rest();
        assert_eq!((room.level(), file.exists()), (DiskLevel::Exhausted, false));
        reserve.look_for_room();
        assert_eq!((room.level(), file.metadata().expect("it").len()), (DiskLevel::Room, 1 << 20));
    }
}
