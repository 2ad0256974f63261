//! The benchmarks without the rest of the command line: `cargo run --release -p bench --example bench -- engine`.

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    bench: bench::Bench,
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: bench::Output,
}

fn main() {
    let result = bench::play_part().unwrap_or_else(|| {
        let line = Line::parse();
        bench::run(line.bench, line.output)
    });
    if let Err(why) = result {
        eprintln!("error: {why}");
        std::process::exit(1);
    }
}
