//! One partition's log on disk: segments, indexes, appender, recovery. Knows no wire format.

pub mod producers;
