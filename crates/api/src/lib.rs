//! How to ask: HTTP routes, problem documents, NDJSON, metrics.
//!
//! ```text
//! listen ──► front (one accept loop per worker) ──► router ──► routes/… ──► runtime::Engine
//!                                                      └─► problem        (every error, once)
//! ```
//! A connection stays on the worker that accepted it, and nothing on its path needs to be `Send`. The routes are one
//! table rather than a framework's builder: it gives `Allow` and `HEAD`, and a test compares it with `openapi.json`.
//! [`view::render`] is the renderer that the engine is given.

#![forbid(unsafe_code)]

mod body;
mod front;
pub mod intake;
mod json;
mod listen;
mod metrics;
mod problem;
mod request;
mod router;
mod routes;
pub mod view;

pub use listen::{Drain, ListenError, ListenSettings, Listening, listen};
