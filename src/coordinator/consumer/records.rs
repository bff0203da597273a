//! The records of consumer groups in `__consumer_offsets` (KIP-848), in the schemas of Apache Kafka 4.3.
//!
//! | type | what | key behind the type |
//! |---|---|---|
//! | 3 | the group's epoch and the hash of the topics it is subscribed to | group |
//! | 4 | partitions of those topics; Kafka up to 4.0 wrote it, now it is only removed | group |
//! | 5 | a member: who it is, what it subscribes to | group, member |
//! | 6 | the epoch of the target assignment | group |
//! | 7 | what a member is to own | group, member |
//! | 8 | what a member owns, and at which epoch | group, member |
//! | 16 | the topics a regular expression matches | group, expression |
//!
//! A key is the type (int16) and strings with an int16 length; a value is its version (int16, 0) and a flexible body.

use bytes::{Bytes, BytesMut};

use super::super::RecordProblem;
use crate::protocol::{Message, Reader, Str, messages};
use crate::types::KafkaUuid;

pub const GROUP_EPOCH: i16 = 3;
pub const PARTITION_METADATA: i16 = 4;
pub const MEMBER: i16 = 5;
pub const TARGET_EPOCH: i16 = 6;
pub const TARGET_MEMBER: i16 = 7;
pub const CURRENT_MEMBER: i16 = 8;
pub const REGULAR_EXPRESSION: i16 = 16;

messages! {
    data ConsumerGroupMetadataValue [0], flexible [0+] {
        epoch: i32 [0+];
        /// Of the topics subscribed to (KIP-1101); another one means that the group is to be assigned anew.
        metadata_hash: i64 [0+], tag 0;
    }

    data ConsumerGroupMemberMetadataValue [0], flexible [0+] {
        instance_id: Option<Str> [0+];
        rack_id: Option<Str> [0+];
        client_id: Str [0+];
        client_host: Str [0+];
        subscribed_topic_names: Vec<Str> [0+];
        subscribed_topic_regex: Option<Str> [0+];
        rebalance_timeout_ms: i32 [0+], default -1;
        server_assignor: Option<Str> [0+];
        /// Only of members that speak the classic protocol.
        classic_member_metadata: Option<ClassicMemberMetadata> [0+], tag 0;
    }

    struct ClassicMemberMetadata {
        session_timeout_ms: i32 [0+];
        supported_protocols: Vec<ClassicProtocol> [0+];
    }

    struct ClassicProtocol {
        name: Str [0+];
        metadata: Bytes [0+];
    }

    data ConsumerGroupTargetAssignmentMetadataValue [0], flexible [0+] {
        assignment_epoch: i32 [0+];
        /// When it was computed, in milliseconds since 1970 (KIP-1263).
        assignment_timestamp: i64 [0+ ignorable], tag 0;
    }

    data ConsumerGroupTargetAssignmentMemberValue [0], flexible [0+] {
        topic_partitions: Vec<TargetTopicPartitions> [0+];
    }

    struct TargetTopicPartitions {
        topic_id: KafkaUuid [0+];
        partitions: Vec<i32> [0+];
    }

    data ConsumerGroupCurrentMemberAssignmentValue [0], flexible [0+] {
        member_epoch: i32 [0+];
        previous_member_epoch: i32 [0+];
        state: i8 [0+];
        assigned_partitions: Vec<CurrentTopicPartitions> [0+];
        partitions_pending_revocation: Vec<CurrentTopicPartitions> [0+];
    }

    struct CurrentTopicPartitions {
        topic_id: KafkaUuid [0+];
        partitions: Vec<i32> [0+];
        /// The epoch at which each of them was assigned; the member's own where it is missing.
        assignment_epochs: Option<Vec<i32>> [0+], tag 0;
    }

    data ConsumerGroupRegularExpressionValue [0], flexible [0+] {
        topics: Vec<Str> [0+];
        /// Of the catalog that was matched.
        version: i64 [0+];
        /// When, in milliseconds since 1970.
        timestamp: i64 [0+];
    }
}

/// What a record's key says, of the types above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordKey<'a> {
    pub kind: i16,
    pub group: &'a str,
    /// The member or regular expression, of types that have one.
    pub part: Option<&'a str>,
}

impl<'a> RecordKey<'a> {
    /// Reads the key of a record; `None` if its type is none of the above.
    pub fn read(key: &'a [u8]) -> Result<Option<RecordKey<'a>>, RecordProblem> {
        let (kind, rest) = key.split_first_chunk().ok_or(RecordProblem::Malformed)?;
        let kind = i16::from_be_bytes(*kind);
        let has_part = match kind {
            GROUP_EPOCH | PARTITION_METADATA | TARGET_EPOCH => false,
            MEMBER | TARGET_MEMBER | CURRENT_MEMBER | REGULAR_EXPRESSION => true,
            _ => return Ok(None),
        };
        let (group, rest) = split_string(rest)?;
        let part = if has_part { Some(split_string(rest)?.0) } else { None };
        Ok(Some(RecordKey { kind, group, part }))
    }

    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + self.group.len() + self.part.map_or(0, str::len));
        out.extend_from_slice(&self.kind.to_be_bytes());
        for text in [Some(self.group), self.part].into_iter().flatten() {
            // Requests with longer ones are refused (`check_heartbeat`, `check_join`).
            out.extend_from_slice(&(text.len() as i16).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }
}

fn split_string(bytes: &[u8]) -> Result<(&str, &[u8]), RecordProblem> {
    let (len, rest) = bytes.split_first_chunk().ok_or(RecordProblem::Malformed)?;
    let len = usize::try_from(i16::from_be_bytes(*len)).map_err(|_| RecordProblem::Malformed)?;
    let (text, rest) = rest.split_at_checked(len).ok_or(RecordProblem::Malformed)?;
    Ok((std::str::from_utf8(text).map_err(|_| RecordProblem::Malformed)?, rest))
}

/// A value at version 0, the only one there is.
pub fn encode_value<M: Message>(value: &M) -> Vec<u8> {
    let body = value.to_bytes(0).unwrap_or_else(|error| panic!("a record of our own cannot be written: {error}"));
    let mut out = Vec::with_capacity(2 + body.len());
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&body);
    out
}

pub fn decode_value<M: Message>(value: &[u8]) -> Result<M, RecordProblem> {
    let (version, body) = value.split_first_chunk().ok_or(RecordProblem::Malformed)?;
    let version = i16::from_be_bytes(*version);
    if version != 0 {
        return Err(RecordProblem::UnknownVersion { version });
    }
    M::decode(&mut Reader::new(BytesMut::from(body)), 0).map_err(|_| RecordProblem::Malformed)
}
