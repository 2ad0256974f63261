//! A folder in memory that behaves like a disk on a bad day, seeded and repeatable.
//!
//! What was written is readable at once, but only what was synced survives [`SimDisk::after_power_cut`]: of the rest,
//! every 512-byte sector is kept or lost by itself, and of the names a prefix of the changes. A failed sync leaves
//! the bytes readable and marks them clean, as Linux does, so that a second sync "succeeds" without writing them.
//! Left out: speed, and devices that lie about having synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, Guard, LockError};

const SECTOR: usize = 512;

/// Cheap to clone; all clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

struct World {
    /// What a running process sees.
    names: BTreeMap<String, u64>,
    /// What survives.
    durable_names: BTreeMap<String, u64>,
    changes: Vec<Change>,
    files: BTreeMap<u64, Contents>,
    next_file: u64,
    capacity_bytes: u64,
    locked: bool,
    random: u64,
    faults: Faults,
    operations: u64,
}

#[derive(Clone)]
enum Change {
    Link(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Clone, Default)]
struct Contents {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// What goes wrong, and when. Counts are of calls from now on; 0 means the next one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// This `sync_data` or `sync_all` fails with an I/O error, and its bytes never reach the disk.
    pub fail_sync_in: Option<u64>,
    /// This write of contents fails with an I/O error after half of its bytes.
    pub fail_write_in: Option<u64>,
    /// This write of contents takes only half of its bytes, which is no error.
    pub short_write_in: Option<u64>,
    /// After so many changing calls nothing works any more: the power is gone.
    pub cut_power_in: Option<u64>,
}

impl SimDisk {
    /// An empty disk. `seed` decides salts and what a power cut spares.
    pub fn new(seed: u64, capacity_bytes: u64) -> Self {
        Self::with(World {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            files: BTreeMap::new(),
            next_file: 1,
            capacity_bytes,
            locked: false,
            random: seed,
            faults: Faults::default(),
            operations: 0,
        })
    }

    fn with(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world().faults = faults;
    }

