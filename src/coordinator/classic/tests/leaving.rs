//! LeaveGroup.

use super::*;

#[test]
fn a_member_leaves_and_the_rest_rebalances() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    assert_eq!(rig.leave(&[(&ids[0], None)]), [ErrorCode::None]);
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.leave(&[(&ids[0], None)]), [ErrorCode::UnknownMemberId]);
    let ticket = rig.join(&ids[1]);
    assert_eq!((rig.joined(ticket).generation_id, rig.joined(ticket).leader), (2, ids[1].clone()));
}

#[test]
fn the_last_to_leave_leaves_an_empty_group_on_disk() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let before = rig.records.len();
    assert_eq!(rig.leave(&[(&ids[0], None), (&ids[1], None), ("x", None)])[2], ErrorCode::UnknownMemberId);
    assert!(rig.group.is_empty());
    assert_eq!(rig.records.len(), before + 1);
    assert_eq!(rig.group.next_deadline(), None);
}

#[test]
fn versions_before_3_have_one_member_and_one_error() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let request = |member_id: &str| LeaveGroupRequest {
        group_id: "group".into(),
        member_id: member_id.into(),
        ..LeaveGroupRequest::default()
    };
    for version in 0..3 {
        let response = rig.leave_with(&request("stranger"), version);
        assert_eq!((error(response.error_code), response.members.len()), (ErrorCode::UnknownMemberId, 0));
    }
    let response = rig.leave_with(&request(&ids[0]), 2);
    assert_eq!((error(response.error_code), response.members.len()), (ErrorCode::None, 0));
    assert!(rig.group.is_empty());
}

#[test]
fn who_has_an_id_but_never_joined_can_leave() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let ticket = rig.join("");
    let pending = rig.joined(ticket).member_id;
    let rejoined = rig.join(&ids[0]);
    assert!(rig.waits(rejoined), "the one with an id is expected");
    assert_eq!(rig.leave(&[(&pending, None)]), [ErrorCode::None]);
    assert_eq!(rig.joined(rejoined).generation_id, 2);
}

#[test]
fn leaving_ends_what_the_member_waits_for() {
    let mut rig = Rig::new();
    let (first, joining) = rig.join_new();
    assert_eq!(rig.leave(&[(&first, None)]), [ErrorCode::None]);
    assert_eq!(rig.join_error(joining), ErrorCode::UnknownMemberId);
    rig.pass(DELAY_MS);
    assert!(rig.group.is_empty());
    let (first, ticket) = rig.join_new();
    let (second, _) = rig.join_new();
    rig.settle(ticket);
    let follower = if rig.joined(ticket).leader == first { second } else { first };
    let generation = rig.group.generation_id();
    let syncing = rig.sync(&follower, generation, &[]);
    assert_eq!(rig.leave(&[(&follower, None)]), [ErrorCode::None]);
    assert_eq!(rig.sync_error(syncing), ErrorCode::UnknownMemberId);
}

#[test]
fn an_administrator_removes_static_members_by_name() {
    let mut rig = Rig::new();
    let joining = rig.join_with(&static_request("", "a"));
    rig.pass(DELAY_MS);
    let id = rig.joined(joining).member_id;
    assert_eq!(rig.leave(&[("", None), ("", Some("b"))]), [ErrorCode::UnknownMemberId; 2]);
    assert_eq!(rig.leave(&[("other", Some("a"))]), [ErrorCode::FencedInstanceId]);
    assert_eq!(rig.leave(&[(&id, Some("b"))]), [ErrorCode::UnknownMemberId]);
    assert_eq!(rig.leave(&[("", Some("a"))]), [ErrorCode::None]);
    assert!(rig.group.is_empty());
}
