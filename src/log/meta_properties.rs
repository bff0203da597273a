//! `meta.properties` at the root of a log directory: whose data this is (Kafka's `MetaProperties`, version 1).
//!
//! ```text
//! version=1
//! cluster.id=MkU3OEVBNTcwNTJENDM2Qg
//! node.id=1
//! directory.id=qF1Mc2bWQpCPvCeXgSxHkA
//! ```

use std::fmt::Write as _;
use std::path::Path;

use crate::runtime::fs;
use crate::types::KafkaUuid;

use super::checkpoint::Malformed;
use super::error::LoadError;
use super::names::META_PROPERTIES;

const PROPERTIES_BYTES_MAX: usize = 64 << 10;

/// The identity of a log directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaProperties {
    /// Any text; Kafka and we make it a UUID.
    pub cluster_id: String,
    pub node_id: i32,
    /// What the catalog calls this directory. Directories of Kafka before 3.7 have none.
    pub directory_id: Option<KafkaUuid>,
    /// Keys that are not ours, kept as they are.
    pub others: Vec<(String, String)>,
}

impl MetaProperties {
    /// A new directory's identity.
    pub fn new(cluster_id: String, node_id: i32) -> MetaProperties {
        MetaProperties { cluster_id, node_id, directory_id: Some(KafkaUuid::random()), others: Vec::new() }
    }

    /// The identity of a log directory; `None` if it has none yet.
    pub fn read(log_dir: &Path) -> Result<Option<MetaProperties>, LoadError> {
        let path = log_dir.join(META_PROPERTIES);
        let bytes =
            fs::if_exists(fs::read_bounded(&path, PROPERTIES_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
        bytes.map(|bytes| MetaProperties::parse(&bytes).map_err(|wrong| wrong.at(&path))).transpose()
    }

    /// Writes the identity, durably.
    pub fn write(&self, log_dir: &Path) -> Result<(), LoadError> {
        let path = log_dir.join(META_PROPERTIES);
        fs::write_atomic(&path, self.encode().as_bytes()).map_err(LoadError::io("write", &path))
    }

    pub fn encode(&self) -> String {
        let mut text = String::from("#\n#Written by Corelane\n");
        let mut put = |key: &str, value: &str| {
            let _ = writeln!(text, "{}={}", escape(key, true), escape(value, false));
        };
        put("version", "1");
        put("cluster.id", &self.cluster_id);
        put("node.id", &self.node_id.to_string());
        if let Some(id) = self.directory_id {
            put("directory.id", &id.to_string());
        }
        for (key, value) in &self.others {
            put(key, value);
        }
        text
    }

    pub fn parse(bytes: &[u8]) -> Result<MetaProperties, Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed { line: 1, what: "not UTF-8" })?;
        let (mut version, mut cluster_id, mut node_id, mut directory_id) = (None, None, None, None);
        let mut others: Vec<(String, String)> = Vec::new();
        for (line, key, value) in properties(text) {
            let wrong = |what| Malformed { line, what };
            match key.as_str() {
                "version" => version = Some((line, value)),
                "cluster.id" => cluster_id = Some(value),
                "node.id" => node_id = Some(value.parse().map_err(|_| wrong("node.id is no number"))?),
                "directory.id" => {
                    directory_id = Some(KafkaUuid::parse(&value).ok_or(wrong("directory.id is no UUID"))?);
                }
                _ => {
                    others.retain(|(known, _)| *known != key);
                    others.push((key, value));
                }
            }
        }
        match version {
            Some((_, version)) if version == "1" => {}
            Some((line, _)) => {
                let what = "the version is not 1: only directories of Apache Kafka in KRaft mode can be taken over";
                return Err(Malformed { line, what });
            }
            None => return Err(Malformed { line: 1, what: "version is missing" }),
        }
        Ok(MetaProperties {
            cluster_id: cluster_id.ok_or(Malformed { line: 1, what: "cluster.id is missing" })?,
            node_id: node_id.ok_or(Malformed { line: 1, what: "node.id is missing" })?,
            directory_id,
            others,
        })
    }
}

/// The pairs of a Java properties text, each with the number of its line.
fn properties(text: &str) -> impl Iterator<Item = (usize, String, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        loop {
            let (number, first) = lines.next()?;
            let first = first.trim_start();
            if first.is_empty() || first.starts_with(['#', '!']) {
                continue;
            }
            let mut line = first.to_owned();
            while ends_in_continuation(&line) {
                line.pop();
                match lines.next() {
                    Some((_, more)) => line.push_str(more.trim_start()),
                    None => break,
                }
            }
            let (key, value) = split_pair(&line);
            return Some((number + 1, unescape(key), unescape(value)));
        }
    })
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or white space.
fn split_pair(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_ascii_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some((key, rest)) = end.and_then(|end| line.split_at_checked(end)) else { return (line, "") };
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start())
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// As `java.util.Properties.store` escapes: all white space of a key, the leading one of a value.
fn escape(text: &str, key: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            ' ' if key || at == 0 => escaped.push_str("\\ "),
            '\t' => escaped.push_str("\\t"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\u{c}' => escaped.push_str("\\f"),
            '=' | ':' | '#' | '!' | '\\' => escaped.extend(['\\', c]),
            ' '..='~' => escaped.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(escaped, "\\u{unit:04X}");
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_file_is_read() {
        let text = "#\n#Wed Sep 03 09:12:44 UTC 2025\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\n\
                    directory.id=qF1Mc2bWQpCPvCeXgSxHkA\nnode.id=1\nversion=1\n";
        let read = MetaProperties::parse(text.as_bytes()).unwrap();
        assert_eq!(read.cluster_id, "MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(read.node_id, 1);
        assert_eq!(read.directory_id, KafkaUuid::parse("qF1Mc2bWQpCPvCeXgSxHkA"));
        assert!(read.others.is_empty());
        assert_eq!(MetaProperties::parse(read.encode().as_bytes()).unwrap(), read);
    }

    #[test]
    fn foreign_keys_and_odd_characters_survive() {
        let mut properties = MetaProperties::new("a b=c".to_owned(), 7);
        properties.others =
            vec![("some key".to_owned(), " leading".to_owned()), ("path".to_owned(), "C:\\x\ttab \u{e9}".to_owned())];
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), None);
        properties.write(dir.path()).unwrap();
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), Some(properties));
    }

    #[test]
    fn what_cannot_be_taken_over_is_refused() {
        for (text, line) in [
            ("", 1),
            ("cluster.id=a\nnode.id=1\n", 1),
            ("version=0\nbroker.id=1\n", 1),
            ("version=1\nnode.id=1\n", 1),
            ("version=1\ncluster.id=a\nnode.id=x\n", 3),
            ("version=1\ncluster.id=a\nnode.id=1\ndirectory.id=zz\n", 4),
        ] {
            assert_eq!(MetaProperties::parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
    }

    #[test]
    fn java_properties_syntax_is_understood() {
        let text = "! comment\n  version : 1\ncluster.id a\\\n   b\nnode.id=\\\n1\nk\\=ey=v=1\n";
        let read = MetaProperties::parse(text.as_bytes()).unwrap();
        assert_eq!(read.cluster_id, "ab");
        assert_eq!(read.node_id, 1);
        assert_eq!(read.others, [("k=ey".to_owned(), "v=1".to_owned())]);
    }
}
