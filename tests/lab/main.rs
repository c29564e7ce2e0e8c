//! rping as a person runs it, on networks whose truth is known: namespaces with firewalls and faults, and an
//! emulated link with a log. Needs root; says so and is skipped without it, fails without it in CI.

mod accounting;
mod agent;
mod bundle;
mod diagnose;
mod directions;
mod faults;
mod pcap;
mod peers;
mod situations;
mod sockets;
mod stamps;
mod support;
mod sweep;
mod syn;
mod trace;
