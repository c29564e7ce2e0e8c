//! The program `rping`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rping::cli::main(std::env::args_os())
}
