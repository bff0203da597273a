//! One request's rows sent to the shards that own them, and the answers put back in order.

use std::rc::Rc;

use crate::error_code::ErrorCode;
use crate::shard::Shard;
use crate::shard::message::{ShardReply, ShardRequest};
use crate::types::ShardId;

/// Rows by owner.
pub struct Scatter<T> {
    by_owner: Vec<(ShardId, Vec<T>)>,
}

/// Where the answer of a row will stand.
#[derive(Clone, Copy, Debug)]
pub enum Scattered {
    Failed(ErrorCode),
    At(usize, usize),
}

/// The answers of every shard asked.
pub struct Gathered<R> {
    replies: Vec<Vec<R>>,
}

impl<T> Scatter<T> {
    pub fn new() -> Scatter<T> {
        Scatter { by_owner: Vec::new() }
    }

    pub fn add(&mut self, owner: ShardId, row: T) -> Scattered {
        let slot = self.by_owner.iter().position(|(shard, _)| *shard == owner).unwrap_or_else(|| {
            self.by_owner.push((owner, Vec::new()));
            self.by_owner.len() - 1
        });
        let rows = &mut self.by_owner[slot].1;
        rows.push(row);
        Scattered::At(slot, rows.len() - 1)
    }

    /// Asks every owner at once.
    pub async fn gather<R>(
        self,
        shard: &Rc<Shard>,
        request: impl Fn(Vec<T>) -> ShardRequest,
        reply: impl Fn(ShardReply) -> Vec<R>,
    ) -> Gathered<R> {
        let calls = self.by_owner.into_iter().map(|(owner, rows)| Box::pin(shard.call(owner, request(rows)))).collect();
        Gathered { replies: super::join_all(calls).await.into_iter().map(reply).collect() }
    }
}

impl<R> Gathered<R> {
    pub fn get(&self, place: Scattered) -> Result<&R, ErrorCode> {
        match place {
            Scattered::Failed(code) => Err(code),
            Scattered::At(slot, at) => {
                self.replies.get(slot).and_then(|rows| rows.get(at)).ok_or(ErrorCode::UnknownServerError)
            }
        }
    }
}
