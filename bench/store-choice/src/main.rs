//! The store's own write pattern, measured on its own segments and on an embedded LSM tree.
//!
//! ```text
//! store-choice                 every case, each in a process of its own, as a table
//! store-choice <case>          one case; the names are in `CASES`
//! ```
//! **history**: groups of 50 finished records (row 400 B) are appended with their idempotency hash, and 50 new
//! submissions ask for theirs, which are not there; every 500,000 records all of it is made durable. As fast as it goes,
//! and held to 200,000 a second (`-200k`). `plain` is the tree without compression.
//! **rows**: 500,000 rows of 400 B stand; then checkpoints of 20,000 changed rows (half new, half of the oldest gone)
//! and 10,000 reads of evicted rows after each.
//! CPU counts every thread of the process; bytes written are what the kernel accounts to the block layer.

mod measure;
mod patterns;

use std::process::Command;

use measure::Figures;

const CASES: [&str; 11] = [
    "harness",
    "history-ours",
    "history-fjall",
    "history-fjall-plain",
    "history-ours-200k",
    "history-fjall-200k",
    "history-fjall-plain-200k",
    "lookups-20m-ours",
    "rows-ours",
    "rows-fjall",
    "rows-fjall-plain",
];

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
                "history-ours" => patterns::history_ours(dir.path(), false),
                "history-fjall" => patterns::history_fjall(dir.path(), false, false),
                "history-fjall-plain" => patterns::history_fjall(dir.path(), true, false),
                "history-ours-200k" => patterns::history_ours(dir.path(), true),
                "history-fjall-200k" => patterns::history_fjall(dir.path(), false, true),
                "history-fjall-plain-200k" => patterns::history_fjall(dir.path(), true, true),
                "lookups-20m-ours" => patterns::lookups_ours(dir.path()),
                "rows-ours" => patterns::rows_ours(dir.path()),
                "rows-fjall" => patterns::rows_fjall(dir.path(), false),
                "rows-fjall-plain" => patterns::rows_fjall(dir.path(), true),
                other => panic!("no case {other}; there are {CASES:?}"),
            };
            println!("{}", figures.line(case));
        }
    }
}
