//! Bytes to types and back: journal entries, transaction rows, batches, every released version.
