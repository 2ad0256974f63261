//! The benchmarks without the rest of the command line: `cargo run --release -p bench --example bench -- engine`.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    bench: bench::Bench,
}

fn main() {
    if let Err(why) = bench::run(&Line::parse().bench) {
        eprintln!("error: {why}");
        std::process::exit(1);
    }
}
