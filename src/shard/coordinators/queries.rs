//! What others than members ask of groups: tools and admin clients.

use std::rc::Rc;

use crate::error_code::ErrorCode;
use crate::protocol::consumer_group_describe::DescribedConsumerGroup;
use crate::protocol::delete_groups::DeletableGroupResult;
use crate::protocol::describe_groups::DescribedGroup;
use crate::protocol::list_groups::ListedGroup;
use crate::protocol::{OffsetDeleteRequest, OffsetDeleteResponse, Str};
use crate::shard::Shard;
use crate::shard::message::{GroupQuery, GroupRows};

use super::LOADING_WAIT_MAX;
use super::coordinator::Together;
use super::world::World;

impl Shard {
    pub(in crate::shard) async fn group_query(self: &Rc<Self>, query: GroupQuery) -> GroupRows {
        match query {
            GroupQuery::List { states, types } => GroupRows::Listed(self.list_groups(&states, &types).await),
            GroupQuery::Describe { groups, version } => {
                let mut rows = Vec::with_capacity(groups.len());
                for group in groups {
                    rows.push(self.describe_group(group, version).await);
                }
                GroupRows::Described(rows)
            }
            GroupQuery::DescribeConsumer(groups) => {
                let mut rows = Vec::with_capacity(groups.len());
                for group in groups {
                    rows.push(self.describe_consumer_group(group).await);
                }
                GroupRows::ConsumerDescribed(rows)
            }
            GroupQuery::Delete(groups) => {
                let mut rows = Vec::with_capacity(groups.len());
                for group in groups {
                    let error = self.delete_group(&group).await.unwrap_or_else(|code| code);
                    rows.push(DeletableGroupResult { group_id: group, error_code: error.code() });
                }
                GroupRows::Deleted(rows)
            }
            GroupQuery::DeleteOffsets(request) => GroupRows::OffsetsDeleted(self.delete_offsets(&request).await),
        }
    }

    async fn list_groups(self: &Rc<Self>, states: &[Str], types: &[Str]) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut listed = Vec::new();
        for coordinator in self.coordinators.all() {
            let rows = match coordinator.wait_loaded(LOADING_WAIT_MAX).await {
                None => coordinator.look(|groups| groups.list(states, types)),
                Some(code) => Err(code),
            };
            match rows {
                Ok(rows) => listed.extend(rows),
                Err(ErrorCode::NotCoordinator) => {}
                Err(code) => return Err(code),
            }
        }
        Ok(listed)
    }

    async fn describe_group(self: &Rc<Self>, group: Str, version: i16) -> DescribedGroup {
        let described = match self.loaded_coordinator_of(&group).await {
            Ok(coordinator) => coordinator.look(|groups| groups.describe(&group, version)),
            Err(code) => Err(code),
        };
        described.unwrap_or_else(|code| DescribedGroup {
            group_id: group,
            error_code: code.code(),
            ..Default::default()
        })
    }

    async fn describe_consumer_group(self: &Rc<Self>, group: Str) -> DescribedConsumerGroup {
        let view = self.view();
        let assignors = &view.config().groups.consumer.assignors;
        let described = match self.loaded_coordinator_of(&group).await {
            Ok(coordinator) => coordinator.look(|groups| groups.describe_consumer(&group, &World(&view), assignors)),
            Err(code) => Err(code),
        };
        described.unwrap_or_else(|code| DescribedConsumerGroup {
            group_id: group,
            error_code: code.code(),
            ..Default::default()
        })
    }

    async fn delete_group(self: &Rc<Self>, group: &str) -> Result<ErrorCode, ErrorCode> {
        let coordinator = self.loaded_coordinator_of(group).await?;
        // A group may have more offsets than one batch holds; what a crash leaves of it can be deleted again.
        let result = coordinator.call(self, Together::No, |groups, _, ctx| groups.delete(group, ctx))?;
        coordinator.when_durable().wait_for(self.config.offsets.commit_timeout).await?;
        Ok(result)
    }

    async fn delete_offsets(self: &Rc<Self>, request: &OffsetDeleteRequest) -> Result<OffsetDeleteResponse, ErrorCode> {
        let coordinator = self.loaded_coordinator_of(&request.group_id).await?;
        let response = coordinator.call(self, Together::No, |groups, _, ctx| groups.delete_offsets(request, ctx))??;
        coordinator.when_durable().wait_for(self.config.offsets.commit_timeout).await?;
        Ok(response)
    }
}
