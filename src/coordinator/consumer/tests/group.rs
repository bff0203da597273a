use super::*;
use crate::coordinator::consumer::{CommitScope, ConsumerGroupState};

#[test]
fn a_first_member_gets_all_at_once() {
    let mut bench = Bench::new();
    let answer = bench.heartbeat(&join("m1", &["a"]));
    assert_eq!(assigned(&answer), Some(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!((answer.member_epoch, answer.heartbeat_interval_ms), (1, 5_000));
    assert_eq!(answer.member_id.as_deref(), Some("m1"));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
    // Type of each record: member, group, target, target epoch, current.
    let kinds: Vec<u8> = bench.log.iter().map(|record| record.key[1]).collect();
    assert_eq!(kinds, [5, 3, 7, 6, 8]);
    bench.check_log();
    let written = bench.log.len();
    let answer = bench.heartbeat(&beat("m1", 1));
    assert_eq!((answer.assignment, answer.member_epoch), (None, 1));
    assert_eq!(bench.log.len(), written, "nothing new, nothing written");
}

#[test]
fn a_second_member_waits_for_what_the_first_gives_up() {
    let mut bench = Bench::new();
    bench.heartbeat(&join("m1", &["a"]));
    let answer = bench.heartbeat(&join("m2", &["a"]));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![]), 2), "nothing is free yet");
    assert_eq!(bench.group.state(), ConsumerGroupState::Reconciling);
    // The first is told to give up three, and stays at its epoch.
    let answer = bench.heartbeat(&beat("m1", 1));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![0, 1, 2]), 1));
    assert_eq!(assigned(&bench.heartbeat(&beat("m2", 2))), None, "still nothing");
    assert_eq!(assigned(&bench.heartbeat(&beat("m1", 1))), None, "one that does not say it gave up has not");
    // Then it has given them up.
    let answer = bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1, 2])]));
    assert_eq!((assigned(&answer), answer.member_epoch), (None, 2));
    let answer = bench.heartbeat(&beat("m2", 2));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![3, 4, 5]), 2));
    assert_eq!(bench.group.state(), ConsumerGroupState::Stable);
    bench.check_log();
}

#[test]
fn who_leaves_leaves_its_partitions() {
    let mut bench = Bench::new();
    bench.heartbeat(&join("m1", &["a"]));
    bench.heartbeat(&join("m2", &["a"]));
    let answer = bench.heartbeat(&beat("m1", -1));
    assert_eq!((answer.error_code, answer.member_epoch), (0, -1));
    assert_eq!(bench.group.state(), ConsumerGroupState::Assigning);
    let answer = bench.heartbeat(&beat("m2", 2));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![0, 1, 2, 3, 4, 5]), 3));
    bench.check_log();
    bench.heartbeat(&beat("m2", -1));
    assert_eq!(bench.group.state(), ConsumerGroupState::Empty);
    assert_eq!(bench.refused(&beat("m2", -1)), ErrorCode::UnknownMemberId);
    bench.check_log();
    // Deleted, it leaves nothing behind.
    let mut tombstones = Vec::new();
    bench.group.tombstones(&mut tombstones);
    bench.log.extend(tombstones);
    assert!(bench.reload().is_gone());
}

#[test]
fn bad_heartbeats_are_refused() {
    let mut bench = Bench::new();
    let ok = join("m1", &["a"]);
    type Break = fn(&mut ConsumerGroupHeartbeatRequest);
    let bad: [(&str, Break); 11] = [
        ("no member id", |r| r.member_id = Str::default()),
        ("no group", |r| r.group_id = Str::default()),
        ("empty instance id", |r| r.instance_id = Some(Str::default())),
        ("a member id that fits into no record", |r| r.member_id = Str::from("m".repeat(32_768))),
        ("empty rack", |r| r.rack_id = Some(Str::default())),
        ("no rebalance timeout", |r| r.rebalance_timeout_ms = -1),
        ("no partitions", |r| r.topic_partitions = None),
        ("owns partitions already", |r| r.topic_partitions = Some(partitions(&[(1, &[0])]))),
        ("no subscription", |r| r.subscribed_topic_names = None),
        ("an epoch that is none", |r| r.member_epoch = -3),
        ("leaves for now without an instance id", |r| r.member_epoch = -2),
    ];
    for (what, break_it) in bad {
        let mut request = ok.clone();
        break_it(&mut request);
        assert_eq!(bench.refused(&request), ErrorCode::InvalidRequest, "{what}");
    }
    let request = ConsumerGroupHeartbeatRequest { server_assignor: Some(Str::from_static("none")), ..ok.clone() };
    assert_eq!(bench.refused(&request), ErrorCode::UnsupportedAssignor);
    let request =
        ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(Str::from_static("a)|(b")), ..ok.clone() };
    assert_eq!(bench.refused(&request), ErrorCode::InvalidRegularExpression);
    assert_eq!(bench.refused(&beat("m1", 1)), ErrorCode::UnknownMemberId);
    bench.config.consumer.max_size = 1;
    bench.heartbeat(&ok);
    assert_eq!(bench.refused(&join("m2", &["a"])), ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.heartbeat(&ok).error_code, 0, "who is in may come again");
}

