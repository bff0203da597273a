//! Kafka's wire format. Pure: no I/O, no clock, no state.
//!
//! Reading order: [`Str`] and [`Records`] are what messages hold besides numbers; [`Reader`] and [`Writer`] know the
//! primitives; `field` says how each Rust type stands on the wire; `schema` has the macro `messages!`, which makes a
//! struct with its codec from lines that read like Kafka's JSON schemas; [`mod@messages`] has one file per API;
//! [`RequestHeader`] and [`ResponseHeader`] stand before them in a frame.
//!
//! What comes from the network never panics and never makes us allocate what it claims: an array is refused unless
//! its elements can still be in the frame, and all arrays of a frame together may take only a multiple of its size.

mod api_key;
mod error;
mod field;
mod header;
pub mod messages;
mod reader;
mod records;
mod schema;
mod text;
mod writer;

pub use api_key::ApiKey;
pub use error::{DecodeError, DecodeProblem, EncodeError};
pub use field::{Field, Format, NullableField};
pub use header::{RequestHeader, ResponseHeader};
pub use messages::*;
pub use reader::Reader;
pub use records::Records;
pub use schema::{FieldSchema, Kind, Message, Request, Response, StructSchema, Versions};
pub(crate) use schema::{differs, format_to_decode, format_to_encode, messages, read_field, write_field};
pub use text::Str;
pub use writer::{External, Writer};
