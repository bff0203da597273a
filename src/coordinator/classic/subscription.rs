//! What the consumer protocol's metadata says of topics (Kafka's `ConsumerProtocolSubscription`, the part that all its
//! versions begin with).
//!
//! ```text
//!   version    int16
//!   topics     array (int32) of string (int16)
//!   user data  bytes (int32), nullable
//! ```

use std::collections::BTreeSet;

use crate::coordinator::RecordProblem;
use crate::coordinator::fields::Fields;

/// The protocol type of consumers: the only one whose metadata is ours to read.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Adds the topics of a member's metadata to `topics`.
pub fn read_topics(metadata: &[u8], topics: &mut BTreeSet<Box<str>>) -> Result<(), RecordProblem> {
    let mut fields = Fields(metadata);
    if fields.i16()? < 0 {
        return Err(RecordProblem::Malformed);
    }
    for _ in 0..fields.count()? {
        topics.insert(fields.string()?.into());
    }
    fields.sized_bytes()?;
    Ok(())
}
