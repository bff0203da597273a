//! How each Rust type stands on the wire: the types that field lines of `messages!` may have.

use bytes::Bytes;

use super::{DecodeError, DecodeProblem, EncodeError, Kind, Reader, Records, Str, Writer};
use crate::types::KafkaUuid;

/// What decides the bytes besides the value.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    pub version: i16,
    /// Compact lengths, and tagged fields at the end of every struct (KIP-482).
    pub flexible: bool,
}

/// A type of a schema's field.
pub trait Field: Sized {
    const KIND: Kind;
    /// The fewest bytes a value has on the wire.
    fn size_min(format: Format) -> usize;
    fn read(reader: &mut Reader, format: Format) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError>;
    fn is_null(&self) -> bool {
        false
    }
}

/// A type whose `Option` may be a field's type.
pub trait NullableField: Field {
    /// The fewest bytes on the wire when null is allowed.
    fn nullable_size_min(format: Format) -> usize;
    fn read_nullable(reader: &mut Reader, format: Format) -> Result<Option<Self>, DecodeError>;
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format) -> Result<(), EncodeError>;
}

macro_rules! fixed_fields {
    ($($ty:ty, $kind:ident, $method:ident;)*) => {
        $(impl Field for $ty {
            const KIND: Kind = Kind::$kind;

            fn size_min(_: Format) -> usize {
                size_of::<$ty>()
            }

            fn read(reader: &mut Reader, _: Format) -> Result<$ty, DecodeError> {
                reader.$method()
            }

            fn write(&self, writer: &mut Writer, _: Format) -> Result<(), EncodeError> {
                writer.$method(*self);
                Ok(())
            }
        })*
    };
}

fixed_fields! {
    bool, Bool, bool;
    i8, I8, i8;
    i16, I16, i16;
    u16, U16, u16;
    i32, I32, i32;
    u32, U32, u32;
    i64, I64, i64;
    f64, F64, f64;
    KafkaUuid, Uuid, uuid;
}

impl Field for Str {
    const KIND: Kind = Kind::Str;

    fn size_min(format: Format) -> usize {
        if format.flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader, format: Format) -> Result<Str, DecodeError> {
        reader.string(format.flexible)
    }

    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        writer.string(self, format.flexible)
    }
}

impl NullableField for Str {
    fn nullable_size_min(format: Format) -> usize {
        Str::size_min(format)
    }

    fn read_nullable(reader: &mut Reader, format: Format) -> Result<Option<Str>, DecodeError> {
        reader.nullable_string(format.flexible)
    }

    fn write_nullable(value: Option<&Str>, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        if let Some(text) = value {
            return writer.string(text, format.flexible);
        }
        writer.null_string(format.flexible);
        Ok(())
    }
}

/// The size of a length of bytes, records and arrays at the least.
fn length_size_min(format: Format) -> usize {
    if format.flexible { 1 } else { 4 }
}

impl Field for Bytes {
    const KIND: Kind = Kind::Bytes;

    fn size_min(format: Format) -> usize {
        length_size_min(format)
    }

    fn read(reader: &mut Reader, format: Format) -> Result<Bytes, DecodeError> {
        reader.bytes(format.flexible)
    }

    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        writer.bytes(self, format.flexible)
    }
}

impl NullableField for Bytes {
    fn nullable_size_min(format: Format) -> usize {
        length_size_min(format)
    }

    fn read_nullable(reader: &mut Reader, format: Format) -> Result<Option<Bytes>, DecodeError> {
        reader.nullable_bytes(format.flexible)
    }

    fn write_nullable(value: Option<&Bytes>, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        if let Some(bytes) = value {
            return writer.bytes(bytes, format.flexible);
        }
        writer.null_length(format.flexible);
        Ok(())
    }
}

/// Nullable by itself: [`Records::Null`].
impl Field for Records {
    const KIND: Kind = Kind::Records;

    fn size_min(format: Format) -> usize {
        length_size_min(format)
    }

    fn read(reader: &mut Reader, format: Format) -> Result<Records, DecodeError> {
        reader.records(format.flexible)
    }

    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        writer.records(self, format.flexible)
    }

    fn is_null(&self) -> bool {
        matches!(self, Records::Null)
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: Kind = Kind::Array(&T::KIND);

    fn size_min(format: Format) -> usize {
        length_size_min(format)
    }

    fn read(reader: &mut Reader, format: Format) -> Result<Vec<T>, DecodeError> {
        Vec::read_nullable(reader, format)?.ok_or_else(|| DecodeProblem::Null.into())
    }

    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        writer.length(self.len(), format.flexible)?;
        self.iter().try_for_each(|element| element.write(writer, format))
    }
}

impl<T: Field> NullableField for Vec<T> {
    fn nullable_size_min(format: Format) -> usize {
        length_size_min(format)
    }

    fn read_nullable(reader: &mut Reader, format: Format) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(length) = reader.array_length(format.flexible, T::size_min(format), size_of::<T>())? else {
            return Ok(None);
        };
        // The reader has checked that the frame can hold this many.
        let mut elements = Vec::with_capacity(length);
        for _ in 0..length {
            elements.push(T::read(reader, format)?);
        }
        Ok(Some(elements))
    }

    fn write_nullable(value: Option<&Vec<T>>, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        if let Some(elements) = value {
            return elements.write(writer, format);
        }
        writer.null_length(format.flexible);
        Ok(())
    }
}

impl<T: NullableField> Field for Option<T> {
    const KIND: Kind = Kind::Nullable(&T::KIND);

    fn size_min(format: Format) -> usize {
        T::nullable_size_min(format)
    }

    fn read(reader: &mut Reader, format: Format) -> Result<Option<T>, DecodeError> {
        T::read_nullable(reader, format)
    }

    fn write(&self, writer: &mut Writer, format: Format) -> Result<(), EncodeError> {
        T::write_nullable(self.as_ref(), writer, format)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}
