//! Directories as a crash leaves them: copies, cut files, flipped bits.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

pub(crate) fn copy_dir(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a directory");
    for name in names(from) {
        fs::copy(from.join(&name), to.path().join(&name)).expect("a copy");
    }
    to
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("a file");
}

pub(crate) fn only(dir: &Path, ending: &str) -> PathBuf {
    let mut found: Vec<String> = names(dir).into_iter().filter(|name| name.ends_with(ending)).collect();
    assert_eq!(found.len(), 1, "one file *{ending} in {found:?}");
    dir.join(found.remove(0))
}
