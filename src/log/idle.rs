//! Partitions that are not written to give their preallocated room and their descriptors back.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::fs::{self, OpenFlags};
use crate::runtime::{offload, sleep, spawn, wall_ms};

use super::disk_room::DiskLevel;
use super::log::{Log, State};
use super::log_shard::LogShard;
use super::names;

/// On a full disk room that is not written to is given back after this: it may be what others wait for.
const FULL_IDLE: Duration = Duration::from_secs(1);

impl Log {
    /// The log holds room now: it is looked at when it has been idle for long enough.
    pub(super) fn note_room(self: &Rc<Self>) {
        if self.listed_roomy.replace(true) {
            return;
        }
        let shard = self.shard();
        let mut roomy = shard.roomy.borrow_mut();
        roomy.push(Rc::downgrade(self));
        if roomy.len() == 1 {
            // The only one in the list started the sweep; it ends when the list is empty.
            drop(spawn(sweep(Rc::downgrade(shard))));
        }
    }

    /// Cuts the file to its data and lets go of it, if nothing was appended for a while and nothing is in flight.
    async fn give_room_back(self: Rc<Self>) -> bool {
        let shard = Rc::clone(self.shard());
        let full = shard.room.level() != DiskLevel::Room;
        let idle_after =
            if full { shard.options.idle_truncate_after.min(FULL_IDLE) } else { shard.options.idle_truncate_after };
        let idle_ms = i64::try_from(idle_after.as_millis()).unwrap_or(i64::MAX);
        if matches!(*self.state().borrow(), State::Closed | State::Poisoned { .. }) {
            return true;
        }
        if wall_ms().saturating_sub(self.last_append_ms()) < idle_ms || !self.is_quiet() || self.has_placed() {
            return false;
        }
        let job = {
            let live = self.live().borrow();
            live.front().map(|segment| (segment.base_offset, segment.written_end))
        };
        let Some((base_offset, written_end)) = job else { return true };
        self.drop_spares();
        // Keeps commits away: whatever is appended meanwhile prepares the file anew.
        self.preparing().set(true);
        let path = names::log_file(&self.dir(), base_offset);
        let file = shard.descriptors.remove((self.key(), base_offset));
        let result = offload(move || {
            let file = match file {
                Some(file) => file,
                None => Arc::new(fs::open(&path, OpenFlags::READ_WRITE)?),
            };
            fs::truncate(&file, written_end)
        })
        .await;
        self.preparing().set(false);
        if let Some(segment) = self.live().borrow_mut().front_mut().filter(|front| front.base_offset == base_offset) {
            let room = &mut segment.room;
            room.allocated_end = written_end;
            if full {
                room.growth.fall_back();
            }
            room.stale_end = room.stale_end.min(written_end);
            if !written_end.is_multiple_of(shard.options.block_bytes) {
                room.tail_block = None;
            }
        }
        if let Err(error) = result {
            warn_unless_gone(&self, &error);
        }
        self.next_commit();
        true
    }
}

fn warn_unless_gone(log: &Log, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        tracing::warn!("{}: cannot give preallocated room back: {error}", log.topic_partition());
    }
}

async fn sweep(shard: Weak<LogShard>) {
    loop {
        let Some(pause) = shard.upgrade().map(|shard| shard.options.idle_truncate_after / 2) else { return };
        let mut waited = Duration::ZERO;
        while waited < pause {
            let part = FULL_IDLE.min(pause.saturating_sub(waited));
            sleep(part).await;
            waited += part;
            let Some(shard) = shard.upgrade() else { return };
            if shard.room.level() != DiskLevel::Room {
                break;
            }
        }
        let Some(shard) = shard.upgrade() else { return };
        let listed = shard.roomy.borrow().clone();
        for log in listed.iter().filter_map(Weak::upgrade) {
            log.review_spares();
            if Rc::clone(&log).give_room_back().await && log.spares.is_empty() {
                log.listed_roomy.set(false);
            }
        }
        let mut roomy = shard.roomy.borrow_mut();
        roomy.retain(|log| log.upgrade().is_some_and(|log| log.listed_roomy.get()));
        if roomy.is_empty() {
            return;
        }
    }
}
