//! The targets: their names, what they take, what an input may cost them.

mod api_bodies;
mod api_lines;
mod apply;
mod connector_answer;
mod definition_files;
mod expression;
mod journal_segments;
mod json;
mod load;
mod plan_stored;
mod store_catalog;
mod store_files;
mod store_history;
mod store_rows;
mod wire_checkpoint;
mod wire_entries;
mod wire_row;
mod words;

use std::time::Duration;

use crate::bounds;

/// One reader under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// What it reads, in a few words.
    pub what: &'static str,
    /// Longer inputs say nothing new.
    pub bytes_max: usize,
    /// The heap that an input may take: so much, and so much for each of its bytes.
    pub heap_bytes: usize,
    pub heap_bytes_per_byte: usize,
    pub run: fn(&[u8]),
}

/// The processor's time that one input may take, on a build without optimisation and with every assertion.
const CPU_MAX: Duration = Duration::from_millis(2_000);

impl Target {
    /// Runs the target on `data` and holds it to its bounds.
    ///
    /// # Panics
    /// If something that must hold does not: that is the finding.
    pub fn check(&self, data: &[u8]) {
        let data = &data[..data.len().min(self.bytes_max)];
        let cost = bounds::measured(|| (self.run)(data));
        let heap = self.heap_bytes + self.heap_bytes_per_byte * data.len();
        assert!(cost.heap_bytes_max <= heap, "{} bytes took {} on the heap", data.len(), cost.heap_bytes_max);
        assert!(cost.cpu <= CPU_MAX, "{} bytes took {:?}", data.len(), cost.cpu);
    }
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

const fn target(name: &'static str, what: &'static str, run: fn(&[u8])) -> Target {
    Target { name, what, bytes_max: 4_096, heap_bytes: 256 << 10, heap_bytes_per_byte: 1_024, run }
}

/// Fast ones first.
pub const TARGETS: &[Target] = &[
    target("words", "ids, times, durations, numbers as text", words::run),
    target("json", "JSON text to a value", json::run),
    target("wire_row", "the row of a transaction", wire_row::run),
    target("wire_entries", "the entries of a batch", wire_entries::run),
    // A frame holds whole plans.
    Target { bytes_max: 16 << 10, ..target("wire_checkpoint", "the frame of a checkpoint", wire_checkpoint::run) },
    Target { bytes_max: 16 << 10, ..target("plan_stored", "plans and participants as stored", plan_stored::run) },
    Target {
        heap_bytes: 4 << 20,
        ..target("connector_answer", "a participant's answer: status, headers, body", connector_answer::run)
    },
    target("api_bodies", "queries, headers and bodies of HTTP requests", api_bodies::run),
    target("api_lines", "an NDJSON stream in pieces", api_lines::run),
    target("load", "a stream of releases, ends and samples", load::run),
    Target { heap_bytes: 4 << 20, ..target("apply", "entries against a partition with real plans", apply::run) },
    Target { heap_bytes: 1 << 20, ..target("expression", "one expression and its input", expression::run) },
    Target { heap_bytes: 4 << 20, ..target("definition_files", "YAML of a definition", definition_files::run) },
    Target { heap_bytes: 8 << 20, ..target("journal_segments", "segments of a journal", journal_segments::run) },
    Target { heap_bytes: 4 << 20, ..target("store_rows", "a checkpoint's manifest and segments", store_rows::run) },
    Target { heap_bytes: 4 << 20, ..target("store_history", "a segment of the history", store_history::run) },
    Target { heap_bytes: 4 << 20, ..target("store_catalog", "the catalog's file", store_catalog::run) },
];
