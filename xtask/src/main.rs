//! The project's own chores: set-up, walls, tests.
fn main() {}
