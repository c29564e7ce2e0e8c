//! The program `rping`.

fn main() {}
