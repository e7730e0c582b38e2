//! The `epid` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    epid::cli::main().into()
}