#[test]
fn version_0_gets_its_member_id_from_the_broker() {
    let mut bench = Bench::new();
    bench.version = 0;
    let answer = bench.heartbeat(&join("", &["a"]));
    assert_eq!(answer.member_id.as_deref(), Some(KafkaUuid([1; 16]).to_string().as_str()));
}

#[test]
fn other_epochs_are_fenced() {
    let mut bench = Bench::new();
    bench.heartbeat(&join("m1", &["a"]));
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat("m1", 1));
    bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1, 2])]));
    assert_eq!(bench.refused(&beat("m1", 3)), ErrorCode::FencedMemberEpoch);
    // The answer with epoch 2 may have been lost, so epoch 1 is fine for one that owns what it was given.
    assert_eq!(bench.refused(&beat("m1", 1)), ErrorCode::FencedMemberEpoch);
    assert_eq!(bench.refused(&beat_owning("m1", 1, &[(1, &[0, 3])])), ErrorCode::FencedMemberEpoch);
    assert_eq!(bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1])])).member_epoch, 2);
    // Whoever was fenced comes again at epoch 0, and gets what is its own.
    let answer = bench.heartbeat(&join("m1", &["a"]));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![0, 1, 2]), 2));
}

#[test]
fn silent_members_are_fenced() {
    let mut bench = Bench::new();
    bench.world.configs.insert("consumer.session.timeout.ms".to_owned(), "10000".to_owned());
    bench.heartbeat(&join("m1", &["a"]));
    bench.heartbeat(&join("m2", &["a"]));
    assert_eq!(bench.group.next_deadline(), Some(bench.now + 10_000));
    bench.now += 9_999;
    bench.heartbeat(&beat("m2", 2));
    bench.on_time();
    assert_eq!(bench.group.member_count(), 2);
    bench.now += 1;
    bench.on_time();
    assert_eq!(bench.group.member_count(), 1);
    assert_eq!(assigned(&bench.heartbeat(&beat("m2", 2))), Some(vec![0, 1, 2, 3, 4, 5]));
    assert_eq!(bench.refused(&beat("m1", 1)), ErrorCode::UnknownMemberId);
    bench.check_log();
}

#[test]
fn who_does_not_give_up_in_time_is_fenced() {
    let mut bench = Bench::new();
    bench.heartbeat(&ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: 20_000, ..join("m1", &["a"]) });
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat("m1", 1));
    for _ in 0..4 {
        assert!(bench.group.next_deadline() <= Some(bench.now + 20_000));
        bench.now += 4_999;
        bench.heartbeat(&beat("m1", 1));
        bench.heartbeat(&beat("m2", 2));
        bench.on_time();
        assert_eq!(bench.group.member_count(), 2);
    }
    bench.now += 4;
    bench.on_time();
    assert_eq!(bench.group.member_count(), 1);
    // One that gives up in time is not.
    let mut bench = Bench::new();
    bench.heartbeat(&ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: 20_000, ..join("m1", &["a"]) });
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat("m1", 1));
    bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1, 2])]));
    bench.now += 20_000;
    bench.on_time();
    assert_eq!(bench.group.member_count(), 2);
}

#[test]
fn new_partitions_and_lost_topics_raise_the_epoch() {
    let mut bench = Bench::new();
    bench.heartbeat(&join("m1", &["a", "b"]));
    bench.world.put("a", 1, 8);
    assert_eq!(bench.heartbeat(&beat("m1", 1)).member_epoch, 1, "nobody has said so yet");
    bench.group.world_changed();
    let answer = bench.heartbeat(&beat("m1", 1));
    assert_eq!((assigned(&answer).map(|p| p.len()), answer.member_epoch), (Some(8), 2));
    // A topic that is none of the group's.
    bench.world.put("c", 3, 1);
    bench.group.world_changed();
    assert_eq!(bench.heartbeat(&beat("m1", 2)).member_epoch, 2);
    // One that was subscribed to before it was there.
    bench.world.put("b", 2, 1);
    bench.group.world_changed();
    let answer = bench.heartbeat(&beat("m1", 2));
    assert_eq!((answer.assignment.map(|a| a.topic_partitions.len()), answer.member_epoch), (Some(2), 3));
    // Gone and made anew: another topic.
    bench.world.put("a", 9, 1);
    bench.group.world_changed();
    let answer = bench.heartbeat(&beat("m1", 3));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![]), 3), "it gives up the old one first");
    let answer = bench.heartbeat(&beat_owning("m1", 3, &[(2, &[0])]));
    assert_eq!(answer.member_epoch, 4);
    assert_eq!(answer.assignment.unwrap().topic_partitions, partitions(&[(2, &[0]), (9, &[0])]));
    bench.check_log();
}

