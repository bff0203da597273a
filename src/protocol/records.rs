//! Record batches as messages carry them: opaque, and never copied on the way in or out.

use bytes::BytesMut;

/// The `records` field of Produce and Fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Records {
    #[default]
    Null,
    /// The bytes are here. Out of a request they are the request's own buffer, alone in using this part of it, so
    /// that offsets and epochs can be stamped in place.
    Inline(BytesMut),
    /// The message writes the length alone; the network layer splices `len` bytes in from what the maker of the
    /// message keeps under `slot` (memory chunks, file ranges). See [`External`](super::External).
    External { len: u32, slot: u32 },
}

impl Records {
    /// The size in bytes, 0 for null.
    pub fn len(&self) -> usize {
        match self {
            Records::Null => 0,
            Records::Inline(bytes) => bytes.len(),
            Records::External { len, .. } => *len as usize,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
