//! Making files last: synced directories, atomic publishing, reserved space, honest read-back.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;

use crate::Error;
use crate::file::{self, File, FileExt};

/// Turns an I/O error into ours; `DiskFull` is told apart because the caller can wait for it to pass.
pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::DiskFull { action, path: path.to_path_buf() }
        }
        _ => Error::Io { action, path: path.to_path_buf(), source },
    }
}

/// Makes a directory's names durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(failed("sync the directory", dir))
}

/// Creates a directory and makes its name durable.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).map_err(failed("create the directory", dir))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Writes a whole file so that after a crash it is there entirely or not at all: written beside its place,
/// synced, read back from the disk, renamed, directory synced.
pub(crate) fn publish(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let part = dir.join(format!("{name}.tmp"));
    let done = dir.join(name);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&part)
        .map_err(failed("create", &part))?;
    file.write_all(bytes).map_err(failed("write", &part))?;
    file.sync_all().map_err(failed("sync", &part))?;
    forget_cached(&file, 0, bytes.len() as u64);
    let mut back = vec![0; bytes.len()];
    file.read_exact_at(&mut back, 0).map_err(failed("read back", &part))?;
    if back != bytes {
        return Err(Error::damaged(&part, 0, "what was read back differs from what was written"));
    }
    file::rename(&part, &done).map_err(failed("rename into place", &done))?;
    sync_dir(dir)
}

/// Reserves blocks behind `offset` so that a full disk shows here and not in a later sync.
/// A file system that cannot reserve is taken as it is.
pub(crate) fn reserve(file: &File, path: &Path, offset: u64, len: u64) -> Result<(), Error> {
    if len == 0 {
        return Ok(());
    }
    file::may_reserve(file).map_err(failed("reserve space in", path))?;
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(failed("reserve space in", path)(errno.into())),
    }
}

/// Asks the kernel to drop clean cached pages, so that a read-back comes from the disk. Advice only.
pub(crate) fn forget_cached(file: &File, offset: u64, len: u64) {
    if let Some(len) = std::num::NonZeroU64::new(len) {
        let _ = fadvise(file, offset, Some(len), Advice::DontNeed);
    }
}

/// The length of an open file in bytes.
pub(crate) fn len_of(file: &File, path: &Path) -> Result<u64, Error> {
    file.metadata().map(|meta| meta.len()).map_err(failed("measure", path))
}

/// File names of a directory, sorted; empty when there is no such directory.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(other) => return Err(failed("list", dir)(other)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", dir))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a file that nobody needs any more; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match file::remove_file(path) {
        Ok(()) => Ok(()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(other) => Err(failed("remove", path)(other)),
    }
}
