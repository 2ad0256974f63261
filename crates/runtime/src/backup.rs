//! A copy of the data directory while the node works, and a data directory from such a copy.
//!
//! ```text
//! journal: keep files ─► rows of each partition's newest checkpoint ─► history ─► journal up to now ─► catalog ─► backup.json
//! ```
//! The order makes it one moment: the journal is copied after what stands on it, so it continues every checkpoint,
//! and has every entry whose end is in the copied history. What a crash at that moment would have left is what is
//! restored, and the same recovery reads it. `backup.json` comes last: without it there is no backup.
//!
//! A restored node is another life of the same transactions: it gets an incarnation of its own, so that no id is
//! made twice, a fence above all of the life before, and it starts with all calls paused (SEMANTICS 31), because
//! the old node may still run, and what happened after the backup will be asked of the participants again, under
//! the same call keys. Left out: copies of a part, and copying to another machine.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use model::Timestamp;
use store::catalog::{Catalog, ObjectKey, Op};
use xxhash_rust::xxh3::Xxh3;

use crate::catalog::PauseReport;
use crate::clock::Clock;
use crate::shared::Shared;

/// The file that says what a backup consists of; written last.
pub const MANIFEST: &str = "backup.json";
const FORMAT: u64 = 1;
/// A restored node's fence is this much above that of the backup: more starts than any node makes after its backup.
const FENCE_LEAP: u32 = 1 << 16;

/// What was copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupReport {
    pub to: PathBuf,
    pub files: u64,
    pub bytes: u64,
    /// When the copy of the journal began: everything acknowledged before is in it.
    pub at: Timestamp,
}

/// What was made of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreReport {
    pub files: u64,
    pub bytes: u64,
    /// When the backup was made.
    pub at: Timestamp,
    pub incarnation: u16,
}

/// Why there is no backup, or why nothing was restored; says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackupError(pub String);

