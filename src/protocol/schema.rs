//! What every message is: its name, versions and codec, and its schema as data. `declare` makes all of it.

use bytes::BytesMut;

use super::{ApiKey, DecodeError, EncodeError, Reader, Writer};

/// A range of versions, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { min: 0, max: -1 };

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    pub fn iter(self) -> impl DoubleEndedIterator<Item = i16> {
        self.min..=self.max
    }
}

/// A message of Kafka's, or another thing with a schema of Kafka's: a KRaft record, the key of an offset commit.
pub trait Message: Default + Clone + std::fmt::Debug + PartialEq {
    const NAME: &'static str;
    /// The versions there are.
    const VERSIONS: Versions;
    /// Those with compact lengths and tagged fields.
    const FLEXIBLE: Versions;
    const SCHEMA: &'static StructSchema;

    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// The bytes of a message without external records.
    fn to_bytes(&self, version: i16) -> Result<BytesMut, EncodeError> {
        let mut writer = Writer::new();
        self.encode(&mut writer, version)?;
        Ok(writer.into_bytes())
    }
}

/// What a client asks.
pub trait Request: Message {
    const KEY: ApiKey;
    type Response: Response;
}

/// What the broker answers.
pub trait Response: Message {
    const KEY: ApiKey;
}

/// A schema as data: what tests make values up from, and what a message prints itself with.
#[derive(Debug)]
pub struct StructSchema {
    pub name: &'static str,
    pub fields: &'static [FieldSchema],
}

#[derive(Debug)]
pub struct FieldSchema {
    pub name: &'static str,
    pub kind: Kind,
    pub versions: Versions,
    /// Where null is allowed, if the kind is nullable at all.
    pub nullable: Versions,
    /// Where it is a tagged field, and its tag.
    pub tagged: Versions,
    pub tag: u32,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    Str,
    Bytes,
    Records,
    Array(&'static Kind),
    Nullable(&'static Kind),
    Struct(&'static StructSchema),
}

impl StructSchema {
    /// Whether the tags are in the order they are written in. For the compiler to assert.
    pub const fn tags_ascend(&self) -> bool {
        let mut next = 0;
        let mut i = 0;
        while i < self.fields.len() {
            let field = &self.fields[i];
            if field.tagged.min <= field.tagged.max {
                if field.tag < next {
                    return false;
                }
                next = field.tag + 1;
            }
            i += 1;
        }
        true
    }
}
