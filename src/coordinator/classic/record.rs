//! The values of `GroupMetadata` records (Kafka's `GroupMetadataValue`): a classic group's last generation.
//!
//! ```text
//! value, versions 0 to 4; 4 is flexible: lengths are varints, and tagged fields end each structure
//!   version            int16
//!   protocol type      string
//!   generation         int32
//!   protocol           string, nullable
//!   leader             string, nullable
//!   state timestamp    int64               2 on; -1: not known
//!   members            array of
//!     member id          string
//!     group instance id  string, nullable  3 on
//!     client id          string
//!     client host        string
//!     rebalance timeout  int32             1 on; the session timeout stands in for it
//!     session timeout    int32
//!     subscription       bytes             the metadata for the protocol
//!     assignment         bytes
//! ```
//!
//! Kafka 4.3 writes version 3. The key (type 2) is the group id alone.

use crate::coordinator::RecordProblem;
use crate::coordinator::fields::{Fields, put_bytes, put_nullable_string, put_string};

const KEY_TYPE: i16 = 2;
const VERSION_WRITTEN: i16 = 3;
const VERSION_MAX: i16 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata<'a> {
    pub protocol_type: &'a str,
    pub generation: i32,
    pub protocol: Option<&'a str>,
    pub leader: Option<&'a str>,
    /// Milliseconds since 1970; -1: not known.
    pub state_timestamp: i64,
    pub members: Vec<MemberMetadata<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata<'a> {
    pub member_id: &'a str,
    pub group_instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    /// -1: not known.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: &'a [u8],
    pub assignment: &'a [u8],
}

pub fn encode_key(group_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + group_id.len());
    out.extend_from_slice(&KEY_TYPE.to_be_bytes());
    put_string(&mut out, group_id);
    out
}

impl<'a> GroupMetadata<'a> {
    /// At the version that Kafka 4.3 writes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.members.len() * 256);
        out.extend_from_slice(&VERSION_WRITTEN.to_be_bytes());
        put_string(&mut out, self.protocol_type);
        out.extend_from_slice(&self.generation.to_be_bytes());
        put_nullable_string(&mut out, self.protocol);
        put_nullable_string(&mut out, self.leader);
        out.extend_from_slice(&self.state_timestamp.to_be_bytes());
        out.extend_from_slice(&(self.members.len() as i32).to_be_bytes());
        for member in &self.members {
            put_string(&mut out, member.member_id);
            put_nullable_string(&mut out, member.group_instance_id);
            put_string(&mut out, member.client_id);
            put_string(&mut out, member.client_host);
            out.extend_from_slice(&member.rebalance_timeout_ms.to_be_bytes());
            out.extend_from_slice(&member.session_timeout_ms.to_be_bytes());
            put_bytes(&mut out, member.subscription);
            put_bytes(&mut out, member.assignment);
        }
        out
    }

    /// Any of the versions 0 to 4. Bytes behind the last field are passed over, as Kafka does.
    ///
    /// # Errors
    /// A version that no Kafka up to 4.3 writes, or a value that ends too early.
    pub fn decode(value: &'a [u8]) -> Result<GroupMetadata<'a>, RecordProblem> {
        let mut fields = Fields(value);
        let version = fields.i16()?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(RecordProblem::UnknownVersion { version });
        }
        let flexible = version >= 4;
        let mut group = GroupMetadata {
            protocol_type: text(&mut fields, flexible)?,
            generation: fields.i32()?,
            protocol: nullable_text(&mut fields, flexible)?,
            leader: nullable_text(&mut fields, flexible)?,
            state_timestamp: if version >= 2 { fields.i64()? } else { -1 },
            members: Vec::new(),
        };
        let count = if flexible { fields.compact_count()? } else { fields.count()? };
        for _ in 0..count {
            group.members.push(MemberMetadata {
                member_id: text(&mut fields, flexible)?,
                group_instance_id: if version >= 3 { nullable_text(&mut fields, flexible)? } else { None },
                client_id: text(&mut fields, flexible)?,
                client_host: text(&mut fields, flexible)?,
                rebalance_timeout_ms: if version >= 1 { fields.i32()? } else { -1 },
                session_timeout_ms: fields.i32()?,
                subscription: if flexible { fields.compact_bytes()? } else { fields.sized_bytes()? },
                assignment: if flexible { fields.compact_bytes()? } else { fields.sized_bytes()? },
            });
            if flexible {
                fields.skip_tags()?;
            }
        }
        if flexible {
            fields.skip_tags()?;
        }
        Ok(group)
    }
}

fn text<'a>(fields: &mut Fields<'a>, flexible: bool) -> Result<&'a str, RecordProblem> {
    if flexible { fields.compact_string() } else { fields.string() }
}

fn nullable_text<'a>(fields: &mut Fields<'a>, flexible: bool) -> Result<Option<&'a str>, RecordProblem> {
    if flexible { fields.nullable_compact_string() } else { fields.nullable_string() }
}
