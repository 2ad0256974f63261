//! How far it is: a bar on a terminal, a line every few seconds elsewhere. Always on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    count: u64,
    last_line: Instant,
}

impl Progress {
    /// Of `count` things.
    pub(crate) fn new(count: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
            // The template is ours: a bad one would be seen by the first test, and the default still shows a bar.
            if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} ended  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, count, last_line: Instant::now() }
    }

    pub(crate) fn set(&mut self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message.to_owned());
            }
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                eprintln!("{done} of {} ended  {message}", self.count);
            }
            None => {}
        }
    }

    /// A line that stays.
    pub(crate) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{what}")),
            None => eprintln!("{what}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
