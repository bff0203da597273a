//! Finalized features, and which versions of the catalog's records a `metadata.version` allows (Kafka's
//! `MetadataVersion`). A catalog is readable by every Kafka that knows its `metadata.version`.

/// The feature that says which records the catalog may hold. Its FeatureLevelRecord comes first in it.
pub const METADATA_VERSION: &str = "metadata.version";
/// KIP-853's: kept in control records, not in a FeatureLevelRecord.
pub const KRAFT_VERSION: &str = "kraft.version";
/// KIP-966's. Where it is on, Kafka leaves partitions at a clean stop with no leader and us in their ELR.
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
/// The protocol of KIP-848.
pub const GROUP_VERSION: &str = "group.version";
pub const TRANSACTION_VERSION: &str = "transaction.version";
pub const SHARE_VERSION: &str = "share.version";
pub const STREAMS_VERSION: &str = "streams.version";

/// 3.3-IV3, the least that Apache Kafka 4.x reads.
pub const METADATA_VERSION_MIN: i16 = 7;
/// 4.3-IV0. A catalog above it may hold records that mean something else than we know, and is refused.
pub const METADATA_VERSION_MAX: i16 = 30;

/// 3.4-IV0: RegisterBrokerRecord 2.
const MIGRATION: i16 = 8;
/// 3.6-IV1: transactions of the catalog.
const METADATA_TRANSACTIONS: i16 = 13;
/// 3.7-IV2: PartitionRecord 1, RegisterBrokerRecord 3.
const DIRECTORY_ASSIGNMENT: i16 = 17;
/// 4.0-IV1: PartitionRecord 2.
const ELIGIBLE_LEADER_REPLICAS: i16 = 23;
/// 4.3-IV0: RegisterBrokerRecord 4.
const CORDONED_LOG_DIRS: i16 = 30;

/// The level of `metadata.version`, and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MetadataVersion(pub i16);

impl MetadataVersion {
    pub fn partition_record(self) -> i16 {
        match self.0 {
            ELIGIBLE_LEADER_REPLICAS.. => 2,
            DIRECTORY_ASSIGNMENT.. => 1,
            _ => 0,
        }
    }

    pub fn partition_change_record(self) -> i16 {
        self.partition_record()
    }

    pub fn register_broker_record(self) -> i16 {
        match self.0 {
            CORDONED_LOG_DIRS.. => 4,
            DIRECTORY_ASSIGNMENT.. => 3,
            MIGRATION.. => 2,
            _ => 1,
        }
    }

    pub fn has_directories(self) -> bool {
        self.0 >= DIRECTORY_ASSIGNMENT
    }

    pub fn has_transactions(self) -> bool {
        self.0 >= METADATA_TRANSACTIONS
    }
}

/// A feature and the range of levels that a broker can work with; a minimum of 0 means *may be off*.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SupportedFeature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
}

/// What the catalog and the broker support.
pub const CATALOG_FEATURES: [SupportedFeature; 4] = [
    SupportedFeature { name: METADATA_VERSION, min: METADATA_VERSION_MIN, max: METADATA_VERSION_MAX },
    SupportedFeature { name: KRAFT_VERSION, min: 0, max: 1 },
    SupportedFeature { name: ELIGIBLE_LEADER_REPLICAS_VERSION, min: 0, max: 1 },
    SupportedFeature { name: GROUP_VERSION, min: 0, max: 1 },
];

/// What a new catalog has on besides `metadata.version`: what Apache Kafka 4.3.1's `kafka-storage format` writes, in
/// its order, so that it misses nothing when it takes the directory over. Of these only what [`CATALOG_FEATURES`] and
/// the broker work with is told to clients ([`finalized`]).
pub const FORMAT_LEVELS: [(&str, i16); 5] = [
    (ELIGIBLE_LEADER_REPLICAS_VERSION, 1),
    (GROUP_VERSION, 1),
    (SHARE_VERSION, 1),
    (STREAMS_VERSION, 1),
    (TRANSACTION_VERSION, 2),
];

/// The level of a finalized feature as clients are told it: none of a feature that is not worked with here. The catalog
/// keeps that level all the same, for who does.
pub fn finalized(supported: &[SupportedFeature], name: &str, level: i16) -> Option<i16> {
    let feature = supported.iter().find(|feature| feature.name == name)?;
    (level > 0).then(|| level.min(feature.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_of_what_works() {
        let told = |name, level| finalized(&CATALOG_FEATURES, name, level);
        assert_eq!(told(METADATA_VERSION, 30), Some(30));
        assert_eq!(told(ELIGIBLE_LEADER_REPLICAS_VERSION, 0), None);
        assert_eq!(told(ELIGIBLE_LEADER_REPLICAS_VERSION, 3), Some(1));
        assert_eq!(told("some.version", 2), None);
    }
}
