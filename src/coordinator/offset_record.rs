//! The records of `__consumer_offsets` (`CoordinatorRecordSerde`): a key that begins with the record's type, a value
//! that begins with its version; no value is a tombstone. Strings have an int16 length unless said otherwise.
//!
//! ```text
//! key, types 0 and 1                     value, versions 0 to 4 (OffsetCommitValue)
//!   type       int16                       version           int16
//!   group      string                      offset            int64
//!   topic      string                      leader epoch      int32    3 on; -1: not known
//!   partition  int32                       metadata          string   4: compact
//!                                          commit timestamp  int64
//! key, type 2 (GroupMetadata)              expire timestamp  int64    1 alone
//!   type       int16                       tagged fields              4: tag 0 is the topic id, 16 bytes
//!   group      string
//! ```
//!
//! Kafka 4.3 writes version 4, and 1 where the client set its own retention. Types from 3 on belong to the newer group
//! protocols.

use std::fmt;

use crate::types::TopicId;

use super::fields::{Fields, put_string, put_unsigned};

const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;
const VALUE_VERSION: i16 = 4;
/// The version with an expire timestamp.
const VALUE_VERSION_EXPIRING: i16 = 1;

/// An offset that a group has committed for a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    pub offset: i64,
    /// Of the last record consumed; -1: not known.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: Box<str>,
    pub commit_timestamp: i64,
    /// When it expires, where the client said so (OffsetCommit 2 to 4).
    pub expire_timestamp: Option<i64>,
    /// Zero: not known.
    pub topic_id: TopicId,
}

/// A committed offset that comes, or that goes (`None`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetChange {
    pub group: Box<str>,
    pub topic: Box<str>,
    pub partition: i32,
    pub committed: Option<CommittedOffset>,
}

/// What a record of `__consumer_offsets` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupRecord<'a> {
    Offset(OffsetChange),
    /// Members and assignment of a group of the classic protocol, not taken apart; `None`: the group is gone.
    GroupMetadata {
        group: &'a str,
        value: Option<&'a [u8]>,
    },
    /// Of a newer group protocol.
    Other {
        kind: i16,
    },
}

/// Why a record could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordProblem {
    /// It ends too early or has a length that cannot be.
    Malformed,
    /// A version of the value that no Kafka up to 4.3 writes.
    UnknownVersion { version: i16 },
}

impl fmt::Display for RecordProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordProblem::Malformed => f.write_str("a record of __consumer_offsets is malformed"),
            RecordProblem::UnknownVersion { version } => {
                write!(f, "a record of __consumer_offsets has the unknown version {version}")
            }
        }
    }
}

impl std::error::Error for RecordProblem {}

/// Reads a record of `__consumer_offsets`. Bytes behind the last field are passed over, as Kafka does.
pub fn read_record<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> Result<GroupRecord<'a>, RecordProblem> {
    let mut key = Fields(key);
    let kind = key.i16()?;
    match kind {
        LEGACY_OFFSET_COMMIT | OFFSET_COMMIT => Ok(GroupRecord::Offset(OffsetChange {
            group: key.string()?.into(),
            topic: key.string()?.into(),
            partition: key.i32()?,
            committed: value.map(CommittedOffset::decode).transpose()?,
        })),
        GROUP_METADATA => Ok(GroupRecord::GroupMetadata { group: key.string()?, value }),
        _ => Ok(GroupRecord::Other { kind }),
    }
}

impl OffsetChange {
    pub fn encode_key(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.group.len() + self.topic.len());
        out.extend_from_slice(&OFFSET_COMMIT.to_be_bytes());
        for text in [&self.group, &self.topic] {
            put_string(&mut out, text);
        }
        out.extend_from_slice(&self.partition.to_be_bytes());
        out
    }

    /// `None`: a tombstone.
    pub fn encode_value(&self) -> Option<Vec<u8>> {
        self.committed.as_ref().map(CommittedOffset::encode)
    }
}

impl CommittedOffset {
    /// At the version that Kafka 4.3 writes.
    pub fn encode(&self) -> Vec<u8> {
        let metadata = self.metadata.as_bytes();
        let mut out = Vec::with_capacity(48 + metadata.len());
        if let Some(expire_timestamp) = self.expire_timestamp {
            out.extend_from_slice(&VALUE_VERSION_EXPIRING.to_be_bytes());
            out.extend_from_slice(&self.offset.to_be_bytes());
            put_string(&mut out, &self.metadata);
            out.extend_from_slice(&self.commit_timestamp.to_be_bytes());
            out.extend_from_slice(&expire_timestamp.to_be_bytes());
            return out;
        }
        out.extend_from_slice(&VALUE_VERSION.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        put_unsigned(&mut out, metadata.len() as u32 + 1);
        out.extend_from_slice(metadata);
        out.extend_from_slice(&self.commit_timestamp.to_be_bytes());
        if self.topic_id.is_zero() {
            out.push(0);
        } else {
            // One tagged field: tag 0 of 16 bytes.
            out.extend_from_slice(&[1, 0, 16]);
            out.extend_from_slice(&self.topic_id.0);
        }
        out
    }

    /// Any of the versions 0 to 4.
    pub fn decode(value: &[u8]) -> Result<CommittedOffset, RecordProblem> {
        let mut fields = Fields(value);
        let version = fields.i16()?;
        if !(0..=VALUE_VERSION).contains(&version) {
            return Err(RecordProblem::UnknownVersion { version });
        }
        let offset = fields.i64()?;
        let leader_epoch = if version >= 3 { fields.i32()? } else { -1 };
        let metadata = if version >= 4 { fields.compact_string()? } else { fields.string()? };
        let commit_timestamp = fields.i64()?;
        let expire_timestamp = if version == 1 { Some(fields.i64()?).filter(|at| *at != -1) } else { None };
        let topic_id = if version >= 4 { fields.topic_id_tag()? } else { TopicId::ZERO };
        Ok(CommittedOffset {
            offset,
            leader_epoch,
            metadata: metadata.into(),
            commit_timestamp,
            expire_timestamp,
            topic_id,
        })
    }
}
