//! Records there and back, and values that Kafka 4.3.1 encoded.

use proptest::prelude::*;

use super::super::record::{GroupMetadata, MemberMetadata, encode_key};
use super::*;
use crate::coordinator::{GroupRecord, RecordProblem, read_record};

/// `GroupMetadataValue` of versions 0 to 4, as `MessageUtil.toVersionPrefixedBytes` writes them.
const KAFKA_VALUES: [&str; 5] = [
    "00000008636f6e73756d657200000007000572616e676500026d310000000200026d31000163000a2f3132372e302e302e310000\
     afc80000000d000000000001000174ffffffff00000002010200026d32000000042f3a3a31000027100000000000000000",
    "00010008636f6e73756d657200000007000572616e676500026d310000000200026d31000163000a2f3132372e302e302e310004\
     93e00000afc80000000d000000000001000174ffffffff00000002010200026d32000000042f3a3a310000ea6000002710000000\
     0000000000",
    "00020008636f6e73756d657200000007000572616e676500026d310000018bcfe568000000000200026d31000163000a2f313237\
     2e302e302e31000493e00000afc80000000d000000000001000174ffffffff00000002010200026d32000000042f3a3a310000ea\
     60000027100000000000000000",
    "00030008636f6e73756d657200000007000572616e676500026d310000018bcfe568000000000200026d31000169000163000a2f\
     3132372e302e302e31000493e00000afc80000000d000000000001000174ffffffff00000002010200026d32ffff000000042f3a\
     3a310000ea60000027100000000000000000",
    "000409636f6e73756d6572000000070672616e6765036d310000018bcfe5680003036d31026902630b2f3132372e302e302e3100\
     0493e00000afc80e000000000001000174ffffffff03010200036d320001052f3a3a310000ea600000271001010000",
];
/// Of a group that has just come to be.
const KAFKA_EMPTY: &str = "0003000000000000ffffffff0000018bcfe5680000000000";
const KAFKA_KEY: &str = "0002000567726f7570";

/// What Kafka's values above hold; fields that a version does not know have their defaults.
fn expected(version: i16) -> GroupMetadata<'static> {
    GroupMetadata {
        protocol_type: "consumer",
        generation: 7,
        protocol: Some("range"),
        leader: Some("m1"),
        state_timestamp: if version >= 2 { 1_700_000_000_000 } else { -1 },
        members: vec![
            MemberMetadata {
                member_id: "m1",
                group_instance_id: Some("i").filter(|_| version >= 3),
                client_id: "c",
                client_host: "/127.0.0.1",
                rebalance_timeout_ms: if version >= 1 { 300_000 } else { -1 },
                session_timeout_ms: 45_000,
                subscription: &[0, 0, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255],
                assignment: &[1, 2],
            },
            MemberMetadata {
                member_id: "m2",
                group_instance_id: None,
                client_id: "",
                client_host: "/::1",
                rebalance_timeout_ms: if version >= 1 { 60_000 } else { -1 },
                session_timeout_ms: 10_000,
                subscription: &[],
                assignment: &[],
            },
        ],
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn every_version_of_kafka_is_read() {
    for (version, hex) in (0..).zip(KAFKA_VALUES) {
        let value = bytes(hex);
        assert_eq!(GroupMetadata::decode(&value), Ok(expected(version)), "version {version}");
        for len in 0..value.len() {
            assert_eq!(GroupMetadata::decode(&value[..len]), Err(RecordProblem::Malformed), "{len} of {version}");
        }
    }
    assert_eq!(GroupMetadata::decode(&[0, 5]), Err(RecordProblem::UnknownVersion { version: 5 }));
    assert_eq!(GroupMetadata::decode(&[255, 255]), Err(RecordProblem::UnknownVersion { version: -1 }));
}

#[test]
fn records_are_those_that_kafka_writes() {
    assert_eq!(expected(3).encode(), bytes(KAFKA_VALUES[3]));
    assert_eq!(encode_key("group"), bytes(KAFKA_KEY));
    // A group that has just come to be.
    let mut rig = Rig::new();
    rig.now_ms = 0;
    rig.join("");
    assert_eq!(rig.records[0], GroupLogRecord { key: bytes(KAFKA_KEY), value: Some(bytes(KAFKA_EMPTY)) });
}

#[test]
fn a_stable_group_survives() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    let record = rig.records.last().unwrap().clone();
    let read = read_record(&record.key, record.value.as_deref()).unwrap();
    let GroupRecord::GroupMetadata { group: "group", value: Some(value) } = read else { panic!("{read:?}") };
    let before = rig.group.describe();
    rig.group = ClassicGroup::new("group");
    rig.group.replay(value).unwrap();
    assert_eq!(rig.group.describe(), before);
    assert_eq!(rig.group.next_deadline(), None);
    assert!(rig.group.is_subscribed_to("t") && !rig.group.is_subscribed_to("u"));
    // Members have a whole session from the moment of loading.
    rig.now_ms = 5_000_000;
    rig.call(ClassicGroup::loaded);
    assert_eq!(rig.group.next_deadline(), Some(5_000_000 + i64::from(SESSION_MS)));
    for id in &ids {
        assert_eq!(rig.heartbeat(id, 1), ErrorCode::None);
        let ticket = rig.sync(id, 1, &[]);
        assert_eq!(rig.synced(ticket).assignment, id.as_str());
    }
    // A later record replaces all of it.
    rig.group.replay(&bytes(KAFKA_VALUES[3])).unwrap();
    assert_eq!((rig.group.member_count(), rig.group.generation_id()), (2, 7));
    assert_eq!(rig.group.static_member_id("i"), Some("m1"));
    rig.group.replay(&bytes(KAFKA_EMPTY)).unwrap();
    assert!(rig.group.is_simple());
}

