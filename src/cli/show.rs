//! `corelane config show`: the values a start would use and where they come from.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::config::Settings;
use crate::config::keys::{Key, broker_keys};

struct Row {
    key: &'static Key,
    value: Option<String>,
    origin: Option<String>,
}

/// By name: what was set, or with `all` the defaults too. Secrets are hidden.
fn rows(settings: &Settings, all: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = broker_keys()
        .filter(|key| !key.internal || settings.origin(key.name).is_some())
        .filter(|key| all || settings.origin(key.name).is_some())
        .map(|key| {
            let value = settings.get(key.name).map(|value| if key.is_sensitive() { "[hidden]" } else { value });
            Row { key, value: value.map(str::to_owned), origin: settings.origin(key.name).map(ToString::to_string) }
        })
        .collect();
    rows.sort_by_key(|row| row.key.name);
    rows
}

pub fn table(settings: &Settings, all: bool) -> String {
    let rows = rows(settings, all);
    let assignment = |row: &Row| format!("{}={}", row.key.name, row.value.as_deref().unwrap_or_default());
    // Long values do not push the origins of all others out of sight.
    let width = rows.iter().map(|row| assignment(row).len()).filter(|&width| width <= 72).max().unwrap_or(0);
    let mut out = String::new();
    for row in &rows {
        let _ = writeln!(out, "{:width$}  # {}", assignment(row), row.origin.as_deref().unwrap_or("default"));
    }
    out
}

pub fn json(settings: &Settings, all: bool) -> String {
    let rows: Vec<Value> = rows(settings, all)
        .into_iter()
        .map(|row| json!({ "name": row.key.name, "value": row.value, "origin": row.origin }))
        .collect();
    let mut text = serde_json::to_string_pretty(&rows).expect("plain values are JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn what_was_set_is_shown_with_its_origin() {
        let sources = Sources {
            profile: Some("latency".to_owned()),
            sets: vec!["ssl.key.password=secret".to_owned(), "shards=1".to_owned()],
            ..Sources::default()
        };
        let (settings, _) = Settings::load(&sources).expect("it loads");
        let table = table(&settings, false);
        assert!(table.lines().any(|line| line.starts_with("runtime.spin.us=") && line.ends_with("# profile latency")));
        assert!(table.lines().any(|line| line.starts_with("shards=1") && line.ends_with("# --set")));
        assert!(table.contains("ssl.key.password=[hidden]") && !table.contains("secret"));
        assert!(!table.contains("log.segment.bytes"));
        assert!(super::table(&settings, true).lines().any(|line| line.starts_with("log.segment.bytes=1073741824")));
        assert!(serde_json::from_str::<Value>(&json(&settings, true)).is_ok());
    }
}
