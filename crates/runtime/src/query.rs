//! Finding transactions: filters, pages, counts.

use bytes::Bytes;
use compact_str::CompactString;
use model::Timestamp;

/// All conditions must hold; absent ones do not constrain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub definition: Option<CompactString>,
    /// `running`, `waiting`, `compensating`, `needs_attention`, `ended`.
    pub state: Option<CompactString>,
    /// `completed`, `aborted`.
    pub outcome: Option<CompactString>,
    /// `refused`, `failed`, `cancelled`, `timed_out`.
    pub reason: Option<CompactString>,
    pub key: Option<CompactString>,
    pub idempotency_key: Option<CompactString>,
    pub participant: Option<CompactString>,
    pub step: Option<CompactString>,
    pub began_after: Option<Timestamp>,
    pub began_before: Option<Timestamp>,
}

/// Newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Each a transaction, rendered in the summary view.
    pub items: Vec<Bytes>,
    /// Opaque; absent on the last page.
    pub next_cursor: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    State,
    Definition,
    Reason,
    Participant,
    Step,
}

/// One line of a count: the values of the grouping, in the order asked, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub group: Vec<CompactString>,
    pub count: u64,
}
