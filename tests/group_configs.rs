//! Configurations of groups: what is taken and what is refused, that no crash takes it back, that members of running groups
//! hear of it at once, and which resources have configurations at all.

use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    DescribeConfigsRequest, ListConfigResourcesRequest, consumer_group_describe_response::DescribedGroup,
    describe_configs_request, describe_configs_response::DescribeConfigsResourceResult,
};

use crate::configs::{
    APPEND, BROKER, Change, DEFAULT_CONFIG, DELETE, DYNAMIC_BROKER_CONFIG, INVALID_CONFIG, INVALID_REQUEST, SET, TOPIC,
    alter, incremental, replace, shows, text,
};
use crate::groups_classic::{find_coordinator, group_id};
use crate::harness::Broker;
use crate::harness::broker::is_kafka;
use crate::harness::client::{PATIENCE, create_topic};
use crate::harness::wire::{Wire, topic_name};

const UNSUPPORTED_VERSION: i16 = 35;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNKNOWN_SERVER_ERROR: i16 = -1;

const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// `ConfigSource` of a DescribeConfigs answer.
const STATIC_BROKER_CONFIG: i8 = 4;
const GROUP_CONFIG: i8 = 8;

const SESSION: &str = "consumer.session.timeout.ms";
const INTERVAL: &str = "consumer.heartbeat.interval.ms";

fn set(wire: &mut Wire, group: &str, key: &str, value: &str) -> i16 {
    alter(wire, &[(GROUP, group, &[(key, SET, Some(value))])], 1)[0]
}

fn describe(wire: &mut Wire, group: &str, version: i16) -> (i16, Vec<DescribeConfigsResourceResult>) {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(GROUP)
        .with_resource_name(text(group))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(true);
    let result = wire.call(&request, version).results.remove(0);
    (result.error_code, result.configs)
}

/// The code, and type and name of each in their order; version 0 has no types.
fn list(wire: &mut Wire, types: &[i8], version: i16) -> (i16, Vec<(i8, String)>) {
    let request = ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
    let response = wire.call(&request, version);
    let mut rows: Vec<_> =
        response.config_resources.iter().map(|it| (it.resource_type, it.resource_name.to_string())).collect();
    // A comparison with Kafka begins by making this one.
    rows.retain(|(_, name)| name != "__consumer_offsets");
    rows.sort();
    (response.error_code, rows)
}

