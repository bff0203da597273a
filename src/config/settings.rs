//! The values of all keys with their origins: profile, then file, then `--set`, then what was changed while running.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use super::keys::{self, Effect, Key, broker_key};
use super::{ConfigError, ConfigNote, profiles, properties, toml_file};

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub key: String,
    pub value: String,
    pub line: Option<usize>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Profile(&'static str),
    File {
        name: Arc<str>,
        line: Option<usize>,
    },
    CommandLine,
    /// Changed while running, for all brokers.
    DynamicDefault,
    /// Changed while running, for this broker.
    DynamicBroker,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Profile(name) => write!(f, "profile {name}"),
            Origin::File { name, line: Some(line) } => write!(f, "{name}, line {line}"),
            Origin::File { name, line: None } => f.write_str(name),
            Origin::CommandLine => f.write_str("--set"),
            Origin::DynamicDefault => f.write_str("changed for all brokers"),
            Origin::DynamicBroker => f.write_str("changed for this broker"),
        }
    }
}

/// A value, in its key's canonical text, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub value: String,
    pub origin: Origin,
}

/// What a start is given: each part overrides those above it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub profile: Option<String>,
    /// The file's name, as messages show it, and its text. A name that ends in `.toml` is TOML, any other a Java
    /// properties file.
    pub file: Option<(String, String)>,
    /// `key=value` each.
    pub sets: Vec<String>,
}

/// The values of all broker keys. Every value was checked against its key's kind.
#[derive(Clone, Debug)]
pub struct Settings {
    profile: &'static str,
    fixed: HashMap<&'static str, Setting>,
    dynamic_default: HashMap<&'static str, Setting>,
    dynamic_broker: HashMap<&'static str, Setting>,
}