    /// A larger or smaller disk from now on; files that exist stay.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.world().capacity_bytes = capacity_bytes;
    }

    /// Changing calls so far: writes, syncs, creations, renames, removals.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// The disk as it is found when the power is back. `seed` decides what was spared of what was not synced.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let world = self.world();
        let mut random = seed;
        let spared = below(&mut random, world.changes.len() as u64 + 1) as usize;
        let mut names = world.durable_names.clone();
        world.changes[..spared].iter().for_each(|change| change.apply(&mut names));
        let mut files = BTreeMap::new();
        for &id in names.values() {
            let Some(found) = world.files.get(&id) else { continue };
            let mut durable = found.durable.clone();
            for &sector in &found.dirty {
                if below(&mut random, 2) == 0 {
                    copy_sector(&found.seen, &mut durable, sector);
                }
            }
            files.insert(id, Contents { seen: durable.clone(), durable, dirty: BTreeSet::new() });
        }
        Self::with(World {
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            files,
            next_file: world.next_file,
            capacity_bytes: world.capacity_bytes,
            locked: false,
            random,
            faults: Faults::default(),
            operations: 0,
        })
    }

    /// The disk as a new process finds it when only the old one has died: all that was written is readable.
    pub fn after_process_death(&self) -> Self {
        let world = self.world();
        Self::with(World {
            names: world.names.clone(),
            durable_names: world.durable_names.clone(),
            changes: world.changes.clone(),
            files: world.files.clone(),
            next_file: world.next_file,
            capacity_bytes: world.capacity_bytes,
            locked: false,
            random: world.random.wrapping_add(1),
            faults: Faults::default(),
            operations: 0,
        })
    }

    /// A copy of a file as it is seen now.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let id = world.names.get(name)?;
        world.files.get(id).map(|file| file.seen.clone())
    }

    /// Replaces a file, on the device itself: what bit rot or an operator does.
    pub fn set_contents(&self, name: &str, bytes: &[u8]) {
        let mut world = self.world();
        let id = match world.names.get(name) {
            Some(&id) => id,
            None => {
                let id = world.next_file;
                world.next_file += 1;
                world.names.insert(name.to_owned(), id);
                world.durable_names.insert(name.to_owned(), id);
                id
            }
        };
        let contents = Contents { seen: bytes.to_vec(), durable: bytes.to_vec(), dirty: BTreeSet::new() };
        world.files.insert(id, contents);
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let world = self.world();
        f.debug_struct("SimDisk").field("names", &world.names).field("faults", &world.faults).finish_non_exhaustive()
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Link(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl World {
    /// Counts a changing call; fails it when the power is gone.
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match &mut self.faults.cut_power_in {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alive(&self) -> io::Result<()> {
        match self.faults.cut_power_in {
            Some(0) => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(id)).map(|file| file.seen.len() as u64).sum()
    }
}

/// True for the call that the counter was waiting for.
fn due(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let start = sector * SECTOR;
    let end = from.len().min(start + SECTOR);
    if start >= end {
        return;
    }
    if to.len() < end {
        to.resize(end, 0);
    }
    to[start..end].copy_from_slice(&from[start..end]);
}

/// SplitMix64, after Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn below(random: &mut u64, bound: u64) -> u64 {
    next(random) % bound
}

#[derive(Debug)]
struct SimGuard(SimDisk);

impl Guard for SimGuard {}

impl Drop for SimGuard {
    fn drop(&mut self) {
        self.0.world().locked = false;
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    id: u64,
}

impl SimDisk {
    fn file(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        world.alive()?;
        match world.names.get(name) {
            Some(&id) => Ok(Arc::new(SimFile { disk: self.clone(), id })),
            None => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))),
        }
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let world = self.world();
        world.alive()?;
        Ok(world.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        world.step()?;
        let id = world.next_file;
        world.next_file += 1;
        world.files.insert(id, Contents::default());
        world.change(Change::Link(name.to_owned(), id));
        Ok(Arc::new(SimFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(name)
    }

    fn open_to_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.file(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        if !world.names.contains_key(from) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no file {from}")));
        }
        world.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        if !world.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}")));
        }
        world.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut world = self.world();
        world.step()?;
        world.durable_names = world.names.clone();
        world.changes.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.world();
        world.alive()?;
        Ok(world.capacity_bytes.saturating_sub(world.used_bytes()))
    }

    fn lock(&self) -> Result<Box<dyn Guard>, LockError> {
        let mut world = self.world();
        if world.locked {
            return Err(LockError::Held { pid: Some(std::process::id()) });
        }
        world.locked = true;
        Ok(Box::new(SimGuard(self.clone())))
    }

    fn locked_by(&self) -> io::Result<Option<u32>> {
        Ok(self.world().locked.then(std::process::id))
    }

    fn salt(&self) -> u64 {
        next(&mut self.world().random)
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.world();
        world.alive()?;
        let Some(file) = world.files.get(&self.id) else { return Ok(0) };
        let from = file.seen.get(offset as usize..).unwrap_or_default();
        let bytes = from.len().min(into.len());
        into[..bytes].copy_from_slice(&from[..bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = self.disk.world();
        world.step()?;
        let fails = due(&mut world.faults.fail_write_in);
        let short = due(&mut world.faults.short_write_in);
        let taken = if fails || short { bytes.len().div_ceil(2) } else { bytes.len() };
        let (start, end) = (offset as usize, offset as usize + taken);
        let grows = end.saturating_sub(world.files.get(&self.id).map_or(0, |file| file.seen.len()));
        if grows as u64 > world.capacity_bytes.saturating_sub(world.used_bytes()) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left on the simulated disk"));
        }
        let file = world.files.entry(self.id).or_default();
        if file.seen.len() < end {
            file.seen.resize(end, 0);
        }
        file.seen[start..end].copy_from_slice(&bytes[..taken]);
        if end > start {
            file.dirty.extend(start / SECTOR..=(end - 1) / SECTOR);
        }
        if fails { Err(io::Error::other("the write failed, as it was told to")) } else { Ok(taken) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        let mut world = self.disk.world();
        world.step()?;
        let fails = due(&mut world.faults.fail_sync_in);
        let file = world.files.entry(self.id).or_default();
        let dirty = std::mem::take(&mut file.dirty);
        if fails {
            return Err(io::Error::other("the sync failed, as it was told to"));
        }
        let Contents { seen, durable, .. } = file;
        dirty.into_iter().for_each(|sector| copy_sector(seen, durable, sector));
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        let world = self.disk.world();
        world.alive()?;
        Ok(world.files.get(&self.id).map_or(0, |file| file.seen.len() as u64))
    }

    fn forget_cached(&self) {}
}
