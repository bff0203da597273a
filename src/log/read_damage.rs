//! Damage that a read meets.
//!
//! A damaged batch is refused, and it alone: what is before it and behind it is served, and appends go on. They do not
//! touch what is damaged, and to refuse them would make an outage of one lost batch. What is told here is told once
//! for each place, since every consumer that waits there asks again and again.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::types::Offset;

use super::error::LogError;
use super::loaded::HOW_TO_GO_ON;
use super::log::Log;
use super::names;
use super::read::SegmentView;

/// Places that are remembered as told; there is hardly ever more than one.
const TOLD_MAX: usize = 1024;

/// Which damage was told: the segment's base offset and the byte in it.
#[derive(Debug, Default)]
pub(super) struct ToldDamage(RefCell<BTreeSet<(Offset, u64)>>);

impl ToldDamage {
    fn is_news(&self, segment: Offset, position: u64) -> bool {
        let mut told = self.0.borrow_mut();
        told.len() < TOLD_MAX && told.insert((segment, position))
    }
}

impl Log {
    /// The bytes at `position` of a segment are not what was written there; `offset` is the first that cannot be read.
    pub(super) fn corrupt(&self, view: SegmentView, position: u64, offset: Offset, what: &str) -> LogError {
        let path = names::log_file(&self.dir(), view.base_offset);
        let sentence =
            format!("{} is damaged at byte {position}, offset {offset}: {what}{HOW_TO_GO_ON}", path.display());
        self.shard().count(|stats| stats.damaged_reads += 1);
        if self.told_damage.is_news(view.base_offset, position) {
            tracing::error!(partition = %self.topic_partition(), "{sentence}");
        }
        LogError::Corrupt { what: sentence.into() }
    }
}
