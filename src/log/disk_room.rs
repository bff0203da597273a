//! Whether there is room on the disk, and for whom. A full disk is no failure: user data is refused until there is room
//! again, and what is needed to get there goes on in room that was kept back for it (`server/reserve.rs`).
//!
//! | level | user data | offsets of consumers | catalog, checkpoints, rolls, stop |
//! |---|---|---|---|
//! | room | yes | yes | yes |
//! | full | no | in the first part of the reserve | in the reserve |
//! | exhausted | no | no | in the last part of the reserve |
//! | lost | no | no | no: the directory is gone |
//!
//! Nobody asks the file system for its free space on the way of an append: the level changes when an operation meets
//! ENOSPC or EDQUOT, and back when the reserve can be made again.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::metrics::StorageMetrics;

use super::error::LogError;

/// Who may take room now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DiskLevel {
    Room = 0,
    Full = 1,
    Exhausted = 2,
    Lost = 3,
}

/// What a log is written for: it is served up to the level of the same number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Claim {
    /// What producers send.
    User = 0,
    /// What the broker's coordinators write for clients.
    Coordinator = 1,
    /// What the broker itself cannot do without.
    Core = 2,
}

/// Operations of one shard that take room for user data and have not ended. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Writers(AtomicU32);

/// The room on the disk of a data directory, shared by all shards.
pub struct DiskRoom {
    level: AtomicU8,
    /// How often room was released.
    releases: AtomicU32,
    guarded: bool,
    writers: Mutex<Vec<Arc<Writers>>>,
    news: Mutex<News>,
    wake: Condvar,
    lost: OnceLock<Arc<str>>,
    metrics: Arc<StorageMetrics>,
}

/// What the keeper of the reserve is to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// An operation met a full disk.
    pub full: bool,
    /// One that may go on in released room met a full disk again.
    pub short: bool,
    /// The broker stops.
    pub stop: bool,
}

impl fmt::Debug for DiskRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskRoom").field("level", &self.level()).field("guarded", &self.guarded).finish_non_exhaustive()
    }
}

impl DiskRoom {
    /// Without a keeper: each log finds out for itself when there is room again.
    pub fn unguarded() -> Arc<DiskRoom> {
        Arc::new(DiskRoom::new(false, Arc::default()))
    }

    /// With a keeper, who waits for [`News`] and sets the level.
    pub fn guarded(metrics: Arc<StorageMetrics>) -> Arc<DiskRoom> {
        Arc::new(DiskRoom::new(true, metrics))
    }

    fn new(guarded: bool, metrics: Arc<StorageMetrics>) -> DiskRoom {
        DiskRoom {
            level: AtomicU8::new(DiskLevel::Room as u8),
            releases: AtomicU32::new(0),
            guarded,
            writers: Mutex::default(),
            news: Mutex::default(),
            wake: Condvar::new(),
            lost: OnceLock::new(),
            metrics,
        }
    }

    pub fn level(&self) -> DiskLevel {
        match self.level.load(Ordering::SeqCst) {
            0 => DiskLevel::Room,
            1 => DiskLevel::Full,
            2 => DiskLevel::Exhausted,
            _ => DiskLevel::Lost,
        }
    }

    /// Whether appends of this kind are taken. One load: every append asks.
    pub fn allows(&self, claim: Claim) -> bool {
        self.level.load(Ordering::Relaxed) <= claim as u8
    }

    /// Why an append is refused that [`allows`](DiskRoom::allows) does not let pass.
    pub fn refusal(&self) -> LogError {
        match self.lost.get() {
            Some(reason) => LogError::Poisoned { reason: Arc::clone(reason) },
            None => LogError::DiskFull,
        }
    }

    pub fn metrics(&self) -> &StorageMetrics {
        &self.metrics
    }

    /// What one shard counts its operations with.
    pub(super) fn of_shard(self: &Arc<Self>) -> ShardRoom {
        let writers = Arc::new(Writers::default());
        lock(&self.writers).push(Arc::clone(&writers));
        ShardRoom { room: Arc::clone(self), writers }
    }

    /// How often room was released.
    pub(super) fn releases(&self) -> u32 {
        self.releases.load(Ordering::SeqCst)
    }

    /// A blocking operation of the broker itself begins; [`note_full`](DiskRoom::note_full) wants to know.
    pub fn begin_own(&self) -> Attempt {
        Attempt { claim: Claim::Core, releases: self.releases.load(Ordering::SeqCst), writers: None }
    }

    /// An operation met ENOSPC or EDQUOT.
    pub fn note_full(&self, attempt: &Attempt) {
        if !self.guarded {
            return;
        }
        let (room, full) = (DiskLevel::Room as u8, DiskLevel::Full as u8);
        if self.level.compare_exchange(room, full, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.metrics.set_disk_full(true);
            lock(&self.news).full = true;
            self.wake.notify_all();
        } else if attempt.claim != Claim::User && attempt.releases == self.releases.load(Ordering::SeqCst) {
            lock(&self.news).short = true;
            self.wake.notify_all();
        }
    }

    // What follows is for the keeper.

    /// Waits for news, at most so long, and takes them.
    pub fn wait_for_news(&self, at_most: Duration) -> News {
        let mut news = lock(&self.news);
        if !(news.full || news.short || news.stop) {
            news = self.wake.wait_timeout(news, at_most).unwrap_or_else(PoisonError::into_inner).0;
        }
        let stop = news.stop;
        std::mem::replace(&mut *news, News { stop, ..News::default() })
    }

