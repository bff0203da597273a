//! Incremental fetch sessions (KIP-227), one cache per shard.
//!
//! A session id carries the shard that made it in its upper bits. A consumer that reconnects may land
//! on another shard; it is told FETCH_SESSION_ID_NOT_FOUND there and starts a full session, as it does
//! when a broker evicted its session.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId};

/// `FetchMetadata.FINAL_EPOCH`: no session, or close it.
pub const FINAL_EPOCH: i32 = -1;
/// `FetchMetadata.INITIAL_EPOCH`: make a session.
pub const INITIAL_EPOCH: i32 = 0;

/// Sessions younger than this are evicted for nobody (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// One partition as the reader last asked for it, and what it was last told.
#[derive(Clone, Debug)]
pub struct SessionPartition {
    pub topic: Str,
    pub id: PartitionId,
    pub fetch_offset: Offset,
    pub max_bytes: i32,
    pub current_leader_epoch: LeaderEpoch,
    pub last_fetched_epoch: LeaderEpoch,
    pub told_high_watermark: Offset,
    pub told_last_stable: Offset,
    pub told_log_start: Offset,
}

impl SessionPartition {
    /// What a new request changes of a partition that the session knows already.
    pub fn update_from(&mut self, newer: &SessionPartition) {
        self.fetch_offset = newer.fetch_offset;
        self.max_bytes = newer.max_bytes;
        self.current_leader_epoch = newer.current_leader_epoch;
        self.last_fetched_epoch = newer.last_fetched_epoch;
    }
}

pub struct Session {
    pub id: i32,
    /// The epoch that the next request must carry.
    pub epoch: i32,
    pub partitions: Vec<SessionPartition>,
    created: Instant,
    last_used: Instant,
}

impl Session {
    pub fn position(&self, topic: &str, id: PartitionId) -> Option<usize> {
        self.partitions.iter().position(|p| {
            p.id.partition == id.partition
                && if id.topic_id.is_zero() { *p.topic == *topic } else { p.id.topic_id == id.topic_id }
        })
    }
}

/// The sessions of one shard, at most `slots` of them.
pub struct Sessions {
    shard: ShardId,
    slots: usize,
    next: i32,
    by_id: HashMap<i32, Session>,
}

/// Ids below this count within a shard; the shard's number stands above.
const IDS_PER_SHARD: i32 = 1 << 22;

impl Sessions {
    pub fn new(shard: ShardId, slots: usize) -> Sessions {
        Sessions { shard, slots, next: 0, by_id: HashMap::new() }
    }

    /// Makes a session; `None` when the cache is full of sessions too young to evict, whereupon the
    /// fetch is answered as a full one without a session.
    pub fn create(&mut self, partitions: Vec<SessionPartition>, now: Instant) -> Option<i32> {
        if self.slots == 0 {
            return None;
        }
        if self.by_id.len() >= self.slots {
            let oldest = self.by_id.values().min_by_key(|s| s.last_used)?;
            if now.duration_since(oldest.last_used.max(oldest.created)) < EVICTION_AGE {
                return None;
            }
            let id = oldest.id;
            self.by_id.remove(&id);
        }
        let id = loop {
            self.next = if self.next + 1 >= IDS_PER_SHARD { 1 } else { self.next + 1 };
            let id = i32::from(self.shard.0 & 0x1ff) * IDS_PER_SHARD + self.next;
            if !self.by_id.contains_key(&id) {
                break id;
            }
        };
        self.by_id.insert(id, Session { id, epoch: 1, partitions, created: now, last_used: now });
        Some(id)
    }

    /// Finds a session for its next request and moves its epoch on.
    pub fn next_request(&mut self, id: i32, epoch: i32, now: Instant) -> Result<&mut Session, ErrorCode> {
        let session = self.by_id.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.last_used = now;
        Ok(session)
    }

    pub fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub fn close(&mut self, id: i32) {
        self.by_id.remove(&id);
    }
}
