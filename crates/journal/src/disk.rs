//! The few file operations the journal needs, behind a trait, so that tests can make each of them fail.
//!
//! [`DirDisk`] is a folder of the real filesystem; [`sim::SimDisk`] is one in memory that loses what was not synced.
//! Left out: what is written. Names are plain file names, there are no folders below the journal's.

pub mod sim;

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation};

/// Name of the file whose lock keeps a second process out.
pub const LOCK_FILE: &str = "lock";

/// A folder.
pub trait Disk: Send + Sync + fmt::Debug {
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, to read only.
    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable: creations, renames, removals.
    fn sync_names(&self) -> io::Result<()>;
    /// Bytes that the filesystem would still give to this process.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Keeps others out for as long as the guard lives.
    fn lock(&self) -> Result<Box<dyn Guard>, LockError>;
    /// The process that holds the lock now, if one does.
    fn locked_by(&self) -> io::Result<Option<u32>>;
    /// 64 bits that no earlier segment had.
    fn salt(&self) -> u64;
}

/// A file of that folder. All of it is positional; nobody shares a cursor.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// As `pread`: how many bytes arrived; 0 at the end.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// As `pwrite`: how many bytes left.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// As `fdatasync`: contents, and of the metadata only what reading them needs.
    fn sync_data(&self) -> io::Result<()>;
    /// As `fsync`.
    fn sync_all(&self) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
    /// Asks that the next read comes from the device and not from memory; a hint.
    fn forget_cached(&self);
}

/// What holds a lock.
pub trait Guard: Send + Sync + fmt::Debug {}

#[derive(Debug)]
pub enum LockError {
    Held { pid: Option<u32> },
    Io(io::Error),
}

/// Writes all of `bytes`, however many calls that takes.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::WriteZero, "the write took no byte")),
            Ok(taken) => {
                bytes = &bytes[taken..];
                offset += taken as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All of a file, in the reused buffer `into`.
pub(crate) fn read_whole(file: &dyn DiskFile, into: &mut Vec<u8>) -> io::Result<()> {
    let bytes = usize::try_from(file.bytes()?).map_err(|_| io::Error::other("the file is too large to read"))?;
    into.clear();
    into.resize(bytes, 0);
    let mut have = 0;
    while have < bytes {
        match file.read_at(&mut into[have..], have as u64) {
            Ok(0) => break,
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    into.truncate(have);
    Ok(())
}

/// A small text file, made durable under its name.
pub(crate) fn write_text(disk: &dyn Disk, name: &str, text: &str) -> io::Result<()> {
    let file = disk.create(name)?;
    write_all(&*file, text.as_bytes(), 0)?;
    file.sync_all()?;
    disk.sync_names()
}

// === impl DirDisk ===

/// A folder of the real filesystem.
#[derive(Debug)]
pub struct DirDisk {
    dir: PathBuf,
}

impl DirDisk {
    /// The folder must exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }
}

#[derive(Debug)]
struct DirGuard(File);

impl Guard for DirGuard {}

impl Drop for DirGuard {
    fn drop(&mut self) {
        // Best effort: the lock goes with the file anyhow, only the number of the process would be left behind.
        drop(self.0.set_len(0));
    }
}

impl Disk for DirDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // A name that is not text cannot be one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.dir.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(RealFile(File::open(self.dir.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let filesystem = rustix::fs::statvfs(&self.dir)?;
        Ok(filesystem.f_bavail.saturating_mul(filesystem.f_frsize))
    }

    fn lock(&self) -> Result<Box<dyn Guard>, LockError> {
        let path = self.dir.join(LOCK_FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(LockError::Io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held { pid: pid_in(&mut file) }),
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Box::new(DirGuard(file)))
    }

    fn locked_by(&self) -> io::Result<Option<u32>> {
        let mut file = match File::open(self.dir.join(LOCK_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Some(pid_in(&mut file).unwrap_or_default())),
            Err(error) => Err(error.into()),
        }
    }

    fn salt(&self) -> u64 {
        // The standard library's hasher is seeded by the operating system: randomness without another dependency.
        RandomState::new().hash_one(std::process::id())
    }
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn forget_cached(&self) {
        // A hint: where it is not taken, the read comes from memory and checks a little less.
        let _hint = rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed);
    }
}
