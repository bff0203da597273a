//! Who may commit and fetch offsets of the group (`ConsumerGroup.validateOffsetCommit`, `validateOffsetFetch`).

use super::{ConsumerGroup, Refusal};
use crate::error_code::ErrorCode;
use crate::types::TopicId;

/// The first version of OffsetCommit that knows member epochs.
const MEMBER_EPOCHS: i16 = 9;

/// What of an offset commit may be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitScope {
    All,
    /// The member is at a newer epoch already: partitions that it owned at the epoch it names, and still owns; ask
    /// `check_commit_of` for each (KIP-1251).
    Owned,
}

impl ConsumerGroup {
    /// Whether a member may commit offsets. `epoch` is the request's member epoch or generation.
    pub fn validate_offset_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&str>,
        epoch: i32,
        transactional: bool,
        version: i16,
    ) -> Result<CommitScope, Refusal> {
        // From the admin client, or a consumer that only stores its offsets here.
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitScope::All);
        }
        // A transactional producer that does not say for which consumer.
        if transactional && epoch == -1 && member_id.is_empty() && group_instance_id.is_none() {
            return Ok(CommitScope::All);
        }
        let member = self.members.get(member_id).ok_or_else(|| self.unknown_member(member_id))?;
        let classic = member.uses_classic();
        if !transactional && !classic && version < MEMBER_EPOCHS {
            let message = "OffsetCommit version 9 or above must be used by members using the consumer group protocol";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        let known = member.owned.epoch;
        if epoch > known {
            let what = if classic { "generation id" } else { "member epoch" };
            let message = format!("Received {what} {epoch} is newer than current member epoch {known}.");
            return Err(Refusal::new(wrong_epoch(classic), message));
        }
        Ok(if epoch == known { CommitScope::All } else { CommitScope::Owned })
    }

    /// Whether a member of an older epoch may commit the offset of a partition; `topic` is `None` if there is no such topic.
    pub fn check_commit_of(
        &self,
        member_id: &str,
        epoch: i32,
        topic: Option<TopicId>,
        partition: i32,
    ) -> Result<(), ErrorCode> {
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        let since = topic.and_then(|topic| member.owned.epoch_of(topic, partition));
        match since {
            Some(since) if epoch >= since => Ok(()),
            _ => Err(wrong_epoch(member.uses_classic())),
        }
    }

    /// Whether a member may see the offsets. Without member id and epoch, as the admin client asks, anybody may.
    pub fn validate_offset_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Refusal> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let id = member_id.unwrap_or_default();
        let member = self.members.get(id).ok_or_else(|| self.unknown_member(id))?;
        let known = member.owned.epoch;
        if epoch == known {
            return Ok(());
        }
        let classic = member.uses_classic();
        let what = if classic { "generation id" } else { "member epoch" };
        let message = format!("The received {what} {epoch} does not match the expected member epoch {known}.");
        Err(Refusal::new(wrong_epoch(classic), message))
    }
}

fn wrong_epoch(classic: bool) -> ErrorCode {
    if classic { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}
