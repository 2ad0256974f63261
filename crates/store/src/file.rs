//! The file operations of the store's rooms: those of the standard library, or, with the feature `faults`, the same
//! watched by whoever asked for it, who may make each of them slow or fail.
//!
//! The feature is for tests of the node over a failing disk. Without it there is nothing here but names.

#[cfg(not(feature = "faults"))]
pub(crate) use std::fs::{File, read, remove_file, rename};
#[cfg(not(feature = "faults"))]
pub(crate) use std::os::unix::fs::FileExt;

/// Told before blocks are reserved, which a full disk refuses.
#[cfg(not(feature = "faults"))]
pub(crate) fn may_reserve(_: &File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
mod watched;

#[cfg(feature = "faults")]
pub use watched::{Act, Event, Watch, Watching, watch};
#[cfg(feature = "faults")]
pub(crate) use watched::{File, FileExt, may_reserve, read, remove_file, rename};
