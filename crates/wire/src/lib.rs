//! Bytes to values and back: STAMP, echo headers, quoted packets.
#![forbid(unsafe_code)]
