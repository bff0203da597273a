//! One file per Kafka API: decode, ask, encode; one table of them all.
