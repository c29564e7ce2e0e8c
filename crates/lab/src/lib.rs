//! Test bed: network namespaces and a seeded impairment emulator on TUN devices.
#![forbid(unsafe_code)]
