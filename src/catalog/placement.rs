//! `corelane.placement`: which shard has which partition. Kafka has no record for it, and it needs none: without the
//! file the partitions are spread anew, and nothing on disk moves.
//!
//! ```text
//! corelane.placement 1
//! shards 4
//! stopped 1187 9                                epoch 9 of the catalog's log ended at offset 1187
//! irnagM9QQdmILBzETYisyQ 0 1 2 0                a topic's id, and the shards of its partitions in order
//! 2T0IWNgST_W3uOiU8pTpOA 3 -                    the second is not placed yet
//! ```
//!
//! `stopped` is written at a clean stop; a catalog that has grown since was written by somebody else, Apache Kafka.
//! While the broker runs the line is `running`, with the epoch of the run. A topic's later line replaces its earlier
//! one, so that new topics are appended to the file; a start writes it anew. A last line without its end is ignored.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use imbl::HashMap;

use crate::runtime::fs::{self, OpenFlags};
use crate::types::{LeaderEpoch, Offset, PartitionId, ShardId, TopicId};

use super::change::CatalogChange;
use super::error::CatalogError;
use super::image::CatalogImage;
use super::topic::TopicImage;

pub const PLACEMENT: &str = "corelane.placement";
const HEADER: &str = "corelane.placement 1";
/// A line of 23 bytes and 3 to 6 a partition: room for ten million partitions.
const PLACEMENT_BYTES_MAX: usize = 64 << 20;

/// How the broker that wrote the file left the catalog's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastRun {
    Stopped { end_offset: Offset, leader_epoch: LeaderEpoch },
    Running { leader_epoch: LeaderEpoch },
}

impl LastRun {
    /// Whether the catalog's log, as it is found now, was written by nobody since.
    pub fn is_last_writer(self, end_offset: Offset, leader_epoch: LeaderEpoch) -> bool {
        match self {
            LastRun::Stopped { end_offset: end, leader_epoch: epoch } => end == end_offset && epoch == leader_epoch,
            // The epoch may have been claimed and never written.
            LastRun::Running { leader_epoch: epoch } => leader_epoch <= epoch,
        }
    }
}

/// The shard of every partition, and how many each shard has. A clone shares what is the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    topics: HashMap<TopicId, Arc<[Option<ShardId>]>>,
    /// Partitions by shard.
    loads: Vec<u32>,
}

impl Placement {
    /// No partition is placed on any of these shards.
    ///
    /// # Panics
    /// Without a shard.
    pub fn new(shard_count: u16) -> Placement {
        assert!(shard_count > 0, "a broker has a shard");
        Placement { topics: HashMap::new(), loads: vec![0; usize::from(shard_count)] }
    }

    pub fn shard_count(&self) -> u16 {
        self.loads.len() as u16
    }

    /// Partitions by shard.
    pub fn loads(&self) -> &[u32] {
        &self.loads
    }

    pub fn shard(&self, partition: PartitionId) -> Option<ShardId> {
        let index = usize::try_from(partition.partition).ok()?;
        self.topics.get(&partition.topic_id)?.get(index).copied().flatten()
    }

    /// Places the partitions of a topic that have no shard yet: each on the shard with the fewest partitions of the
    /// topic, of those on the one with the fewest in all, of those on the first.
    pub fn assign(&mut self, topic: &TopicImage) {
        let mut shards = self.topics.get(&topic.id).map_or_else(Vec::new, |known| known.to_vec());
        shards.resize(topic.partitions.len(), None);
        let mut of_topic = vec![0u32; self.loads.len()];
        for shard in shards.iter().flatten() {
            if let Some(count) = of_topic.get_mut(shard.index()) {
                *count += 1;
            }
        }
        for slot in shards.iter_mut().filter(|slot| slot.is_none()) {
            let loads = of_topic.iter_mut().zip(self.loads.iter_mut()).enumerate();
            let least = loads.min_by_key(|(_, (of_topic, load))| (**of_topic, **load));
            let (shard, (of_topic, load)) = least.expect("a broker has a shard");
            *slot = Some(ShardId(shard as u16));
            *of_topic += 1;
            *load += 1;
        }
        self.topics.insert(topic.id, Arc::from(shards));
    }

