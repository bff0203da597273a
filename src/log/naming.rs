//! Makes the name of a new segment durable while the first writes to it are under way.
//!
//! A power cut can take back a name that was made or changed, and with it all that was flushed under it. So nothing in a
//! segment counts as flushed before its directory was synced after the name was there; writing to it need not
//! wait for that.

use std::rc::Rc;

use crate::runtime::fs;
use crate::runtime::{offload, spawn};
use crate::types::Offset;

use super::log::Log;

/// A segment whose name is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unnamed {
    pub base_offset: Offset,
    /// How far the log is flushed but for the name.
    pub flushed: Offset,
}

impl Log {
    /// Whether all segments have durable names.
    pub(super) fn is_named(&self) -> bool {
        self.unnamed.get().is_none()
    }

    /// Resolves when the last new name is durable, or the log is poisoned.
    pub(super) async fn named(&self) {
        self.until(|| self.is_named()).await;
    }

    /// The segment at `base_offset` just got its name. The one before has its own.
    pub(super) fn make_name_durable(self: &Rc<Self>, base_offset: Offset) {
        debug_assert!(self.is_named());
        // The segment before can still be waiting for its flush.
        let flushed = self.flushed_offset();
        self.unnamed.set(Some(Unnamed { base_offset, flushed }));
        let log = Rc::clone(self);
        drop(spawn(async move {
            let dir = log.dir();
            let synced = offload({
                let dir = dir.clone();
                move || fs::sync_dir(&dir)
            })
            .await;
            if let Err(error) = synced {
                log.poison(&format!("the names in {} cannot be made durable: {error}", dir.display()));
            }
            if let Some(Unnamed { flushed, .. }) = log.unnamed.take() {
                log.note_flushed(flushed);
            }
            log.next_commit();
        }));
    }

    /// How far the log is flushed when its files are up to `end_offset`.
    pub(super) fn flushed_and_named(&self, end_offset: Offset) -> Offset {
        match self.unnamed.get() {
            Some(unnamed) if end_offset > unnamed.base_offset => {
                let flushed = unnamed.flushed.max(end_offset);
                self.unnamed.set(Some(Unnamed { flushed, ..unnamed }));
                unnamed.base_offset
            }
            _ => end_offset,
        }
    }
}
