//! The numbers of Kafka's APIs (`org.apache.kafka.common.protocol.ApiKeys`), and from which version on each is
//! flexible, which decides the headers even of a version whose body nobody knows.

use std::fmt;

use super::Versions;
use super::declare::messages;

macro_rules! api_keys {
    ($($number:literal $name:ident $flexible:tt,)*) => {
        /// A Kafka API. The names are those of the requests, without `Request`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $number,)*
        }

        impl ApiKey {
            /// All there are in Kafka 4.3, by number.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name,)*];

            /// The API of a number from the wire, if there is one.
            pub fn from_number(number: i16) -> Option<ApiKey> {
                match number {
                    $($number => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions with compact lengths and tagged fields, of request and response alike.
            pub fn flexible_versions(self) -> Versions {
                match self {
                    $(ApiKey::$name => messages!(@versions $flexible),)*
                }
            }
        }
    };
}

api_keys! {
    0 Produce [9+],
    1 Fetch [12+],
    2 ListOffsets [6+],
    3 Metadata [9+],
    4 LeaderAndIsr [none],
    5 StopReplica [none],
    6 UpdateMetadata [none],
    7 ControlledShutdown [none],
    8 OffsetCommit [8+],
    9 OffsetFetch [6+],
    10 FindCoordinator [3+],
    11 JoinGroup [6+],
    12 Heartbeat [4+],
    13 LeaveGroup [4+],
    14 SyncGroup [4+],
    15 DescribeGroups [5+],
    16 ListGroups [3+],
    17 SaslHandshake [none],
    18 ApiVersions [3+],
    19 CreateTopics [5+],
    20 DeleteTopics [4+],
    21 DeleteRecords [2+],
    22 InitProducerId [2+],
    23 OffsetForLeaderEpoch [4+],
    24 AddPartitionsToTxn [3+],
    25 AddOffsetsToTxn [3+],
    26 EndTxn [3+],
    27 WriteTxnMarkers [1+],
    28 TxnOffsetCommit [3+],
    29 DescribeAcls [2+],
    30 CreateAcls [2+],
    31 DeleteAcls [2+],
    32 DescribeConfigs [4+],
    33 AlterConfigs [2+],
    34 AlterReplicaLogDirs [2+],
    35 DescribeLogDirs [2+],
    36 SaslAuthenticate [2+],
    37 CreatePartitions [2+],
    38 CreateDelegationToken [2+],
    39 RenewDelegationToken [2+],
    40 ExpireDelegationToken [2+],
    41 DescribeDelegationToken [2+],
    42 DeleteGroups [2+],
    43 ElectLeaders [2+],
    44 IncrementalAlterConfigs [1+],
    45 AlterPartitionReassignments [0+],
    46 ListPartitionReassignments [0+],
    47 OffsetDelete [none],
    48 DescribeClientQuotas [1+],
    49 AlterClientQuotas [1+],
    50 DescribeUserScramCredentials [0+],
    51 AlterUserScramCredentials [0+],
    52 Vote [0+],
    53 BeginQuorumEpoch [1+],
    54 EndQuorumEpoch [1+],
    55 DescribeQuorum [0+],
    56 AlterPartition [0+],
    57 UpdateFeatures [0+],
    58 Envelope [0+],
    59 FetchSnapshot [0+],
    60 DescribeCluster [0+],
    61 DescribeProducers [0+],
    62 BrokerRegistration [0+],
    63 BrokerHeartbeat [0+],
    64 UnregisterBroker [0+],
    65 DescribeTransactions [0+],
    66 ListTransactions [0+],
    67 AllocateProducerIds [0+],
    68 ConsumerGroupHeartbeat [0+],
    69 ConsumerGroupDescribe [0+],
    70 ControllerRegistration [0+],
    71 GetTelemetrySubscriptions [0+],
    72 PushTelemetry [0+],
    73 AssignReplicasToDirs [0+],
    74 ListConfigResources [0+],
    75 DescribeTopicPartitions [0+],
    76 ShareGroupHeartbeat [0+],
    77 ShareGroupDescribe [0+],
    78 ShareFetch [0+],
    79 ShareAcknowledge [0+],
    80 AddRaftVoter [0+],
    81 RemoveRaftVoter [0+],
    82 UpdateRaftVoter [0+],
    83 InitializeShareGroupState [0+],
    84 ReadShareGroupState [0+],
    85 WriteShareGroupState [0+],
    86 DeleteShareGroupState [0+],
    87 ReadShareGroupStateSummary [0+],
    88 StreamsGroupHeartbeat [0+],
    89 StreamsGroupDescribe [0+],
    90 DescribeShareGroupOffsets [0+],
    91 AlterShareGroupOffsets [0+],
    92 DeleteShareGroupOffsets [0+],
}

impl ApiKey {
    /// The number on the wire.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The version of the header before a request of this version.
    pub fn request_header_version(self, version: i16) -> i16 {
        if self.flexible_versions().contains(version) { 2 } else { 1 }
    }

    /// The version of the header before a response of this version. An ApiVersions response always has 0, since its
    /// reader does not know yet what the broker speaks.
    pub fn response_header_version(self, version: i16) -> i16 {
        i16::from(self != ApiKey::ApiVersions && self.flexible_versions().contains(version))
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