#[test]
fn groups_have_what_is_within_the_brokers_bounds() {
    let broker = Broker::start(&[("group.consumer.session.timeout.ms", "46000")]);
    let mut wire = Wire::connect(&broker);
    shows(&mut wire, GROUP, "g", SESSION, "46000", STATIC_BROKER_CONFIG);
    shows(&mut wire, GROUP, "g", INTERVAL, "5000", DEFAULT_CONFIG);
    for version in 0..=1 {
        let value = format!("{}", 50_000 + i32::from(version));
        let changes: &[Change<'_>] = &[
            (GROUP, "g", &[(SESSION, SET, Some(&value)), ("no.such.key", DELETE, None)]),
            (GROUP, "", &[(SESSION, SET, Some("50000"))]),
            (GROUP, "h", &[("retention.ms", SET, Some("50000"))]),
            (GROUP, "i", &[(SESSION, APPEND, Some("50000"))]),
        ];
        let codes = [0, INVALID_REQUEST, INVALID_CONFIG, INVALID_CONFIG];
        assert_eq!(alter(&mut wire, changes, version), codes);
        shows(&mut wire, GROUP, "g", SESSION, &value, GROUP_CONFIG);
        for (key, wrong) in [
            (SESSION, "44999"),
            (SESSION, "60001"),
            (SESSION, "soon"),
            (SESSION, "0"),
            (INTERVAL, "4999"),
            (INTERVAL, "15001"),
            ("consumer.assignment.interval.ms", "15001"),
            ("share.auto.offset.reset", "sometimes"),
            ("share.isolation.level", "none"),
            ("share.record.lock.duration.ms", "14999"),
            ("streams.num.standby.replicas", "3"),
        ] {
            // All or nothing of a resource.
            let changes = [(INTERVAL, SET, Some("7000")), (key, SET, Some(wrong))];
            let changes = if key == INTERVAL { &changes[1..] } else { &changes[..] };
            assert_eq!(alter(&mut wire, &[(GROUP, "g", changes)], version), [INVALID_CONFIG], "{key}={wrong}");
        }
        shows(&mut wire, GROUP, "g", INTERVAL, "5000", DEFAULT_CONFIG);
        let only_checked = incremental(&[(GROUP, "g", &[(SESSION, SET, Some("60000"))])]).with_validate_only(true);
        assert_eq!(wire.call(&only_checked, version).responses[0].error_code, 0);
        shows(&mut wire, GROUP, "g", SESSION, &value, GROUP_CONFIG);
    }
    let (code, rows) = describe(&mut wire, "g", 4);
    assert_eq!((code, rows.len()), (0, 17));
    let row = rows.iter().find(|row| &*row.name == SESSION).expect("it is described");
    let synonyms: Vec<_> = row.synonyms.iter().map(|it| (&*it.name, it.value.as_deref(), it.source)).collect();
    let broker_key = "group.consumer.session.timeout.ms";
    assert_eq!(
        synonyms,
        [
            (SESSION, Some("50001"), GROUP_CONFIG),
            (broker_key, Some("46000"), STATIC_BROKER_CONFIG),
            (broker_key, Some("45000"), DEFAULT_CONFIG),
        ]
    );
    assert!(!row.read_only && !row.is_sensitive && row.config_type == 3);
    assert_eq!(describe(&mut wire, "", 4).0, INVALID_REQUEST);
    for version in 0..=2 {
        assert_eq!(replace(&mut wire, GROUP, "g", &[(INTERVAL, Some("6000"))], version), 0);
        shows(&mut wire, GROUP, "g", INTERVAL, "6000", GROUP_CONFIG);
        shows(&mut wire, GROUP, "g", SESSION, "46000", STATIC_BROKER_CONFIG);
        assert_eq!(replace(&mut wire, GROUP, "g", &[(INTERVAL, Some("1"))], version), INVALID_CONFIG);
        assert_eq!(replace(&mut wire, GROUP, "g", &[], version), 0);
        shows(&mut wire, GROUP, "g", INTERVAL, "5000", DEFAULT_CONFIG);
    }
    // What all groups have by default changes for brokers.
    let (default, own) = ("group.consumer.assignment.interval.ms", "consumer.assignment.interval.ms");
    for (value, code) in [("2000", 0), ("15001", INVALID_REQUEST)] {
        assert_eq!(alter(&mut wire, &[(BROKER, "1", &[(default, SET, Some(value))])], 1), [code]);
        shows(&mut wire, GROUP, "g", own, "2000", DYNAMIC_BROKER_CONFIG);
    }
}

#[test]
fn resources_with_configurations_are_listed() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    let row = |kind: i8, name: &str| (kind, name.to_owned());
    assert_eq!(list(&mut wire, &[GROUP], 1), (0, vec![]));
    for group in ["g", "group of 9"] {
        assert_eq!(set(&mut wire, group, SESSION, "50000"), 0);
        shows(&mut wire, GROUP, group, SESSION, "50000", GROUP_CONFIG);
    }
    let groups = vec![row(GROUP, "g"), row(GROUP, "group of 9")];
    let mut all = vec![row(TOPIC, "t"), row(BROKER, "1"), row(BROKER_LOGGER, "1")];
    all.extend(groups.clone());
    assert_eq!(list(&mut wire, &[], 1), (0, all));
    assert_eq!(list(&mut wire, &[GROUP, CLIENT_METRICS], 1), (0, groups));
    assert_eq!(list(&mut wire, &[BROKER], 1), (0, vec![row(BROKER, "1")]));
    assert_eq!(list(&mut wire, &[GROUP, 3], 1), (UNSUPPORTED_VERSION, vec![]));
    // Version 0 is about client metrics.
    assert_eq!(list(&mut wire, &[], 0), (0, vec![]));
    let nothing: &[(&str, i8, Option<&str>)] = &[(SESSION, DELETE, None)];
    assert_eq!(alter(&mut wire, &[(GROUP, "g", nothing)], 1), [0]);
    shows(&mut wire, GROUP, "g", SESSION, "45000", DEFAULT_CONFIG);
    assert_eq!(list(&mut wire, &[GROUP], 1), (0, vec![row(GROUP, "group of 9")]));
}

