//! Topics, configs and ids as a state machine over KRaft records.
