//! Listeners and connections: framing, order of answers, limits.
