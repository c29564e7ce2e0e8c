//! ARP requests and NDP neighbour solicitations as a probe.
#![forbid(unsafe_code)]
