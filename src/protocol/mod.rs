//! Kafka's wire format: primitives, the message macro, one file per API's messages. Pure.
