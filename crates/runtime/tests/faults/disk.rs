//! What lasts of a data directory, and everything that can go wrong with it.
//!
//! The files are real; beside them stands what would be found after the power went: of each file the sectors that were
//! synced, of each folder the names that were. A life has its own door to them ([`Door`]), which is shut for good when
//! the life ends: what is left of its threads changes nothing any more. Left out: folders, which always last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use journal::disk::{Disk, DiskFile, Guard, LockError};
use store::file::{Act, Event, Watch};

use crate::dice::Dice;

const SECTOR: usize = 512;

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// After so many changing calls the door is shut: a crash in the middle of whatever was being done.
    pub(crate) ends_in: Option<u64>,
    /// The sync after so many fails, and its bytes never reach the disk, although they can be read.
    pub(crate) failing_sync_in: Option<u64>,
    /// One sync in so many takes up to 40 ms.
    pub(crate) slow_sync_one_in: Option<u64>,
    /// One read in so many fails.
    pub(crate) read_error_one_in: Option<u64>,
    /// Nothing can grow.
    pub(crate) is_full: bool,
}

/// The disk of all lives of one seed.
#[derive(Debug)]
pub(crate) struct Shadow {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: HashMap<u64, Image>,
    /// By inode, which another file may have later.
    known: HashMap<u64, u64>,
    next: u64,
    names: BTreeMap<PathBuf, u64>,
    /// Names as the device has them.
    durable: BTreeMap<PathBuf, u64>,
    /// Since its folder was synced.
    changes: Vec<Change>,
    faults: Faults,
    dice: Dice,
    told: Told,
}

/// How often each thing went wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) failed_syncs: u64,
    pub(crate) slow_syncs: u64,
    pub(crate) read_errors: u64,
    pub(crate) refused_for_space: u64,
    pub(crate) syncs: u64,
}

