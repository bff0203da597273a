//! The codecs of record batches, streamed: a batch's records are compressed as one run of bytes.
//!
//! What each codec's bytes are, as Kafka's clients write and read them:
//!
//! - gzip: a gzip stream (RFC 1952).
//! - snappy: the framing of `snappy-java`, or one raw snappy block (`snappy.rs`).
//! - lz4: an lz4 frame of independent blocks (`lz4.rs`).
//! - zstd: a zstd frame (KIP-110).

mod lz4;
mod snappy;
mod spare;
mod stream;
mod write;
mod zstandard;

use std::fmt;

pub use stream::Decompressor;
pub use write::Compressor;

/// How the records of a batch are compressed (Kafka's `CompressionType`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Kafka's name, such as `gzip`; no compression is `none`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec of a name, where `uncompressed` (a value of `compression.type`) is `none`.
    pub fn from_name(name: &str) -> Option<Codec> {
        match name {
            "uncompressed" => Some(Codec::None),
            _ => Codec::ALL.into_iter().find(|codec| codec.name() == name),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
