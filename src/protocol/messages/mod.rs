//! The messages, one file per API with its request and its response. Kafka's schemas are
//! `clients/src/main/resources/common/message/*.json`; versions are those of Kafka 4.3.

pub mod produce;

pub use produce::{ProduceRequest, ProduceResponse};
