//! Control records: transaction markers, and what Raft writes into `__cluster_metadata` and its snapshots.
//!
//! Their key is a version (int16, 0) and a type (int16). The value of a transaction marker is
//! `EndTxnMarker` behind a version (int16, 0); the values of the others hold their version as their first field and
//! are flexible (`LeaderChangeMessage`, `SnapshotHeaderRecord`, `SnapshotFooterRecord`, `KRaftVersionRecord`,
//! `VotersRecord`).

/// Kafka's `ControlRecordType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlRecordType {
    Abort,
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KRaftVersion,
    KRaftVoters,
    /// One of a later Kafka.
    Unknown(i16),
}

impl ControlRecordType {
    /// The type that a control record's key names; `None` if it is no such key.
    pub fn of_key(key: &[u8]) -> Option<ControlRecordType> {
        let (version, rest) = key.split_first_chunk()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        // Later versions of the key begin with the type too.
        Some(match i16::from_be_bytes(*rest.first_chunk()?) {
            0 => ControlRecordType::Abort,
            1 => ControlRecordType::Commit,
            2 => ControlRecordType::LeaderChange,
            3 => ControlRecordType::SnapshotHeader,
            4 => ControlRecordType::SnapshotFooter,
            5 => ControlRecordType::KRaftVersion,
            6 => ControlRecordType::KRaftVoters,
            other => ControlRecordType::Unknown(other),
        })
    }

    /// The key of a record of this type.
    pub fn key(self) -> [u8; 4] {
        let number: i16 = match self {
            ControlRecordType::Abort => 0,
            ControlRecordType::Commit => 1,
            ControlRecordType::LeaderChange => 2,
            ControlRecordType::SnapshotHeader => 3,
            ControlRecordType::SnapshotFooter => 4,
            ControlRecordType::KRaftVersion => 5,
            ControlRecordType::KRaftVoters => 6,
            ControlRecordType::Unknown(other) => other,
        };
        let [high, low] = number.to_be_bytes();
        [0, 0, high, low]
    }
}

/// The value of a commit or abort marker: `EndTxnMarker` version 0 behind its version.
pub fn end_txn_marker(coordinator_epoch: i32) -> [u8; 6] {
    let mut out = [0; 6];
    out[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    out
}

/// The coordinator epoch of a commit or abort marker's value.
pub fn parse_end_txn_marker(value: &[u8]) -> Option<i32> {
    let (version, rest) = value.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    rest.first_chunk().map(|epoch| i32::from_be_bytes(*epoch))
}

/// The value of a leader change: `LeaderChangeMessage` version 0, with voters by id.
pub fn leader_change(leader_id: i32, voters: &[i32], granting_voters: &[i32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + 5 * (voters.len() + granting_voters.len()));
    out.extend_from_slice(&0i16.to_be_bytes());
    out.extend_from_slice(&leader_id.to_be_bytes());
    for list in [voters, granting_voters] {
        put_compact_len(&mut out, list.len());
        for voter in list {
            out.extend_from_slice(&voter.to_be_bytes());
            out.push(NO_TAGS);
        }
    }
    out.push(NO_TAGS);
    out
}

/// The value of a snapshot's first record: `SnapshotHeaderRecord` version 0.
pub fn snapshot_header(last_contained_log_timestamp: i64) -> [u8; 11] {
    let mut out = [0; 11];
    out[2..10].copy_from_slice(&last_contained_log_timestamp.to_be_bytes());
    out
}

/// The value of a snapshot's last record: `SnapshotFooterRecord` version 0.
pub fn snapshot_footer() -> [u8; 3] {
    [0; 3]
}

/// The value of a `kraft.version` record: `KRaftVersionRecord` version 0.
pub fn kraft_version(version: i16) -> [u8; 5] {
    let [high, low] = version.to_be_bytes();
    [0, 0, high, low, NO_TAGS]
}

/// The end of a flexible structure without tagged fields.
const NO_TAGS: u8 = 0;

/// The length of a compact array: an unsigned varint of one more.
fn put_compact_len(out: &mut Vec<u8>, len: usize) {
    let mut rest = len as u64 + 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
