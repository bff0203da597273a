//! Configuration: one table of keys, the parsers that fill it, and the typed settings that everything else reads.
//!
//! ```text
//! profile < file (TOML or Kafka's server.properties) < --set < changed while running
//!    \________________ Settings: every key, as text, with its origin ______________/
//!                          |                          |
//!                    BrokerConfig, TopicConfig     DescribeConfigs rows, `config show`
//! ```
//!
//! Nothing here reads a file, a clock or the machine: callers bring the text and the facts (`Machine`).

mod broker;
mod describe;
mod error;
mod groups;
mod iso_duration;
pub mod keys;
mod listeners;
pub mod profiles;
mod properties;
mod settings;
mod toml_file;
mod topic;

pub use broker::{
    BrokerConfig, CatalogConfig, FlushAcks, IoMode, LogFormat, LogSettings, LoggingConfig, Machine, NetworkConfig,
    OffsetsConfig, RuntimeConfig, ShardListeners, TopicDefaults,
};
pub use describe::{ConfigRow, ConfigSource, ConfigSynonym};
pub use error::{ConfigError, ConfigNote};
pub use groups::{
    ConsumerGroupsConfig, GroupConfigError, GroupsConfig, MigrationPolicy, check_group_bounds, check_group_config,
    groups as groups_config, validate_group_config,
};
pub use iso_duration::{fraction_ms, iso_duration_ms};
pub use listeners::{ControllerListener, HostPort, Listener};
pub use settings::{Assignment, Origin, Setting, Settings, Sources};
pub use topic::{TimestampType, TopicConfig, TopicConfigError, validate_topic_config};
