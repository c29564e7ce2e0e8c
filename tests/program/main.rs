//! The program as a person and a script meet it: what it refuses, how it ends, what it leaves on which stream.

mod bandwidth;
mod compare;
mod endings;
mod faults;
mod graph;
mod hdr;
mod latency;
mod page;
mod privileges;
mod psping;
mod refusals;
mod saved;
mod server;

use std::process::{Command, Output};

/// Runs `rping` with these arguments to its end.
fn rping(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rping"))
        .args(args)
        .output()
        .expect("rping starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}
