//! The tests of this room from outside, one program: what they share is compiled once, and what none of them uses is found.

mod cel;
mod hostile;
mod numbers;
mod rendering;
mod schema;
mod stored;
mod support;
