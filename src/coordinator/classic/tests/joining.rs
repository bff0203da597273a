//! JoinGroup, the first rebalance and later ones.

use super::*;

#[test]
fn a_dynamic_member_comes_back_with_the_id_it_was_given() {
    let mut rig = Rig::new();
    let ticket = rig.join("");
    let first = rig.joined(ticket);
    assert_eq!(error(first.error_code), ErrorCode::MemberIdRequired);
    assert_eq!(first.member_id, "client-00000000-0000-0000-0000-000000000001");
    assert_eq!((first.generation_id, first.protocol_name.as_deref()), (-1, Some("")));
    // That there is such a group is on disk at once, and nothing else of it yet.
    assert_eq!(rig.records.len(), 1);
    let ticket = rig.join(&first.member_id);
    assert!(rig.waits(ticket));
    assert_eq!(rig.records.len(), 1);
    rig.pass(DELAY_MS - 1);
    assert!(rig.waits(ticket));
    rig.pass(1);
    let joined = rig.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!((joined.member_id.as_str(), &joined.leader), (first.member_id.as_str(), &first.member_id));
    assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let members: Vec<_> = joined.members.iter().map(|it| (it.member_id.clone(), it.metadata.to_vec())).collect();
    assert_eq!(members, [(first.member_id, subscription(&["t"]))]);
    assert!(!joined.skip_assignment);
}

#[test]
fn a_version_before_4_joins_at_once() {
    let mut rig = Rig::new();
    rig.version = 3;
    let ticket = rig.join("");
    rig.pass(DELAY_MS);
    let joined = rig.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.member_id, "client-00000000-0000-0000-0000-000000000001");
}

#[test]
fn requests_that_no_group_accepts() {
    let caller = Caller { client_id: "client", client_host: "/127.0.0.1", api_version: 9 };
    let check = |request: &JoinGroupRequest| check_join(request, caller, &config());
    let request = JoinGroupRequest { group_id: "".into(), ..join_request("id") };
    assert_eq!(check(&request), Err(ErrorCode::InvalidGroupId));
    for session_timeout_ms in [5999, 1_800_001, -1] {
        let request = JoinGroupRequest { session_timeout_ms, ..join_request("id") };
        assert_eq!(check(&request), Err(ErrorCode::InvalidSessionTimeout));
    }
    assert_eq!(check(&static_request("", &"x".repeat(32_731))), Err(ErrorCode::InvalidRequest));
    // The longest that still fits.
    let longest = static_request("", &"x".repeat(32_730));
    assert_eq!(check(&longest), Ok(()));
    let mut rig = Rig::new();
    let ticket = rig.join_with(&longest);
    assert!(rig.waits(ticket));

    let mut rig = Rig::new();
    let mut refused = |request: JoinGroupRequest| {
        let ticket = rig.join_with(&request);
        (rig.join_error(ticket), rig.joined(ticket).member_id)
    };
    let request = JoinGroupRequest { protocol_type: "".into(), ..join_request("") };
    assert_eq!(refused(request), (ErrorCode::InconsistentGroupProtocol, "".into()));
    let request = JoinGroupRequest { protocols: Vec::new(), ..join_request("") };
    assert_eq!(refused(request), (ErrorCode::InconsistentGroupProtocol, "".into()));
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come() {
    let mut rig = Rig::new();
    let (_, first) = rig.join_new();
    rig.pass(2000);
    let (_, second) = rig.join_new();
    rig.pass(1500);
    // Put off once, for the second; nobody came since.
    assert!(rig.waits(first) && rig.waits(second));
    rig.pass(2499);
    assert!(rig.waits(first) && rig.waits(second));
    rig.pass(1);
    assert_eq!(rig.joined(first).generation_id, 1);
    assert_eq!(rig.joined(second).generation_id, 1);
    let leader = rig.joined(first).leader;
    let (leading, following) = if rig.joined(first).member_id == leader { (first, second) } else { (second, first) };
    assert_eq!((rig.joined(leading).members.len(), rig.joined(following).members.len()), (2, 0));
}

#[test]
fn the_first_rebalance_ends_with_the_rebalance_timeout_whoever_comes() {
    let mut rig = Rig::new();
    let (_, first) = rig.join_new();
    let begun = rig.now_ms;
    while rig.waits(first) {
        rig.pass(1000);
        rig.join_new();
        assert!(rig.now_ms - begun <= i64::from(REBALANCE_MS) + 1000);
    }
    assert_eq!(rig.now_ms - begun, i64::from(REBALANCE_MS));
}

#[test]
fn a_member_id_that_is_not_used_is_forgotten() {
    let mut rig = Rig::new();
    let ticket = rig.join("");
    let id = rig.joined(ticket).member_id;
    rig.pass(i64::from(SESSION_MS));
    assert!(rig.group.is_simple());
    let ticket = rig.join(&id);
    assert_eq!(rig.join_error(ticket), ErrorCode::UnknownMemberId);
}

#[test]
fn a_rebalance_waits_for_whom_it_gave_an_id() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let ticket = rig.join("");
    let new = rig.joined(ticket).member_id;
    // The one member there is wants a rebalance: with the new one.
    let rejoined = rig.join(&ids[0]);
    assert!(rig.waits(rejoined));
    let joined = rig.join(&new);
    assert_eq!((rig.joined(rejoined).generation_id, rig.joined(joined).generation_id), (2, 2));
}

