//! Files of offsets, as Kafka's `kafka-consumer-groups --export` writes them: lines of `topic,partition,offset`, or of
//! `group,topic,partition,offset`. No name of a topic has a comma or a quote in it; one of a group may.

use std::collections::BTreeMap;
use std::io::Read;

use super::facts::Place;
use super::failure::Failure;

/// Nobody writes a larger one by a tool.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// By group; those of no group are for each.
    by_group: BTreeMap<Option<String>, BTreeMap<Place, i64>>,
}

impl Offsets {
    pub fn of(&self, group: &str) -> BTreeMap<Place, i64> {
        let mut offsets = self.by_group.get(&None).cloned().unwrap_or_default();
        offsets.extend(self.by_group.get(&Some(group.to_owned())).cloned().unwrap_or_default());
        offsets
    }
}

pub fn read(path: &str) -> Result<Offsets, Failure> {
    let failed = |error: String| Failure::File { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

fn parse(text: &str) -> Result<Offsets, String> {
    let mut offsets = Offsets::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {} is not TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET", number + 1);
        let fields = fields(line.trim()).ok_or_else(wrong)?;
        let (group, rest) = match fields.as_slice() {
            [group, rest @ ..] if rest.len() == 3 => (Some(group.clone()), rest),
            rest => (None, rest),
        };
        let [topic, partition, offset] = rest else { return Err(wrong()) };
        let partition: i32 = partition.parse().map_err(|_| wrong())?;
        let offset: i64 = offset.parse().map_err(|_| wrong())?;
        if partition < 0 || offset < 0 || topic.is_empty() {
            return Err(wrong());
        }
        offsets.by_group.entry(group).or_default().insert((topic.clone(), partition), offset);
    }
    Ok(offsets)
}

/// The fields of a line, with `"` round those that need it and doubled within.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let mut field = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let end = rest.find('"')?;
                field.push_str(rest.get(..end)?);
                rest = rest.get(end + 1..)?;
                match rest.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        rest = more;
                    }
                    None => break,
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(rest.get(..end)?.trim());
            rest = rest.get(end..)?;
        }
        fields.push(field);
        if rest.is_empty() {
            return Some(fields);
        }
        rest = rest.strip_prefix(',')?;
    }
}

/// One line of such a file.
pub fn line(group: Option<&str>, (topic, partition): &Place, offset: i64) -> String {
    let group = group.map_or_else(String::new, |group| {
        if group.contains([',', '"']) || group != group.trim() {
            format!("\"{}\",", group.replace('"', "\"\""))
        } else {
            format!("{group},")
        }
    });
    format!("{group}{topic},{partition},{offset}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let place = ("t".to_owned(), 3);
        for group in [None, Some("g"), Some("a,\"b\"")] {
            let offsets = parse(&line(group, &place, 42)).expect("it was just written");
            assert_eq!(offsets.of(group.unwrap_or("any")), BTreeMap::from([(place.clone(), 42)]), "{group:?}");
        }
        let both = parse("t,0,1\n\n\"g\",\"t\",0,2\n").expect("both kinds of lines");
        assert_eq!((both.of("g")[&("t".to_owned(), 0)], both.of("h")[&("t".to_owned(), 0)]), (2, 1));
    }

    #[test]
    fn what_is_no_such_line_is_named() {
        for line in ["t", "t,0", "t,x,1", "t,0,-1", "t,0,1,2,3", ",0,1", "\"t,0,1"] {
            assert!(parse(&format!("t,0,1\n{line}\n")).is_err_and(|why| why.starts_with("line 2")), "{line}");
        }
    }
}
