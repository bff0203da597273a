//! What a classic group allows to happen to its offsets.

use crate::error_code::ErrorCode;
use crate::protocol::Str;

use super::{ClassicGroup, ClassicState};

/// What the age of a group's offsets counts from (Kafka's `OffsetExpirationCondition`), where they were not given a
/// time of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetExpiry {
    /// They stay.
    Never,
    /// Each from its commit. Topics that the group is subscribed to are exempt.
    SinceCommit,
    /// All from when the group lost its last member, in milliseconds since 1970.
    Since(i64),
}

impl ClassicGroup {
    /// Whether offsets may be committed. If so, a member's session begins anew, as with a heartbeat.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS.
    pub fn validate_offset_commit(
        &mut self,
        member_id: &str,
        group_instance_id: Option<&Str>,
        generation_id: i32,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        self.validate_commit(member_id, group_instance_id, generation_id, false)?;
        if matches!(self.state, ClassicState::Stable | ClassicState::PreparingRebalance) {
            self.extend_session(member_id, now_ms);
        }
        Ok(())
    }

    /// The same of a commit within a transaction: older producers name no member, and rebalances don't matter.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION.
    pub fn validate_transactional_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&Str>,
        generation_id: i32,
    ) -> Result<(), ErrorCode> {
        self.validate_commit(member_id, group_instance_id, generation_id, true)
    }

    fn validate_commit(
        &self,
        member_id: &str,
        group_instance_id: Option<&Str>,
        generation_id: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        // An administrator, or a consumer that assigns partitions to itself.
        if generation_id < 0 && self.is_empty() {
            return Ok(());
        }
        if generation_id >= 0 || !member_id.is_empty() || group_instance_id.is_some() {
            self.validate_member(member_id, group_instance_id)?;
            if generation_id != self.generation_id {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional {
            return Err(ErrorCode::UnknownMemberId);
        }
        // It knows the new generation already, though not what it has in it.
        if !transactional && self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether offsets may be deleted: those of a group whose topics are known only for topics it does not read, which
    /// [`ClassicGroup::is_subscribed_to`] tells.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP.
    pub fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() || self.uses_consumer_protocol() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// Whether the group may be deleted.
    ///
    /// # Errors
    /// NON_EMPTY_GROUP.
    pub fn validate_delete(&self) -> Result<(), ErrorCode> {
        if self.is_empty() { Ok(()) } else { Err(ErrorCode::NonEmptyGroup) }
    }

    /// Whether its members read the topic; of consumers whose topics are not known, they may.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.as_ref().map_or(self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// When its offsets expire.
    pub fn offset_expiry(&self) -> OffsetExpiry {
        if self.protocol_type.is_none() {
            return OffsetExpiry::SinceCommit;
        }
        match self.state {
            ClassicState::Empty => self.state_since_ms.map_or(OffsetExpiry::SinceCommit, OffsetExpiry::Since),
            ClassicState::Stable if self.uses_consumer_protocol() && self.subscribed_topics.is_some() => {
                OffsetExpiry::SinceCommit
            }
            _ => OffsetExpiry::Never,
        }
    }
}
