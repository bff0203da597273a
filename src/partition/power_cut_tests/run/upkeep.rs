//! What a broker does to logs beside writing and reading them.

use std::rc::Rc;

use rand::Rng;

use crate::log::CompactOptions;
use crate::runtime::{self, spawn};
use crate::types::Offset;

use super::super::setup::{Fault, pick};
use super::super::world::Mark;
use super::Run;

impl Run {
    /// Begins to compact, beside all else.
    pub(super) fn compact(self: &Rc<Self>, lane: usize) {
        let log = Rc::clone(&self.partitions.borrow()[lane].log);
        let keys_bytes_max = *pick(&mut self.random.borrow_mut(), &[100, 1 << 20]);
        let options = CompactOptions { now_ms: runtime::wall_ms(), keys_bytes_max, bytes_per_second_max: f64::MAX };
        let run = Rc::clone(self);
        drop(spawn(async move {
            let compacted = log.compact(&options).await;
            if let Err(error) = compacted
                && matches!(run.setup.fault, Fault::None | Fault::ShortWrites)
            {
                run.blame(format!("t-{lane}: compaction failed: {error}"));
            }
        }));
    }

    pub(super) fn delete_records(&self, lane: usize) {
        let partition = Rc::clone(&self.partitions.borrow()[lane]);
        let offsets = partition.log.offsets();
        let (start, end) = (offsets.log_start.0, offsets.high_watermark.0);
        if start < end && self.chance(0.3) {
            let offset = self.random.borrow_mut().random_range(start..=end);
            self.mark(Mark::LogStart { lane, offset });
            if let Err(error) = partition.log.set_log_start(Offset(offset)) {
                self.blame(format!("t-{lane}: records before {offset} cannot be deleted: {error}"));
            }
        }
    }

    pub(super) async fn retain(&self, lane: usize) {
        let partition = Rc::clone(&self.partitions.borrow()[lane]);
        if let Err(error) = partition.log.apply_retention(runtime::wall_ms()).await
            && matches!(self.setup.fault, Fault::None | Fault::ShortWrites)
        {
            self.blame(format!("t-{lane}: retention failed: {error}"));
        }
    }
}