    /// Takes over what a step of the catalog changed; answers the topics whose line in the file is another now.
    /// A deleted topic's line may stay until the file is written anew.
    pub fn follow(&mut self, changes: &[CatalogChange]) -> Vec<TopicId> {
        let mut placed = Vec::new();
        for change in changes {
            match change {
                CatalogChange::TopicCreated(topic) | CatalogChange::PartitionsAdded { topic, .. } => {
                    self.assign(topic);
                    placed.push(topic.id);
                }
                CatalogChange::TopicDeleted(topic) => self.remove(topic.id),
                _ => {}
            }
        }
        placed
    }

    /// Forgets a topic.
    pub fn remove(&mut self, topic_id: TopicId) {
        for shard in self.topics.remove(&topic_id).iter().flat_map(|shards| shards.iter().flatten()) {
            if let Some(load) = self.loads.get_mut(shard.index()) {
                *load = load.saturating_sub(1);
            }
        }
    }

    /// Makes the placement that of this catalog and this many shards: partitions that are gone are forgotten, and
    /// those that are new, or whose shard there is no more, are placed.
    #[must_use]
    pub fn settled(&self, image: &CatalogImage, shard_count: u16) -> Placement {
        let mut settled = Placement::new(shard_count);
        for topic in image.topics() {
            let known = self.topics.get(&topic.id).map(|known| &**known).unwrap_or_default();
            let keep = |shard: &Option<ShardId>| shard.filter(|shard| shard.0 < shard_count);
            let mut shards: Vec<Option<ShardId>> = known.iter().map(keep).collect();
            shards.resize(topic.partitions.len(), None);
            for shard in shards.iter().flatten() {
                if let Some(load) = settled.loads.get_mut(shard.index()) {
                    *load += 1;
                }
            }
            settled.topics.insert(topic.id, Arc::from(shards));
        }
        // In a second pass, when all that stays is counted.
        for topic in image.topics() {
            settled.assign(topic);
        }
        settled
    }

    /// Reads the file of a data directory. A file that is missing or not ours in its first line is none: placement
    /// is a matter of speed.
    pub fn read(log_dir: &Path) -> Result<Option<(Placement, Option<LastRun>)>, CatalogError> {
        let path = log_dir.join(PLACEMENT);
        let bytes =
            fs::if_exists(fs::read_bounded(&path, PLACEMENT_BYTES_MAX)).map_err(CatalogError::io("read", &path))?;
        Ok(bytes.and_then(|bytes| Placement::parse(&String::from_utf8_lossy(&bytes))))
    }

    /// Writes the file anew, durably.
    pub fn write(&self, log_dir: &Path, last_run: LastRun) -> Result<(), CatalogError> {
        let path = log_dir.join(PLACEMENT);
        fs::write_atomic(&path, self.encode(last_run).as_bytes()).map_err(CatalogError::io("write", &path))
    }

    pub fn encode(&self, last_run: LastRun) -> String {
        let mut text = format!("{HEADER}\nshards {}\n", self.shard_count());
        let _ = match last_run {
            LastRun::Stopped { end_offset, leader_epoch } => writeln!(text, "stopped {end_offset} {leader_epoch}"),
            LastRun::Running { leader_epoch } => writeln!(text, "running {leader_epoch}"),
        };
        let mut ids: Vec<&TopicId> = self.topics.keys().collect();
        ids.sort_unstable();
        for id in ids {
            self.put_line(*id, &mut text);
        }
        text
    }

    /// Appends the lines of topics that were placed since the file was written, durably: what a new topic costs
    /// stays the same however many there are.
    pub fn append(&self, log_dir: &Path, topics: &[TopicId]) -> Result<(), CatalogError> {
        let path = log_dir.join(PLACEMENT);
        let text: String = topics.iter().map(|&id| self.line(id)).collect();
        let file = fs::open(&path, OpenFlags::READ_WRITE).map_err(CatalogError::io("open", &path))?;
        let written = fs::file_size(&file)
            .and_then(|end| fs::pwrite_all(&file, text.as_bytes(), end))
            .and_then(|()| fs::sync_data(&file));
        written.map_err(CatalogError::io("write", &path))
    }

    /// The line of one topic with its end, to be appended to the file.
    pub fn line(&self, topic_id: TopicId) -> String {
        let mut text = String::new();
        self.put_line(topic_id, &mut text);
        text
    }

