//! The configuration of one topic: the broker's defaults under the topic's own values (Kafka's `LogConfig`).

use std::fmt;

use super::keys::{Effect, Key, synonyms, topic_key, topic_keys};
use super::{ConfigError, Settings};

/// A topic's settings, resolved. Sizes are bytes, times milliseconds; -1 is *no limit* where Kafka says so.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` holds delete.
    pub cleanup_delete: bool,
    /// `cleanup.policy` holds compact.
    pub cleanup_compact: bool,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: u32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: u32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    /// As configured; with one replica the effective number is never above 1.
    pub min_insync_replicas: i32,
    pub retention_bytes: i64,
    pub retention_ms: i64,
    /// `internal.segment.bytes` where it is set, else `segment.bytes`.
    pub segment_bytes: u32,
    pub segment_index_bytes: u32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
}

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// Why a topic cannot have a value (INVALID_CONFIG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicConfigError {
    UnknownKey { key: String },
    BadValue { key: String, value: String, expected: String },
    Refused { key: &'static str, value: String, reason: &'static str },
}

impl fmt::Display for TopicConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicConfigError::UnknownKey { key } => write!(f, "Unknown topic config name: {key}"),
            TopicConfigError::BadValue { key, value, expected } => {
                write!(f, "Invalid value {value} for configuration {key}: expected {expected}")
            }
            TopicConfigError::Refused { key, value, reason } => {
                write!(f, "Value {value} of configuration {key} cannot be taken: {reason}")
            }
        }
    }
}

impl std::error::Error for TopicConfigError {}

/// Checks one value of a topic and gives its canonical text, which is what to store.
pub fn validate_topic_config(key: &str, value: &str) -> Result<String, TopicConfigError> {
    let known = topic_key(key).ok_or_else(|| TopicConfigError::UnknownKey { key: key.to_owned() })?;
    let canonical = known.kind.canonical(value).map_err(|expected| TopicConfigError::BadValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected,
    })?;
    match known.effect {
        Effect::Refused(reason) if known.default != Some(canonical.as_str()) => {
            Err(TopicConfigError::Refused { key: known.name, value: canonical, reason })
        }
        _ => Ok(canonical),
    }
}

/// The value of a topic key without an override: that of its broker key's group, else the table's default.
pub(super) fn inherited(settings: &Settings, key: &Key) -> Option<String> {
    let own = || key.default.map(str::to_owned);
    let Some(broker) = key.broker_key else { return own() };
    if synonyms(broker).is_empty() {
        return settings.get(broker).map(str::to_owned).or_else(own);
    }
    let value = settings.grouped(broker).or_else(|| key.default?.parse().ok())?;
    // Any time below zero is "for ever", whatever its unit was.
    Some(if key.name == "retention.ms" { value.max(-1) } else { value }.to_string())
}

