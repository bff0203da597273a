//! Why keys of Kafka have no effect here: half sentences that follow "has no effect: ".

pub const THREADS: &str = "Corelane runs one thread per core, see shards";
pub const SINGLE_NODE: &str = "Corelane is a single node without replication";
pub const NO_QUORUM: &str = "Corelane's catalog has no quorum to reach";
pub const JAVA_CLASS: &str = "it names a Java class, which Corelane cannot load";
pub const NO_SECURITY: &str = "TLS, SASL and access control are not there yet";
pub const NO_TRANSACTIONS: &str = "transactions are not there yet";
pub const NO_SHARE_GROUPS: &str = "share groups are not there yet";
pub const NO_STREAMS_GROUPS: &str = "streams groups are not there yet";
pub const NO_TIERED_STORAGE: &str = "tiered storage is not there yet";
pub const NO_RECOMPRESSION: &str = "batches are stored with the codec they came with";
pub const NO_QUOTAS: &str = "quotas and rate limits are not there yet";
pub const METRICS: &str = "Corelane shows its metrics on the admin port, see admin.listener";
pub const REMOVED: &str = "Kafka 4 removed it";
