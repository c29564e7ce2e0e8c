//! The program `rpingd`: `rping server` alone, with its flags.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rping::cli::daemon(std::env::args_os())
}
