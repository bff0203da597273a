//! The one integration-test binary; each module opens with what it shows.

mod admin;
mod check;
mod compaction;
mod configs;
mod consuming;
mod crash;
mod crash_campaign;
mod disk;
mod group_configs;
mod groups;
mod groups_admin;
mod groups_classic;
mod harness;
mod malformed;
mod offsets;
mod protocol_fetch;
mod protocol_offsets;
mod protocol_oracle;
mod protocol_produce;
mod protocol_versions;
mod retention;
mod round_trip;
mod shards;
mod tidy;
