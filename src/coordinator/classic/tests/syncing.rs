//! SyncGroup, heartbeats, sessions and timeouts.

use super::*;

/// Two members that know their generation, 1, the leader first.
fn completing(rig: &mut Rig) -> [Str; 2] {
    let (first, ticket) = rig.join_new();
    let (second, _) = rig.join_new();
    rig.pass(2 * DELAY_MS);
    assert_eq!(rig.group.state(), ClassicState::CompletingRebalance);
    if rig.joined(ticket).leader == first { [first, second] } else { [second, first] }
}

#[test]
fn followers_wait_for_the_leader() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let waiting = rig.sync(&follower, 1, &[]);
    assert!(rig.waits(waiting));
    assert_eq!(rig.records.len(), 1);
    let own = rig.sync(&leader, 1, &[(&follower, "old"), (&follower, "for follower"), ("stranger", "x")]);
    let response = rig.synced(waiting);
    assert_eq!((response.error_code, &response.assignment[..]), (0, &b"for follower"[..]));
    assert_eq!(
        (response.protocol_type.as_deref(), response.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!((rig.sync_error(own), rig.synced(own).assignment.len()), (ErrorCode::None, 0));
    assert_eq!((rig.group.state(), rig.records.len()), (ClassicState::Stable, 2));
    // Whoever asks later is told at once.
    let again = rig.sync(&follower, 1, &[]);
    assert_eq!(&rig.synced(again).assignment[..], b"for follower");
}

#[test]
fn a_sync_that_does_not_fit() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let mut refused = |request: &SyncGroupRequest| {
        let ticket = rig.sync_with(request);
        rig.sync_error(ticket)
    };
    assert_eq!(refused(&sync_request("stranger", 1, &[])), ErrorCode::UnknownMemberId);
    for generation in [0, 2, -1] {
        assert_eq!(refused(&sync_request(&leader, generation, &[])), ErrorCode::IllegalGeneration);
    }
    let group_id = SyncGroupRequest { group_id: "".into(), ..sync_request(&leader, 1, &[]) };
    assert_eq!(check_sync(&group_id, 5), Err(ErrorCode::InvalidGroupId));
    let instance = SyncGroupRequest { group_instance_id: Some("i".into()), ..sync_request(&leader, 1, &[]) };
    assert_eq!(refused(&instance), ErrorCode::UnknownMemberId);
    for (protocol_type, protocol_name) in [(Some("connect"), Some("range")), (Some("consumer"), Some("roundrobin"))] {
        let other = SyncGroupRequest {
            protocol_type: protocol_type.map(Str::from),
            protocol_name: protocol_name.map(Str::from),
            ..sync_request(&leader, 1, &[])
        };
        assert_eq!(refused(&other), ErrorCode::InconsistentGroupProtocol);
    }
    assert_eq!(rig.group.state(), ClassicState::CompletingRebalance);
    for (protocol_type, protocol_name) in [(None, Some("range")), (Some("consumer"), None)] {
        let (protocol_type, protocol_name) = (protocol_type.map(Str::from), protocol_name.map(Str::from));
        let half_named = SyncGroupRequest { protocol_type, protocol_name, ..sync_request(&leader, 1, &[]) };
        assert_eq!(check_sync(&half_named, 5), Err(ErrorCode::InconsistentGroupProtocol));
    }
    // Up to version 4 the protocol is not named.
    let unnamed = SyncGroupRequest { protocol_type: None, protocol_name: None, ..sync_request(&follower, 1, &[]) };
    assert_eq!(check_sync(&unnamed, 4), Ok(()));
    let ticket = rig.sync_with(&unnamed);
    assert!(rig.waits(ticket));
}

#[test]
fn a_rebalance_calls_back_who_waits_for_an_assignment() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let waiting = rig.sync(&follower, 1, &[]);
    rig.join_new();
    assert_eq!(rig.sync_error(waiting), ErrorCode::RebalanceInProgress);
    assert_eq!(rig.synced(waiting).protocol_name, None);
    let late = rig.sync(&leader, 1, &[(&leader, "x")]);
    assert_eq!(rig.sync_error(late), ErrorCode::RebalanceInProgress);
    assert!(rig.group.members().all(|member| member.assignment.is_empty()));
}

