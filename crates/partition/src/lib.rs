//! What must happen: the deterministic state machine of one partition, and its leader pipeline.