    fn put_line(&self, topic_id: TopicId, text: &mut String) {
        let _ = write!(text, "{topic_id}");
        for shard in self.topics.get(&topic_id).iter().flat_map(|shards| shards.iter()) {
            let _ = match shard {
                Some(shard) => write!(text, " {shard}"),
                None => write!(text, " -"),
            };
        }
        text.push('\n');
    }

    fn parse(text: &str) -> Option<(Placement, Option<LastRun>)> {
        let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        if lines.next()? != HEADER {
            return None;
        }
        let shard_count = lines.next()?.strip_prefix("shards ")?.parse().ok().filter(|&count: &u16| count > 0)?;
        let mut placement = Placement::new(shard_count);
        let mut last_run = None;
        for line in lines {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            let mut number = || words.next().and_then(|word| word.parse::<i64>().ok());
            match first {
                "stopped" => {
                    last_run = number().zip(number()).map(|(end, epoch)| LastRun::Stopped {
                        end_offset: Offset(end),
                        leader_epoch: LeaderEpoch(epoch as i32),
                    });
                }
                "running" => {
                    last_run = number().map(|epoch| LastRun::Running { leader_epoch: LeaderEpoch(epoch as i32) });
                }
                id => {
                    let Some(id) = TopicId::parse(id) else { continue };
                    let shard = |word: &str| word.parse().ok().filter(|&shard| shard < shard_count).map(ShardId);
                    placement.remove(id);
                    let shards: Vec<Option<ShardId>> = words.map(shard).collect();
                    for shard in shards.iter().flatten() {
                        if let Some(load) = placement.loads.get_mut(shard.index()) {
                            *load += 1;
                        }
                    }
                    placement.topics.insert(id, Arc::from(shards));
                }
            }
        }
        Some((placement, last_run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::image::Identity;
    use crate::catalog::records::{PartitionRecord, TopicRecord};
    use crate::types::KafkaUuid;
    use std::sync::Arc;

    fn id(number: u8) -> TopicId {
        KafkaUuid([number; 16])
    }

    fn image(topics: &[(u8, i32)]) -> CatalogImage {
        let identity = Identity { cluster_id: Arc::from("c"), node_id: 1, directory_id: id(200) };
        let mut image = CatalogImage::empty(identity);
        for &(number, partitions) in topics {
            let topic = TopicRecord { name: format!("t{number}").into(), topic_id: id(number) };
            image.apply(&topic.into()).expect("it fits");
            for partition_id in 0..partitions {
                let record = PartitionRecord {
                    partition_id,
                    topic_id: id(number),
                    leader_epoch: 0,
                    partition_epoch: 0,
                    ..PartitionRecord::default()
                };
                image.apply(&record.into()).expect("it fits");
            }
        }
        image
    }

    fn shards(placement: &Placement, number: u8) -> Vec<Option<u16>> {
        placement.topics[&id(number)].iter().map(|shard| shard.map(|shard| shard.0)).collect()
    }

    const RUNNING: LastRun = LastRun::Running { leader_epoch: LeaderEpoch(3) };

    #[test]
    fn partitions_are_spread_per_topic_and_in_all() {
        let image = image(&[(1, 5), (2, 1), (3, 1), (4, 3), (5, 1)]);
        let placement = Placement::new(4).settled(&image, 4);
        assert_eq!(shards(&placement, 1), [Some(0), Some(1), Some(2), Some(3), Some(0)]);
        assert_eq!(shards(&placement, 2), [Some(1)]);
        assert_eq!(shards(&placement, 3), [Some(2)]);
        assert_eq!(shards(&placement, 4), [Some(3), Some(0), Some(1)]);
        assert_eq!(shards(&placement, 5), [Some(2)]);
        assert_eq!(placement.loads(), [3, 3, 3, 2]);
        let partition = PartitionId { topic_id: id(1), partition: 4 };
        assert_eq!(placement.shard(partition), Some(ShardId(0)));
        assert_eq!(placement.shard(PartitionId { partition: 5, ..partition }), None);
        assert_eq!(placement.shard(PartitionId { partition: -1, ..partition }), None);
    }

    #[test]
    fn what_has_a_shard_stays_there() {
        let before = Placement::new(4).settled(&image(&[(1, 4), (2, 4)]), 4);
        // Topic 2 is gone, topic 1 has grown, topic 3 is new, and two shards are no more.
        let after = before.settled(&image(&[(1, 6), (3, 2)]), 2);
        assert_eq!(shards(&after, 1), [Some(0), Some(1), Some(0), Some(1), Some(0), Some(1)]);
        assert_eq!(shards(&after, 3), [Some(0), Some(1)]);
        assert_eq!(after.loads(), [4, 4]);
        assert_eq!(after.shard(PartitionId { topic_id: id(2), partition: 0 }), None);
        // More shards move nothing.
        let more = before.settled(&image(&[(1, 4), (2, 5)]), 8);
        assert_eq!(shards(&more, 1), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(shards(&more, 2), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn the_file_reads_back() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Placement::read(dir.path()).expect("no file"), None);
        let placement = Placement::new(3).settled(&image(&[(1, 4), (2, 2)]), 3);
        let stopped = LastRun::Stopped { end_offset: Offset(1187), leader_epoch: LeaderEpoch(9) };
        for last_run in [stopped, RUNNING] {
            placement.write(dir.path(), last_run).expect("written");
            assert_eq!(Placement::read(dir.path()).expect("read"), Some((placement.clone(), Some(last_run))));
        }
        assert!(placement.encode(stopped).starts_with("corelane.placement 1\nshards 3\nstopped 1187 9\n"));
    }

    #[test]
    fn later_lines_count_and_a_torn_one_does_not() {
        let mut placement = Placement::new(3).settled(&image(&[(1, 1)]), 3);
        let mut text = placement.encode(RUNNING);
        let grown = image(&[(1, 3)]);
        placement.assign(grown.topic("t1").expect("it is there"));
        text.push_str(&placement.line(id(1)));
        assert_eq!(Placement::parse(&text), Some((placement.clone(), Some(RUNNING))));
        let torn = format!("{text}{} 2 2", id(1));
        assert_eq!(Placement::parse(&torn), Some((placement.clone(), Some(RUNNING))));
        // A shard that cannot be, and a line that is none.
        let odd = format!("{text}{} 1 7 x\nwhat\n\n", id(2));
        let (odd, _) = Placement::parse(&odd).expect("the rest counts");
        assert_eq!(shards(&odd, 2), [Some(1), None, None]);
        for none in ["", "something else\n", "corelane.placement 1\n", "corelane.placement 1\nshards 0\n"] {
            assert_eq!(Placement::parse(none), None);
        }
    }

    #[test]
    fn steps_are_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let before = image(&[(1, 2), (2, 1)]);
        let mut placement = Placement::new(3).settled(&before, 3);
        placement.write(dir.path(), RUNNING).expect("written");
        let after = image(&[(2, 3), (3, 1)]);
        let topic = |image: &CatalogImage, name| Arc::clone(image.topic(name).expect("it is there"));
        let changes = [
            CatalogChange::TopicDeleted(topic(&before, "t1")),
            CatalogChange::PartitionsAdded { topic: topic(&after, "t2"), first: 1 },
            CatalogChange::TopicCreated(topic(&after, "t3")),
        ];
        let placed = placement.follow(&changes);
        assert_eq!(placed, [id(2), id(3)]);
        assert_eq!(placement.loads().iter().sum::<u32>(), 4);
        placement.append(dir.path(), &placed).expect("appended");
        let (read, _) = Placement::read(dir.path()).expect("read").expect("it is there");
        assert_eq!(read.settled(&after, 3), placement);
    }

    #[test]
    fn somebody_else_is_noticed() {
        let stopped = LastRun::Stopped { end_offset: Offset(10), leader_epoch: LeaderEpoch(3) };
        assert!(stopped.is_last_writer(Offset(10), LeaderEpoch(3)));
        assert!(!stopped.is_last_writer(Offset(11), LeaderEpoch(4)));
        assert!(RUNNING.is_last_writer(Offset(99), LeaderEpoch(3)));
        assert!(RUNNING.is_last_writer(Offset(99), LeaderEpoch(2)));
        assert!(!RUNNING.is_last_writer(Offset(99), LeaderEpoch(4)));
    }

    #[test]
    fn deleted_topics_make_room() {
        let mut placement = Placement::new(2).settled(&image(&[(1, 3), (2, 1)]), 2);
        assert_eq!(placement.loads(), [2, 2]);
        placement.remove(id(1));
        placement.remove(id(1));
        assert_eq!(placement.loads(), [0, 1]);
    }
}