#[test]
fn a_sync_sent_again_supersedes_the_first() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let first = rig.sync(&follower, 1, &[]);
    let again = rig.sync(&follower, 1, &[]);
    assert_eq!(rig.sync_error(first), ErrorCode::RebalanceInProgress);
    rig.sync(&leader, 1, &[(&follower, "x")]);
    assert_eq!(rig.sync_error(again), ErrorCode::None);
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    rig.sync(&leader, 1, &[(&leader, "x"), (&follower, "y")]);
    assert_eq!(rig.group.state(), ClassicState::Stable);
    for _ in 0..5 {
        rig.pass(5000);
        for id in [&leader, &follower] {
            assert_eq!(rig.heartbeat(id, 1), ErrorCode::None);
        }
    }
    rig.pass(5000);
    assert_eq!(rig.heartbeat(&follower, 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_leader_that_does_not_assign_is_out() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let waiting = rig.sync(&follower, 1, &[]);
    for _ in 0..5 {
        rig.pass(5000);
        assert_eq!(rig.heartbeat(&leader, 1), ErrorCode::None);
    }
    assert!(rig.waits(waiting));
    rig.pass(5000);
    assert_eq!(rig.sync_error(waiting), ErrorCode::RebalanceInProgress);
    let ticket = rig.join(&follower);
    assert_eq!((rig.joined(ticket).generation_id, rig.joined(ticket).leader), (2, follower));
    assert_eq!(rig.heartbeat(&leader, 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_heartbeat_keeps_a_member() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    assert_eq!(rig.heartbeat("stranger", 1), ErrorCode::UnknownMemberId);
    assert_eq!(rig.heartbeat(&ids[0], 2), ErrorCode::IllegalGeneration);
    assert_eq!(rig.heartbeat_as(&ids[0], Some("i"), 1), ErrorCode::UnknownMemberId);
    for _ in 0..10 {
        rig.pass(i64::from(SESSION_MS) - 1);
        assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    }
    rig.pass(i64::from(SESSION_MS));
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::UnknownMemberId);
    assert!(rig.group.is_empty());
}

#[test]
fn a_heartbeat_with_the_old_generation_does_not_keep_a_member() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    rig.pass(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(&ids[0], 0), ErrorCode::IllegalGeneration);
    rig.pass(1);
    assert!(rig.group.is_empty());
}

#[test]
fn a_lost_member_rebalances_the_rest() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    rig.pass(5000);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::None);
    rig.pass(5000);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let ticket = rig.join(&ids[0]);
    assert_eq!((rig.joined(ticket).generation_id, rig.joined(ticket).members.len()), (2, 1));
}

#[test]
fn who_waits_for_a_rebalance_needs_no_heartbeats() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let waiting = rig.join(&ids[0]);
    // The other lives on without joining, past the first one's session timeout.
    for _ in 0..5 {
        rig.pass(5000);
        assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    assert!(rig.waits(waiting));
    let other = rig.join(&ids[1]);
    assert_eq!((rig.join_error(waiting), rig.join_error(other)), (ErrorCode::None, ErrorCode::None));
    // With the answer its session begins anew.
    rig.pass(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(&ids[0], 2), ErrorCode::None);
}

#[test]
fn who_waits_for_an_assignment_needs_no_heartbeats() {
    let mut rig = Rig::new();
    let [leader, follower] = completing(&mut rig);
    let waiting = rig.sync(&follower, 1, &[]);
    for _ in 0..4 {
        rig.pass(5000);
        assert_eq!(rig.heartbeat(&leader, 1), ErrorCode::None);
    }
    assert!(rig.waits(waiting) && rig.group.contains_member(&follower));
    rig.sync(&leader, 1, &[(&follower, "x")]);
    rig.pass(i64::from(SESSION_MS) - 1);
    assert_eq!(rig.heartbeat(&follower, 1), ErrorCode::None);
    rig.pass(i64::from(SESSION_MS));
    assert!(!rig.group.contains_member(&follower));
}

#[test]
fn all_lost_leaves_an_empty_group() {
    let mut rig = Rig::new();
    rig.stable(3);
    rig.pass(600_000);
    assert!(rig.group.is_empty());
    assert_eq!((rig.group.next_deadline(), rig.group.member_count()), (None, 0));
    assert_eq!(rig.group.protocol_type(), "consumer");
    // It can begin again, with the generations going on, and with another protocol type too.
    let mut request = JoinGroupRequest { protocol_type: "connect".into(), ..join_request("") };
    let ticket = rig.join_with(&request);
    request.member_id = rig.joined(ticket).member_id;
    let ticket = rig.join_with(&request);
    rig.pass(DELAY_MS);
    assert_eq!((rig.join_error(ticket), rig.joined(ticket).generation_id > 2), (ErrorCode::None, true));
    assert_eq!(rig.group.protocol_type(), "connect");
}
