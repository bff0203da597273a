//! Topics and partitions as the commands take them: `TOPIC` or `TOPIC:0,1,2`.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::cluster::{Cluster, Partitions};
use super::failure::Failure;

/// A topic, with all of its partitions if none are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub topic: String,
    pub partitions: BTreeSet<i32>,
}

impl FromStr for TopicSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<TopicSpec, String> {
        // No name of a topic has a colon in it.
        let (topic, list) = text.split_once(':').unwrap_or((text, ""));
        let mut partitions = BTreeSet::new();
        for number in list.split(',').filter(|_| text.contains(':')) {
            let number: i32 = number.trim().parse().map_err(|_| format!("{number} is no number of a partition"))?;
            if number < 0 {
                return Err(format!("{number} is no number of a partition"));
            }
            partitions.insert(number);
        }
        if topic.is_empty() {
            return Err("a topic is missing".to_owned());
        }
        Ok(TopicSpec { topic: topic.to_owned(), partitions })
    }
}

/// The partitions that are meant. A topic that isn't there is an error; a partition that isn't is left to the caller.
pub fn resolve(cluster: &mut Cluster, specs: &[TopicSpec]) -> Result<Partitions, Failure> {
    let names: Vec<&str> = specs.iter().map(|spec| spec.topic.as_str()).collect();
    let counts = cluster.partition_counts(&names)?;
    let mut partitions = Partitions::new();
    for spec in specs {
        let Some(Some(count)) = counts.get(&spec.topic) else {
            return Err(Failure::Wrong(format!("there is no topic {}", spec.topic)));
        };
        let of = partitions.entry(spec.topic.clone()).or_default();
        if spec.partitions.is_empty() {
            of.extend(0..*count);
        } else {
            of.extend(&spec.partitions);
        }
        of.sort_unstable();
        of.dedup();
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_and_without_partitions() {
        let spec = |text: &str| text.parse::<TopicSpec>().map(|spec| (spec.topic, spec.partitions));
        assert_eq!(spec("a.b"), Ok(("a.b".to_owned(), BTreeSet::new())));
        assert_eq!(spec("a:2,0,2"), Ok(("a".to_owned(), BTreeSet::from([0, 2]))));
        for wrong in ["", ":1", "a:", "a:x", "a:1,", "a:-1"] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
    }
}
