//! The tests of this room from outside, one program: what they share is compiled once, and what none of them uses is found.

mod findings;
mod hostile;
mod rules;
mod telecom;
