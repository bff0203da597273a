//! The operations, one file per opcode.

pub(super) mod accept;
pub(super) mod connect;
pub(super) mod fill;
pub(super) mod fsync;
pub(super) mod poll;
pub(super) mod read;
pub(super) mod recv;
pub(super) mod sendmsg;
pub(super) mod write;
pub(super) mod writev;
