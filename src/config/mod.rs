//! Configuration: one table of keys, the parsers that fill it, and the typed settings that everything else reads.

pub mod keys;
