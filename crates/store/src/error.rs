//! Everything that can go wrong in the store, one cause per variant, each with its place.

use std::path::{Path, PathBuf};

/// Why the store could not do what was asked. Errors are logged where they are handled, never here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
    /// No space left. Nothing that was durable is lost, and the same call may be repeated once there is room.
    #[error("the disk is full: cannot {action} {}; free space in the data directory, nothing is lost", path.display())]
    DiskFull { action: &'static str, path: PathBuf },
    /// Bytes on disk are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: String },
    /// A sync failed or a thread died: what the disk holds is no longer known, so nothing more is written.
    #[error("{room} has stopped ({reason}); restart the node once the disk is sound")]
    Stopped { room: &'static str, reason: String },
    /// The caller asked for something that can never be right.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), offset, what: what.into() }
    }

    /// True when the same call may succeed later, after space was freed.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. })
    }

    /// True when stored bytes were found changed.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
