//! The binary: settings to components to run; and the command line.
//!
//! `cli` has the verbs, `settings` the numbers of `serve` and where each came from. No rule of the engine is here.

use std::process::ExitCode;

mod cli;
mod demo;
mod doctor;
mod drill;
mod settings;

/// Smaller and faster under many short-lived buffers than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    demo::stage::end_with_owner();
    // A benchmark starts this binary again for its other processes.
    if let Some(ended) = bench::play_part() {
        return match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("error: {why}");
                ExitCode::FAILURE
            }
        };
    }
    cli::run()
}