#[test]
fn a_changed_subscription_takes_effect_at_once() {
    let mut bench = Bench::new();
    bench.world.put("b", 2, 2);
    bench.heartbeat(&join("m1", &["a", "b"]));
    let request =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec![Str::from_static("b")]), ..beat("m1", 1) };
    let answer = bench.heartbeat(&request);
    assert_eq!(answer.assignment.unwrap().topic_partitions, partitions(&[(2, &[0, 1])]));
    let answer = bench.heartbeat(&beat_owning("m1", 1, &[(2, &[0, 1])]));
    assert_eq!(answer.member_epoch, 2);
    assert!(bench.group.is_subscribed_to("b") && !bench.group.is_subscribed_to("a"));
    bench.check_log();
}

#[test]
fn the_assignment_is_not_computed_too_often() {
    let mut bench = Bench::new();
    bench.config.consumer.assignment_interval_ms = 1_000;
    bench.heartbeat(&join("m1", &["a"]));
    bench.now += 999;
    let answer = bench.heartbeat(&join("m2", &["a"]));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![]), 1));
    assert_eq!(bench.group.state(), ConsumerGroupState::Assigning);
    bench.now += 1;
    bench.heartbeat(&beat("m1", 1));
    assert_eq!(bench.group.state(), ConsumerGroupState::Reconciling);
    // A clock that goes back does not stop the group.
    bench.now -= 500_000;
    bench.heartbeat(&join("m3", &["a"]));
    assert_eq!(bench.group.state(), ConsumerGroupState::Reconciling);
}

#[test]
fn regular_expressions_follow_the_topics() {
    let mut bench = Bench::new();
    let regex = |pattern: &'static str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(Str::from_static(pattern)),
        ..join("m1", &[])
    };
    bench.world.put("aa", 2, 1);
    bench.world.put("ba", 3, 1);
    let answer = bench.heartbeat(&regex("a+"));
    let topics = |answer: ConsumerGroupHeartbeatResponse| {
        let assignment = answer.assignment.unwrap().topic_partitions;
        assignment.iter().map(|topic| topic.topic_id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(topics(answer), [1, 2], "whole names");
    assert!(bench.group.is_subscribed_to("aa") && !bench.group.is_subscribed_to("ba"));
    // A new topic is found, but not in the first ten seconds.
    bench.world.put("aaa", 4, 1);
    bench.group.world_changed();
    bench.now += 9_999;
    assert_eq!(bench.heartbeat(&beat("m1", 1)).assignment, None);
    bench.now += 1;
    assert_eq!(topics(bench.heartbeat(&beat("m1", 1))), [1, 2, 4]);
    bench.check_log();
    // Another expression takes the place of the old one, at once.
    let answer = bench.heartbeat(&ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: -1,
        topic_partitions: None,
        member_epoch: 2,
        ..regex("b.*")
    });
    assert_eq!(topics(answer), Vec::<u8>::new());
    assert_eq!(topics(bench.heartbeat(&beat_owning("m1", 2, &[]))), [3]);
    assert_eq!(bench.group.regexes.len(), 1);
    bench.check_log();
    // Leaving takes it along.
    bench.heartbeat(&beat("m1", -1));
    assert!(bench.group.regexes.is_empty());
    bench.check_log();
}