#[test]
fn a_new_member_rebalances_and_the_slow_are_out() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let (new, joining) = rig.join_new();
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
    assert_eq!(rig.heartbeat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let rejoined = rig.join(&ids[0]);
    // The other keeps its session up without joining, until the rebalance timeout.
    for _ in 0..5 {
        rig.pass(5000);
        assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    assert!(rig.waits(joining) && rig.waits(rejoined));
    rig.pass(5000);
    assert_eq!(rig.joined(joining).generation_id, 2);
    let leader = rig.joined(rejoined);
    assert_eq!(leader.leader, ids[0], "the leader leads on");
    let mut members: Vec<_> = leader.members.iter().map(|it| it.member_id.clone()).collect();
    members.sort_by_key(|id| id.as_str().to_owned());
    let mut expected = [ids[0].clone(), new];
    expected.sort_by_key(|id| id.as_str().to_owned());
    assert_eq!(members, expected);
    assert_eq!(rig.heartbeat(&ids[1], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn who_rejoins_is_told_what_is_or_rebalances() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    // A follower with nothing new learns its generation.
    let ticket = rig.join(&ids[1]);
    let response = rig.joined(ticket);
    assert_eq!((response.generation_id, response.members.len(), &response.leader), (1, 0, &ids[0]));
    assert_eq!(rig.group.state(), ClassicState::Stable);
    // With other metadata it changes the group.
    let mut changed = join_request(&ids[1]);
    changed.protocols[0] = protocol("range", &subscription(&["u"]));
    let follower = rig.join_with(&changed);
    assert!(rig.waits(follower));
    let leader = rig.join(&ids[0]);
    assert_eq!((rig.joined(leader).generation_id, rig.joined(follower).generation_id), (2, 2));
    assert!(rig.group.is_subscribed_to("u") && rig.group.is_subscribed_to("t"));
    // Before the assignment is there, the same request is answered at once, the leader's with the members.
    for (id, count) in [(&ids[0], 2), (&ids[1], 0)] {
        let ticket = if count == 2 { rig.join(id) } else { rig.join_with(&changed) };
        assert_eq!((rig.joined(ticket).generation_id, rig.joined(ticket).members.len()), (2, count));
    }
    let leader = rig.join_with(&JoinGroupRequest { protocols: changed.protocols.clone(), ..join_request(&ids[0]) });
    assert!(rig.waits(leader), "what is assigned would not be what is wanted");
}

#[test]
fn a_leader_rejoins_to_assign_anew() {
    let mut rig = Rig::new();
    let ids = rig.stable(2);
    let leader = rig.join(&ids[0]);
    assert!(rig.waits(leader));
    let follower = rig.join(&ids[1]);
    assert_eq!((rig.joined(leader).generation_id, rig.joined(follower).generation_id), (2, 2));
}

#[test]
fn the_protocol_is_one_that_all_offer_and_most_prefer() {
    let offer = |id: &str, names: &[&str]| JoinGroupRequest {
        protocols: names.iter().map(|name| protocol(name, b"")).collect(),
        ..join_request(id)
    };
    let mut rig = Rig::new();
    rig.version = 3;
    let a = rig.join_with(&offer("", &["x", "y", "z"]));
    rig.join_with(&offer("", &["w", "y", "z"]));
    rig.join_with(&offer("", &["z", "y"]));
    // None of these is offered by all.
    for names in [&["x"][..], &["w"], &["x", "w"]] {
        let ticket = rig.join_with(&offer("", names));
        assert_eq!(rig.join_error(ticket), ErrorCode::InconsistentGroupProtocol);
    }
    let connect = JoinGroupRequest { protocol_type: "connect".into(), ..offer("", &["y"]) };
    let ticket = rig.join_with(&connect);
    assert_eq!(rig.join_error(ticket), ErrorCode::InconsistentGroupProtocol);
    rig.settle(a);
    assert_eq!(rig.joined(a).protocol_name.as_deref(), Some("y"));
}

#[test]
fn a_protocol_named_twice_counts_once() {
    let mut rig = Rig::new();
    rig.version = 3;
    let twice =
        JoinGroupRequest { protocols: vec![protocol("x", b"first"), protocol("x", b"second")], ..join_request("") };
    let ticket = rig.join_with(&twice);
    rig.pass(DELAY_MS);
    let joined = rig.joined(ticket);
    assert_eq!(joined.protocol_name.as_deref(), Some("x"));
    assert_eq!(&joined.members[0].metadata[..], b"first");
}

#[test]
fn a_full_group_turns_newcomers_away() {
    let mut rig = Rig::new();
    rig.config.max_size = 2;
    let (_, first) = rig.join_new();
    let (_, second) = rig.join_new();
    let ticket = rig.join("");
    assert_eq!(rig.join_error(ticket), ErrorCode::GroupMaxSizeReached);
    assert_eq!(rig.joined(ticket).member_id, "");
    rig.settle(first);
    assert_eq!((rig.joined(first).generation_id, rig.joined(second).generation_id), (1, 1));
    let ticket = rig.join("");
    assert_eq!(rig.join_error(ticket), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn the_last_to_rejoin_a_group_too_large_are_turned_away() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    rig.config.max_size = 2;
    let first = rig.join(&ids[0]);
    let second = rig.join(&ids[1]);
    let third = rig.join(&ids[2]);
    assert_eq!(rig.join_error(third), ErrorCode::GroupMaxSizeReached);
    rig.pass(i64::from(REBALANCE_MS));
    assert_eq!((rig.joined(first).generation_id, rig.joined(second).generation_id), (2, 2));
    assert_eq!(rig.group.member_count(), 2);
}

#[test]
fn a_request_sent_again_supersedes_the_first() {
    let mut rig = Rig::new();
    let (id, first) = rig.join_new();
    let again = rig.join(&id);
    assert_eq!(rig.join_error(first), ErrorCode::RebalanceInProgress);
    rig.pass(DELAY_MS);
    assert_eq!(rig.joined(again).generation_id, 1);
}

#[test]
fn a_new_member_does_not_wait_for_ever() {
    let mut rig = Rig::new();
    let patient = |member_id: &str| JoinGroupRequest { rebalance_timeout_ms: i32::MAX, ..join_request(member_id) };
    rig.version = 3;
    let old = rig.join_with(&patient(""));
    rig.pass(DELAY_MS);
    let old = rig.joined(old).member_id;
    rig.sync(&old, 1, &[(&old, "all")]);
    rig.version = 9;
    let (_, new) = rig.join_new();
    // The old member never rejoins but lives, so the rebalance goes on until the newcomer is taken for gone.
    for _ in 0..299 {
        rig.pass(1000);
        assert_eq!(rig.heartbeat(&old, 1), ErrorCode::RebalanceInProgress);
        assert!(rig.waits(new));
    }
    rig.pass(1000);
    assert_eq!(rig.join_error(new), ErrorCode::UnknownMemberId);
    assert_eq!(rig.joined(new).member_id, "");
    assert_eq!(rig.group.member_count(), 1);
}

#[test]
fn version_0_has_its_session_timeout_for_rebalances() {
    let mut rig = Rig::new();
    rig.version = 0;
    rig.join_with(&JoinGroupRequest { rebalance_timeout_ms: -1, ..join_request("") });
    assert_eq!(rig.group.members().next().unwrap().rebalance_timeout_ms, SESSION_MS);
}
