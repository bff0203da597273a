//! The quorum of one: KRaft's own state, which is no part of the catalog's records but of its log's control batches
//! and of the file `quorum-state` (`org.apache.kafka.raft.FileQuorumStateStore`):
//!
//! ```text
//! {"leaderId":1,"leaderEpoch":3,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}
//! ```
//!
//! With a static voter set (kraft.version 0) the file has data_version 0 and lists `currentVoters`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::protocol::{Str, messages};
use crate::runtime::fs;
use crate::types::{KafkaUuid, LeaderEpoch};

use super::error::CatalogError;

pub const QUORUM_STATE: &str = "quorum-state";
const QUORUM_STATE_BYTES_MAX: usize = 64 << 10;

messages! {
    /// The voters of the quorum and where they are reached (KIP-853): the value of a KRaftVoters control record.
    data VotersRecord [0], flexible [0+] {
        version: i16 [0+];
        voters: Vec<Voter> [0+];
    }
    struct Voter {
        voter_id: i32 [0+];
        voter_directory_id: KafkaUuid [0+];
        endpoints: Vec<VoterEndpoint> [0+];
        k_raft_version_feature: KRaftVersionFeature [0+];
    }
    struct VoterEndpoint {
        name: Str [0+];
        host: Str [0+];
        port: u16 [0+];
    }
    struct KRaftVersionFeature {
        min_supported_version: i16 [0+];
        max_supported_version: i16 [0+];
    }

    /// What the quorum's voters have agreed to speak: the value of a KRaftVersion control record.
    data KRaftVersionRecord [0], flexible [0+] {
        version: i16 [0+];
        k_raft_version: i16 [0+];
    }
}

/// The listener that Apache Kafka's controller will have when it takes the directory over. We never open it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControllerEndpoint {
    /// The listener's name, of `controller.listener.names`.
    pub name: String,
    pub host: String,
    pub port: u16,
}

impl ControllerEndpoint {
    /// That of the configuration that Kafka comes with (`config/server.properties`), where ours has none.
    pub fn kafkas_example() -> ControllerEndpoint {
        ControllerEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 9093 }
    }
}

/// What the control batches up to an offset say.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct QuorumImage {
    /// 0: the voters are in Kafka's configuration, and in no record.
    pub kraft_version: i16,
    pub voters: Option<VotersRecord>,
}

impl QuorumImage {
    /// This node as the only voter.
    pub fn sole(node_id: i32, directory_id: KafkaUuid, endpoint: &ControllerEndpoint) -> QuorumImage {
        let endpoint = VoterEndpoint {
            name: endpoint.name.as_str().into(),
            host: endpoint.host.as_str().into(),
            port: endpoint.port,
        };
        let voter = Voter {
            voter_id: node_id,
            voter_directory_id: directory_id,
            endpoints: vec![endpoint],
            k_raft_version_feature: KRaftVersionFeature { min_supported_version: 0, max_supported_version: 1 },
        };
        QuorumImage { kraft_version: 1, voters: Some(VotersRecord { version: 0, voters: vec![voter] }) }
    }
}

/// The file `quorum-state`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumState {
    pub leader_id: i32,
    pub leader_epoch: LeaderEpoch,
    /// The voters are static: the file lists them.
    pub static_voters: Option<Vec<i32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuorumStateData {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    voted_directory_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied_offset: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_voters: Option<Vec<VoterId>>,
    #[serde(rename = "data_version")]
    data_version: i16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoterId {
    voter_id: i32,
}

impl QuorumState {
    fn path(metadata_dir: &Path) -> PathBuf {
        metadata_dir.join(QUORUM_STATE)
    }

    pub fn read(metadata_dir: &Path) -> Result<Option<QuorumState>, CatalogError> {
        let path = QuorumState::path(metadata_dir);
        let bytes =
            fs::if_exists(fs::read_bounded(&path, QUORUM_STATE_BYTES_MAX)).map_err(CatalogError::io("read", &path))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let data: QuorumStateData =
            serde_json::from_slice(&bytes).map_err(|error| CatalogError::malformed(&path, error.to_string()))?;
        if !(0..=1).contains(&data.data_version) {
            return Err(CatalogError::malformed(&path, format!("data_version is {}", data.data_version)));
        }
        let static_voters = (data.data_version == 0)
            .then(|| data.current_voters.unwrap_or_default().iter().map(|voter| voter.voter_id).collect());
        Ok(Some(QuorumState { leader_id: data.leader_id, leader_epoch: LeaderEpoch(data.leader_epoch), static_voters }))
    }

    /// Writes the file, durably.
    pub fn write(&self, metadata_dir: &Path) -> Result<(), CatalogError> {
        let path = QuorumState::path(metadata_dir);
        fs::write_atomic(&path, self.encode().as_bytes()).map_err(CatalogError::io("write", &path))
    }

    fn encode(&self) -> String {
        let is_static = self.static_voters.is_some();
        let data = QuorumStateData {
            cluster_id: is_static.then(String::new),
            leader_id: self.leader_id,
            leader_epoch: self.leader_epoch.0,
            voted_id: -1,
            voted_directory_id: (!is_static).then(|| KafkaUuid::ZERO.to_string()),
            applied_offset: is_static.then_some(0),
            current_voters: self
                .static_voters
                .as_ref()
                .map(|voters| voters.iter().map(|&voter_id| VoterId { voter_id }).collect()),
            data_version: i16::from(!is_static),
        };
        serde_json::to_string(&data).expect("numbers and strings become JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_state_is_kafkas() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(QuorumState::read(dir.path()).expect("no file"), None);
        // As Apache Kafka 4.3.1 wrote it.
        let text = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let state = QuorumState { leader_id: 1, leader_epoch: LeaderEpoch(2), static_voters: None };
        state.write(dir.path()).expect("written");
        let written = std::fs::read_to_string(dir.path().join(QUORUM_STATE)).expect("readable");
        assert_eq!(written, text);
        assert_eq!(QuorumState::read(dir.path()).expect("read"), Some(state));
        let text = r#"{"clusterId":"","leaderId":1,"leaderEpoch":4,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        let state = QuorumState { leader_id: 1, leader_epoch: LeaderEpoch(4), static_voters: Some(vec![1]) };
        assert_eq!(state.encode(), text);
        std::fs::write(dir.path().join(QUORUM_STATE), text).expect("written");
        assert_eq!(QuorumState::read(dir.path()).expect("read"), Some(state));
        std::fs::write(dir.path().join(QUORUM_STATE), "{").expect("written");
        assert!(QuorumState::read(dir.path()).is_err());
    }
}