#[test]
fn every_node_of_a_broker_with_a_listener_for_each_core_is_listed() {
    if is_kafka() {
        return;
    }
    let broker = Broker::start(&[("shards", "2"), ("shard.listeners", "per-core")]);
    let nodes = [(BROKER, "1".to_owned()), (BROKER, "2".to_owned())];
    assert_eq!(list(&mut Wire::connect(&broker), &[BROKER], 1), (0, nodes.to_vec()));
}

fn beat(wire: &mut Wire, member: &str, epoch: i32) -> ConsumerGroupHeartbeatResponse {
    let mut request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text(member))
        .with_member_epoch(epoch);
    if epoch == 0 {
        request = request
            .with_rebalance_timeout_ms(60_000)
            .with_rack_id(Some(text("rack-7")))
            .with_subscribed_topic_names(Some(vec![topic_name("t")]))
            .with_topic_partitions(Some(vec![]));
    }
    wire.call(&request, 1)
}

fn described_group(wire: &mut Wire) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id("g")]);
    wire.call(&request, 1).groups.remove(0)
}

/// A running group goes by its own heartbeat interval and session timeout from its members' next heartbeats on, and a
/// crash changes neither.
#[test]
fn running_groups_go_by_a_change_at_once() {
    let mut broker = Broker::start(&[
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.min.session.timeout.ms", "200"),
    ]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    find_coordinator(&mut wire, "g");
    let joined = beat(&mut wire, "member-of-the-first", 0);
    assert_eq!((joined.error_code, joined.heartbeat_interval_ms), (0, 5000));
    let epoch = joined.member_epoch;
    assert_eq!(set(&mut wire, "g", INTERVAL, "700"), 0);
    shows(&mut wire, GROUP, "g", INTERVAL, "700", GROUP_CONFIG);
    assert_eq!(beat(&mut wire, "member-of-the-first", epoch).heartbeat_interval_ms, 700);
    if !is_kafka() {
        broker.kill();
        broker.launch();
        wire = Wire::connect(&broker);
        find_coordinator(&mut wire, "g");
        shows(&mut wire, GROUP, "g", INTERVAL, "700", GROUP_CONFIG);
    }
    assert_eq!(beat(&mut wire, "member-of-the-first", epoch).heartbeat_interval_ms, 700);
    // The timer runs by the value of the last heartbeat.
    assert_eq!(set(&mut wire, "g", SESSION, "1000"), 0);
    shows(&mut wire, GROUP, "g", SESSION, "1000", GROUP_CONFIG);
    assert_eq!(beat(&mut wire, "member-of-the-first", epoch).error_code, 0);
    let members = described_group(&mut wire).members;
    assert_eq!((members.len(), members[0].rack_id.as_deref()), (1, Some("rack-7")));
    let began = Instant::now();
    while !described_group(&mut wire).members.is_empty() {
        assert!(began.elapsed() < PATIENCE, "the member is out after its session, not after 45 s");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(beat(&mut wire, "member-of-the-first", epoch).error_code, UNKNOWN_MEMBER_ID);
}

#[test]
fn the_protocol_of_consumer_groups_can_be_left_out() {
    let broker = Broker::start(&[("group.coordinator.rebalance.protocols", "classic")]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    find_coordinator(&mut wire, "g");
    assert_eq!(beat(&mut wire, "member-of-the-first", 0).error_code, UNSUPPORTED_VERSION);
    assert_eq!(described_group(&mut wire).error_code, UNSUPPORTED_VERSION);
}

/// Bounded by `max.message.bytes` of `__consumer_offsets`, as every group.
#[test]
fn a_member_that_no_record_can_hold_is_refused() {
    let broker = Broker::start(&[]);
    create_topic(&broker, "t", 1, &[]);
    let mut wire = Wire::connect(&broker);
    find_coordinator(&mut wire, "g");
    let joined = beat(&mut wire, "member-of-the-first", 0);
    assert_eq!(joined.error_code, 0);
    let names = (0..60_000).map(|i| topic_name(&format!("a-topic-of-some-length-{i}"))).collect();
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id("g"))
        .with_member_id(text("member-of-the-second"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(names))
        .with_topic_partitions(Some(vec![]));
    for _ in 0..2 {
        assert_eq!(wire.call(&request, 1).error_code, UNKNOWN_SERVER_ERROR);
        assert_eq!(described_group(&mut wire).members.len(), 1);
        assert_eq!(beat(&mut wire, "member-of-the-first", joined.member_epoch).error_code, 0);
    }
}
