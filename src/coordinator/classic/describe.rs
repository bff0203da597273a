//! What administrators see of a classic group.

use crate::protocol::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::protocol::list_groups::ListedGroup;

use super::{ClassicGroup, ClassicState};

impl ClassicGroup {
    /// Its part of a DescribeGroups answer. What members said when they joined is told of a stable group alone.
    pub fn describe(&self) -> DescribedGroup {
        let protocol = self.protocol_name.clone().filter(|_| self.state == ClassicState::Stable);
        let members = self.members.iter().map(|member| DescribedGroupMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol.as_ref().map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
        });
        DescribedGroup {
            group_id: self.group_id.clone(),
            group_state: self.state.name().into(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol_data: protocol.unwrap_or_default(),
            ..DescribedGroup::default()
        }
    }

    /// Its row of a ListGroups answer.
    pub fn listed(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.group_id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            group_state: self.state.name().into(),
            group_type: "classic".into(),
        }
    }
}
