use super::*;
use crate::config::{BrokerConfig, Machine, Sources};

fn settings(file: &str) -> Settings {
    let sources = Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() };
    Settings::load(&sources).expect("it loads").0
}

fn start(file: &str) -> Result<BrokerConfig, String> {
    BrokerConfig::new(settings(file), &Machine { cores: 2, host_name: "box".to_owned() }).map_err(|e| e.to_string())
}

fn refused(file: &str) -> String {
    start(file).expect_err("it does not start")
}

fn check(file: &str, own: &[(&str, &str)]) -> Result<(), String> {
    check_group_config(&settings(file), own.iter().copied()).map_err(|error| error.to_string())
}

/// Each key of the table of bounds is there, in its four places, and whole numbers.
#[test]
fn bounds_name_keys_that_there_are() {
    let settings = settings("");
    for bounds in &BOUNDS {
        let key = group_key(bounds.key).unwrap_or_else(|| panic!("{} is missing", bounds.key));
        assert_eq!(key.broker_key, Some(bounds.default));
        for broker in [Some(bounds.default), bounds.min, Some(bounds.max)].into_iter().flatten() {
            assert!(settings.optional_integer(broker).is_some(), "{broker}");
        }
    }
}

#[test]
fn a_group_keeps_within_the_brokers_bounds() {
    let session = |value: &'static str| [("consumer.session.timeout.ms", value)];
    assert_eq!(check("", &[]), Ok(()));
    assert_eq!(check("", &session("45000")), Ok(()));
    assert_eq!(check("", &session("60000")), Ok(()));
    let below = "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms";
    assert_eq!(check("", &session("44999")), Err(below.to_owned()));
    let above = "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms";
    assert_eq!(check("", &session("60001")), Err(above.to_owned()));
    let standby = "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas";
    assert_eq!(check("", &[("streams.num.standby.replicas", "3")]), Err(standby.to_owned()));
    // The broker's own value counts where the group has none.
    let wide = "group.consumer.min.session.timeout.ms=1000\ngroup.consumer.session.timeout.ms=30000";
    let short = "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
    assert_eq!(check(wide, &session("5000")), Err(short.to_owned()));
    assert_eq!(check(wide, &session("5001")), Ok(()));
    assert_eq!(
        check(wide, &[("consumer.session.timeout.ms", "9000"), ("consumer.heartbeat.interval.ms", "9000")]),
        Err(short.to_owned())
    );
}

#[test]
fn a_value_is_checked_by_itself_and_made_canonical() {
    assert_eq!(validate_group_config("consumer.session.timeout.ms", " 52000 ").as_deref(), Ok("52000"));
    let refused = |key: &str, value: &str| validate_group_config(key, value).expect_err("it is refused").to_string();
    assert_eq!(refused("session.timeout.ms", "1"), "Unknown group config name: session.timeout.ms");
    assert_eq!(
        refused("consumer.session.timeout.ms", "0"),
        "Invalid value 0 for configuration consumer.session.timeout.ms: expected a whole number from 1 to 2147483647"
    );
}

#[test]
fn a_broker_keeps_within_its_own_bounds() {
    assert!(start("").is_ok());
    assert_eq!(
        refused("group.consumer.session.timeout.ms=6000"),
        "group.consumer.session.timeout.ms=6000 (s.properties, line 1) is not valid: expected at least \
         group.consumer.min.session.timeout.ms, which is 45000."
    );
    for (file, key) in [
        ("group.consumer.session.timeout.ms=60001", "group.consumer.session.timeout.ms"),
        ("group.consumer.max.heartbeat.interval.ms=4999", "group.consumer.max.heartbeat.interval.ms"),
        ("group.consumer.assignment.interval.ms=15001", "group.consumer.assignment.interval.ms"),
        ("group.streams.num.standby.replicas=3", "group.streams.num.standby.replicas"),
        (
            "group.share.min.record.lock.duration.ms=30000\ngroup.share.record.lock.duration.ms=29999",
            "group.share.record",
        ),
    ] {
        assert!(refused(file).starts_with(key), "{}", refused(file));
    }
    let low = "group.consumer.max.heartbeat.interval.ms=50000\ngroup.consumer.heartbeat.interval.ms=45000";
    assert!(refused(low).contains("less than group.consumer.session.timeout.ms, which is 45000"), "{}", refused(low));
}

#[test]
fn the_classic_protocol_cannot_be_left_out() {
    assert!(refused("group.coordinator.rebalance.protocols=consumer").contains("classic among them"));
    let offers = |file: &str| start(file).expect("it starts").groups.consumer_protocol;
    assert!(offers("") && offers("group.coordinator.rebalance.protocols=consumer,classic"));
    assert!(!offers("group.coordinator.rebalance.protocols=classic,share"));
}

/// Kafka's `clampDynamicConfigs`: the bounds may have become others at a start since.
#[test]
fn what_was_changed_while_running_is_put_within_the_bounds_of_now() {
    let config = start("group.consumer.max.assignment.interval.ms=3000").expect("it starts");
    let changed = config.with_dynamic([("group.consumer.assignment.interval.ms", "9000")], []).expect("it is taken");
    assert_eq!(changed.groups.consumer.assignment_interval_ms, 3000);
    let changed = config.with_dynamic([("group.consumer.assignment.interval.ms", "2000")], []).expect("it is taken");
    assert_eq!(changed.groups.consumer.assignment_interval_ms, 2000);
}
