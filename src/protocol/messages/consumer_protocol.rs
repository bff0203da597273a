//! The consumer protocol (`ConsumerProtocol`): what members of a classic group say of themselves in JoinGroup, and are told
//! in SyncGroup. Brokers hand it on, and read it to know what a group subscribes to.
//!
//! Each begins with its version; newer ones than ours begin like ours.

use bytes::{BufMut, Bytes, BytesMut};

use crate::protocol::{DecodeError, DecodeProblem, EncodeError, Message, Reader, Str, messages};

/// The protocol type of consumers, the only one whose members' metadata and assignments are these.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The newest version of both.
const VERSION_MAX: i16 = 3;

messages! {
    data ConsumerProtocolSubscription [0-3], flexible [none] {
        topics: Vec<Str> [0+];
        user_data: Option<Bytes> [0+];
        owned_partitions: Vec<ConsumerProtocolTopic> [1+ ignorable];
        generation_id: i32 [2+ ignorable], default -1;
        rack_id: Option<Str> [3+ ignorable];
    }

    data ConsumerProtocolAssignment [0-3], flexible [none] {
        assigned_partitions: Vec<ConsumerProtocolTopic> [0+];
        user_data: Option<Bytes> [0+];
    }

    struct ConsumerProtocolTopic {
        topic: Str [0+];
        partitions: Vec<i32> [0+];
    }
}

impl ConsumerProtocolSubscription {
    /// Reads a member's metadata, from its version on.
    pub fn read(metadata: &[u8]) -> Result<ConsumerProtocolSubscription, DecodeError> {
        read(metadata)
    }
}

impl ConsumerProtocolAssignment {
    /// Reads a member's assignment, from its version on.
    pub fn read(assignment: &[u8]) -> Result<ConsumerProtocolAssignment, DecodeError> {
        read(assignment)
    }

    /// Writes it for a member whose metadata is this: in that version.
    pub fn write_for(&self, metadata: &[u8]) -> Result<Bytes, EncodeError> {
        let version = metadata.first_chunk().map_or(0, |version| i16::from_be_bytes(*version)).clamp(0, VERSION_MAX);
        let body = self.to_bytes(version)?;
        let mut out = BytesMut::with_capacity(size_of_val(&version) + body.len());
        out.put_i16(version);
        out.extend_from_slice(&body);
        Ok(out.freeze())
    }
}

fn read<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let mut reader = Reader::new(BytesMut::from(bytes));
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeProblem::UnknownVersion(version).into());
    }
    M::decode(&mut reader, version.min(VERSION_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 3 as the Java client has it: topics, user data, owned partitions, generation, rack.
    const JAVA: &[u8] = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff\xff\xff";

    #[test]
    fn what_the_java_client_says_is_read() {
        let read = ConsumerProtocolSubscription::read(JAVA).expect("it is whole");
        assert_eq!(read.topics, ["a", "bc"].map(Str::from));
        assert_eq!((read.generation_id, read.rack_id), (-1, None));
        let newer = [b"\0\x09", &JAVA[2..], b"and more"].concat();
        assert_eq!(ConsumerProtocolSubscription::read(&newer).expect("it begins like ours").topics.len(), 2);
        let bytes = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\x05\0\0\0\x07\xff\xff\xff\xff";
        let assignment = ConsumerProtocolAssignment::read(bytes).expect("it is whole");
        assert_eq!(assignment.assigned_partitions[0].partitions, [5, 7]);
        assert_eq!(&assignment.write_for(JAVA).expect("it can be written")[..], bytes);
        assert_eq!(&assignment.write_for(b"\0\x01").expect("it can be written")[..2], b"\0\x01");
    }

    #[test]
    fn what_lies_or_ends_too_soon_is_none() {
        for bytes in [&b""[..], b"\0", b"\xff\xff\0\0\0\0\0\0\0\0", b"\0\x03\x7f\xff\xff\xff\0\x01a"] {
            assert!(ConsumerProtocolSubscription::read(bytes).is_err(), "{bytes:?}");
            assert!(ConsumerProtocolAssignment::read(bytes).is_err(), "{bytes:?}");
        }
        for cut in 0..JAVA.len() {
            assert!(ConsumerProtocolSubscription::read(&JAVA[..cut]).is_err(), "{cut}");
        }
    }
}
