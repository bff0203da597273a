//! One record of the catalog's log: Kafka's frame around it (`MetadataRecordSerde`, `AbstractApiMessageSerde`).
//!
//! ```text
//! key:   null
//! value: frame version (unsigned varint, 1), record type (unsigned varint), version (unsigned varint), body
//! ```

use bytes::{Bytes, BytesMut};

use crate::protocol::{EncodeError, Message, Reader, Writer};

use super::error::RecordDecodeError;
use super::features::MetadataVersion;
#[allow(clippy::wildcard_imports)] // All there is in it are the records of the table below.
use super::records::*;

const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($key:literal $variant:ident($body:ident),)*) => {
        /// A record of the catalog, by its type.
        #[derive(Clone, PartialEq, Debug)]
        pub enum MetadataRecord {
            $($variant($body),)*
            /// A type of a later Kafka. It stays in the log, and no snapshot is written that would lose it.
            Unknown(UnknownRecord),
        }

        impl MetadataRecord {
            /// Kafka's name of the record type.
            pub fn name(&self) -> &'static str {
                match self {
                    $(MetadataRecord::$variant(_) => <$body as Message>::NAME,)*
                    MetadataRecord::Unknown(_) => "record of an unknown type",
                }
            }

            fn encode_body(&self, writer: &mut Writer, versions: MetadataVersion) -> Result<(), EncodeError> {
                match self {
                    $(MetadataRecord::$variant(body) => {
                        let version = self.version(versions);
                        writer.uvarint($key);
                        writer.uvarint(version as u32);
                        body.encode(writer, version)
                    })*
                    MetadataRecord::Unknown(unknown) => {
                        writer.uvarint(unknown.key);
                        writer.uvarint(unknown.version);
                        writer.raw(&unknown.body);
                        Ok(())
                    }
                }
            }

            fn decode_body(key: u32, version: u32, mut reader: Reader) -> Result<MetadataRecord, RecordDecodeError> {
                match key {
                    $($key => {
                        let record = <$body as Message>::NAME;
                        let known = i16::try_from(version).ok().filter(|&v| <$body as Message>::VERSIONS.contains(v));
                        let Some(version) = known else {
                            return Err(RecordDecodeError::Version { record, version });
                        };
                        let body = <$body as Message>::decode(&mut reader, version)
                            .map_err(|error| RecordDecodeError::Body { record, error: error.to_string() })?;
                        Ok(MetadataRecord::$variant(body))
                    })*
                    _ => {
                        let body = reader.into_inner().freeze();
                        Ok(MetadataRecord::Unknown(UnknownRecord { key, version, body }))
                    }
                }
            }
        }

        $(impl From<$body> for MetadataRecord {
            fn from(body: $body) -> MetadataRecord {
                MetadataRecord::$variant(body)
            }
        })*
    };
}

metadata_records! {
    0 RegisterBroker(RegisterBrokerRecord),
    1 UnregisterBroker(UnregisterBrokerRecord),
    2 Topic(TopicRecord),
    3 Partition(PartitionRecord),
    4 Config(ConfigRecord),
    5 PartitionChange(PartitionChangeRecord),
    7 FenceBroker(FenceBrokerRecord),
    8 UnfenceBroker(UnfenceBrokerRecord),
    9 RemoveTopic(RemoveTopicRecord),
    10 DelegationToken(DelegationTokenRecord),
    11 UserScramCredential(UserScramCredentialRecord),
    12 FeatureLevel(FeatureLevelRecord),
    14 ClientQuota(ClientQuotaRecord),
    15 ProducerIds(ProducerIdsRecord),
    17 BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    18 AccessControlEntry(AccessControlEntryRecord),
    19 RemoveAccessControlEntry(RemoveAccessControlEntryRecord),
    20 NoOp(NoOpRecord),
    21 ZkMigrationState(ZkMigrationStateRecord),
    22 RemoveUserScramCredential(RemoveUserScramCredentialRecord),
    23 BeginTransaction(BeginTransactionRecord),
    24 EndTransaction(EndTransactionRecord),
    25 AbortTransaction(AbortTransactionRecord),
    26 RemoveDelegationToken(RemoveDelegationTokenRecord),
    27 RegisterController(RegisterControllerRecord),
    28 ClearElr(ClearElrRecord),
}

/// A record whose type Apache Kafka 4.3 does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownRecord {
    pub key: u32,
    pub version: u32,
    pub body: Bytes,
}

impl MetadataRecord {
    /// The version to write, which a Kafka of this `metadata.version` can read.
    fn version(&self, versions: MetadataVersion) -> i16 {
        match self {
            MetadataRecord::RegisterBroker(_) => versions.register_broker_record(),
            MetadataRecord::Partition(_) => versions.partition_record(),
            MetadataRecord::PartitionChange(_) => versions.partition_change_record(),
            // As Kafka: the least version that has what is said.
            MetadataRecord::BrokerRegistrationChange(change) => {
                if change.cordoned_log_dirs.is_some() {
                    3
                } else if !change.log_dirs.is_empty() {
                    2
                } else {
                    i16::from(change.in_controlled_shutdown != 0)
                }
            }
            _ => 0,
        }
    }

    /// The value of the record in the log.
    pub fn encode(&self, versions: MetadataVersion) -> Result<BytesMut, EncodeError> {
        let mut writer = Writer::with_capacity(80);
        writer.uvarint(FRAME_VERSION);
        match self.fitted(versions) {
            Some(fitted) => fitted.encode_body(&mut writer, versions)?,
            None => self.encode_body(&mut writer, versions)?,
        }
        Ok(writer.into_bytes())
    }

    /// The record without what a Kafka of this `metadata.version` has no field for, if it has any of that.
    fn fitted(&self, versions: MetadataVersion) -> Option<MetadataRecord> {
        match self {
            MetadataRecord::Partition(partition) if partition_fields_missing(versions) => {
                let mut partition = partition.clone();
                if !versions.has_directories() {
                    partition.directories.clear();
                }
                partition.eligible_leader_replicas = None;
                partition.last_known_elr = None;
                Some(MetadataRecord::Partition(partition))
            }
            MetadataRecord::PartitionChange(change) if partition_fields_missing(versions) => {
                let mut change = change.clone();
                if !versions.has_directories() {
                    change.directories = None;
                }
                change.eligible_leader_replicas = None;
                change.last_known_elr = None;
                Some(MetadataRecord::PartitionChange(change))
            }
            MetadataRecord::RegisterBroker(broker) if versions.register_broker_record() < 4 => {
                let mut broker = broker.clone();
                broker.cordoned_log_dirs = None;
                if !versions.has_directories() {
                    broker.log_dirs.clear();
                }
                Some(MetadataRecord::RegisterBroker(broker))
            }
            _ => None,
        }
    }

    /// Reads the value of a record in the log.
    pub fn decode(value: &[u8]) -> Result<MetadataRecord, RecordDecodeError> {
        let mut reader = Reader::new(BytesMut::from(value));
        let mut number = || reader.uvarint().map_err(|_| RecordDecodeError::Frame { what: "its header is cut short" });
        let (frame, key, version) = (number()?, number()?, number()?);
        if frame != FRAME_VERSION {
            return Err(RecordDecodeError::Frame { what: "its frame version is not 1" });
        }
        MetadataRecord::decode_body(key, version, reader)
    }
}

fn partition_fields_missing(versions: MetadataVersion) -> bool {
    versions.partition_record() < 2
}
