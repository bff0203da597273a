//! The offset checkpoints at the root of a log directory, in Kafka's text format (`OffsetCheckpointFile`).
//!
//! ```text
//! 0                 version
//! 2                 number of lines that follow
//! topic 0 17        topic, partition, offset
//! topic 1 4
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use crate::runtime::fs;
use crate::types::{Offset, TopicPartition};

use super::error::LoadError;

/// The largest checkpoint file read: a line for each of a million partitions, with names of full length.
const CHECKPOINT_BYTES_MAX: usize = 300 << 20;

const VERSION: &str = "0";

/// A checkpoint's offsets.
pub type Offsets = HashMap<TopicPartition, Offset>;

/// Reads a checkpoint. One that is not there, or empty, has no offsets.
pub fn read(path: &Path) -> Result<Offsets, LoadError> {
    let bytes = fs::if_exists(fs::read_bounded(path, CHECKPOINT_BYTES_MAX)).map_err(LoadError::io("read", path))?;
    parse(&bytes.unwrap_or_default()).map_err(|wrong| wrong.at(path))
}

/// The text of a checkpoint.
pub fn encode<'a>(offsets: impl ExactSizeIterator<Item = (&'a TopicPartition, Offset)>) -> String {
    let mut text = String::with_capacity(16 + 32 * offsets.len());
    let _ = writeln!(text, "{VERSION}\n{}", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    text
}

pub fn parse(bytes: &[u8]) -> Result<Offsets, Malformed> {
    let mut offsets = Offsets::new();
    for_each_line(bytes, |line| {
        let mut fields = line.split_ascii_whitespace();
        let (Some(topic), Some(partition), Some(offset), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("not a topic, a partition and an offset");
        };
        let partition = partition.parse().map_err(|_| "the partition is no number")?;
        let offset = offset.parse().map_err(|_| "the offset is no number")?;
        offsets.insert(TopicPartition { topic: Arc::from(topic), partition }, Offset(offset));
        Ok(())
    })?;
    Ok(offsets)
}

/// Which line of a small text file is not in its format, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    pub line: usize,
    pub what: &'static str,
}

impl Malformed {
    pub fn at(self, path: &Path) -> LoadError {
        LoadError::Malformed { path: path.to_owned(), line: self.line, what: self.what }
    }
}

/// Gives the lines behind version and count to `take`, and checks both (Kafka's `CheckpointFile`).
pub(super) fn for_each_line(
    bytes: &[u8],
    mut take: impl FnMut(&str) -> Result<(), &'static str>,
) -> Result<(), Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed { line: 1, what: "not UTF-8" })?;
    let mut lines = text.lines();
    let Some(version) = lines.next() else { return Ok(()) };
    if version != VERSION {
        return Err(Malformed { line: 1, what: "the version is not 0" });
    }
    let Some(count) = lines.next() else { return Ok(()) };
    let Ok(count) = count.parse::<usize>() else {
        return Err(Malformed { line: 2, what: "the count is no number" });
    };
    let mut taken = 0;
    for line in lines {
        take(line).map_err(|what| Malformed { line: taken + 3, what })?;
        taken += 1;
    }
    if taken == count { Ok(()) } else { Err(Malformed { line: 2, what: "the count is not that of the lines" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: Arc::from(topic), partition }
    }

    #[test]
    fn kafkas_own_text_is_read_and_written() {
        let text = "0\n3\n__consumer_offsets 22 0\na.b-c_d 0 9223372036854775807\nquickstart-events 2 341\n";
        let offsets = parse(text.as_bytes()).unwrap();
        assert_eq!(offsets.len(), 3);
        assert_eq!(offsets[&partition("a.b-c_d", 0)], Offset(i64::MAX));
        let mut sorted: Vec<_> = offsets.iter().map(|(partition, offset)| (partition, *offset)).collect();
        sorted.sort();
        assert_eq!(encode(sorted.into_iter()), text);
    }

    #[test]
    fn nothing_means_no_offsets() {
        assert_eq!(parse(b"").unwrap(), Offsets::new());
        assert_eq!(parse(b"0\n").unwrap(), Offsets::new());
        assert_eq!(parse(b"0\n0\n").unwrap(), Offsets::new());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&dir.path().join("recovery-point-offset-checkpoint")).unwrap(), Offsets::new());
    }

    #[test]
    fn what_kafka_would_not_take_is_refused_with_its_line() {
        for (text, line) in [
            ("1\n0\n", 1),
            ("0\nx\n", 2),
            ("0\n2\na 0 1\n", 2),
            ("0\n1\na 0\n", 3),
            ("0\n1\na 0 1 2\n", 3),
            ("0\n1\na x 1\n", 3),
            ("0\n2\na 0 1\na 1 99999999999999999999\n", 4),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
        assert_eq!(parse(b"0\n1\n\xff 0 1\n").unwrap_err().what, "not UTF-8");
    }
}
