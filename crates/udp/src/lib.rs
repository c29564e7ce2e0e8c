//! UDP echo (RFC 862) and STAMP (RFC 8762) as a probe.
#![forbid(unsafe_code)]