#[test]
fn an_unreadable_record_changes_nothing() {
    let mut rig = Rig::new();
    rig.stable(1);
    let before = rig.group.describe();
    assert_eq!(rig.group.replay(&[0, 3, 0]), Err(RecordProblem::Malformed));
    assert_eq!(rig.group.describe(), before);
}

#[test]
fn an_old_record_without_a_rebalance_timeout() {
    let mut group = ClassicGroup::new("group");
    group.replay(&bytes(KAFKA_VALUES[0])).unwrap();
    let timeouts: Vec<i32> = group.members().map(|member| member.rebalance_timeout_ms).collect();
    assert_eq!(timeouts, [45_000, 10_000]);
}

#[test]
fn an_emptied_group_survives() {
    let mut rig = Rig::new();
    let ids = rig.stable(1);
    rig.leave(&[(&ids[0], None)]);
    let value = rig.records.last().unwrap().value.clone().unwrap();
    let read = GroupMetadata::decode(&value).unwrap();
    assert_eq!((read.protocol_type, read.generation, read.protocol, read.leader), ("consumer", 2, None, None));
    assert_eq!((read.state_timestamp, read.members.len()), (WALL_MS + rig.now_ms, 0));
    let mut group = ClassicGroup::new("group");
    group.replay(&value).unwrap();
    assert_eq!((group.state(), group.offset_expiry()), (ClassicState::Empty, rig.group.offset_expiry()));
}

#[test]
fn a_loaded_group_that_is_too_large_rebalances() {
    let mut rig = Rig::new();
    let ids = rig.stable(3);
    rig.config.max_size = 2;
    rig.call(ClassicGroup::loaded);
    assert_eq!(rig.group.state(), ClassicState::PreparingRebalance);
    rig.join(&ids[0]);
    rig.join(&ids[1]);
    let late = rig.join(&ids[2]);
    assert_eq!(rig.join_error(late), ErrorCode::GroupMaxSizeReached);
}

#[test]
fn a_converted_group_is_stable_and_can_rebalance() {
    let mut rig = Rig::new();
    let mut members = Vec::new();
    for id in ["m1", "m2"] {
        let mut member = ClassicMember::new(id, None, "client", "/127.0.0.1");
        member.session_timeout_ms = SESSION_MS;
        member.rebalance_timeout_ms = REBALANCE_MS;
        member.protocols = vec![("range".into(), subscription(&["t"]).into())];
        members.push(member);
    }
    let mut disagreeing = members.clone();
    disagreeing[1].protocols[0].0 = "other".into();
    rig.call(|group, ctx| {
        assert!(ClassicGroup::converted("group", 5, "consumer", disagreeing, ctx).is_none());
        *group = ClassicGroup::converted("group", 5, "consumer", members, ctx).unwrap();
        group.assign_with(|member| Bytes::copy_from_slice(member.member_id.as_bytes()));
        group.append_record(ctx);
    });
    assert_eq!(rig.heartbeat("m1", 5), ErrorCode::None);
    let ticket = rig.sync("m2", 5, &[]);
    assert_eq!(rig.synced(ticket).assignment, "m2");
    let mut read = ClassicGroup::new("group");
    read.replay(rig.records.last().unwrap().value.as_ref().unwrap()).unwrap();
    assert_eq!(read.describe(), rig.group.describe());
    rig.call(ClassicGroup::force_rebalance);
    assert_eq!(rig.heartbeat("m1", 5), ErrorCode::RebalanceInProgress);
    rig.call(|group, ctx| group.append_tombstone(ctx));
    assert_eq!(rig.records.last().unwrap().value, None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(version in 0i16..6, rest in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut value = version.to_be_bytes().to_vec();
        value.extend(rest);
        let _ = GroupMetadata::decode(&value);
        let _ = ClassicGroup::new("group").replay(&value);
    }
}
