//! What happened: the durable ordered record of a node (memory, file).
