//! Reading what the store keeps without opening it: opening repairs, and the doctor may not touch a byte.
//!
//! This reads the released formats a second time, by other code than the store's: both must come to the same rows,
//! records and objects, and the checks compare their numbers with the store's own inspection. A format that is not
//! known here is refused by name. Left out: judging bytes that do not verify, which is the inspection's.

pub(super) mod ended;
pub(super) mod objects;
pub(super) mod rows;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be read, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) what: String,
}

impl Unreadable {
    fn new(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), offset, what: what.into() }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| Self::new(path, 0, format!("cannot be read: {error}"))
    }

    pub(super) fn place(&self) -> String {
        format!("{}, byte {}", self.path.display(), self.offset)
    }
}

/// Little-endian fields from the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

/// Names in a folder, sorted; none if there is no such folder.
fn names_in(dir: &Path) -> Result<Vec<String>, Unreadable> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Unreadable::io(dir)(error)),
    };
    let mut names = Vec::new();
    for entry in listed {
        names.extend(entry.map_err(Unreadable::io(dir))?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
