//! Compares messages of two codecs by what `Debug` shows of them: both name fields as Kafka's schema does, and wrap
//! values differently (`Some`, `TopicName`).

use std::collections::BTreeSet;

use corelane::protocol::{Kind, StructSchema};

/// The names of a schema's fields that there are up to a version, but those of UUIDs, which the codecs show differently.
pub fn comparable_fields(schema: &StructSchema, version: i16) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    collect(schema, version, &mut names);
    names
}

fn collect(schema: &StructSchema, version: i16, names: &mut BTreeSet<&'static str>) {
    for field in schema.fields.iter().filter(|field| field.versions.min <= version) {
        let mut kind = &field.kind;
        while let Kind::Array(inner) | Kind::Nullable(inner) = kind {
            kind = inner;
        }
        match kind {
            Kind::Uuid => {}
            Kind::Struct(inner) => collect(inner, version, names),
            _ => {
                names.insert(field.name);
            }
        }
    }
}

/// All `field = literal` of a `Debug` text, sorted, for some fields: numbers, booleans, strings, bytes. Empty
/// strings are left out, since a default may be null here and empty there.
pub fn literals(debug: &str, of: &BTreeSet<&'static str>) -> Vec<(String, String)> {
    let bytes = debug.as_bytes();
    let mut found = Vec::new();
    let mut field = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let quoted = bytes[at] == b'"' || (bytes[at] == b'b' && bytes.get(at + 1) == Some(&b'"'));
        if quoted {
            at += if bytes[at] == b'b' { 2 } else { 1 };
            while bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'-' || bytes[at] == b'_' {
            while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'_')) {
                at += 1;
            }
        } else {
            at += 1;
            continue;
        }
        let token = &debug[start..at];
        if !quoted && bytes.get(at) == Some(&b':') {
            token.clone_into(&mut field);
            continue;
        }
        let number = token.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
        let literal = number || token == "true" || token == "false" || (quoted && token != "\"\"" && token != "b\"\"");
        if literal && of.contains(field.as_str()) {
            found.push((field.clone(), token.to_owned()));
        }
    }
    found.sort();
    found
}

#[test]
fn literals_are_found_whatever_wraps_them() {
    let ours = r#"A { name: Some("a\"b"), ids: [1, -2], ok: true, raw: b"x", none: None, topic_id: AAAA }"#;
    let theirs = r#"A { ok: true, name: Some(Name("a\"b")), raw: Some(b"x"), ids: [Id(1), Id(-2)], empty: "" }"#;
    let of = BTreeSet::from(["name", "ids", "ok", "raw", "none"]);
    assert_eq!(literals(ours, &of), literals(theirs, &of));
    assert_eq!(literals(ours, &of).len(), 5);
}
