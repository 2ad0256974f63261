//! The binary: settings to components to run; and the command line.
fn main() {}
