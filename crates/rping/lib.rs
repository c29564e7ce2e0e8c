//! rping.
#![forbid(unsafe_code)]
