//! What the three targets of the store share: a folder that costs no disk, checks that hold, and damage.

use std::path::Path;

use arbitrary::{Result, Unstructured};

/// A folder that is empty when `with` gets it; one for each thread, in memory where the machine has such a place.
pub(super) fn with_folder(with: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: tempfile::TempDir = folder();
    }
    FOLDER.with(|folder| {
        for entry in std::fs::read_dir(folder.path()).expect("our folder").flatten() {
            std::fs::remove_file(entry.path()).expect("our file");
        }
        with(folder.path());
    });
}

fn folder() -> tempfile::TempDir {
    let in_memory = Path::new("/dev/shm");
    let made = if in_memory.is_dir() { tempfile::tempdir_in(in_memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

pub(super) fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// A few bytes changed, and sometimes the end cut or longer.
pub(super) fn damage(bytes: &mut Vec<u8>, choices: &mut Unstructured<'_>) -> Result<()> {
    // Choices have mostly run out by now; then nothing is damaged, which is a case of its own.
    for _ in 0..choices.int_in_range(0..=2_u8)? {
        let at = usize::from(choices.arbitrary::<u16>()?);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= choices.arbitrary::<u8>()?;
        }
    }
    Ok(())
}
