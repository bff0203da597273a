//! Waiting fetches of one shard: each parks on its partitions and is woken by their high watermarks,
//! by its reader, or by its deadline; nothing polls.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::partition::Partition;
use crate::runtime;
use crate::runtime::sync::Event;
use crate::types::{Offset, ShardId};

use super::join::first_of;

/// Watches that another shard may still call off, by the asking shard and its number for it.
#[derive(Default)]
pub struct Watches {
    cancels: RefCell<HashMap<(ShardId, u64), Rc<Event>>>,
}

impl Watches {
    /// Returns when one of the partitions has anything behind its offset, when the watch is called
    /// off, or after `wait_ms`.
    pub async fn watch(&self, from: ShardId, id: u64, items: Vec<(Rc<Partition>, Offset)>, wait_ms: u64) {
        let cancel = Rc::new(Event::new());
        self.cancels.borrow_mut().insert((from, id), Rc::clone(&cancel));
        let wait = async {
            let mut waiting = Vec::with_capacity(items.len() + 1);
            waiting.push(Box::pin(cancel.listen()));
            for (partition, offset) in &items {
                let listening = Box::pin(partition.log.on_high_watermark().listen());
                // Looked at after listening: a watermark that moved in between is not missed.
                if partition.log.high_watermark() > *offset {
                    return;
                }
                waiting.push(listening);
            }
            first_of(waiting).await;
        };
        let _ = runtime::timeout(Duration::from_millis(wait_ms), wait).await;
        self.cancels.borrow_mut().remove(&(from, id));
    }

    pub fn cancel(&self, from: ShardId, id: u64) {
        if let Some(event) = self.cancels.borrow_mut().remove(&(from, id)) {
            event.notify_all();
        }
    }
}