#[test]
fn commits_are_checked_by_epoch() {
    let mut bench = Bench::new();
    let group = &bench.group;
    assert_eq!(group.validate_offset_commit("", None, -1, false, 2), Ok(CommitScope::All), "an empty group takes any");
    bench.heartbeat(&join("m1", &["a"]));
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat("m1", 1));
    bench.heartbeat(&beat_owning("m1", 1, &[(1, &[0, 1, 2])]));
    bench.heartbeat(&beat("m2", 2));
    let code = |result: Result<CommitScope, super::super::Refusal>| result.map_err(|refusal| refusal.code);
    let group = &bench.group;
    let commit = |id: &str, epoch, version| code(group.validate_offset_commit(id, None, epoch, false, version));
    assert_eq!(commit("", -1, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("m3", 2, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit("m1", 2, 8), Err(ErrorCode::UnsupportedVersion));
    assert_eq!(commit("m1", 3, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("m1", 2, 9), Ok(CommitScope::All));
    assert_eq!(code(group.validate_offset_commit("", None, -1, true, 3)), Ok(CommitScope::All));
    // Epoch 1 is old, but partition 0 has been the member's since then.
    assert_eq!(commit("m1", 1, 9), Ok(CommitScope::Owned));
    let a = Some(KafkaUuid([1; 16]));
    assert_eq!(group.check_commit_of("m1", 1, a, 0), Ok(()));
    assert_eq!(group.check_commit_of("m1", 1, a, 3), Err(ErrorCode::StaleMemberEpoch), "given up");
    assert_eq!(group.check_commit_of("m2", 1, a, 3), Err(ErrorCode::StaleMemberEpoch), "got later");
    assert_eq!(group.check_commit_of("m1", 1, None, 0), Err(ErrorCode::StaleMemberEpoch));
    let fetch = |id, epoch| group.validate_offset_fetch(id, epoch).map_err(|refusal| refusal.code);
    assert_eq!(fetch(None, -1), Ok(()));
    assert_eq!(fetch(Some("m1"), 2), Ok(()));
    assert_eq!(fetch(Some("m1"), 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch(Some("m3"), 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn most_members_choose_the_assignor() {
    let mut bench = Bench::new();
    let with = |id: &str, assignor: &'static str| ConsumerGroupHeartbeatRequest {
        server_assignor: Some(Str::from_static(assignor)),
        ..join(id, &["a"])
    };
    let name = |bench: &Bench| bench.group.assignor_name(&bench.config.consumer.assignors).to_owned();
    assert_eq!(name(&bench), "uniform");
    bench.heartbeat(&with("m1", "range"));
    assert_eq!(name(&bench), "range");
    bench.heartbeat(&with("m2", "uniform"));
    assert_eq!(name(&bench), "uniform", "as many: the broker's first");
    bench.heartbeat(&with("m3", "range"));
    assert_eq!(name(&bench), "range");
}

#[test]
fn a_description_shows_all_there_is() {
    let mut bench = Bench::new();
    let request = ConsumerGroupHeartbeatRequest { rack_id: Some(Str::from_static("r1")), ..join("m1", &["a", "b"]) };
    bench.heartbeat(&request);
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat("m1", 1));
    let row = bench.group.describe(&bench.world, &bench.config.consumer.assignors);
    assert_eq!((row.group_state.as_str(), row.group_epoch, row.assignment_epoch), ("Reconciling", 2, 2));
    assert_eq!(row.assignor_name.as_str(), "uniform");
    let m1 = &row.members[0];
    assert_eq!((m1.member_id.as_str(), m1.member_epoch, m1.member_type), ("m1", 1, 1));
    assert_eq!((m1.client_id.as_str(), m1.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!(m1.rack_id.as_deref(), Some("r1"));
    assert_eq!(m1.subscribed_topic_names.iter().map(Str::as_str).collect::<Vec<_>>(), ["a", "b"]);
    let of = |assignment: &crate::protocol::consumer_group_describe::DescribedAssignment| {
        assignment.topic_partitions.iter().map(|t| (t.topic_name.to_string(), t.partitions.clone())).collect::<Vec<_>>()
    };
    assert_eq!(of(&m1.assignment), [("a".to_owned(), vec![0, 1, 2, 3, 4, 5])], "what it gives up is still its own");
    assert_eq!(of(&m1.target_assignment), [("a".to_owned(), vec![0, 1, 2])]);
    assert_eq!(of(&row.members[1].target_assignment), [("a".to_owned(), vec![3, 4, 5])]);
}

#[test]
fn an_old_target_gives_nothing_that_is_no_longer_subscribed_to() {
    let mut bench = Bench::new();
    bench.config.consumer.assignment_interval_ms = 1_000;
    bench.world.put("b", 2, 2);
    bench.heartbeat(&join("m1", &["a", "b"]));
    let names = Some(vec![Str::from_static("b")]);
    bench.heartbeat(&ConsumerGroupHeartbeatRequest { subscribed_topic_names: names, ..beat("m1", 1) });
    assert_eq!(bench.group.state(), ConsumerGroupState::Assigning, "the target still has both topics");
    let answer = bench.heartbeat(&beat_owning("m1", 1, &[(2, &[0, 1])]));
    assert_eq!((answer.assignment, answer.member_epoch), (None, 1));
    assert_eq!(bench.group.members["m1"].owned.all().count(), 2);
}
