//! How much room is left, who uses it, and the ballast that is given up last.
//!
//! Leaves out what to do about it: the runtime refuses new work at [`Level::Refuse`] and the journal keeps
//! its own preallocated segments.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::Error;
use crate::durable::{failed, remove, reserve, sync_dir};
use crate::file::File;

/// Space of the file system that holds a directory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    pub total_bytes: u64,
    /// What an unprivileged process may still take.
    pub available_bytes: u64,
}

/// Asks the file system of `dir`.
pub fn space(dir: &Path) -> Result<Space, Error> {
    let stat = statvfs(dir).map_err(|errno| failed("ask for the free space of", dir)(errno.into()))?;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// What the node may still do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Everything.
    Plenty,
    /// Finish what it has; new work is refused.
    Refuse,
    /// Only what frees space: checkpoints, trimming, retention. The ballast may be given up.
    Critical,
}

/// Where the levels begin. Larger values refuse earlier and leave more room for work under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WatermarkSettings {
    /// Below this many available bytes new work is refused. Default 2 GiB.
    pub refuse_below_bytes: u64,
    /// New work is taken again above this; kept larger than the line above so that the level does not flutter.
    /// Default 3 GiB.
    pub resume_above_bytes: u64,
    /// Below this only what frees space runs. Default 512 MiB.
    pub critical_below_bytes: u64,
}

impl Default for WatermarkSettings {
    fn default() -> Self {
        Self { refuse_below_bytes: 2 << 30, resume_above_bytes: 3 << 30, critical_below_bytes: 512 << 20 }
    }
}

/// Turns readings of free space into a level, with hysteresis.
#[derive(Clone, Debug)]
pub struct Watermark {
    settings: WatermarkSettings,
    level: Level,
}

impl Watermark {
    /// Refuses settings whose lines are out of order.
    pub fn new(settings: WatermarkSettings) -> Result<Self, Error> {
        if settings.critical_below_bytes > settings.refuse_below_bytes
            || settings.refuse_below_bytes > settings.resume_above_bytes
        {
            return Err(Error::Refused(format!(
                "disk watermarks must rise: critical {} <= refuse {} <= resume {} bytes",
                settings.critical_below_bytes, settings.refuse_below_bytes, settings.resume_above_bytes
            )));
        }
        Ok(Self { settings, level: Level::Plenty })
    }

    pub fn level(&self) -> Level {
        self.level
    }

    /// Takes a reading and returns the level that now holds.
    pub fn observe(&mut self, available_bytes: u64) -> Level {
        let line = match self.level {
            Level::Plenty => self.settings.refuse_below_bytes,
            Level::Refuse | Level::Critical => self.settings.resume_above_bytes,
        };
        self.level = if available_bytes < self.settings.critical_below_bytes {
            Level::Critical
        } else if available_bytes < line {
            Level::Refuse
        } else {
            Level::Plenty
        };
        self.level
    }
}

/// One room's share of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// What a person reads: `journal`, `statelog`, `history`, `catalog`.
    pub room: String,
    pub dir: PathBuf,
    pub bytes_max: u64,
}

/// What a room uses of its share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage {
    pub room: String,
    pub used_bytes: u64,
    pub bytes_max: u64,
}

impl Usage {
    pub fn is_over(&self) -> bool {
        self.used_bytes > self.bytes_max
    }
}

impl Quota {
    /// Measures the room's directory.
    pub fn usage(&self) -> Result<Usage, Error> {
        Ok(Usage { room: self.room.clone(), used_bytes: bytes_under(&self.dir)?, bytes_max: self.bytes_max })
    }
}

/// Bytes of all files in a directory and below it. Files that vanish meanwhile count as nothing.
pub fn bytes_under(dir: &Path) -> Result<u64, Error> {
    let mut total = 0u64;
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => continue,
            Err(other) => return Err(failed("list", &dir)(other)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("list", &dir))?;
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.is_file() => total = total.saturating_add(meta.len()),
                _ => {}
            }
        }
    }
    Ok(total)
}

/// A reserved file that is given up when nothing else frees space: room for one checkpoint and one compaction.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// Reserves the ballast, or takes over the one that is there.
    pub fn hold(dir: &Path, bytes: u64) -> Result<Self, Error> {
        let path = dir.join("ballast");
        let file =
            File::options().write(true).create(true).truncate(false).open(&path).map_err(failed("create", &path))?;
        // Zeroes past the end of the reservation cost nothing; the blocks are what counts.
        reserve(&file, &path, 0, bytes)?;
        file.set_len(bytes).map_err(failed("size", &path))?;
        file.sync_all().map_err(failed("sync", &path))?;
        sync_dir(dir)?;
        Ok(Self { path, bytes })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the space back to the disk.
    pub fn release(self) -> Result<(), Error> {
        remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_falls_at_once_and_rises_only_past_the_upper_line() {
        let mut mark = Watermark::new(WatermarkSettings {
            critical_below_bytes: 10,
            refuse_below_bytes: 20,
            resume_above_bytes: 30,
        })
        .expect("in order");
        let seen: Vec<Level> = [25, 19, 25, 9, 25, 30, 25].iter().map(|free| mark.observe(*free)).collect();
        use Level::{Critical, Plenty, Refuse};
        assert_eq!(seen, [Plenty, Refuse, Refuse, Critical, Refuse, Plenty, Plenty]);
    }

    #[test]
    fn lines_out_of_order_are_refused() {
        let wrong = WatermarkSettings { critical_below_bytes: 3, refuse_below_bytes: 2, resume_above_bytes: 1 };
        assert!(Watermark::new(wrong).is_err());
    }

    #[test]
    fn a_quota_counts_files_below_and_the_ballast_comes_and_goes() {
        let dir = tempfile::tempdir().expect("dir");
        fs::create_dir(dir.path().join("below")).expect("dir");
        fs::write(dir.path().join("below/a"), [0; 100]).expect("file");
        let quota = Quota { room: "history".into(), dir: dir.path().into(), bytes_max: 4000 };
        assert_eq!(quota.usage().expect("usage").used_bytes, 100);
        let ballast = Ballast::hold(dir.path(), 8192).expect("ballast");
        assert!(quota.usage().expect("usage").is_over());
        assert_eq!(ballast.bytes(), 8192);
        ballast.release().expect("release");
        assert!(!quota.usage().expect("usage").is_over());
        assert!(space(dir.path()).expect("space").total_bytes > 0);
    }
}
