//! Whether the load generator is honest: it has to show a stall for every record that was due in it, and notice each record
//! that a broker loses, doubles, moves or changes. Each test runs the real binary against a real broker.

mod backlog;
mod broker;
mod pause;
mod proxy;
mod sink;
mod verify;