impl Settings {
    /// Reads all sources. The notes are to be shown once logging works.
    pub fn load(sources: &Sources) -> Result<(Settings, Vec<ConfigNote>), ConfigError> {
        let profile = profiles::find(sources.profile.as_deref().unwrap_or(profiles::DEFAULT))?;
        let mut intake = Intake::default();
        for assignment in toml_file::parse(profile.text, profile.file)? {
            intake.take(&assignment, Origin::Profile(profile.name))?;
        }
        if let Some((name, text)) = &sources.file {
            let is_toml = std::path::Path::new(name).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("toml"));
            let parse = if is_toml { toml_file::parse } else { properties::parse };
            let shown: Arc<str> = Arc::from(name.as_str());
            for assignment in parse(text, name)? {
                intake.take(&assignment, Origin::File { name: shown.clone(), line: assignment.line })?;
            }
        }
        for text in &sources.sets {
            let (key, value) =
                text.split_once('=').ok_or_else(|| ConfigError::NotAnAssignment { text: text.clone() })?;
            let assignment = Assignment { key: key.trim().to_owned(), value: value.to_owned(), line: None };
            intake.take(&assignment, Origin::CommandLine)?;
        }
        let mut settings = Settings {
            profile: profile.name,
            fixed: intake.values,
            dynamic_default: HashMap::new(),
            dynamic_broker: HashMap::new(),
        };
        settings.unite_node_id()?;
        let without_effect = intake.without_effect.into_iter();
        let mut notes = intake.unknown;
        notes.extend(without_effect.map(|(reason, keys)| ConfigNote::WithoutEffect { keys, reason }));
        Ok((settings, notes))
    }

    /// The same settings with what was changed while running, for all brokers and for this one. What cannot be changed
    /// here while running, and values that do not fit, are left out: another version, or Apache Kafka, stored them.
    #[must_use]
    pub fn with_dynamic<'a>(
        &self,
        default: impl IntoIterator<Item = (&'a str, &'a str)>,
        broker: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Settings {
        fn layer<'a>(
            changes: impl IntoIterator<Item = (&'a str, &'a str)>,
            origin: &Origin,
        ) -> HashMap<&'static str, Setting> {
            let known = changes.into_iter().filter_map(|(name, value)| {
                let key = broker_key(name).filter(|key| key.changes_live())?;
                Some((key.name, check(key, value, origin).ok()?))
            });
            known.collect()
        }
        Settings {
            dynamic_default: layer(default, &Origin::DynamicDefault),
            dynamic_broker: layer(broker, &Origin::DynamicBroker),
            ..self.clone()
        }
    }

    pub fn profile(&self) -> &'static str {
        self.profile
    }

    /// The strongest setting of a key, if anything but its default holds.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.dynamic_broker.get(name).or_else(|| self.dynamic_default.get(name)).or_else(|| self.fixed.get(name))
    }

    pub(super) fn fixed(&self, name: &str) -> Option<&str> {
        self.fixed.get(name).map(|setting| setting.value.as_str())
    }

    pub(super) fn dynamic_default(&self, name: &str) -> Option<&str> {
        self.dynamic_default.get(name).map(|setting| setting.value.as_str())
    }

    pub(super) fn dynamic_broker(&self, name: &str) -> Option<&str> {
        self.dynamic_broker.get(name).map(|setting| setting.value.as_str())
    }

    /// Where a key's value comes from; nothing for a default.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.setting(name).map(|setting| &setting.origin)
    }

    /// The value of a key or its default; nothing where that is null.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.setting(name).map(|setting| setting.value.as_str()).or_else(|| table(name).default)
    }

    /// The value of a key that has a default.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).expect("the table has a default for a key that is read so")
    }

    /// A whole number; nothing where the key is unset and has no default.
    pub fn optional_integer(&self, name: &str) -> Option<i64> {
        self.get(name).map(|value| value.parse().expect("the table checked that it is a whole number"))
    }

    pub fn integer(&self, name: &str) -> i64 {
        self.optional_integer(name).expect("the table has a default for a key that is read so")
    }

    /// A whole number that the table keeps at zero or above.
    pub fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).expect("the table checked that it is not negative")
    }

    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub fn items(&self, name: &str) -> impl Iterator<Item = &str> {
        keys::items(self.get(name).unwrap_or_default())
    }

    /// A time in the unit of the first of a group of keys, taken from the strongest that is set
    /// (`log.retention.ms`, else minutes, else hours).
    pub fn grouped(&self, name: &str) -> Option<i64> {
        keys::synonyms(name)
            .iter()
            .find_map(|synonym| self.optional_integer(synonym.name).map(|value| value.saturating_mul(synonym.factor)))
    }

    /// A value that the table allows but that something else forbids.
    pub(super) fn bad_value(&self, name: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::bad_value(name, self.get(name).unwrap_or_default(), expected, self.origin(name))
    }

    /// `broker.id` and `node.id` are one thing with two names: whichever is set, both show it.
    fn unite_node_id(&mut self) -> Result<(), ConfigError> {
        match (self.fixed.get("node.id"), self.fixed.get("broker.id")) {
            (Some(node), Some(broker)) if node.value != broker.value => Err(ConfigError::Conflict {
                sentence: format!(
                    "node.id={} ({}) and broker.id={} ({}) are two names of one thing: set one of them.",
                    node.value, node.origin, broker.value, broker.origin
                ),
            }),
            (None, Some(broker)) if broker.value.starts_with('-') => {
                // -1 once asked ZooKeeper for an id; here it is the same as unset.
                self.fixed.remove("broker.id");
                Ok(())
            }
            (None, Some(broker)) => {
                self.fixed.insert("node.id", broker.clone());
                Ok(())
            }
            (Some(node), None) => {
                self.fixed.insert("broker.id", node.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn table(name: &str) -> &'static Key {
    broker_key(name).expect("code reads keys of the table only")
}

/// Collects values in the order of rising strength.
#[derive(Default)]
struct Intake {
    values: HashMap<&'static str, Setting>,
    unknown: Vec<ConfigNote>,
    /// By reason, so that one line of the log names all keys that share it.
    without_effect: BTreeMap<&'static str, Vec<String>>,
}

impl Intake {
    fn take(&mut self, assignment: &Assignment, origin: Origin) -> Result<(), ConfigError> {
        let name = assignment.key.as_str();
        let Some(key) = broker_key(name) else {
            if let Some(reason) = keys::known_without_effect(name) {
                self.note_without_effect(reason, name);
            } else {
                let nearest = keys::nearest(name);
                self.unknown.push(ConfigNote::UnknownKey { key: name.to_owned(), origin, nearest });
            }
            return Ok(());
        };
        if assignment.value.trim().is_empty() && key.default.is_none() {
            // `log.roll.ms=` is how one takes a value back that has no default.
            self.values.remove(key.name);
            return Ok(());
        }
        let setting = check(key, &assignment.value, &origin)?;
        if matches!(origin, Origin::Profile(_)) && key.default == Some(setting.value.as_str()) {
            // A profile that explains a default does not set it: DescribeConfigs would call it configured.
            return Ok(());
        }
        if let Effect::Ignored(reason) = key.effect {
            self.note_without_effect(reason, name);
        }
        self.values.insert(key.name, setting);
        Ok(())
    }

    fn note_without_effect(&mut self, reason: &'static str, name: &str) {
        let keys = self.without_effect.entry(reason).or_default();
        if !keys.iter().any(|key| key == name) {
            keys.push(name.to_owned());
        }
    }
}

/// A value against its key.
fn check(key: &'static Key, value: &str, origin: &Origin) -> Result<Setting, ConfigError> {
    let shown = || if key.is_sensitive() { Cow::Borrowed("[hidden]") } else { Cow::Borrowed(value.trim()) };
    let value = key
        .kind
        .canonical(value)
        .map_err(|expected| ConfigError::bad_value(key.name, &shown(), expected, Some(origin)))?;
    match key.effect {
        Effect::Refused(reason) if key.default.unwrap_or_default() != value => {
            Err(ConfigError::Refused { key: key.name, value: shown().into(), reason, origin: Some(origin.clone()) })
        }
        _ => Ok(Setting { value, origin: origin.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: (&str, &str), sets: &[&str]) -> Result<(Settings, Vec<ConfigNote>), ConfigError> {
        Settings::load(&Sources {
            profile: None,
            file: Some((file.0.to_owned(), file.1.to_owned())),
            sets: sets.iter().map(|&set| set.to_owned()).collect(),
        })
    }

    fn sentence(file: (&str, &str), sets: &[&str]) -> String {
        load(file, sets).expect_err("it has to be refused").to_string()
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let spin = |profile: &str, file: &str, sets: &[&str]| {
            let sources = Sources {
                profile: Some(profile.to_owned()),
                file: Some(("c.toml".to_owned(), file.to_owned())),
                sets: sets.iter().map(|&set| set.to_owned()).collect(),
            };
            let (settings, notes) = Settings::load(&sources).expect("it loads");
            assert_eq!(notes, []);
            (settings.integer("runtime.spin.us"), settings.origin("runtime.spin.us").map(ToString::to_string))
        };
        let of_profile = spin("latency", "", &[]);
        assert_eq!(of_profile.1.as_deref(), Some("profile latency"));
        assert_ne!(of_profile.0, 7);
        assert_eq!(spin("latency", "runtime.spin.us = 7", &[]), (7, Some("c.toml".to_owned())));
        let sets = ["runtime.spin.us=8", "runtime.spin.us=9"];
        assert_eq!(spin("latency", "runtime.spin.us = 7", &sets), (9, Some("--set".to_owned())));
    }

    #[test]
    fn unknown_keys_are_noted_with_the_nearest() {
        let (_, notes) = load(("s.properties", "log.segmnet.bytes=1\nwhat.is.this.key=2"), &[]).expect("it loads");
        let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "Unknown key log.segmnet.bytes (s.properties, line 1): did you mean log.segment.bytes?",
                "Unknown key what.is.this.key (s.properties, line 2)",
            ]
        );
    }

    #[test]
    fn keys_without_effect_are_noted_together() {
        let file = "num.io.threads=8\nnum.network.threads=3\nzookeeper.connect=localhost:2181\nnum.io.threads=9";
        let (_, notes) = load(("s.properties", file), &[]).expect("it loads");
        let notes: Vec<_> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(
            notes,
            [
                "Without effect here: num.io.threads, num.network.threads (Corelane runs one thread per core, see \
                 shards)",
                "Without effect here: zookeeper.connect (Kafka 4 removed it)",
            ]
        );
    }

    #[test]
    fn each_error_is_one_sentence() {
        assert_eq!(
            sentence(("s.properties", "\nlog.segment.bytes=abc"), &[]),
            "log.segment.bytes=abc (s.properties, line 2) is not valid: expected a whole number from 1048576 to \
             2147483647."
        );
        assert_eq!(
            sentence(("c.toml", ""), &["log.io=fast"]),
            "log.io=fast (--set) is not valid: expected direct or buffered."
        );
        assert_eq!(sentence(("c.toml", ""), &["log.io"]), "--set log.io is not of the form key=value.");
        assert_eq!(
            sentence(("c.toml", "authorizer.class.name = 'x.Y'"), &[]),
            "authorizer.class.name=x.Y (c.toml) cannot be taken: access control is not there yet, and every client \
             could do everything."
        );
        assert_eq!(
            sentence(("s.properties", "node.id=1\nbroker.id=2"), &[]),
            "node.id=1 (s.properties, line 1) and broker.id=2 (s.properties, line 2) are two names of one thing: set \
             one of them."
        );
        let unknown = Sources { profile: Some("fast".to_owned()), ..Sources::default() };
        assert_eq!(
            Settings::load(&unknown).expect_err("there is no such profile").to_string(),
            "There is no profile fast: expected balanced, throughput or latency."
        );
    }

    #[test]
    fn broker_id_is_another_name_of_node_id() {
        let (settings, _) = load(("s.properties", "broker.id=7"), &[]).expect("it loads");
        assert_eq!((settings.integer("node.id"), settings.integer("broker.id")), (7, 7));
        let (settings, _) = load(("s.properties", "broker.id=-1"), &[]).expect("it loads");
        assert_eq!(settings.integer("node.id"), 1);
    }

    #[test]
    fn an_empty_value_takes_a_value_without_default_back() {
        let (settings, _) = load(("s.properties", "log.roll.ms=5\nlog.roll.ms="), &[]).expect("it loads");
        assert_eq!(settings.get("log.roll.ms"), None);
        assert_eq!(settings.grouped("log.roll.ms"), Some(168 * 3_600_000));
    }

    #[test]
    fn the_strongest_of_a_group_counts() {
        let (settings, _) = load(("s.properties", "log.retention.hours=1\nlog.retention.minutes=2"), &[]).expect("ok");
        assert_eq!(settings.grouped("log.retention.ms"), Some(120_000));
    }

    #[test]
    fn what_changes_while_running_is_strongest() {
        let (settings, _) = load(("s.properties", "message.max.bytes=1000"), &[]).expect("it loads");
        let with = |default: &[(&'static str, &'static str)], broker: &[(&'static str, &'static str)]| {
            settings.with_dynamic(default.iter().copied(), broker.iter().copied())
        };
        assert_eq!(with(&[("message.max.bytes", "2000")], &[]).integer("message.max.bytes"), 2000);
        let changed = with(&[("message.max.bytes", "2000")], &[("message.max.bytes", "3000")]);
        assert_eq!(changed.integer("message.max.bytes"), 3000);
        assert_eq!(changed.with_dynamic([], []).integer("message.max.bytes"), 1000, "each time anew");
        assert_eq!(with(&[("node.id", "9")], &[]).integer("node.id"), 1, "it takes a start");
        assert_eq!(with(&[("max.connections", "9")], &[]).integer("max.connections"), 50_000, "here it does too");
        assert_eq!(with(&[("message.max.bytes", "x")], &[]).integer("message.max.bytes"), 1000);
    }
}
