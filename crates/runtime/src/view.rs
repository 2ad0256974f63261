//! What a renderer may see of one transaction. The shapes of JSON are the API's; this is only the material.

use model::Timestamp;
use partition::Transaction;
use plan::Saga;

/// One transaction, where it lives.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub tx: &'a Transaction,
    pub plan: &'a Saga,
    pub now: Timestamp,
    pub detail: Detail,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detail {
    /// One line of a list: no steps, no input.
    Summary,
    /// What a submission is answered with.
    #[default]
    Answer,
    /// Everything, attempts included.
    Full,
}

/// Renders a transaction as JSON. Runs on the transaction's own worker; must not block.
pub type Renderer = fn(&View<'_>) -> Vec<u8>;
