//! A journal's folder that can be opened and is not changed: what recovery writes stays in memory.
//!
//! Opening a journal secures its end, so it writes. The doctor wants to see exactly what a start would see, and may
//! not touch a byte. Only pages that differ from zeros are kept, so a fresh segment of zeros costs nothing.
//! Left out: locking (`examine` does it once for the whole directory) and durability.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use journal::disk::{DirDisk, Disk, DiskFile, Guard, LockError};
use parking_lot::Mutex;

const PAGE: u64 = 4096;

/// The folder below, and what was written over it.
#[derive(Debug)]
pub(super) struct ShadowDisk {
    dir: PathBuf,
    below: DirDisk,
    over: Mutex<Over>,
}

#[derive(Debug, Default)]
struct Over {
    /// Files that were made or opened for writing, by their present name.
    files: BTreeMap<String, Arc<ShadowFile>>,
    /// Names below that are hidden: removed or renamed away.
    gone: BTreeSet<String>,
}

/// A file of the folder, or a new one, with the pages written since.
#[derive(Debug)]
struct ShadowFile {
    below: Option<File>,
    /// Bytes of the file below that still count.
    below_bytes: u64,
    over: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    bytes: u64,
    written: BTreeMap<u64, Option<Box<[u8]>>>,
}

#[derive(Debug)]
struct NoGuard;

impl Guard for NoGuard {}

impl ShadowDisk {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { below: DirDisk::new(&dir), dir, over: Mutex::default() }
    }

    fn file(&self, name: &str) -> io::Result<Arc<ShadowFile>> {
        let mut over = self.over.lock();
        if let Some(file) = over.files.get(name) {
            return Ok(Arc::clone(file));
        }
        if over.gone.contains(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = File::open(self.dir.join(name))?;
        let bytes = below.metadata()?.len();
        let pages = Mutex::new(Pages { bytes, written: BTreeMap::new() });
        let file = Arc::new(ShadowFile { below: Some(below), below_bytes: bytes, over: pages });
        over.files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

impl Disk for ShadowDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let over = self.over.lock();
        let mut names: BTreeSet<String> = self.below.list()?.into_iter().collect();
        names.retain(|name| !over.gone.contains(name));
        names.extend(over.files.keys().cloned());
        Ok(names.into_iter().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = Arc::new(ShadowFile { below: None, below_bytes: 0, over: Mutex::default() });
        self.over.lock().files.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name)?)
    }

    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name)?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let file = self.file(from)?;
        let mut over = self.over.lock();
        over.files.remove(from);
        over.gone.insert(from.to_owned());
        over.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut over = self.over.lock();
        over.files.remove(name);
        over.gone.insert(name.to_owned());
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX / 4)
    }

    fn lock(&self) -> Result<Box<dyn Guard>, LockError> {
        Ok(Box::new(NoGuard))
    }

    fn locked_by(&self) -> io::Result<Option<u32>> {
        Ok(None)
    }

    fn salt(&self) -> u64 {
        self.below.salt()
    }
}

impl ShadowFile {
    /// Up to the end of the page at `offset`.
    fn read_page(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let over = self.over.lock();
        let left = over.bytes.saturating_sub(offset).min(PAGE - offset % PAGE);
        let len = into.len().min(left as usize);
        let into = &mut into[..len];
        match over.written.get(&(offset / PAGE)) {
            Some(None) => into.fill(0),
            Some(Some(page)) => into.copy_from_slice(&page[(offset % PAGE) as usize..][..len]),
            None => {
                into.fill(0);
                let have = self.below_bytes.saturating_sub(offset).min(len as u64) as usize;
                if let Some(below) = &self.below {
                    below.read_exact_at(&mut into[..have], offset)?;
                }
            }
        }
        Ok(len)
    }
}

impl DiskFile for ShadowFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        // A file that nobody wrote to is read as it is.
        if self.over.lock().written.is_empty() {
            return match &self.below {
                Some(below) => below.read_at(into, offset),
                None => Ok(0),
            };
        }
        let mut done = 0;
        while done < into.len() {
            match self.read_page(&mut into[done..], offset + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let start = offset % PAGE;
        let len = bytes.len().min((PAGE - start) as usize);
        let bytes = &bytes[..len];
        let mut page = vec![0; PAGE as usize];
        if len < PAGE as usize {
            self.read_page(&mut page, offset - start)?;
        }
        page[start as usize..][..len].copy_from_slice(bytes);
        let page = page.iter().any(|byte| *byte != 0).then(|| page.into_boxed_slice());
        let mut over = self.over.lock();
        over.bytes = over.bytes.max(offset + len as u64);
        over.written.insert(offset / PAGE, page);
        Ok(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.over.lock().bytes)
    }

    fn forget_cached(&self) {}
}
