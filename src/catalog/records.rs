//! The records of the catalog, in the schemas of Apache Kafka 4.3 (`metadata/src/main/resources/common/metadata`).
//! Lists of tagged fields stand in the order of their tags.

use bytes::Bytes;

use crate::protocol::{Str, messages};
use crate::types::KafkaUuid;

messages! {
    /// A broker has registered; it is fenced until a change says otherwise.
    data RegisterBrokerRecord [0-4], flexible [0+] {
        broker_id: i32 [0+];
        is_migrating_zk_broker: bool [2+];
        incarnation_id: KafkaUuid [0+];
        broker_epoch: i64 [0+];
        end_points: Vec<BrokerEndpoint> [0+];
        features: Vec<BrokerFeature> [0+];
        rack: Option<Str> [0+];
        fenced: bool [0+], default true;
        in_controlled_shutdown: bool [1+];
        log_dirs: Vec<KafkaUuid> [3+], tag 0;
        cordoned_log_dirs: Option<Vec<KafkaUuid>> [4+], tag 1;
    }
    struct BrokerEndpoint {
        name: Str [0+];
        host: Str [0+];
        port: u16 [0+];
        security_protocol: i16 [0+];
    }
    struct BrokerFeature {
        name: Str [0+];
        min_supported_version: i16 [0+];
        max_supported_version: i16 [0+];
    }

    /// A broker is gone for good.
    data UnregisterBrokerRecord [0], flexible [0+] {
        broker_id: i32 [0+];
        broker_epoch: i64 [0+];
    }

    /// A topic has been made; its configs and partitions follow.
    data TopicRecord [0], flexible [0+] {
        name: Str [0+];
        topic_id: KafkaUuid [0+];
    }

    /// A partition as a whole: new, or replacing what was known of it.
    data PartitionRecord [0-2], flexible [0+] {
        partition_id: i32 [0+], default -1;
        topic_id: KafkaUuid [0+];
        replicas: Vec<i32> [0+];
        isr: Vec<i32> [0+];
        removing_replicas: Vec<i32> [0+];
        adding_replicas: Vec<i32> [0+];
        leader: i32 [0+], default -1;
        leader_epoch: i32 [0+], default -1;
        partition_epoch: i32 [0+], default -1;
        directories: Vec<KafkaUuid> [1+];
        leader_recovery_state: i8 [0+], tag 0;
        eligible_leader_replicas: Option<Vec<i32>> [2+], tag 1;
        last_known_elr: Option<Vec<i32>> [2+], tag 2;
    }

    /// One value of a topic's (resource type 2), broker's (4), client metrics subscription's (16) or group's (32)
    /// configuration; null takes it away.
    data ConfigRecord [0], flexible [0+] {
        resource_type: i8 [0+];
        resource_name: Str [0+];
        name: Str [0+];
        value: Option<Str> [0+];
    }

    /// What has changed of a partition. Naming a leader, even the same one, raises the leader epoch.
    data PartitionChangeRecord [0-2], flexible [0+] {
        partition_id: i32 [0+], default -1;
        topic_id: KafkaUuid [0+];
        isr: Option<Vec<i32>> [0+], tag 0;
        leader: i32 [0+], tag 1, default -2;
        replicas: Option<Vec<i32>> [0+], tag 2;
        removing_replicas: Option<Vec<i32>> [0+], tag 3;
        adding_replicas: Option<Vec<i32>> [0+], tag 4;
        leader_recovery_state: i8 [0+], tag 5, default -1;
        eligible_leader_replicas: Option<Vec<i32>> [2+], tag 6;
        last_known_elr: Option<Vec<i32>> [2+], tag 7;
        directories: Option<Vec<KafkaUuid>> [1+], tag 8;
    }

    /// Before BrokerRegistrationChangeRecord: a broker is fenced.
    data FenceBrokerRecord [0], flexible [0+] {
        id: i32 [0+];
        epoch: i64 [0+];
    }

    /// Before BrokerRegistrationChangeRecord: a broker is unfenced.
    data UnfenceBrokerRecord [0], flexible [0+] {
        id: i32 [0+];
        epoch: i64 [0+];
    }

    /// A topic is gone, with its partitions and its configuration.
    data RemoveTopicRecord [0], flexible [0+] {
        topic_id: KafkaUuid [0+];
    }

    /// A delegation token (KIP-48).
    data DelegationTokenRecord [0], flexible [0+] {
        owner: Str [0+];
        requester: Str [0+];
        renewers: Vec<Str> [0+];
        issue_timestamp: i64 [0+];
        max_timestamp: i64 [0+];
        expiration_timestamp: i64 [0+];
        token_id: Str [0+];
    }

    /// A user's SCRAM credential (KIP-900).
    data UserScramCredentialRecord [0], flexible [0+] {
        name: Str [0+];
        mechanism: i8 [0+];
        salt: Bytes [0+];
        stored_key: Bytes [0+];
        server_key: Bytes [0+];
        iterations: i32 [0+];
    }

    /// The finalized level of a feature; 0 is off. Every log and snapshot begins with that of metadata.version.
    data FeatureLevelRecord [0], flexible [0+] {
        name: Str [0+];
        feature_level: i16 [0+];
    }

    /// One quota of a client entity.
    data ClientQuotaRecord [0], flexible [0+] {
        entity: Vec<EntityData> [0+];
        key: Str [0+];
        value: f64 [0+];
        remove: bool [0+];
    }
    struct EntityData {
        entity_type: Str [0+];
        entity_name: Option<Str> [0+];
    }

    /// All producer ids below `next_producer_id` are handed out in blocks.
    data ProducerIdsRecord [0], flexible [0+] {
        broker_id: i32 [0+];
        broker_epoch: i64 [0+], default -1;
        next_producer_id: i64 [0+];
    }

    /// What has changed of a broker's registration.
    data BrokerRegistrationChangeRecord [0-3], flexible [0+] {
        broker_id: i32 [0+];
        broker_epoch: i64 [0+];
        fenced: i8 [0+], tag 0;
        in_controlled_shutdown: i8 [1+], tag 1;
        log_dirs: Vec<KafkaUuid> [2+], tag 2;
        cordoned_log_dirs: Option<Vec<KafkaUuid>> [3+], tag 3;
    }

    /// An ACL.
    data AccessControlEntryRecord [0], flexible [0+] {
        id: KafkaUuid [0+];
        resource_type: i8 [0+];
        resource_name: Str [0+];
        pattern_type: i8 [0+];
        principal: Str [0+];
        host: Str [0+];
        operation: i8 [0+];
        permission_type: i8 [0+];
    }

    /// An ACL is gone.
    data RemoveAccessControlEntryRecord [0], flexible [0+] {
        id: KafkaUuid [0+];
    }

    /// Nothing: Kafka's controller writes one every half second, so that the log's end moves.
    data NoOpRecord [0], flexible [0+] {
    }

    /// How far a migration from ZooKeeper has come; left in catalogs that began there.
    data ZkMigrationStateRecord [0], flexible [0+] {
        zk_migration_state: i8 [0+];
    }

    /// A SCRAM credential is gone.
    data RemoveUserScramCredentialRecord [0], flexible [0+] {
        name: Str [0+];
        mechanism: i8 [0+];
    }

    /// All records from here to the end of the transaction apply at once, or not at all (KIP-868).
    data BeginTransactionRecord [0], flexible [0+] {
        name: Option<Str> [0+], tag 0;
    }

    /// The transaction applies.
    data EndTransactionRecord [0], flexible [0+] {
    }

    /// The transaction does not apply.
    data AbortTransactionRecord [0], flexible [0+] {
        reason: Option<Str> [0+], tag 0;
    }

    /// A delegation token is gone.
    data RemoveDelegationTokenRecord [0], flexible [0+] {
        token_id: Str [0+];
    }

    /// A controller has registered (KIP-919).
    data RegisterControllerRecord [0], flexible [0+] {
        controller_id: i32 [0+];
        incarnation_id: KafkaUuid [0+];
        zk_migration_ready: bool [0+];
        end_points: Vec<ControllerEndpoint> [0+];
        features: Vec<ControllerFeature> [0+];
    }
    struct ControllerEndpoint {
        name: Str [0+];
        host: Str [0+];
        port: u16 [0+];
        security_protocol: i16 [0+];
    }
    struct ControllerFeature {
        name: Str [0+];
        min_supported_version: i16 [0+];
        max_supported_version: i16 [0+];
    }

    /// The eligible leader replicas of a topic, or of all with an empty name, are forgotten (KIP-966).
    data ClearElrRecord [0], flexible [0+] {
        topic_name: Str [0+];
    }
}
