//! ICMP and ICMPv6 echo as a probe.
#![forbid(unsafe_code)]
