//! `corelane config list`: the table of keys as a table, JSON or Markdown.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::config::keys::{Effect, Key, broker_keys, group_keys, topic_keys};

/// The keys to list.
pub struct Keys {
    broker: Vec<&'static Key>,
    topic: Vec<&'static Key>,
    group: Vec<&'static Key>,
}

impl Keys {
    pub fn matching(filter: Option<&str>) -> Keys {
        let is_listed = |key: &&Key| !key.internal && filter.is_none_or(|part| key.name.contains(part));
        Keys {
            broker: broker_keys().filter(is_listed).collect(),
            topic: topic_keys().filter(is_listed).collect(),
            group: group_keys().filter(is_listed).collect(),
        }
    }

    /// For a terminal or for grep: one line a key, and with `docs` what it does below.
    pub fn table(&self, color: bool, docs: bool) -> String {
        let paint = |style: Style| if color { style } else { Style::new() };
        let (bold, dim) = (paint(Style::new().bold()), paint(AnsiColor::BrightBlack.on_default()));
        let mut out = String::new();
        for (heading, keys) in [("Broker keys", &self.broker), ("Topic keys", &self.topic), ("Group keys", &self.group)]
        {
            if keys.is_empty() {
                continue;
            }
            let width = |column: fn(&Key) -> &str| keys.iter().map(|key| column(key).len()).max().unwrap_or(0);
            let (names, types) = (width(|key| key.name), width(|key| key.kind.type_name()));
            let defaults = width(default_of).min(24);
            let _ = writeln!(out, "{bold}{heading}{bold:#}");
            for key in keys {
                let effect = match key.effect {
                    Effect::Works => "works".to_owned(),
                    Effect::Ignored(reason) => format!("{dim}no effect: {reason}{dim:#}"),
                    Effect::Refused(reason) => format!("default only: {reason}"),
                };
                let _ = writeln!(
                    out,
                    "  {bold}{:names$}{bold:#}  {:types$}  {:defaults$}  {:12}  {effect}",
                    key.name,
                    key.kind.type_name(),
                    default_of(key),
                    key.scope_here().name(),
                );
                if docs {
                    let _ = writeln!(out, "      {}", key.doc());
                }
            }
            out.push('\n');
        }
        out
    }

    pub fn json(&self) -> String {
        let all = [("broker", &self.broker), ("topic", &self.topic), ("group", &self.group)]
            .into_iter()
            .flat_map(|(of, keys)| keys.iter().map(move |key| row(key, of)));
        let mut text = serde_json::to_string_pretty(&all.collect::<Vec<_>>()).expect("plain values are JSON");
        text.push('\n');
        text
    }

    /// What works with what it does; what has no effect by reason, names only.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let works = |key: &&&Key| key.effect == Effect::Works;
        let sections: [(&str, Vec<&Key>); 4] = [
            ("Keys of Corelane", self.broker.iter().filter(works).filter(|key| key.is_ours()).copied().collect()),
            (
                "Keys of Kafka that work",
                self.broker.iter().filter(works).filter(|key| !key.is_ours()).copied().collect(),
            ),
            ("Keys of topics that work", self.topic.iter().filter(works).copied().collect()),
            ("Keys of groups that work", self.group.iter().filter(works).copied().collect()),
        ];
        for (heading, keys) in sections {
            if keys.is_empty() {
                continue;
            }
            let _ = writeln!(out, "### {heading}\n\n| Key | Type | Default | Changes | What it does |");
            let _ = writeln!(out, "|---|---|---|---|---|");
            for key in keys {
                let mut doc = key.doc().replace('|', "\\|");
                if let Some(why) = key.differs_from_kafka() {
                    let _ = write!(doc, " Not Kafka's default: {why}.");
                }
                let (name, kind, default) = (key.name, key.kind.type_name(), markdown_default(key));
                let _ = writeln!(out, "| `{name}` | {kind} | {default} | {} | {doc} |", key.scope_here().name());
            }
            out.push('\n');
        }
        self.markdown_without_effect(&mut out);
        out
    }

    fn markdown_without_effect(&self, out: &mut String) {
        let mut by_reason: Vec<(String, Vec<&str>)> = Vec::new();
        for key in &self.broker {
            let reason = match key.effect {
                Effect::Works => continue,
                Effect::Ignored(reason) => format!("no effect: {reason}"),
                Effect::Refused(reason) => format!("default only: {reason}"),
            };
            match by_reason.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(key.name),
                None => by_reason.push((reason, vec![key.name])),
            }
        }
        if by_reason.is_empty() {
            return;
        }
        let _ = writeln!(out, "### Keys of Kafka that are known and have no effect\n\n| Why | Keys |\n|---|---|");
        for (reason, names) in by_reason {
            let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let _ = writeln!(out, "| {reason} | {names} |");
        }
    }
}

fn default_of(key: &Key) -> &str {
    match key.default {
        None => "(unset)",
        Some("") => "(empty)",
        Some(default) => default,
    }
}

fn markdown_default(key: &Key) -> String {
    match key.default {
        None | Some("") => "-".to_owned(),
        Some(default) => format!("`{default}`"),
    }
}

fn row(key: &Key, of: &str) -> Value {
    let (effect, reason) = match key.effect {
        Effect::Works => ("works", None),
        Effect::Ignored(reason) => ("none", Some(reason)),
        Effect::Refused(reason) => ("default-only", Some(reason)),
    };
    json!({
        "name": key.name,
        "of": of,
        "type": key.kind.type_name(),
        "expected": key.kind.to_string(),
        "default": key.default,
        "default_from": key.broker_key,
        "importance": key.importance.name(),
        "changes": key.scope_here().name(),
        "effect": effect,
        "reason": reason,
        "kafka": !key.is_ours(),
        "differs_from_kafka": key.differs_from_kafka(),
        "doc": key.doc(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_a_part_of_the_key() {
        let table = Keys::matching(Some("auto.create")).table(false, true);
        assert_eq!(
            table,
            "Broker keys\n  auto.create.topics.enable  boolean  true  read-only     works\n      Create a topic when a client \
             asks for its metadata or writes to it and allows creation.\n\n"
        );
    }

    #[test]
    fn every_listed_key_is_in_every_form() {
        let keys = Keys::matching(None);
        let (table, json, markdown) = (keys.table(false, false), keys.json(), keys.markdown());
        for key in keys.broker.iter().chain(&keys.topic).chain(&keys.group) {
            assert!(table.contains(key.name) && json.contains(key.name), "{}", key.name);
        }
        for key in &keys.broker {
            assert!(markdown.contains(&format!("`{}`", key.name)), "{}", key.name);
        }
        assert!(serde_json::from_str::<Value>(&json).is_ok());
        assert!(!table.contains('\x1b') && keys.table(true, false).contains('\x1b'));
    }
}
