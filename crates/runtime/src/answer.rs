//! What goes back to whoever asked about a transaction.

use bytes::Bytes;
use model::TxId;

/// Until when a client waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until {
    /// The outcome is decided.
    #[default]
    Outcome,
    /// Everything has ended, undoing and optional steps included.
    End,
}

/// A transaction as it stood when the answer was made.
#[derive(Clone, Debug)]
pub struct Answer {
    pub id: TxId,
    /// The outcome is known.
    pub decided: bool,
    /// This submission (or signal, or wish) began nothing new.
    pub replayed: bool,
    /// The transaction, rendered by the `view` component where it lives.
    pub body: Bytes,
}
