//! Files below a watched directory tell their watcher of everything that they do, before and after.
//!
//! Files are known by their inode, so that a rename does not change who they are. Left out: reading of directories.

use std::fs::Metadata;
use std::io::{self, Seek as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// What is about to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Create,
    Open,
    Read,
    /// One that fails leaves half of its bytes.
    Write,
    Sync,
    Cut,
    /// Of blocks, ahead of a write.
    Reserve,
    Rename,
    Remove,
    SyncNames,
}

/// What a watcher is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// An error from the watcher is the error of the act, which then does not happen.
    Before(Act, &'a Path),
    Created {
        path: &'a Path,
        file: u64,
    },
    Wrote {
        file: u64,
        offset: u64,
        bytes: u64,
    },
    /// It has this length now.
    Cut {
        file: u64,
        bytes: u64,
    },
    /// In place of a sync: the watcher decides what lasts, the device is not asked.
    Synced {
        file: u64,
        contents: &'a std::fs::File,
    },
    Renamed {
        from: &'a Path,
        to: &'a Path,
    },
    Removed {
        path: &'a Path,
    },
    NamesSynced {
        dir: &'a Path,
    },
}

/// Whoever watches.
pub trait Watch: Send + Sync {
    /// The result matters for [`Event::Before`] only.
    fn told(&self, event: Event<'_>) -> io::Result<()>;
}

static WATCHED: RwLock<Vec<(PathBuf, Arc<dyn Watch>)>> = RwLock::new(Vec::new());

/// Lasts until it is dropped, for files that are opened meanwhile.
#[must_use]
pub struct Watching(PathBuf);

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watching({})", self.0.display())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHED.write().unwrap_or_else(PoisonError::into_inner).retain(|(dir, _)| *dir != self.0);
    }
}

/// Everything below `dir` is told to `watch`.
pub fn watch(dir: &Path, watch: Arc<dyn Watch>) -> Watching {
    WATCHED.write().unwrap_or_else(PoisonError::into_inner).push((dir.to_path_buf(), watch));
    Watching(dir.to_path_buf())
}

fn watcher_of(path: &Path) -> Option<Arc<dyn Watch>> {
    let watched = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
    watched.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, watch)| Arc::clone(watch))
}

fn before(act: Act, path: &Path) -> io::Result<Option<Arc<dyn Watch>>> {
    let watch = watcher_of(path);
    if let Some(watch) = &watch {
        watch.told(Event::Before(act, path))?;
    }
    Ok(watch)
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let watch = before(Act::Rename, from)?;
    std::fs::rename(from, to)?;
    watch.map_or(Ok(()), |watch| watch.told(Event::Renamed { from, to }))
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    let watch = before(Act::Remove, path)?;
    std::fs::remove_file(path)?;
    watch.map_or(Ok(()), |watch| watch.told(Event::Removed { path }))
}

pub(crate) fn may_reserve(file: &File) -> io::Result<()> {
    file.before(Act::Reserve)
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    before(Act::Open, path)?;
    before(Act::Read, path)?;
    std::fs::read(path)
}

/// As `std::fs::OpenOptions`, as far as the store needs it.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    inner: std::fs::OpenOptions,
    makes: bool,
}

impl Options {
    pub(crate) fn read(&mut self, yes: bool) -> &mut Self {
        self.inner.read(yes);
        self
    }

    pub(crate) fn write(&mut self, yes: bool) -> &mut Self {
        self.inner.write(yes);
        self
    }

    pub(crate) fn create(&mut self, yes: bool) -> &mut Self {
        self.makes = yes;
        self.inner.create(yes);
        self
    }

    pub(crate) fn truncate(&mut self, yes: bool) -> &mut Self {
        self.inner.truncate(yes);
        self
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let watch = before(if self.makes { Act::Create } else { Act::Open }, path)?;
        let is_new = self.makes && !path.exists();
        let inner = self.inner.open(path)?;
        let inode = inner.metadata()?.ino();
        if let Some(watch) = &watch {
            if is_new {
                watch.told(Event::Created { path, file: inode })?;
            } else if self.makes {
                watch.told(Event::Cut { file: inode, bytes: 0 })?;
            }
        }
        let watched = watch.map(|watch| Box::new(Watched { inode, path: path.to_path_buf(), watch }));
        Ok(File { inner, watched })
    }
}

/// As `std::fs::File`, as far as the store needs it.
pub(crate) struct File {
    inner: std::fs::File,
    /// Apart, so that a file that nobody watches is small.
    watched: Option<Box<Watched>>,
}

struct Watched {
    inode: u64,
    path: PathBuf,
    watch: Arc<dyn Watch>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Watched {
    fn before(&self, act: Act) -> io::Result<()> {
        self.watch.told(Event::Before(act, &self.path))
    }
}

impl File {
    pub(crate) fn options() -> Options {
        Options { inner: std::fs::OpenOptions::new(), makes: false }
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::options().read(true).open(path)
    }

    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::options().write(true).create(true).truncate(true).open(path)
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.inner.metadata()
    }

    pub(crate) fn set_len(&self, bytes: u64) -> io::Result<()> {
        let Some(watched) = &self.watched else { return self.inner.set_len(bytes) };
        watched.before(Act::Cut)?;
        self.inner.set_len(bytes)?;
        watched.watch.told(Event::Cut { file: watched.inode, bytes })
    }

    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match &self.watched {
            Some(_) => self.sync_all(),
            None => self.inner.sync_data(),
        }
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        let Some(watched) = &self.watched else { return self.inner.sync_all() };
        if watched.path.is_dir() {
            watched.before(Act::SyncNames)?;
            return watched.watch.told(Event::NamesSynced { dir: &watched.path });
        }
        watched.before(Act::Sync)?;
        watched.watch.told(Event::Synced { file: watched.inode, contents: &self.inner })
    }

    fn before(&self, act: Act) -> io::Result<()> {
        self.watched.as_ref().map_or(Ok(()), |watched| watched.before(act))
    }

    fn write_and_tell(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let Some(watched) = &self.watched else { return self.inner.write_all_at(bytes, offset) };
        let allowed = watched.before(Act::Write);
        let taken = if allowed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.inner.write_all_at(taken, offset)?;
        watched.watch.told(Event::Wrote { file: watched.inode, offset, bytes: taken.len() as u64 })?;
        allowed
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let offset = self.inner.stream_position()?;
        self.write_and_tell(bytes, offset)?;
        self.inner.seek(io::SeekFrom::Start(offset + bytes.len() as u64))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As `std::os::unix::fs::FileExt`, as far as the store needs it.
pub(crate) trait FileExt {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

impl FileExt for File {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.before(Act::Read)?;
        self.inner.read_exact_at(into, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_and_tell(bytes, offset)
    }
}
