//! The identifiers and offsets that every layer speaks of, as types of their own.

use std::fmt;
use std::sync::Arc;

/// An offset in a partition, or one past the last one (a `*_end_offset`). -1 means *unknown* on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// No offset, as Kafka writes it on the wire and in its files.
    pub const UNKNOWN: Offset = Offset(-1);
    pub const ZERO: Offset = Offset(0);

    /// The offset `count` records further on.
    #[must_use]
    pub fn plus(self, count: i64) -> Offset {
        Offset(self.0 + count)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The epoch of a partition's leader (KIP-101); -1 means *unknown*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    pub const UNKNOWN: LeaderEpoch = LeaderEpoch(-1);
}

impl fmt::Display for LeaderEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of an idempotent or transactional producer (KIP-98); -1 means *none*.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProducerId(pub i64);

impl ProducerId {
    pub const NONE: ProducerId = ProducerId(-1);
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a shard: 0 to the count of shards less one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl ShardId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A UUID as Kafka has it (`org.apache.kafka.common.Uuid`): topic ids, directory ids, cluster ids.
/// Shown as 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KafkaUuid(pub [u8; 16]);

/// The id of a topic (KIP-516), big-endian as on the wire; all zero means *none*.
pub type TopicId = KafkaUuid;

impl KafkaUuid {
    pub const ZERO: KafkaUuid = KafkaUuid([0; 16]);
    /// `Uuid.METADATA_TOPIC_ID`, the id of `__cluster_metadata`.
    pub const METADATA_TOPIC: KafkaUuid = KafkaUuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A random version 4 id, none of the reserved ones and with no leading dash in its text form
    /// (`Uuid.randomUuid` avoids that too, since it reads like an option on a command line).
    pub fn random() -> KafkaUuid {
        loop {
            let id = KafkaUuid(*uuid::Uuid::new_v4().as_bytes());
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    pub fn is_zero(self) -> bool {
        self == KafkaUuid::ZERO
    }

    /// Reads the 22 characters of URL-safe base64 that `Display` writes.
    pub fn parse(text: &str) -> Option<KafkaUuid> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u32 = 0;
        let mut held = 0;
        let mut out = [0u8; 16];
        let mut filled = 0;
        for byte in text.bytes() {
            let value = BASE64_URL.iter().position(|&c| c == byte)? as u32;
            bits = (bits << 6) | value;
            held += 6;
            if held >= 8 {
                held -= 8;
                *out.get_mut(filled)? = (bits >> held) as u8;
                filled += 1;
            }
        }
        (filled == 16 && bits.trailing_zeros() >= 4).then_some(KafkaUuid(out))
    }
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for KafkaUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 22];
        let wide = u128::from_be_bytes(self.0);
        for (i, slot) in text.iter_mut().enumerate() {
            // The last character holds the two bits that are left, shifted up.
            let shift = 122i32 - 6 * i as i32;
            let six = if shift >= 0 { (wide >> shift) & 63 } else { (wide << -shift) & 63 };
            *slot = BASE64_URL[six as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for KafkaUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by its topic's id, which no two topics ever share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId {
    pub topic_id: TopicId,
    pub partition: i32,
}

/// A partition by its topic's name, as clients and directories name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_back_what_it_shows() {
        for _ in 0..1000 {
            let id = KafkaUuid::random();
            assert_eq!(KafkaUuid::parse(&id.to_string()), Some(id));
        }
        assert_eq!(KafkaUuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(KafkaUuid::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(KafkaUuid::METADATA_TOPIC));
        assert_eq!(KafkaUuid::parse("AAAAAAAAAAAAAAAAAAAAAR"), None);
        assert_eq!(KafkaUuid::parse("short"), None);
    }
}