    /// Ends the keeper's waiting.
    pub fn stop_keeper(&self) {
        lock(&self.news).stop = true;
        self.wake.notify_all();
    }

    /// Whether an operation is under way that began before the level rose and takes room for user data.
    pub fn has_user_writers(&self) -> bool {
        lock(&self.writers).iter().any(|writers| writers.0.load(Ordering::SeqCst) > 0)
    }

    /// Room was released: whatever met a full disk before tries again.
    pub fn note_released(&self, level: DiskLevel) {
        self.set_level(level);
        // What failed before this does not say that the released room was too little.
        lock(&self.news).short = false;
        self.releases.fetch_add(1, Ordering::SeqCst);
    }

    /// A level that is lost stays.
    pub fn set_level(&self, level: DiskLevel) {
        if self.lost.get().is_none() {
            self.level.store(level as u8, Ordering::SeqCst);
            self.metrics.set_disk_full(matches!(level, DiskLevel::Full | DiskLevel::Exhausted));
        }
    }

    /// The data directory is not where it was: nothing is taken any more, whatever becomes of it.
    pub fn set_lost(&self, reason: &str) {
        let _ = self.lost.set(reason.into());
        self.level.store(DiskLevel::Lost as u8, Ordering::SeqCst);
        self.metrics.set_directory_offline();
    }

    /// Why nothing is taken any more, if that is so.
    pub fn lost(&self) -> Option<Arc<str>> {
        self.lost.get().cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The room as one shard sees it.
#[derive(Clone, Debug)]
pub(super) struct ShardRoom {
    room: Arc<DiskRoom>,
    writers: Arc<Writers>,
}

impl std::ops::Deref for ShardRoom {
    type Target = DiskRoom;

    fn deref(&self) -> &DiskRoom {
        &self.room
    }
}

impl ShardRoom {
    /// An operation that takes room begins, unless there is none for it. It lasts until the attempt is dropped.
    pub fn begin(&self, claim: Claim) -> Option<Attempt> {
        let releases = self.room.releases.load(Ordering::SeqCst);
        if claim != Claim::User {
            return self.room.allows(claim).then_some(Attempt { claim, releases, writers: None });
        }
        // Counted before the level is looked at: the keeper raises it first and counts then, so one of both sees the other.
        self.writers.0.fetch_add(1, Ordering::SeqCst);
        let attempt = Attempt { claim, releases, writers: Some(Arc::clone(&self.writers)) };
        (self.room.level() == DiskLevel::Room).then_some(attempt)
    }
}

/// An operation that takes room on the disk.
#[derive(Debug)]
pub struct Attempt {
    claim: Claim,
    releases: u32,
    writers: Option<Arc<Writers>>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(writers) = &self.writers {
            writers.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn who_may_take_room_at_which_level() {
        let room = DiskRoom::guarded(Arc::default());
        let claims = [Claim::User, Claim::Coordinator, Claim::Core];
        for (level, allowed) in [
            (DiskLevel::Room, [true, true, true]),
            (DiskLevel::Full, [false, true, true]),
            (DiskLevel::Exhausted, [false, false, true]),
        ] {
            room.set_level(level);
            assert_eq!(claims.map(|claim| room.allows(claim)), allowed, "{level:?}");
            assert!(matches!(room.refusal(), LogError::DiskFull));
        }
        room.set_lost("gone");
        room.set_level(DiskLevel::Room);
        assert_eq!(claims.map(|claim| room.allows(claim)), [false; 3], "what is lost does not come back");
        assert!(matches!(room.refusal(), LogError::Poisoned { .. }));
    }

    #[test]
    fn the_keeper_waits_for_those_who_began_before() {
        let room = DiskRoom::guarded(Arc::default());
        let (one, other) = (room.of_shard(), room.of_shard());
        let (first, second) = (one.begin(Claim::User).unwrap(), other.begin(Claim::User).unwrap());
        room.note_full(&first);
        assert!(room.wait_for_news(NOW).full);
        assert!(room.metrics().is_disk_full());
        assert!(one.begin(Claim::User).is_none(), "nobody begins any more");
        drop(first);
        assert!(room.has_user_writers());
        drop(second);
        assert!(!room.has_user_writers());
    }

    #[test]
    fn only_what_began_after_a_release_says_that_it_was_too_little() {
        let room = DiskRoom::guarded(Arc::default());
        let shard = room.of_shard();
        let early = shard.begin(Claim::Core).unwrap();
        room.note_full(&early);
        assert!(room.wait_for_news(NOW).full);
        room.note_released(DiskLevel::Full);
        room.note_full(&early);
        assert!(!room.wait_for_news(NOW).short, "it failed before");
        room.note_full(&shard.begin(Claim::Coordinator).unwrap());
        assert!(room.wait_for_news(NOW).short);
        assert_eq!(room.metrics().times_full(), 1);
    }

    #[test]
    fn without_a_keeper_nothing_changes() {
        let room = DiskRoom::unguarded();
        room.note_full(&room.of_shard().begin(Claim::User).unwrap());
        assert_eq!(room.level(), DiskLevel::Room);
    }
}