fn failed(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> BackupError {
    move |e| BackupError(format!("{what}: {e}"))
}

/// Copies the data directory to the new or empty folder `to`. Blocks; work goes on meanwhile.
pub(crate) fn back_up(shared: &Shared, to: &Path) -> Result<BackupReport, BackupError> {
    let data = fs::canonicalize(&shared.settings.data).map_err(failed("the data directory"))?;
    must_be_new(to)?;
    fs::create_dir_all(to).map_err(failed(format!("cannot make {}", to.display())))?;
    let to = fs::canonicalize(to).map_err(failed(to.display()))?;
    if to.starts_with(&data) {
        return Err(BackupError(format!("{} lies in the data directory: choose a folder outside", to.display())));
    }
    let journal = shared.journal.read().clone();
    let Some(journal) = journal else { return Err(BackupError("the node is starting or stopping".into())) };
    let mut copy = Copy { from: data, to, files: Vec::new(), buffer: vec![0; 1 << 20] };

    // From here on the journal forgets nothing, so that it continues whatever checkpoint is copied.
    let held = journal.keep_files().map_err(failed("the journal"))?;
    for log in &shared.statelogs {
        log.with_files(|files| files.iter().try_for_each(|(path, bytes)| copy.file(path, *bytes, *bytes)))?;
    }
    copy.folder("history")?;
    let at = shared.clock.now();
    let now = journal.keep_files().map_err(failed("the journal"))?;
    let folder = copy.from.join("journal");
    for file in &now.files {
        copy.file(&folder.join(&file.name), file.end, file.bytes)?;
    }
    drop(now);
    drop(held);
    // Definitions that came meanwhile do no harm; one that is missing would.
    let catalog = shared.catalog.lock();
    copy.folder("catalog")?;
    drop(catalog);
    copy.finish(at)
}

/// Makes the new or empty folder `data` a data directory from the backup in `from`. The node that starts on it makes
/// no call until it is resumed.
///
/// # Errors
/// When the backup is not whole (nothing is made then), or a file cannot be written.
pub fn restore(from: &Path, data: &Path) -> Result<RestoreReport, BackupError> {
    must_be_new(data)?;
    let (at, files) = read_manifest(from)?;
    // All of it is looked at before anything is written.
    let mut buffer = vec![0; 1 << 20];
    for file in &files {
        let path = from.join(&file.path);
        let (bytes, hash) = hash_of(&path, &mut buffer).map_err(failed(path.display()))?;
        if (bytes, hash) != (file.bytes, file.hash) {
            return Err(BackupError(format!(
                "{} is not as it was when the backup was made ({bytes} bytes, {} then): use another backup",
                path.display(),
                file.bytes
            )));
        }
    }
    let mut copied = 0;
    for file in &files {
        let target = data.join(&file.path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(failed(folder.display()))?;
        }
        copied += fs::copy(from.join(&file.path), &target).map_err(failed(target.display()))?;
        File::open(&target).and_then(|file| file.sync_all()).map_err(failed(target.display()))?;
    }
    let incarnation = begin_new_life(data, at)?;
    sync_folders(data).map_err(failed(data.display()))?;
    Ok(RestoreReport { files: files.len() as u64, bytes: copied, at, incarnation })
}

/// Gives the restored directory an incarnation and a fence of its own, and pauses all calls.
fn begin_new_life(data: &Path, at: Timestamp) -> Result<u16, BackupError> {
    let wrong = |e: store::Error| BackupError(format!("the restored catalog: {e}"));
    let mut catalog = Catalog::open(&data.join("catalog")).map_err(wrong)?;
    let Some(mut identity) = catalog.identity().map_err(wrong)? else {
        return Err(BackupError("the backup does not say whose it is: its catalog has no identity".into()));
    };
    identity.incarnation = identity.incarnation.checked_add(1).ok_or_else(|| {
        BackupError("this directory was restored 65,535 times: its transactions would get ids of others".into())
    })?;
    identity.epoch = identity.epoch.saturating_add(FENCE_LEAP);
    catalog.set_identity(&identity).map_err(wrong)?;
    let since = Clock::start(Timestamp::ZERO).now();
    let reason = format!(
        "restored from a backup of {}: make sure that the old node is gone, then resume; calls made since the backup are repeated under the same call keys",
        at
    );
    let pause = PauseReport { reason, who: "restore".into(), since };
    let key = ObjectKey::new("pause", crate::applying::NODE, 0);
    catalog.change(vec![Op::Put { key, bytes: crate::applying::write_pause(&pause) }]).map_err(wrong)?;
    Ok(identity.incarnation)
}

fn must_be_new(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(BackupError(format!("{} is not empty: choose a new folder", folder.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(failed(folder.display())(e)),
    }
}

/// Makes the names of everything below durable.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    File::open(folder)?.sync_all()
}

/// One file of a backup.
struct Listed {
    /// Below the folder, with `/`.
    path: String,
    bytes: u64,
    hash: u128,
}

struct Copy {
    from: PathBuf,
    to: PathBuf,
    files: Vec<Listed>,
    buffer: Vec<u8>,
}

impl Copy {
    /// Everything in a folder of files that only grow: as much of each as is there now.
    fn folder(&mut self, name: &str) -> Result<(), BackupError> {
        let folder = self.from.join(name);
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed(folder.display()))? {
            let entry = entry.map_err(failed(folder.display()))?;
            // One that goes meanwhile is past its retention.
            match entry.metadata() {
                Ok(meta) if meta.is_file() => found.push((entry.path(), meta.len())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(entry.path().display())(e)),
            }
        }
        found.sort();
        for (path, bytes) in found {
            match self.file(&path, bytes, bytes) {
                Err(_) if !path.exists() => self.give_up(&path)?,
                other => other?,
            }
        }
        Ok(())
    }

    fn give_up(&self, path: &Path) -> Result<(), BackupError> {
        let target = self.target(path)?;
        if target.exists() { fs::remove_file(&target).map_err(failed(target.display())) } else { Ok(()) }
    }

    fn target(&self, path: &Path) -> Result<PathBuf, BackupError> {
        let below = self.below(path)?;
        Ok(self.to.join(below))
    }

    fn below<'a>(&self, path: &'a Path) -> Result<&'a Path, BackupError> {
        let outside = |_| BackupError(format!("{} does not lie in the data directory", path.display()));
        path.strip_prefix(&self.from).map_err(outside)
    }

    /// The first `end` bytes of a file, zero behind them up to `bytes`.
    fn file(&mut self, path: &Path, end: u64, bytes: u64) -> Result<(), BackupError> {
        let path = fs::canonicalize(path).map_err(failed(path.display()))?;
        let target = self.target(&path)?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(failed(folder.display()))?;
        }
        let mut source = File::open(&path).map_err(failed(path.display()))?.take(end);
        let mut into = File::create_new(&target).map_err(failed(target.display()))?;
        let mut hash = Xxh3::new();
        let mut left = bytes;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut read = source.read(&mut self.buffer[..most]).map_err(failed(path.display()))?;
            if read == 0 {
                if source.limit() > 0 {
                    return Err(BackupError(format!("{} is shorter than it was a moment ago", path.display())));
                }
                self.buffer[..most].fill(0);
                read = most;
            }
            hash.update(&self.buffer[..read]);
            into.write_all(&self.buffer[..read]).map_err(failed(target.display()))?;
            left -= read as u64;
        }
        into.sync_all().map_err(failed(target.display()))?;
        let name: Vec<_> = self.below(&path)?.iter().map(|part| part.to_string_lossy()).collect();
        self.files.push(Listed { path: name.join("/"), bytes, hash: hash.digest128() });
        Ok(())
    }

    /// Writes what makes it a backup.
    fn finish(self, at: Timestamp) -> Result<BackupReport, BackupError> {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| {
                serde_json::json!({ "path": file.path, "bytes": file.bytes, "xxh3_128": format!("{:032x}", file.hash) })
            })
            .collect();
        let manifest = serde_json::json!({
            "format": FORMAT,
            "tidegate": env!("CARGO_PKG_VERSION"),
            "at_us": at.0,
            "files": files,
        });
        sync_folders(&self.to).map_err(failed(self.to.display()))?;
        let path = self.to.join(MANIFEST);
        let write = || -> io::Result<()> {
            let unfinished = self.to.join(format!("{MANIFEST}.new"));
            let mut file = File::create_new(&unfinished)?;
            file.write_all(manifest.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.to)?.sync_all()
        };
        write().map_err(failed(path.display()))?;
        let bytes = self.files.iter().map(|file| file.bytes).sum();
        Ok(BackupReport { to: self.to, files: self.files.len() as u64, bytes, at })
    }
}

