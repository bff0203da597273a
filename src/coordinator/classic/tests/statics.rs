//! Static members (KIP-345) and what a leader of theirs is told (KIP-814).

use super::*;

/// A stable group of static members `a` and `b`, the leader first, and its instance.
fn stable(rig: &mut Rig) -> [(Str, &'static str); 2] {
    let a = rig.join_with(&static_request("", "a"));
    let b = rig.join_with(&static_request("", "b"));
    rig.pass(2 * DELAY_MS);
    let (a, b) = (rig.joined(a), rig.joined(b));
    let (a_id, b_id) = (a.member_id.clone(), b.member_id.clone());
    let leader_is_a = a.leader == a.member_id;
    let (leader, follower) = if leader_is_a { (&a_id, &b_id) } else { (&b_id, &a_id) };
    rig.sync(follower, 1, &[]);
    rig.sync(leader, 1, &[(&a_id, "for a"), (&b_id, "for b")]);
    assert_eq!(rig.group.state(), ClassicState::Stable);
    if leader_is_a { [(a_id, "a"), (b_id, "b")] } else { [(b_id, "b"), (a_id, "a")] }
}

#[test]
fn a_static_member_joins_at_once_under_its_own_name() {
    let mut rig = Rig::new();
    let ticket = rig.join_with(&static_request("", "worker"));
    rig.pass(DELAY_MS);
    let joined = rig.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.member_id, "worker-00000000-0000-0000-0000-000000000001");
    assert_eq!(joined.members[0].group_instance_id.as_deref(), Some("worker"));
    assert_eq!(rig.group.static_member_id("worker"), Some(joined.member_id.as_str()));
}

#[test]
fn a_restarted_follower_takes_its_place_without_a_rebalance() {
    let mut rig = Rig::new();
    let [_, (old, instance)] = stable(&mut rig);
    let records = rig.records.len();
    let ticket = rig.join_with(&static_request("", instance));
    let joined = rig.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 0));
    assert_ne!(joined.member_id, old);
    assert!(!joined.skip_assignment);
    assert_eq!((rig.group.state(), rig.records.len()), (ClassicState::Stable, records + 1));
    let ticket = rig.sync(&joined.member_id, 1, &[]);
    assert_eq!(rig.synced(ticket).assignment, format!("for {instance}"));
    // The former life of the member is fenced, in every request that names the instance.
    assert_eq!(rig.heartbeat_as(&old, Some(instance), 1), ErrorCode::FencedInstanceId);
    assert_eq!(rig.heartbeat(&old, 1), ErrorCode::UnknownMemberId);
    let sync = SyncGroupRequest { group_instance_id: Some(instance.into()), ..sync_request(&old, 1, &[]) };
    let ticket = rig.sync_with(&sync);
    assert_eq!(rig.sync_error(ticket), ErrorCode::FencedInstanceId);
    let ticket = rig.join_with(&static_request(&old, instance));
    assert_eq!(rig.join_error(ticket), ErrorCode::FencedInstanceId);
    assert_eq!((rig.joined(ticket).member_id, rig.joined(ticket).protocol_name), (old.clone(), Some("".into())));
    assert_eq!(rig.leave(&[(&old, Some(instance))]), [ErrorCode::FencedInstanceId]);
    let commit = rig.group.validate_offset_commit(&old, Some(&instance.into()), 1, rig.now_ms);
    assert_eq!(commit, Err(ErrorCode::FencedInstanceId));
}

#[test]
fn a_restarted_leader_does_not_assign_anew() {
    for version in [8, 9] {
        let mut rig = Rig::new();
        let [(old, instance), _] = stable(&mut rig);
        rig.version = version;
        let ticket = rig.join_with(&static_request("", instance));
        let joined = rig.joined(ticket);
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        if version == 9 {
            // It is told the members, to watch over their topics, and that it need not assign.
            assert_eq!((joined.leader, joined.members.len(), joined.skip_assignment), (joined.member_id, 2, true));
        } else {
            // Under its former id it leads; so this one takes itself for a follower.
            assert_eq!((joined.leader, joined.members.len(), joined.skip_assignment), (old, 0, false));
        }
        let ticket = rig.sync(&rig.joined(ticket).member_id, 1, &[]);
        assert_eq!(rig.synced(ticket).assignment, format!("for {instance}"));
        assert_eq!(rig.group.state(), ClassicState::Stable);
    }
}

