//! How to ask: HTTP routes, problem documents, NDJSON, metrics.