fn read_manifest(from: &Path) -> Result<(Timestamp, Vec<Listed>), BackupError> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(|e| {
        BackupError(format!("{}: {e}; a folder without it is no backup, or one that was not finished", path.display()))
    })?;
    let wrong = |what: &str| BackupError(format!("{} is damaged ({what}): use another backup", path.display()));
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|e| wrong(&e.to_string()))?;
    match value["format"].as_u64() {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(BackupError(format!(
                "{} has format {other}, this program knows {FORMAT}: use the program that made it",
                path.display()
            )));
        }
        None => return Err(wrong("no format")),
    }
    let at = Timestamp(value["at_us"].as_u64().ok_or_else(|| wrong("no time"))?);
    let mut files = Vec::new();
    for file in value["files"].as_array().ok_or_else(|| wrong("no files"))? {
        let name = file["path"].as_str().ok_or_else(|| wrong("a file without a path"))?;
        if Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(wrong("a path that leads elsewhere"));
        }
        let hash = file["xxh3_128"].as_str().and_then(|hex| u128::from_str_radix(hex, 16).ok());
        files.push(Listed {
            path: name.to_owned(),
            bytes: file["bytes"].as_u64().ok_or_else(|| wrong("a file without a length"))?,
            hash: hash.ok_or_else(|| wrong("a file without a hash"))?,
        });
    }
    Ok((at, files))
}

fn hash_of(path: &Path, buffer: &mut [u8]) -> io::Result<(u64, u128)> {
    let mut file = File::open(path)?;
    let mut hash = Xxh3::new();
    let mut bytes = 0;
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok((bytes, hash.digest128()));
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}
