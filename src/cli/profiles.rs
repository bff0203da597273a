//! `corelane config profiles`: what `tuning/README.md` holds, made from the profiles themselves.

use std::fmt::Write;

use crate::config::keys::broker_key;
use crate::config::profiles::{DEFAULT, PROFILES, Profile};

/// A profile's own words: what it is for, and each value with its reason.
struct Explained {
    purpose: String,
    values: Vec<(String, String, String)>,
}

fn explain(profile: &Profile) -> Explained {
    let mut explained = Explained { purpose: String::new(), values: Vec::new() };
    let mut comment = String::new();
    for line in profile.text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            let space = if comment.is_empty() { "" } else { " " };
            let _ = write!(comment, "{space}{}", words.trim());
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"').to_owned();
            explained.values.push((key.to_owned(), value, std::mem::take(&mut comment)));
        } else if explained.purpose.is_empty() {
            explained.purpose = std::mem::take(&mut comment);
        }
    }
    explained
}

pub fn markdown() -> String {
    let mut out = String::from(
        "# Profiles\n\n\
         `corelane --profile NAME` starts with the values of one of these files, which are compiled in. A configuration \
         file and `--set` override them; keys that a profile does not set keep their defaults. `corelane config show \
         --profile NAME` prints the outcome. This page is made by `corelane config profiles`.\n",
    );
    for profile in PROFILES {
        let explained = explain(&profile);
        let default = if profile.name == DEFAULT { " (default)" } else { "" };
        let _ = write!(out, "\n## {}{default}\n\n{}\n\n", profile.name, explained.purpose);
        out.push_str("| Key | Value | Default | Why |\n|---|---|---|---|\n");
        for (key, value, why) in explained.values {
            let default = broker_key(&key).and_then(|key| key.default).unwrap_or("-");
            let _ = writeln!(out, "| `{key}` | `{value}` | `{default}` | {why} |");
        }
    }
    out
}
