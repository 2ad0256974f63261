//! The tests of this room from outside, one program: what they share is compiled once, and what none of them uses is found.

mod edges;
mod limits;
mod machine;
mod request;
mod stories;
mod support;
