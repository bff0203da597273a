//! What the APIs that ask about groups share: each group is asked for at the shard that coordinates it.

use std::collections::BTreeMap;

use crate::error_code::ErrorCode;
use crate::protocol::Str;
use crate::shard::join::join_all;
use crate::shard::message::{GroupQuery, GroupRows, ShardReply, ShardRequest};
use crate::types::ShardId;

use super::Context;
use super::find_coordinator::group_shard;

/// Asks one shard.
pub(super) async fn ask(context: &Context, shard: ShardId, query: GroupQuery) -> Option<GroupRows> {
    match context.api.shard.call(shard, ShardRequest::Groups(query)).await {
        ShardReply::Groups(rows) => Some(rows),
        _ => None,
    }
}

/// Asks for groups where they are coordinated. A row for each group, in the order of the request; `failed` makes that
/// of a group that has no coordinator.
pub(super) async fn ask_each<T>(
    context: &Context,
    groups: Vec<Str>,
    query: impl Fn(Vec<Str>) -> GroupQuery,
    rows: impl Fn(GroupRows) -> Option<Vec<T>>,
    failed: impl Fn(Str, ErrorCode) -> T,
) -> Vec<T> {
    let mut by_shard: BTreeMap<ShardId, (Vec<usize>, Vec<Str>)> = BTreeMap::new();
    let mut answers: Vec<Option<T>> = groups.iter().map(|_| None).collect();
    for (at, group) in groups.iter().enumerate() {
        if let Some(shard) = group_shard(context, group) {
            let (places, names) = by_shard.entry(shard).or_default();
            places.push(at);
            names.push(group.clone());
        }
    }
    let (places, asked): (Vec<_>, Vec<_>) = by_shard
        .into_iter()
        .map(|(shard, (places, names))| (places, Box::pin(ask(context, shard, query(names)))))
        .unzip();
    for (places, answered) in places.into_iter().zip(join_all(asked).await) {
        let answered = answered.and_then(&rows).unwrap_or_default();
        for (at, row) in places.into_iter().zip(answered) {
            if let Some(slot) = answers.get_mut(at) {
                *slot = Some(row);
            }
        }
    }
    let rows = groups.into_iter().zip(answers);
    rows.map(|(group, row)| row.unwrap_or_else(|| failed(group, ErrorCode::NotCoordinator))).collect()
}
