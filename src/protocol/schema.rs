//! `messages!`: a struct and its codec from lines that read like Kafka's JSON schemas.
//!
//! ```text
//! messages! {
//!     /// What it is for.
//!     request FetchRequest(Fetch) [4-18], flexible [12+], answer FetchResponse {
//!         cluster_id: Option<Str> [12+ ignorable], tag 0;
//!         replica_id: i32 [0-14], default -1;
//!         topics: Vec<FetchTopic> [0+];
//!     }
//!     struct FetchTopic {
//!         topic: Str [0-12 ignorable];
//!     }
//! }
//! ```
//!
//! | Kafka's schema | here |
//! |---|---|
//! | `"type": "request"`, `"response"`; any other (`"data"`, `"metadata"`, ...) | `request`, `response` with the API's [`ApiKey`] in parentheses; `data` without |
//! | `"validVersions": "4-18"` | `[4-18]` after the name |
//! | `"flexibleVersions": "12+"`, `"none"` | `flexible [12+]`, `flexible [none]` |
//! | `"versions": "3+"`, `"ignorable": true` | `[3+]`, `[3+ ignorable]` after the type |
//! | `"nullableVersions"` | the type is an `Option` (records are nullable by themselves); `nullable [10+]` when not in all versions of the field |
//! | `"tag": 0`, `"taggedVersions"` | `tag 0`; `tag 0 [12+]` when not in all versions of the field |
//! | `"default": "-1"` | `default -1`; else Rust's `Default`, so null for an `Option` |
//! | fields of fields | `struct`s of the same block; nullable ones open with a byte that says whether they are there |
//!
//! The attributes of a field stand in this order: versions, nullable, tag, default. Tags ascend within a struct (the
//! compiler checks it), since that is the order they are written in.
//!
//! As in Kafka, a field that the version lacks is left out on encoding if it is ignorable or at its default, and is an
//! error else; on decoding it is at its default. Unknown tagged fields are passed over.

use bytes::BytesMut;

use super::{ApiKey, DecodeError, DecodeProblem, EncodeError, Field, Format, Reader, Writer};

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

fn format_of<M: Message>(version: i16) -> Option<Format> {
    M::VERSIONS.contains(version).then(|| Format { version, flexible: M::FLEXIBLE.contains(version) })
}

/// How the bytes of a version are read.
pub(crate) fn format_to_decode<M: Message>(version: i16) -> Result<Format, DecodeError> {
    format_of::<M>(version).ok_or(DecodeError { problem: DecodeProblem::UnknownVersion(version), field: M::NAME })
}

/// How the bytes of a version are written.
pub(crate) fn format_to_encode<M: Message>(version: i16) -> Result<Format, EncodeError> {
    format_of::<M>(version).ok_or(EncodeError::UnknownVersion { name: M::NAME, version })
}

/// Whether a field is to be written: a generic comparison, since exact equality is meant for floats too.
pub(crate) fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

/// Reads a field's value, and names the field if it is none.
pub(crate) fn read_field<T: Field>(
    reader: &mut Reader,
    format: Format,
    nullable: bool,
    name: &'static str,
) -> Result<T, DecodeError> {
    let value = T::read(reader, format).map_err(|error| error.at(name))?;
    if !nullable && value.is_null() {
        return Err(DecodeError { problem: DecodeProblem::Null, field: name });
    }
    Ok(value)
}

/// Writes a field's value, unless it is a null that the version does not allow.
pub(crate) fn write_field<T: Field>(
    value: &T,
    writer: &mut Writer,
    format: Format,
    nullable: bool,
    name: &'static str,
) -> Result<(), EncodeError> {
    if !nullable && value.is_null() {
        return Err(EncodeError::Null { field: name, version: format.version });
    }
    value.write(writer, format)
}

