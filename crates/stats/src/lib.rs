//! What a stream of durations and losses amounts to, in constant memory.
#![forbid(unsafe_code)]
