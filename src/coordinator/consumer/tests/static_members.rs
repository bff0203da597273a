use super::*;

fn join_static(id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(Str::from_static("i1")), ..join(id, &["a"]) }
}

fn beat_static(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(Str::from_static("i1")), ..beat(id, epoch) }
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = Bench::new();
    bench.heartbeat(&join_static("m1"));
    bench.heartbeat(&join("m2", &["a"]));
    bench.heartbeat(&beat_static("m1", 1));
    let request = ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(partitions(&[(1, &[0, 1, 2])])),
        ..beat_static("m1", 1)
    };
    bench.heartbeat(&request);
    bench.heartbeat(&beat("m2", 2));
    let epoch = bench.group.epoch;
    assert_eq!(bench.refused(&join_static("m3")), ErrorCode::UnreleasedInstanceId);
    assert_eq!(bench.refused(&beat_static("m3", 2)), ErrorCode::FencedInstanceId);
    assert_eq!(bench.refused(&beat_static("m3", -1)), ErrorCode::FencedInstanceId);
    let other = ConsumerGroupHeartbeatRequest { instance_id: Some(Str::from_static("i2")), ..beat("m1", 2) };
    assert_eq!(bench.refused(&other), ErrorCode::UnknownMemberId);

    let answer = bench.heartbeat(&beat_static("m1", -2));
    assert_eq!((answer.error_code, answer.member_epoch), (0, -2));
    bench.check_log();
    assert_eq!(bench.heartbeat(&beat("m2", 2)).assignment, None, "nobody gets what it has left for now");
    let answer = bench.heartbeat(&join_static("m3"));
    assert_eq!((assigned(&answer), answer.member_epoch), (Some(vec![0, 1, 2]), 2));
    assert_eq!(bench.group.epoch, epoch, "no rebalance");
    assert_eq!(bench.group.member_count(), 2);
    bench.check_log();
    assert_eq!(bench.refused(&beat_static("m1", 2)), ErrorCode::FencedInstanceId);
}

#[test]
fn a_static_member_that_stays_away_is_fenced() {
    let mut bench = Bench::new();
    bench.heartbeat(&join_static("m1"));
    bench.heartbeat(&beat_static("m1", -2));
    bench.now += 45_000;
    bench.on_time();
    assert!(bench.group.is_empty());
    assert!(bench.group.static_members.is_empty());
    bench.check_log();
    bench.heartbeat(&join_static("m2"));
    bench.heartbeat(&beat_static("m2", -1));
    assert!(bench.group.is_empty(), "-1 is for good");
}

#[test]
fn a_successor_may_subscribe_otherwise() {
    let mut bench = Bench::new();
    bench.world.put("b", 2, 2);
    bench.heartbeat(&join_static("m1"));
    bench.heartbeat(&beat_static("m1", -2));
    let topics = Some(vec![Str::from_static("b")]);
    let answer =
        bench.heartbeat(&ConsumerGroupHeartbeatRequest { subscribed_topic_names: topics, ..join_static("m2") });
    assert_eq!(answer.assignment.unwrap().topic_partitions, partitions(&[(2, &[0, 1])]));
    assert_eq!(answer.member_epoch, 2);
    bench.check_log();
}