/// See the top of the file. The rules that begin with `@` are its parts.
macro_rules! messages {
    // The versions that a bracket says.
    (@versions [none $(ignorable)?]) => { $crate::protocol::Versions::NONE };
    (@versions [$min:literal + $(ignorable)?]) => { $crate::protocol::Versions { min: $min, max: i16::MAX } };
    (@versions [$min:literal - $max:literal $(ignorable)?]) => { $crate::protocol::Versions { min: $min, max: $max } };
    (@versions [$only:literal $(ignorable)?]) => { $crate::protocol::Versions { min: $only, max: $only } };

    // The versions of the first bracket if it is there, else of the second.
    (@versions_or [] $or:tt) => { $crate::protocol::messages!(@versions $or) };
    (@versions_or [$versions:tt] $or:tt) => { $crate::protocol::messages!(@versions $versions) };

    // The versions in which a field is tagged: none without a tag.
    (@tagged [] [] $versions:tt) => { $crate::protocol::Versions::NONE };
    (@tagged [$tag:literal] $tagged:tt $versions:tt) => { $crate::protocol::messages!(@versions_or $tagged $versions) };

    (@tag) => { 0 };
    (@tag $tag:literal) => { $tag };

    (@ignorable [$only:literal ignorable]) => { true };
    (@ignorable [$min:literal + ignorable]) => { true };
    (@ignorable [$min:literal - $max:literal ignorable]) => { true };
    (@ignorable $versions:tt) => { false };

    (@default []) => { ::std::default::Default::default() };
    (@default [$default:expr]) => { $default };

    (@name $name:ident $field:ident) => { concat!(stringify!($name), ".", stringify!($field)) };

    (@message struct $name:ident) => {};
    (@message data $name:ident $valid:tt $flexible:tt) => {
        impl $crate::protocol::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::protocol::Versions = $crate::protocol::messages!(@versions $valid);
            const FLEXIBLE: $crate::protocol::Versions = $crate::protocol::messages!(@versions $flexible);
            const SCHEMA: &'static $crate::protocol::StructSchema = &Self::STRUCT_SCHEMA;

            fn decode(
                reader: &mut $crate::protocol::Reader,
                version: i16,
            ) -> Result<Self, $crate::protocol::DecodeError> {
                let format = $crate::protocol::format_to_decode::<Self>(version)?;
                <Self as $crate::protocol::Field>::read(reader, format)
            }

            fn encode(
                &self,
                writer: &mut $crate::protocol::Writer,
                version: i16,
            ) -> Result<(), $crate::protocol::EncodeError> {
                let format = $crate::protocol::format_to_encode::<Self>(version)?;
                <Self as $crate::protocol::Field>::write(self, writer, format)
            }
        }
    };
    (@message request $name:ident ($key:ident) $valid:tt $flexible:tt $answer:ident) => {
        $crate::protocol::messages!(@message data $name $valid $flexible);

        impl $name {
            pub const KEY: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$key;
        }

        impl $crate::protocol::Request for $name {
            const KEY: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$key;
            type Response = $answer;
        }
    };
    (@message response $name:ident ($key:ident) $valid:tt $flexible:tt) => {
        $crate::protocol::messages!(@message data $name $valid $flexible);

        impl $name {
            pub const KEY: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$key;
        }

        impl $crate::protocol::Response for $name {
            const KEY: $crate::protocol::ApiKey = $crate::protocol::ApiKey::$key;
        }
    };

    // One struct with its codec. Brackets of what a line leaves out are empty.
    (@struct [$(#[$meta:meta])*] $name:ident {$(
        [$(#[$field_meta:meta])*] $field:ident: $ty:ty, $versions:tt, nullable $nullable:tt,
        tag [$($tag:tt)?] $tagged:tt, default $default:tt;
    )*}) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                pub $field: $ty,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $crate::protocol::messages!(@default $default),)* }
            }
        }

        impl $name {
            const STRUCT_SCHEMA: $crate::protocol::StructSchema = $crate::protocol::StructSchema {
                name: stringify!($name),
                fields: &[$(
                    $crate::protocol::FieldSchema {
                        name: stringify!($field),
                        kind: <$ty as $crate::protocol::Field>::KIND,
                        versions: $crate::protocol::messages!(@versions $versions),
                        nullable: $crate::protocol::messages!(@versions_or $nullable $versions),
                        tagged: $crate::protocol::messages!(@tagged [$($tag)?] $tagged $versions),
                        tag: $crate::protocol::messages!(@tag $($tag)?),
                    },
                )*],
            };
        }

        const _: () = assert!($name::STRUCT_SCHEMA.tags_ascend(), "tags must ascend");

        impl $crate::protocol::Field for $name {
            const KIND: $crate::protocol::Kind = $crate::protocol::Kind::Struct(&Self::STRUCT_SCHEMA);

            fn size_min(format: $crate::protocol::Format) -> usize {
                usize::from(format.flexible) $(
                    + if $crate::protocol::messages!(@versions $versions).contains(format.version)
                        && !$crate::protocol::messages!(@tagged [$($tag)?] $tagged $versions).contains(format.version)
                    {
                        <$ty as $crate::protocol::Field>::size_min(format)
                    } else {
                        0
                    }
                )*
            }

            fn read(
                reader: &mut $crate::protocol::Reader,
                format: $crate::protocol::Format,
            ) -> Result<Self, $crate::protocol::DecodeError> {
                $(
                    #[allow(unused_mut, reason = "only tagged fields are assigned again")]
                    let mut $field: $ty =
                        if $crate::protocol::messages!(@versions $versions).contains(format.version)
                            && !$crate::protocol::messages!(@tagged [$($tag)?] $tagged $versions)
                                .contains(format.version)
                        {
                            $crate::protocol::read_field(
                                reader,
                                format,
                                $crate::protocol::messages!(@versions_or $nullable $versions)
                                    .contains(format.version),
                                $crate::protocol::messages!(@name $name $field),
                            )?
                        } else {
                            $crate::protocol::messages!(@default $default)
                        };
                )*
                if format.flexible {
                    #[allow(unused_variables, reason = "most structs know no tagged field")]
                    reader.tagged_fields(|tag, reader| match tag {
                        $($(
                            $tag if $crate::protocol::messages!(@tagged [$tag] $tagged $versions)
                                .contains(format.version) =>
                            {
                                $field = $crate::protocol::read_field(
                                    reader,
                                    format,
                                    $crate::protocol::messages!(@versions_or $nullable $versions)
                                        .contains(format.version),
                                    $crate::protocol::messages!(@name $name $field),
                                )?;
                                Ok(true)
                            }
                        )?)*
                        _ => Ok(false),
                    })?;
                }
                Ok($name { $($field,)* })
            }

            fn write(
                &self,
                writer: &mut $crate::protocol::Writer,
                format: $crate::protocol::Format,
            ) -> Result<(), $crate::protocol::EncodeError> {
                $(
                    if $crate::protocol::messages!(@versions $versions).contains(format.version) {
                        if !$crate::protocol::messages!(@tagged [$($tag)?] $tagged $versions)
                            .contains(format.version)
                        {
                            $crate::protocol::write_field(
                                &self.$field,
                                writer,
                                format,
                                $crate::protocol::messages!(@versions_or $nullable $versions)
                                    .contains(format.version),
                                $crate::protocol::messages!(@name $name $field),
                            )?;
                        }
                    } else if !$crate::protocol::messages!(@ignorable $versions) {
                        let default: $ty = $crate::protocol::messages!(@default $default);
                        if $crate::protocol::differs(&self.$field, &default) {
                            return Err($crate::protocol::EncodeError::NotInVersion {
                                field: $crate::protocol::messages!(@name $name $field),
                                version: format.version,
                            });
                        }
                    }
                )*
                if format.flexible {
                    #[allow(unused_mut, reason = "most structs have no tagged field")]
                    let mut tagged_fields = 0;
                    $($(
                        let $field = {
                            let default: $ty = $crate::protocol::messages!(@default $default);
                            $crate::protocol::messages!(@tagged [$tag] $tagged $versions)
                                .contains(format.version)
                                && $crate::protocol::differs(&self.$field, &default)
                        };
                        tagged_fields += u32::from($field);
                    )?)*
                    writer.uvarint(tagged_fields);
                    $($(
                        if $field {
                            writer.tagged_field($tag, |writer| {
                                $crate::protocol::write_field(
                                    &self.$field,
                                    writer,
                                    format,
                                    $crate::protocol::messages!(@versions_or $nullable $versions)
                                        .contains(format.version),
                                    $crate::protocol::messages!(@name $name $field),
                                )
                            })?;
                        }
                    )?)*
                }
                Ok(())
            }
        }

        impl $crate::protocol::NullableField for $name {
            fn nullable_size_min(_: $crate::protocol::Format) -> usize {
                1
            }

            fn read_nullable(
                reader: &mut $crate::protocol::Reader,
                format: $crate::protocol::Format,
            ) -> Result<Option<Self>, $crate::protocol::DecodeError> {
                if reader.presence()? { <Self as $crate::protocol::Field>::read(reader, format).map(Some) } else { Ok(None) }
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut $crate::protocol::Writer,
                format: $crate::protocol::Format,
            ) -> Result<(), $crate::protocol::EncodeError> {
                writer.i8(if value.is_some() { 1 } else { -1 });
                value.map_or(Ok(()), |value| <Self as $crate::protocol::Field>::write(value, writer, format))
            }
        }
    };

    ($(
        $(#[$meta:meta])*
        $what:ident $name:ident $(($key:ident))? $([$($valid:tt)+], flexible $flexible:tt)? $(, answer $answer:ident)?
        {
            $(
                $(#[$field_meta:meta])*
                $field:ident : $ty:ty [$($versions:tt)+]
                    $(, nullable $nullable:tt)?
                    $(, tag $tag:literal $([$($tagged:tt)+])?)?
                    $(, default $default:expr)?
                ;
            )*
        }
    )*) => {$(
        $crate::protocol::messages! {
            @struct [$(#[$meta])*] $name {$(
                [$(#[$field_meta])*] $field: $ty, [$($versions)+], nullable [$($nullable)?],
                tag [$($tag)?] [$($([$($tagged)+])?)?], default [$($default)?];
            )*}
        }
        $crate::protocol::messages! {
            @message $what $name $(($key))? $([$($valid)+] $flexible)? $($answer)?
        }
    )*};
}
pub(crate) use messages;

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::protocol::Str;

    messages! {
        /// All that a field line can say.
        data Sample [0-3], flexible [2+] {
            id: i32 [0+];
            added: i64 [1+], default -1;
            added_quietly: i64 [1+ ignorable], default -1;
            removed: i16 [0-1];
            name: Option<Str> [0+], nullable [1+];
            parts: Vec<Part> [0+];
            inner: Option<Part> [3+];
            early: bool [2+], tag 0;
            late: Option<Str> [0+ ignorable], tag 3 [3+];
        }
        struct Part {
            index: i32 [0+];
            payload: Bytes [0+];
            more: Vec<i8> [3+], tag 0;
        }
    }

    fn part(index: i32, more: &[i8]) -> Part {
        Part { index, payload: Bytes::from_static(b"xy"), more: more.to_vec() }
    }

    fn decode(bytes: &[u8], version: i16) -> Result<Sample, DecodeError> {
        Sample::decode(&mut Reader::new(BytesMut::from(bytes)), version)
    }

    #[test]
    fn the_bytes_of_a_version_without_flexibility() {
        let sample = Sample {
            id: 7,
            added: 1,
            added_quietly: 2,
            removed: 3,
            name: None,
            parts: vec![part(9, &[])],
            ..Sample::default()
        };
        let bytes = sample.to_bytes(1).expect("version 1 has all these");
        let expected: &[u8] = &[
            0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0xff,
            0xff, // numbers and a null string
            0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 2, b'x', b'y', // one part
            0xff, 0xff, // late, not tagged yet
        ];
        assert_eq!(&bytes[..], expected);
        assert_eq!(decode(expected, 1), Ok(sample));
    }

    #[test]
    fn the_bytes_of_a_flexible_version() {
        let sample = Sample {
            id: 7,
            name: Some("ab".into()),
            parts: vec![part(9, &[5, -1])],
            inner: Some(part(1, &[])),
            early: true,
            late: Some("z".into()),
            ..Sample::default()
        };
        let bytes = sample.to_bytes(3).expect("version 3 has all these");
        let minus_one = [0xff; 8];
        let expected = [
            &[0, 0, 0, 7][..],
            &minus_one,
            &minus_one,
            &[3, b'a', b'b'],
            &[2, 0, 0, 0, 9, 3, b'x', b'y', 1, 0, 3, 3, 5, 0xff], // one part with its tagged field
            &[1, 0, 0, 0, 1, 3, b'x', b'y', 0],                   // the nullable struct is there
            &[2, 0, 1, 1, 3, 2, 2, b'z'],
        ]
        .concat();
        assert_eq!(&bytes[..], &expected[..]);
        assert_eq!(decode(&expected, 3), Ok(sample));
    }

    #[test]
    fn a_field_the_version_lacks_is_an_error_unless_ignorable_or_default() {
        let mut sample = Sample { name: Some("n".into()), added_quietly: 5, ..Sample::default() };
        assert!(sample.to_bytes(0).is_ok());
        sample.added = 5;
        let error = EncodeError::NotInVersion { field: "Sample.added", version: 0 };
        assert_eq!(sample.to_bytes(0), Err(error));
        sample = Sample { parts: vec![part(1, &[1])], ..Sample::default() };
        let error = EncodeError::NotInVersion { field: "Part.more", version: 2 };
        assert_eq!(sample.to_bytes(2), Err(error));
    }

    #[test]
    fn null_is_an_error_in_a_version_without_it() {
        let error = EncodeError::Null { field: "Sample.name", version: 0 };
        assert_eq!(Sample::default().to_bytes(0), Err(error));
        let null_name = [0, 0, 0, 7, 0, 3, 0xff, 0xff, 0, 0, 0, 0];
        let error = DecodeError { problem: DecodeProblem::Null, field: "Sample.name" };
        assert_eq!(decode(&null_name, 0), Err(error));
    }

    #[test]
    fn unknown_tagged_fields_are_passed_over() {
        let sample = Sample { early: true, ..Sample::default() };
        let mut bytes = sample.to_bytes(2).expect("version 2 has all these").to_vec();
        let end = bytes.len() - 4;
        assert_eq!(bytes.split_off(end), [1, 0, 1, 1]);
        bytes.extend_from_slice(&[3, 0, 1, 1, 7, 2, 0xaa, 0xbb, 0x80, 0x01, 0]);
        assert_eq!(decode(&bytes, 2), Ok(sample));
    }

    #[test]
    fn a_known_tagged_field_fills_its_size() {
        let mut bytes = Sample::default().to_bytes(2).expect("version 2 has all these").to_vec();
        bytes.pop();
        bytes.extend_from_slice(&[1, 0, 2, 1, 0]);
        let problem = DecodeProblem::TaggedFieldTooLong { tag: 0, left: 1 };
        assert_eq!(decode(&bytes, 2).map_err(|error| error.problem), Err(problem));
    }

    #[test]
    fn a_long_tagged_field_has_a_long_size() {
        for length in [0, 126, 127, 128, 129, 16_381, 16_382, 16_383, 16_384, 40_000] {
            let sample = Sample { inner: Some(part(1, &vec![3; length])), ..Sample::default() };
            let bytes = sample.to_bytes(3).expect("version 3 has all these");
            assert_eq!(decode(&bytes, 3), Ok(sample), "length {length}");
        }
    }

    #[test]
    fn versions_out_of_range_are_refused() {
        assert_eq!(decode(&[0; 64], 4).map_err(|e| e.problem), Err(DecodeProblem::UnknownVersion(4)));
        assert_eq!(decode(&[0; 64], -1).map_err(|e| e.problem), Err(DecodeProblem::UnknownVersion(-1)));
        let error = EncodeError::UnknownVersion { name: "Sample", version: 4 };
        assert_eq!(Sample::default().to_bytes(4), Err(error));
    }
}