#[test]
fn a_restart_that_changes_the_protocol_rebalances() {
    let mut rig = Rig::new();
    let [_, (_, instance)] = stable(&mut rig);
    let request = JoinGroupRequest { protocols: vec![protocol("roundrobin", b"")], ..static_request("", instance) };
    let ticket = rig.join_with(&request);
    assert!(rig.waits(ticket));
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
}

#[test]
fn a_restart_during_a_rebalance_fences_who_waits() {
    let mut rig = Rig::new();
    let first = rig.join_with(&static_request("", "a"));
    let second = rig.join_with(&static_request("", "a"));
    assert_eq!(rig.join_error(first), ErrorCode::FencedInstanceId);
    rig.pass(2 * DELAY_MS);
    let joined = rig.joined(second);
    assert_eq!((joined.error_code, rig.group.member_count()), (0, 1));
    assert_eq!(joined.leader, joined.member_id);
    let b = rig.join_with(&static_request("", "b"));
    let a = rig.join_with(&static_request(&joined.member_id, "a"));
    let leader = rig.joined(a).leader;
    let (follower, instance) =
        if leader == joined.member_id { (rig.joined(b).member_id, "b") } else { (joined.member_id, "a") };
    let syncing = rig.sync(&follower, 2, &[]);
    // The assignment being made is for the old id: everybody starts over.
    let again = rig.join_with(&static_request("", instance));
    assert_eq!(rig.sync_error(syncing), ErrorCode::FencedInstanceId);
    assert!(rig.waits(again));
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_is_over() {
    let mut rig = Rig::new();
    let [(leader, leading), (follower, _)] = stable(&mut rig);
    let ticket = rig.join_with(&static_request(&leader, leading));
    // The follower lives but does not rejoin; it stays, and its assignment with it.
    for _ in 0..5 {
        rig.pass(5000);
        assert_eq!(rig.heartbeat(&follower, 1), ErrorCode::RebalanceInProgress);
    }
    rig.pass(5000);
    assert_eq!((rig.joined(ticket).generation_id, rig.joined(ticket).members.len()), (2, 2));
    assert!(rig.group.contains_member(&follower));
    rig.pass(i64::from(SESSION_MS));
    assert!(!rig.group.contains_member(&follower));
}

#[test]
fn a_rebalance_that_nobody_joins_goes_on_until_the_sessions_end() {
    let mut rig = Rig::new();
    let hasty = |instance| JoinGroupRequest { rebalance_timeout_ms: 1, ..static_request("", instance) };
    let a = rig.join_with(&hasty("a"));
    let b = rig.join_with(&hasty("b"));
    rig.pass(DELAY_MS);
    let (a, b) = (rig.joined(a).member_id, rig.joined(b).member_id);
    for id in [&a, &b] {
        rig.sync(id, 1, &[]);
    }
    assert_eq!(rig.group.state(), ClassicState::Stable);
    assert_eq!(rig.leave(&[("", Some("b"))]), [ErrorCode::None]);
    // Far more often than need be would be a loop.
    let mut looks = 0;
    while !rig.group.is_empty() {
        rig.now_ms = rig.group.next_deadline().unwrap();
        rig.call(ClassicGroup::on_time);
        looks += 1;
        assert!(looks < 20);
    }
    assert_eq!(rig.now_ms, 1000 + DELAY_MS + i64::from(SESSION_MS));
}

#[test]
fn an_id_just_given_is_not_for_a_static_member() {
    let mut rig = Rig::new();
    let ticket = rig.join("");
    let id = rig.joined(ticket).member_id;
    let ticket = rig.join_with(&static_request(&id, "a"));
    assert_eq!(rig.join_error(ticket), ErrorCode::UnknownServerError);
}
