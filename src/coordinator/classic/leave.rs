//! LeaveGroup.

use crate::coordinator::{Caller, GroupContext, Ticket};
use crate::error_code::ErrorCode;
use crate::protocol::LeaveGroupRequest;
use crate::protocol::leave_group::{MemberIdentity, MemberResponse};

use super::answers::{leave_answer, leaving};
use super::{ClassicGroup, ClassicState};

impl ClassicGroup {
    /// LeaveGroup: each member named goes, if it is there; the rest rebalances once. An administrator names a static
    /// member by its instance id alone.
    ///
    /// Errors in answers: of a member UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn leave(
        &mut self,
        ticket: Ticket,
        request: &LeaveGroupRequest,
        caller: Caller<'_>,
        ctx: &mut GroupContext<'_>,
    ) {
        let mut responses = Vec::new();
        let mut left = false;
        for member in leaving(request, caller.api_version) {
            let error = self.remove_leaving(&member, ctx).err().unwrap_or(ErrorCode::None);
            left |= error == ErrorCode::None;
            responses.push(MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: error as i16,
            });
        }
        if left && self.state != ClassicState::Empty {
            self.rebalance(ctx);
        }
        ctx.answer(ticket, leave_answer(responses, caller.api_version));
    }

    fn remove_leaving(&mut self, member: &MemberIdentity, ctx: &mut GroupContext<'_>) -> Result<(), ErrorCode> {
        let instance = member.group_instance_id.as_ref();
        let member_id = if member.member_id.is_empty() {
            let known = instance.and_then(|instance| self.members.static_id(instance));
            known.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else {
            if !self.pending_members.contains_key(&member.member_id) {
                self.validate_member(&member.member_id, instance)?;
            }
            member.member_id.clone()
        };
        self.remove_member(&member_id, ctx);
        Ok(())
    }
}
