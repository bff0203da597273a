//! The strings of messages.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::{DecodeError, DecodeProblem};

/// A UTF-8 string that shares the buffer it was decoded from. Cloning counts a reference.
///
/// A `Str` out of a request keeps the request's whole buffer alive: what is stored for longer than the request is
/// [`detached`](Str::detached) first.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str(ByteString);

impl Str {
    pub const fn from_static(text: &'static str) -> Str {
        Str(ByteString::from_static(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0.into_bytes()
    }

    /// A copy in a buffer of its own.
    #[must_use]
    pub fn detached(&self) -> Str {
        Str::from(self.as_str())
    }

    pub(super) fn from_buffer(buffer: BytesMut) -> Result<Str, DecodeError> {
        ByteString::try_from(buffer.freeze()).map(Str).map_err(|_| DecodeProblem::NotUtf8.into())
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Equal to `str` in hash and order too, so that maps keyed by `Str` are looked up by `&str`.
impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Str {
        Str(ByteString::from(text))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Str {
        Str(ByteString::from(text))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Str {
        Str::from(text.as_str())
    }
}

impl From<Arc<str>> for Str {
    fn from(text: Arc<str>) -> Str {
        Str::from(&*text)
    }
}

impl From<&Arc<str>> for Str {
    fn from(text: &Arc<str>) -> Str {
        Str::from(&**text)
    }
}

impl From<Str> for Arc<str> {
    fn from(text: Str) -> Arc<str> {
        Arc::from(text.as_str())
    }
}

impl From<Str> for String {
    fn from(text: Str) -> String {
        text.as_str().to_owned()
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_map_keyed_by_str_is_looked_up_by_slice() {
        let map = HashMap::from([(Str::from("orders"), 1)]);
        assert_eq!(map.get("orders"), Some(&1));
        assert_eq!(Str::from("orders"), "orders");
        assert_eq!(format!("{:?} {}", Str::from("a"), Str::from("b")), "\"a\" b");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        let refused = Str::from_buffer(BytesMut::from(&[0xc3, 0x28][..]));
        assert_eq!(refused.map_err(|e| e.problem), Err(DecodeProblem::NotUtf8));
    }

    #[test]
    fn a_detached_str_leaves_the_buffer() {
        let buffer = BytesMut::from("orders");
        let at = buffer.as_ptr();
        let text = Str::from_buffer(buffer).expect("is UTF-8");
        assert_eq!(text.as_ptr(), at, "decoding copied the string");
        assert_ne!(text.detached().as_ptr(), at);
    }
}
