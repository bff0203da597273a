//! What a full or failing disk means to one log. Who may take room at which level is said in `disk_room.rs`.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::runtime::file::RawFile;
use crate::runtime::{fs, offload, sleep, spawn};

use super::disk_room::{Attempt, Claim, DiskRoom};
use super::file::File;
use super::log::Log;
use super::log_shard::LogShard;

/// So many partitions get a line of their own when their storage fails; a device under thousands fails once.
const LINES_MAX: i64 = 20;

/// How long to wait for room on a full disk before another try.
pub(super) const FULL_WAIT: Duration = Duration::from_millis(100);
/// How often what has a claim on the reserve is tried on a full disk: for longer than its release takes.
pub const FULL_TRIES_MAX: u32 = 30;

/// Waits before something that has a claim on the reserve is tried again.
pub async fn wait_for_room() {
    sleep(FULL_WAIT).await;
}

/// Makes a blocking call of the broker itself, and again while the disk is full and the reserve is on the way.
pub async fn with_room<T, E, F>(room: &DiskRoom, is_full: impl Fn(&E) -> bool, call: impl Fn() -> F) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let mut tries = 0;
    loop {
        let attempt = room.begin_own();
        match offload(call()).await {
            Err(error) if is_full(&error) && tries < FULL_TRIES_MAX => {
                room.note_full(&attempt);
                tries += 1;
                wait_for_room().await;
            }
            result => return result,
        }
    }
}

impl Log {
    /// Says what the log is written for, before its first append; a log is for user data unless somebody says so.
    pub fn set_claim(&self, claim: Claim) {
        self.claim.set(claim);
    }

    /// An operation that takes room on the disk begins; none if there is no room for this log.
    pub(super) fn begin_taking_room(&self) -> Option<Attempt> {
        self.shard().room.begin(self.claim.get())
    }

    /// An operation of this log met a full disk.
    pub(super) fn note_full(&self, attempt: Option<&Attempt>) {
        let room = &self.shard().room;
        match attempt {
            Some(attempt) => room.note_full(attempt),
            None => {
                if let Some(attempt) = room.begin(self.claim.get()) {
                    room.note_full(&attempt);
                }
            }
        }
    }

    /// Takes from the front segment's file, durably, whatever a failed write may have left behind its written end: the
    /// batches are about to be refused as not stored, and no recovery may find them.
    pub(super) async fn cut_unwritten(self: &Rc<Self>, file: &File) -> io::Result<()> {
        // Room that is being allocated just now would be taken away unnoticed.
        self.until(|| !self.extending().get()).await;
        let Some(end) = self.live().borrow_mut().front_mut().map(|segment| {
            segment.room.allocated_end = segment.written_end;
            segment.room.stale_end = segment.room.stale_end.min(segment.written_end);
            segment.written_end
        }) else {
            return Ok(());
        };
        let file = std::sync::Arc::clone(file.raw());
        offload(move || cut(&file, end)).await
    }

    /// A file operation failed that must not fail.
    pub(super) fn poison_by(&self, what: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            self.shard().room.metrics().set_directory_offline();
            self.poison(&format!("{what}: {error}; the kernel's log (dmesg) says why it turned read-only"));
        } else {
            self.poison(&format!("{what}: {error}"));
        }
    }

    /// Tells that the log takes no more appends.
    pub(super) fn note_poison(&self, reason: &str) {
        let metrics = self.shard().room.metrics();
        metrics.add_offline_replicas(1);
        if metrics.offline_replicas() > LINES_MAX {
            tracing::debug!("{}: {reason}. The partition takes no more appends", self.topic_partition());
            return;
        }
        tracing::error!(
            "{}: {reason}. The partition takes no more appends; records acknowledged before are kept and can be read. \
             Look at the device, then restart the broker",
            self.topic_partition()
        );
    }
}

impl LogShard {
    /// An append was refused because the disk is full: what waits for its removal does not wait any longer.
    pub(super) fn note_refused(self: &Rc<Self>) {
        let releases = Some(self.room.releases());
        if self.refused_after.replace(releases) != releases {
            let shard = Rc::clone(self);
            shard.drop_spares();
            drop(spawn(async move { shard.empty_graves().await }));
        }
    }
}

fn cut(file: &RawFile, end: u64) -> io::Result<()> {
    fs::truncate(file, end)?;
    fs::sync_data(file)
}
