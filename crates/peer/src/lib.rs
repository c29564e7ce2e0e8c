//! The far end of two-ended tests: the STAMP reflector.
#![forbid(unsafe_code)]
