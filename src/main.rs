//! The process: command line in, exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// One worker allocates and frees on one core, which this allocator serves without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main(std::env::args_os())
}
