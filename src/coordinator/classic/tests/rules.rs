//! What a group allows to happen to its offsets, and what administrators see.

use super::*;

#[test]
fn commits_by_state() {
    let mut rig = Rig::new();
    let commit = |rig: &mut Rig, id: &str, instance: Option<&str>, generation| {
        rig.group.validate_offset_commit(id, instance.map(Str::from).as_ref(), generation, rig.now_ms)
    };
    // An empty group is anybody's.
    assert_eq!(commit(&mut rig, "", None, -1), Ok(()));
    assert_eq!(commit(&mut rig, "x", None, 0), Err(ErrorCode::UnknownMemberId));
    let ids = rig.stable(2);
    assert_eq!(commit(&mut rig, "", None, -1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut rig, "x", None, 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut rig, &ids[0], None, -1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&mut rig, &ids[0], None, 2), Err(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&mut rig, &ids[0], Some("i"), 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut rig, "", Some("i"), -1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut rig, &ids[0], None, 1), Ok(()));
    // While others are waited for, it may still commit what it has done.
    let leader = rig.join(&ids[0]);
    assert_eq!(commit(&mut rig, &ids[1], None, 1), Ok(()));
    rig.join(&ids[1]);
    assert_eq!(rig.joined(leader).generation_id, 2);
    assert_eq!(commit(&mut rig, &ids[1], None, 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(commit(&mut rig, &ids[1], None, 2), Err(ErrorCode::RebalanceInProgress));
    // Transactions may all the same, and need not name a member.
    assert_eq!(rig.group.validate_transactional_commit(&ids[1], None, 2), Ok(()));
    assert_eq!(rig.group.validate_transactional_commit("", None, -1), Ok(()));
    assert_eq!(rig.group.validate_transactional_commit(&ids[1], None, 1), Err(ErrorCode::IllegalGeneration));
}

#[test]
fn a_commit_keeps_a_member() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    for _ in 0..5 {
        rig.pass(i64::from(SESSION_MS) - 1);
        rig.group.validate_offset_commit(&ids[0], None, 1, rig.now_ms).unwrap();
    }
    rig.pass(i64::from(SESSION_MS));
    assert!(rig.group.is_empty());
}

#[test]
fn deleting() {
    let mut rig = Rig::new();
    assert_eq!((rig.group.validate_delete(), rig.group.validate_offset_delete()), (Ok(()), Ok(())));
    rig.stable(1);
    assert_eq!(rig.group.validate_delete(), Err(ErrorCode::NonEmptyGroup));
    // Of topics that consumers do not read, offsets may go.
    assert_eq!(rig.group.validate_offset_delete(), Ok(()));
    assert!(rig.group.is_subscribed_to("t") && !rig.group.is_subscribed_to("u"));
    let mut rig = Rig::new();
    rig.version = 3;
    rig.join_with(&JoinGroupRequest { protocol_type: "connect".into(), ..join_request("") });
    assert_eq!(rig.group.validate_offset_delete(), Err(ErrorCode::NonEmptyGroup));
    assert!(!rig.group.is_subscribed_to("t"));
}

#[test]
fn metadata_that_says_nothing_readable_reads_everything() {
    for metadata in [&b""[..], &[0, 0, 0, 0, 0, 1], &[255, 255, 0, 0, 0, 0, 255, 255, 255, 255], &[0, 0, 0, 0, 0, 0]] {
        let mut rig = Rig::new();
        rig.version = 3;
        rig.join_with(&JoinGroupRequest { protocols: vec![protocol("range", metadata)], ..join_request("") });
        rig.pass(DELAY_MS);
        assert!(rig.group.is_subscribed_to("whatever"), "{metadata:?}");
    }
}

#[test]
fn offsets_expire_by_state() {
    let mut rig = Rig::new();
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::SinceCommit);
    let ids = rig.stable(1);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::SinceCommit);
    rig.join(&ids[0]);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::Never);
    assert_eq!(rig.leave(&[(&ids[0], None)]), [ErrorCode::None]);
    assert_eq!(rig.group.offset_expiry(), OffsetExpiry::Since(WALL_MS + rig.now_ms));
}

#[test]
fn a_stable_group_is_described_with_what_its_members_said() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    let described = rig.group.describe();
    assert_eq!((&*described.group_id, &*described.group_state), ("group", "Stable"));
    assert_eq!((&*described.protocol_type, &*described.protocol_data), ("consumer", "range"));
    let member = &described.members[0];
    assert_eq!((&member.member_id, &*member.client_id, &*member.client_host), (&ids[0], "client", "/127.0.0.1"));
    assert_eq!(
        (&member.member_metadata[..], &*member.member_assignment),
        (&subscription(&["t"])[..], ids[0].as_bytes())
    );
    rig.join(&ids[0]);
    let described = rig.group.describe();
    assert_eq!((&*described.group_state, &*described.protocol_data), ("CompletingRebalance", ""));
    assert!(described.members[0].member_metadata.is_empty());
    let listed = rig.group.listed();
    assert_eq!(
        (&*listed.group_state, &*listed.group_type, &*listed.protocol_type),
        ("CompletingRebalance", "classic", "consumer")
    );
}

#[test]
fn who_waits_is_told_when_the_group_goes() {
    let mut rig = Rig::new();
    let (id, joining) = rig.join_new();
    rig.call(|group, ctx| group.answer_waiting(ErrorCode::NotCoordinator, ctx));
    assert_eq!((rig.join_error(joining), rig.joined(joining).member_id), (ErrorCode::NotCoordinator, id));
    let mut rig = Rig::new();
    let (first, joining) = rig.join_new();
    let (second, _) = rig.join_new();
    rig.settle(joining);
    let follower = if rig.joined(joining).leader == first { second } else { first };
    let syncing = rig.sync(&follower, 1, &[]);
    rig.call(|group, ctx| group.answer_waiting(ErrorCode::RebalanceInProgress, ctx));
    assert_eq!(rig.sync_error(syncing), ErrorCode::RebalanceInProgress);
}
