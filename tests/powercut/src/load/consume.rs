//! The consumer of a load, which reads everything from its beginning and notes what it sees.

use std::collections::HashMap;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::{ALL, LIBRDKAFKA, Load, ONE, RECONNECT_PAUSE, RETRIABLE};
use crate::facts::{Fact, Run};
use crate::payload;
use crate::wire::records;

impl Load {
    pub(super) fn consume(&self) -> Result<()> {
        let mut next: Vec<(String, i32, i64)> = Vec::new();
        for (topic, partitions) in [ALL, ONE, LIBRDKAFKA] {
            next.extend((0..partitions).map(|partition| (topic.to_owned(), partition, -1)));
        }
        let mut watermarks: HashMap<(String, i32), i64> = HashMap::new();
        while !self.stopped() {
            let Some(mut wire) = self.connect()? else { return Ok(()) };
            // Connections break when the broker is killed; what it says is checked all the same.
            while !self.stopped() {
                for (topic, partition, offset) in &mut next {
                    if *offset == -1
                        && let Ok(start) = wire.list_offset(topic, *partition, -2)
                    {
                        *offset = start;
                    }
                }
                if next.iter().any(|(_, _, offset)| *offset == -1) {
                    break;
                }
                let Ok(fetched) = wire.fetch(&next, 20, 1 << 20) else { break };
                for fetched in fetched {
                    let partition = fetched.data.partition_index;
                    let place = (fetched.topic.clone(), partition);
                    let position = next.iter_mut().find(|(topic, at, _)| *topic == place.0 && *at == partition);
                    let (_, _, offset) = position.context("an answer to what was asked")?;
                    match fetched.data.error_code {
                        0 => {}
                        // Retention went past it; an offset behind the end is found out below.
                        1 => {
                            let Ok(start) = wire.list_offset(&place.0, partition, -2) else { break };
                            ensure!(start > *offset, "{}-{partition}: nothing at {offset} any more", place.0);
                            *offset = start;
                            continue;
                        }
                        error if RETRIABLE.contains(&error) => continue,
                        error => bail!("fetching {}-{partition}: error {error}", place.0),
                    }
                    let watermark = fetched.data.high_watermark;
                    let known = watermarks.entry(place.clone()).or_insert(-1);
                    ensure!(watermark >= *known, "{}-{partition}: high watermark {watermark} after {known}", place.0);
                    if watermark > *known {
                        *known = watermark;
                        let (topic, partition) = place.clone();
                        self.notebook.note(Fact::HighWatermark { topic, partition, offset: watermark });
                    }
                    let bytes = fetched.data.records.unwrap_or_default();
                    self.seen(&place.0, partition, offset, bytes)?;
                }
            }
            thread::sleep(RECONNECT_PAUSE);
        }
        Ok(())
    }

    fn seen(&self, topic: &str, partition: i32, next: &mut i64, bytes: Bytes) -> Result<()> {
        let found = records(bytes, *next, payload::place(topic, partition))?;
        let Some(first) = found.first() else { return Ok(()) };
        let base_offset = first.offset;
        let mut ids = Vec::with_capacity(found.len());
        for record in &found {
            ensure!(record.offset == base_offset + ids.len() as i64, "{topic}-{partition}: a gap at {}", record.offset);
            ids.push(record.id.with_context(|| format!("{topic}-{partition} at {}: altered", record.offset))?);
        }
        *next = base_offset + ids.len() as i64;
        self.notebook.note(Fact::Seen(Run { topic: topic.to_owned(), partition, base_offset, ids }));
        Ok(())
    }
}
