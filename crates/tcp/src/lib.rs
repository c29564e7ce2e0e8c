//! TCP connect as a probe: the handshake is the probe.
#![forbid(unsafe_code)]
