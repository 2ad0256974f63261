//! The store's own write pattern, measured on its own segments and on an embedded LSM tree.
//!
//! ```text
//! store-choice                 every case, each in a process of its own, as a table
//! store-choice <case>          one case: harness, history-ours, history-fjall, history-fjall-plain, rows-ours, rows-fjall
//! ```
//! **history**: groups of 50 finished records (row 400 B) are appended with their idempotency hash, and 50 new
//! submissions ask for theirs, which are not there; every 500,000 records all of it is made durable.
//! **rows**: 500,000 rows of 400 B stand; then checkpoints of 20,000 changed rows (half new, half of the oldest gone)
//! and 10,000 reads of evicted rows after each.
//! CPU counts every thread of the process; bytes written are what the kernel accounts to the block layer.

mod measure;
mod patterns;

use std::process::Command;

use measure::Figures;

const CASES: [&str; 7] =
    ["harness", "history-ours", "history-fjall", "history-fjall-plain", "rows-ours", "rows-fjall", "rows-fjall-plain"];

fn main() {
    match std::env::args().nth(1).as_deref() {
        None => {
            println!("{}", Figures::HEADER);
            let own = std::env::current_exe().expect("this program's path");
            for case in CASES {
                let output = Command::new(&own).arg(case).output().expect("a case");
                print!("{}", String::from_utf8_lossy(&output.stdout));
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Some(case) => {
            // Beside the program, so that a temporary directory in memory does not flatter anybody.
            let dir = tempfile::tempdir_in(std::env::current_dir().expect("a directory")).expect("a directory");
            let figures = match case {
                "harness" => patterns::harness(dir.path()),
                "history-ours" => patterns::history_ours(dir.path()),
                "history-fjall" => patterns::history_fjall(dir.path(), false),
                "history-fjall-plain" => patterns::history_fjall(dir.path(), true),
                "rows-ours" => patterns::rows_ours(dir.path()),
                "rows-fjall" => patterns::rows_fjall(dir.path(), false),
                "rows-fjall-plain" => patterns::rows_fjall(dir.path(), true),
                other => panic!("no case {other}; there are {CASES:?}"),
            };
            println!("{}", figures.line(case));
        }
    }
}
