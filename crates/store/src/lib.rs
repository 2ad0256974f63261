//! What is known: checkpoints of state rows, history segments, the idempotency index, the catalog.
