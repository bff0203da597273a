//! `partition.metadata`: the topic id of a partition's directory, durable before its first batch. Without it
//! Apache Kafka takes the partition for a stray one.
//!
//! ```text
//! version: 0
//! topic_id: 6JvVvJkrSmOhmSvbKGyMIQ
//! ```

use std::path::Path;

use crate::runtime::fs;
use crate::types::TopicId;

use super::checkpoint::Malformed;
use super::error::LoadError;
use super::names::PARTITION_METADATA;

const METADATA_BYTES_MAX: usize = 4096;

/// The topic id that a partition's directory says it has; `None` without the file.
pub fn read(dir: &Path) -> Result<Option<TopicId>, LoadError> {
    let path = dir.join(PARTITION_METADATA);
    let bytes = fs::if_exists(fs::read_bounded(&path, METADATA_BYTES_MAX)).map_err(LoadError::io("read", &path))?;
    bytes.map(|bytes| parse(&bytes).map_err(|wrong| wrong.at(&path))).transpose()
}

/// Writes the file; its content is durable, its name only after the directory is synced.
pub fn write(dir: &Path, topic_id: TopicId) -> Result<(), LoadError> {
    let path = dir.join(PARTITION_METADATA);
    fs::replace(&path, encode(topic_id).as_bytes()).map_err(LoadError::io("write", &path))
}

/// The file's text; like Kafka's it ends without a newline.
pub fn encode(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

pub fn parse(bytes: &[u8]) -> Result<TopicId, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed { line: 1, what: "not UTF-8" })?;
    let mut lines = text.lines();
    if lines.next().and_then(|line| field(line, "version")) != Some("0") {
        return Err(Malformed { line: 1, what: "the version is not 0" });
    }
    let id = lines.next().and_then(|line| field(line, "topic_id")).and_then(TopicId::parse);
    match id {
        Some(id) if !id.is_zero() => Ok(id),
        _ => Err(Malformed { line: 2, what: "no topic id" }),
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (key, value) = line.split_once(':')?;
    (key.trim() == name).then_some(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_own_text_is_read_and_written() {
        let text = "version: 0\ntopic_id: 6JvVvJkrSmOhmSvbKGyMIQ";
        let id = parse(text.as_bytes()).unwrap();
        assert_eq!(encode(id), text);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        write(dir.path(), id).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(id));
        assert_eq!(std::fs::read_to_string(dir.path().join("partition.metadata")).unwrap(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, line) in [
            ("", 1),
            ("version: 1\ntopic_id: 6JvVvJkrSmOhmSvbKGyMIQ", 1),
            ("version: 0", 2),
            ("version: 0\ntopic_id: short", 2),
            ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 2),
            ("\0\0\0\0", 1),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
    }
}