#[derive(Debug, Default)]
struct Image {
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    bytes: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Made(PathBuf, u64),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Change {
    fn folder(&self) -> &Path {
        match self {
            Self::Made(path, _) | Self::Renamed(_, path) | Self::Removed(path) => path.parent().expect("a folder"),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Made(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Renamed(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Removed(path) => drop(names.remove(path)),
        }
    }
}

impl Shadow {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            files: HashMap::new(),
            known: HashMap::new(),
            next: 1,
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            faults: Faults::default(),
            dice: Dice::new(seed, "disk"),
            told: Told::default(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    pub(crate) fn told(&self) -> Told {
        self.state().told
    }

    /// The power goes: `from` as it is found afterwards, in the new folder `to`. Every sector that was not synced is
    /// there or not, and of the changes of each folder's names the first few are.
    pub(crate) fn cut_power(&self, from: &Path, to: &Path) {
        let mut state = self.state();
        let State { files, durable, changes, dice, names, known, .. } = &mut *state;
        let mut spared: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in changes.iter() {
            let folder = change.folder().to_owned();
            *spared.entry(folder).or_default() += 1;
        }
        spared.values_mut().for_each(|count| *count = dice.below(*count + 1));
        let mut found = durable.clone();
        for change in changes.iter() {
            let left = spared.entry(change.folder().to_owned()).or_default();
            if *left > 0 {
                *left -= 1;
                change.apply(&mut found);
            }
        }
        copy_folders(from, to);
        let at: HashMap<u64, &PathBuf> = names.iter().map(|(path, file)| (*file, path)).collect();
        let mut images = HashMap::new();
        for (path, file) in &found {
            let Some(image) = files.get(file) else { continue };
            let mut bytes = image.durable.clone();
            // What is gone from the running system's names is gone with what was not synced of it.
            if let Some(seen) = at.get(file).and_then(|path| fs::read(path).ok()) {
                for &sector in &image.dirty {
                    if dice.one_in(2) {
                        copy_sector(&seen, &mut bytes, sector);
                    }
                }
            }
            let path = moved(path, from, to);
            fs::write(&path, &bytes).expect("the disk after the power cut is written");
            images.insert(path, bytes);
        }
        *files = HashMap::new();
        *known = HashMap::new();
        *names = BTreeMap::new();
        for (path, bytes) in images {
            let file = state.next;
            state.next += 1;
            let inode = fs::metadata(&path).expect("it was written").ino();
            state.known.insert(inode, file);
            state.names.insert(path, file);
            let image = Image { bytes: bytes.len() as u64, durable: bytes, dirty: BTreeSet::new() };
            state.files.insert(file, image);
        }
        state.durable = state.names.clone();
        state.changes = Vec::new();
    }
}

fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from).map_or_else(|_| path.to_owned(), |inner| to.join(inner))
}

fn copy_folders(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        if entry.path().is_dir() {
            copy_folders(&entry.path(), &to.join(entry.file_name()));
        }
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let (start, end) = (sector * SECTOR, from.len().min((sector + 1) * SECTOR));
    if start < end {
        if to.len() < end {
            to.resize(end, 0);
        }
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl State {
    fn made(&mut self, path: &Path, inode: u64) {
        let file = self.next;
        self.next += 1;
        self.known.insert(inode, file);
        self.files.insert(file, Image::default());
        self.name(Change::Made(path.to_owned(), file));
    }

    fn name(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn wrote(&mut self, inode: u64, offset: u64, bytes: u64) {
        let Some(image) = self.known.get(&inode).and_then(|file| self.files.get_mut(file)) else { return };
        if bytes > 0 {
            image.dirty.extend(offset as usize / SECTOR..=(offset + bytes - 1) as usize / SECTOR);
            image.bytes = image.bytes.max(offset + bytes);
        }
    }

    fn cut(&mut self, inode: u64, bytes: u64) {
        let Some(image) = self.known.get(&inode).and_then(|file| self.files.get_mut(file)) else { return };
        let keep = (bytes as usize).div_ceil(SECTOR);
        image.dirty.retain(|sector| *sector < keep);
        image.bytes = bytes;
    }

    fn synced(&mut self, inode: u64, contents: &File, fails: bool) -> io::Result<()> {
        self.told.syncs += 1;
        let Some(image) = self.known.get(&inode).and_then(|file| self.files.get_mut(file)) else { return Ok(()) };
        let dirty = std::mem::take(&mut image.dirty);
        if fails {
            self.told.failed_syncs += 1;
            return Err(io::Error::other("the sync failed, as it was told to"));
        }
        image.durable.resize(image.bytes as usize, 0);
        for sector in dirty {
            let start = sector * SECTOR;
            let end = image.durable.len().min(start + SECTOR);
            if start < end {
                contents.read_exact_at(&mut image.durable[start..end], start as u64)?;
            }
        }
        Ok(())
    }

    fn names_synced(&mut self, dir: &Path) {
        let (synced, waiting): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.folder() == dir);
        synced.iter().for_each(|change| change.apply(&mut self.durable));
        self.changes = waiting;
    }
}

/// One life's way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    shadow: Arc<Shadow>,
    shut: Arc<AtomicBool>,
}

impl Door {
    pub(crate) fn open(shadow: &Arc<Shadow>) -> Self {
        Self { shadow: Arc::clone(shadow), shut: Arc::default() }
    }

    /// From now on nothing of this life reaches the disk.
    pub(crate) fn shut(&self) {
        // With the lock, so that what is under way is either done or not.
        let _state = self.shadow.state();
        self.shut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    fn before(&self, act: Act, grows: bool) -> io::Result<()> {
        let mut state = self.shadow.state();
        if self.is_shut() {
            return Err(io::Error::other("this life is over"));
        }
        if matches!(act, Act::Open | Act::Read) {
            let one_in = state.faults.read_error_one_in;
            if act == Act::Read && one_in.is_some_and(|many| state.dice.one_in(many)) {
                state.told.read_errors += 1;
                return Err(io::Error::other("the read failed, as it was told to"));
            }
            return Ok(());
        }
        if let Some(left) = &mut state.faults.ends_in {
            if *left == 0 {
                self.shut.store(true, Ordering::SeqCst);
                return Err(io::Error::other("this life is over"));
            }
            *left -= 1;
        }
        if grows && state.faults.is_full {
            state.told.refused_for_space += 1;
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left, as it was told"));
        }
        Ok(())
    }

    fn sync(&self, inode: u64, contents: &File) -> io::Result<()> {
        let mut state = self.shadow.state();
        if state.faults.slow_sync_one_in.is_some_and(|many| state.dice.one_in(many)) {
            state.told.slow_syncs += 1;
            let ms = state.dice.below(40);
            drop(state);
            std::thread::sleep(Duration::from_millis(ms));
            state = self.shadow.state();
        }
        if self.is_shut() {
            return Err(io::Error::other("this life is over"));
        }
        let fails = match &mut state.faults.failing_sync_in {
            Some(0) => {
                state.faults.failing_sync_in = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        state.synced(inode, contents, fails)
    }
}

impl Watch for Door {
    fn told(&self, event: Event<'_>) -> io::Result<()> {
        let state = || self.shadow.state();
        match event {
            Event::Before(act, path) => {
                // Blocks are reserved before they are written; only what is published whole grows as it is written.
                let is_published = path.extension().is_some_and(|ending| ending == "tmp");
                let grows = act == Act::Reserve || (matches!(act, Act::Create | Act::Write) && is_published);
                return self.before(act, grows);
            }
            Event::Created { path, file } => state().made(path, file),
            Event::Wrote { file, offset, bytes } => state().wrote(file, offset, bytes),
            Event::Cut { file, bytes } => state().cut(file, bytes),
            Event::Synced { file, contents } => return self.sync(file, contents),
            Event::Renamed { from, to } => state().name(Change::Renamed(from.to_owned(), to.to_owned())),
            Event::Removed { path } => state().name(Change::Removed(path.to_owned())),
            Event::NamesSynced { dir } => state().names_synced(dir),
        }
        Ok(())
    }
}

/// The journal's folder behind a door.
#[derive(Debug)]
pub(crate) struct JournalDisk {
    door: Door,
    dir: PathBuf,
    locked: Arc<AtomicBool>,
}

impl JournalDisk {
    pub(crate) fn new(door: Door, dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("a folder");
        Self { door, dir, locked: Arc::default() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&self, inner: File) -> io::Result<Arc<dyn DiskFile>> {
        let inode = inner.metadata()?.ino();
        Ok(Arc::new(JournalFile { door: self.door.clone(), inner, inode }))
    }
}

impl Disk for JournalDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.door.before(Act::Open, false)?;
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.door.before(Act::Create, true)?;
        let path = self.at(name);
        let is_new = !path.exists();
        let inner = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        let inode = inner.metadata()?.ino();
        if is_new {
            self.door.shadow.state().made(&path, inode);
        } else {
            self.door.shadow.state().cut(inode, 0);
        }
        self.file(inner)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.door.before(Act::Open, false)?;
        self.file(File::options().read(true).write(true).open(self.at(name))?)
    }

    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.door.before(Act::Open, false)?;
        self.file(File::open(self.at(name))?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.door.before(Act::Rename, false)?;
        fs::rename(self.at(from), self.at(to))?;
        self.door.shadow.state().name(Change::Renamed(self.at(from), self.at(to)));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.door.before(Act::Remove, false)?;
        fs::remove_file(self.at(name))?;
        self.door.shadow.state().name(Change::Removed(self.at(name)));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        self.door.before(Act::SyncNames, false)?;
        self.door.shadow.state().names_synced(&self.dir);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.door.before(Act::Open, false)?;
        Ok(if self.door.shadow.state().faults.is_full { 0 } else { 1 << 40 })
    }

    fn lock(&self) -> Result<Box<dyn Guard>, LockError> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        Ok(Box::new(Locked(Arc::clone(&self.locked))))
    }

    fn locked_by(&self) -> io::Result<Option<u32>> {
        Ok(self.locked.load(Ordering::SeqCst).then(std::process::id))
    }

    fn salt(&self) -> u64 {
        self.door.shadow.state().dice.next()
    }
}

#[derive(Debug)]
struct Locked(Arc<AtomicBool>);

impl Guard for Locked {}

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct JournalFile {
    door: Door,
    inner: File,
    inode: u64,
}

impl DiskFile for JournalFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.door.before(Act::Read, false)?;
        self.inner.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let grows = offset + bytes.len() as u64 > self.inner.metadata()?.len();
        self.door.before(Act::Write, grows)?;
        self.inner.write_all_at(bytes, offset)?;
        self.door.shadow.state().wrote(self.inode, offset, bytes.len() as u64);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.door.before(Act::Sync, false)?;
        self.door.sync(self.inode, &self.inner)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.door.before(Act::Open, false)?;
        Ok(self.inner.metadata()?.len())
    }

    fn forget_cached(&self) {}
}
