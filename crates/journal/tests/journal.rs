//! The tests of the journal, one program.

mod conformance;
mod golden;
mod power;
mod rot;
mod running;
mod scene;
mod torn;
