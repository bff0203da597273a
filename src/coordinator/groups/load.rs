//! Groups and offsets as the records of the log make them.

use crate::record::control::ControlRecordType;
use crate::record::{BatchError, RecordIter};

use super::super::classic::ClassicGroup;
use super::super::consumer::{ConsumerGroup, RecordKey};
use super::super::machine::GroupContext;
use super::super::offset_record::{GroupRecord, RecordProblem, read_record};
use super::{Group, GroupsPartition, Held};

impl GroupsPartition {
    /// Takes in a batch of the log, as loading the partition does with each, in order. Offsets in a transaction wait
    /// for its marker. A record that cannot be read is passed over and handed to `unreadable`.
    pub fn load_batch(
        &mut self,
        batch: &[u8],
        mut unreadable: impl FnMut(i64, RecordProblem),
    ) -> Result<(), BatchError> {
        let mut records = RecordIter::new(batch)?;
        let header = *records.header();
        let transactional = header.attributes.is_transactional();
        while let Some(record) = records.next_record()? {
            let record_offset = record.offset.0;
            let Some(key) = record.key else {
                unreadable(record_offset, RecordProblem::Malformed);
                continue;
            };
            if header.attributes.is_control() {
                match ControlRecordType::of_key(key) {
                    Some(ControlRecordType::Commit) => self.offsets.end_transaction(header.producer_id, true),
                    Some(ControlRecordType::Abort) => self.offsets.end_transaction(header.producer_id, false),
                    _ => {}
                }
                continue;
            }
            let value = record.value;
            let taken = read_record(key, value).and_then(|record| {
                match record {
                    GroupRecord::Offset(change) => {
                        if change.committed.is_some() {
                            self.group_or_new(&change.group);
                        }
                        if transactional {
                            self.offsets.apply_pending(header.producer_id, change, record_offset);
                        } else {
                            self.offsets.apply(change, record_offset);
                        }
                    }
                    GroupRecord::GroupMetadata { group, value } => self.replay_classic(group, value)?,
                    GroupRecord::Other { .. } => {
                        if let Some(key) = RecordKey::read(key)? {
                            self.replay_consumer(key, value)?;
                        }
                    }
                }
                Ok(())
            });
            if let Err(problem) = taken {
                unreadable(record_offset, problem);
            }
        }
        Ok(())
    }

    fn replay_classic(&mut self, group_id: &str, value: Option<&[u8]>) -> Result<(), RecordProblem> {
        let Some(value) = value else {
            self.remove(group_id);
            return Ok(());
        };
        // Every such record says all that is to be known of its group.
        let mut group = ClassicGroup::new(group_id);
        group.replay(value)?;
        self.groups.insert(group_id.into(), Held { group: Group::Classic(Box::new(group)), look_ms: None });
        Ok(())
    }

    fn replay_consumer(&mut self, key: RecordKey<'_>, value: Option<&[u8]>) -> Result<(), RecordProblem> {
        if value.is_none() {
            // Of a group that is gone, or has become a classic one since.
            let Some(Held { group: Group::Consumer(group), .. }) = self.groups.get_mut(key.group) else {
                return Ok(());
            };
            group.replay(key, None)?;
            if group.is_gone() {
                self.remove(key.group);
            }
            return Ok(());
        }
        let group_id = key.group;
        let held = self.group_or_new(group_id);
        if matches!(held.group, Group::Classic(_)) {
            held.group = Group::Consumer(Box::new(ConsumerGroup::new(group_id)));
        }
        match &mut held.group {
            Group::Consumer(group) => group.replay(key, value),
            Group::Classic(_) => Ok(()),
        }
    }

    /// All batches are taken in: from now on members have to be heard of.
    pub fn loaded(&mut self, ctx: &mut GroupContext<'_>) {
        // An offset can outlive the tombstone of its group where compaction took the one and not yet the other.
        let without: Vec<Box<str>> =
            self.offsets.groups().filter(|group| !self.groups.contains_key(*group)).map(Into::into).collect();
        for group_id in without {
            self.group_or_new(&group_id);
        }
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for group_id in ids {
            if let Some(held) = self.groups.get_mut(&group_id) {
                match &mut held.group {
                    Group::Classic(group) => group.loaded(ctx),
                    Group::Consumer(group) => group.loaded(ctx),
                }
            }
            self.schedule(&group_id);
        }
    }
}