impl TopicConfig {
    /// The configuration of a topic with these overrides. Overrides were checked when they were stored; one that
    /// this version does not take (it came with an adopted directory) counts as not set.
    pub fn resolve<'a>(
        settings: &Settings,
        overrides: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<TopicConfig, TopicConfigError> {
        let mut values: Vec<(&'static Key, Option<String>)> =
            topic_keys().map(|key| (key, inherited(settings, key))).collect();
        for (name, value) in overrides {
            if let Some((_, slot)) = values.iter_mut().find(|(key, _)| key.name == name)
                && let Ok(canonical) = validate_topic_config(name, value)
            {
                *slot = Some(canonical);
            }
        }
        TopicConfig::typed(&Values(values))
    }

    /// A topic without overrides, which has to be valid for a broker to start.
    pub(super) fn broker_default(settings: &Settings) -> Result<TopicConfig, ConfigError> {
        TopicConfig::resolve(settings, []).map_err(|error| match error {
            TopicConfigError::BadValue { key, value, expected } => {
                let broker = topic_key(&key).and_then(|key| key.broker_key).unwrap_or(&key).to_owned();
                let origin = settings.origin(&broker);
                ConfigError::bad_value(&broker, settings.get(&broker).unwrap_or(&value), expected, origin)
            }
            other => ConfigError::Conflict { sentence: format!("{other}.") },
        })
    }

    fn typed(values: &Values) -> Result<TopicConfig, TopicConfigError> {
        let config = TopicConfig {
            cleanup_delete: values.has("cleanup.policy", "delete"),
            cleanup_compact: values.has("cleanup.policy", "compact"),
            delete_retention_ms: values.number("delete.retention.ms"),
            file_delete_delay_ms: values.number("file.delete.delay.ms"),
            flush_messages: values.number("flush.messages"),
            flush_ms: values.number("flush.ms"),
            index_interval_bytes: values.number("index.interval.bytes") as u32,
            max_compaction_lag_ms: values.number("max.compaction.lag.ms"),
            max_message_bytes: values.number("max.message.bytes") as u32,
            message_timestamp_after_max_ms: values.number("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.number("message.timestamp.before.max.ms"),
            message_timestamp_type: if values.text("message.timestamp.type") == Some("LogAppendTime") {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            min_cleanable_dirty_ratio: values.ratio("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: values.number("min.compaction.lag.ms"),
            min_insync_replicas: values.number("min.insync.replicas") as i32,
            retention_bytes: values.number("retention.bytes"),
            retention_ms: values.number("retention.ms"),
            segment_bytes: values.optional("internal.segment.bytes").unwrap_or_else(|| values.number("segment.bytes"))
                as u32,
            segment_index_bytes: values.number("segment.index.bytes") as u32,
            segment_jitter_ms: values.number("segment.jitter.ms"),
            segment_ms: values.number("segment.ms"),
        };
        config.check(values)?;
        Ok(config)
    }

    /// What has to hold between values, and bounds of a topic key that its broker key does not have.
    fn check(&self, values: &Values) -> Result<(), TopicConfigError> {
        for (key, value) in &values.0 {
            if let Some(value) = value {
                validate_topic_config(key.name, value)?;
            }
        }
        let bad = |key: &str, value: i64, expected: String| {
            Err(TopicConfigError::BadValue { key: key.to_owned(), value: value.to_string(), expected })
        };
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            let expected = format!("at most max.compaction.lag.ms, which is {}", self.max_compaction_lag_ms);
            return bad("min.compaction.lag.ms", self.min_compaction_lag_ms, expected);
        }
        if self.segment_bytes == 0 || self.segment_bytes > i32::MAX as u32 {
            return bad("internal.segment.bytes", i64::from(self.segment_bytes as i32), "a positive number".to_owned());
        }
        Ok(())
    }
}

/// The text of every topic key.
struct Values(Vec<(&'static Key, Option<String>)>);

impl Values {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.name == name).and_then(|(_, value)| value.as_deref())
    }

    fn has(&self, name: &str, item: &str) -> bool {
        super::keys::items(self.text(name).unwrap_or_default()).any(|given| given == item)
    }

    fn optional(&self, name: &str) -> Option<i64> {
        self.text(name).map(|value| value.parse().expect("the table checked that it is a whole number"))
    }

    fn number(&self, name: &str) -> i64 {
        self.optional(name).expect("the table has a default for a key that is read so")
    }

    fn ratio(&self, name: &str) -> f64 {
        let value = self.text(name).and_then(|value| value.parse().ok());
        value.expect("the table has a number as default for a key that is read so")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn settings(file: &str) -> Settings {
        let sources = Sources { file: Some(("s.properties".to_owned(), file.to_owned())), ..Sources::default() };
        Settings::load(&sources).expect("it loads").0
    }

    fn resolve(file: &str, overrides: &[(&str, &str)]) -> TopicConfig {
        TopicConfig::resolve(&settings(file), overrides.iter().copied()).expect("it is valid")
    }

    #[test]
    fn without_a_setting_a_topic_has_kafkas_defaults() {
        let topic = resolve("", &[]);
        assert_eq!(
            topic,
            TopicConfig {
                cleanup_delete: true,
                cleanup_compact: false,
                delete_retention_ms: 86_400_000,
                file_delete_delay_ms: 60_000,
                flush_messages: i64::MAX,
                flush_ms: i64::MAX,
                index_interval_bytes: 4096,
                max_compaction_lag_ms: i64::MAX,
                max_message_bytes: 1_048_588,
                message_timestamp_after_max_ms: 3_600_000,
                message_timestamp_before_max_ms: i64::MAX,
                message_timestamp_type: TimestampType::CreateTime,
                min_cleanable_dirty_ratio: 0.5,
                min_compaction_lag_ms: 0,
                min_insync_replicas: 1,
                retention_bytes: -1,
                retention_ms: 604_800_000,
                segment_bytes: 1 << 30,
                segment_index_bytes: 10 << 20,
                segment_jitter_ms: 0,
                segment_ms: 604_800_000,
            }
        );
    }

    #[test]
    fn broker_keys_are_a_topics_defaults_and_overrides_go_first() {
        let file = "log.segment.bytes=2000000\nmessage.max.bytes=500\nlog.roll.hours=1\nlog.retention.minutes=-1\n\
                    log.message.timestamp.type=LogAppendTime\nlog.cleanup.policy=compact";
        let topic = resolve(file, &[]);
        assert_eq!((topic.segment_bytes, topic.max_message_bytes), (2_000_000, 500));
        assert_eq!((topic.segment_ms, topic.retention_ms), (3_600_000, -1));
        assert_eq!(topic.message_timestamp_type, TimestampType::LogAppendTime);
        assert!(topic.cleanup_compact && !topic.cleanup_delete);
        let overrides = [("segment.bytes", "3000000"), ("max.message.bytes", "600"), ("cleanup.policy", "")];
        let topic = resolve(file, &overrides);
        assert_eq!((topic.segment_bytes, topic.max_message_bytes), (3_000_000, 600));
        assert!(!topic.cleanup_compact && !topic.cleanup_delete);
    }

    #[test]
    fn tests_may_use_tiny_segments() {
        assert_eq!(resolve("", &[("internal.segment.bytes", "1000")]).segment_bytes, 1000);
        let tiny = TopicConfig::resolve(&settings(""), [("internal.segment.bytes", "0")]);
        assert!(matches!(tiny, Err(TopicConfigError::BadValue { .. })));
    }

    #[test]
    fn a_stored_override_that_does_not_fit_counts_as_unset() {
        let topic = resolve("", &[("segment.bytes", "x"), ("message.format.version", "2.8")]);
        assert_eq!(topic.segment_bytes, 1 << 30);
    }

    #[test]
    fn values_of_topics_are_checked() {
        let sentence = |key, value| validate_topic_config(key, value).expect_err("it is not valid").to_string();
        assert_eq!(validate_topic_config("retention.ms", " 5 ").as_deref(), Ok("5"));
        assert_eq!(sentence("log.retention.ms", "5"), "Unknown topic config name: log.retention.ms");
        assert_eq!(
            sentence("segment.bytes", "abc"),
            "Invalid value abc for configuration segment.bytes: expected a whole number from 1048576 to 2147483647"
        );
        assert_eq!(
            sentence("remote.storage.enable", "true"),
            "Value true of configuration remote.storage.enable cannot be taken: tiered storage is not there yet"
        );
        let lags = [("min.compaction.lag.ms", "10"), ("max.compaction.lag.ms", "5")];
        assert_eq!(
            TopicConfig::resolve(&settings(""), lags).expect_err("they contradict").to_string(),
            "Invalid value 10 for configuration min.compaction.lag.ms: expected at most max.compaction.lag.ms, which is 5"
        );
    }

    #[test]
    fn a_brokers_default_has_to_fit_its_topics() {
        // Kafka bounds the topic's segment.ms but not the broker's log.roll.ms.
        let error = TopicConfig::broker_default(&settings("log.roll.ms=0")).expect_err("segments cannot roll at once");
        assert_eq!(
            error.to_string(),
            "log.roll.ms=0 (s.properties, line 1) is not valid: expected a whole number of at least 1."
        );
    }
}
