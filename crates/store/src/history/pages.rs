//! Sorted tables on disk in pages of 4 KiB, each with its own checksum, found through fences kept in memory.

use std::path::Path;

use crate::Error;
use crate::durable::failed;
use crate::file::{File, FileExt};

pub(super) const PAGE: usize = 4096;
const PAYLOAD: usize = PAGE - 4;

/// Where a table lies in its file and how its entries are laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageTable {
    pub(super) first_page: u64,
    pub(super) entry_len: usize,
    pub(super) entries: u64,
}

/// A page in memory, and which one it is.
#[derive(Debug)]
pub(super) struct LoadedPage {
    bytes: Box<[u8; PAGE]>,
    index: Option<u64>,
}

impl Default for LoadedPage {
    fn default() -> Self {
        Self { bytes: Box::new([0; PAGE]), index: None }
    }
}

impl PageTable {
    pub(super) fn per_page(self) -> u64 {
        (PAYLOAD / self.entry_len) as u64
    }

    pub(super) fn pages(self) -> u64 {
        self.entries.div_ceil(self.per_page())
    }

    /// The page behind the last.
    pub(super) fn end_page(self) -> u64 {
        self.first_page + self.pages()
    }

    /// Entry `index`, loading its page if it is another one than before.
    pub(super) fn entry<'p>(
        self,
        file: &File,
        path: &Path,
        index: u64,
        page: &'p mut LoadedPage,
    ) -> Result<&'p [u8], Error> {
        let wanted = self.first_page + index / self.per_page();
        if page.index != Some(wanted) {
            page.index = None;
            let at = wanted * PAGE as u64;
            file.read_exact_at(&mut page.bytes[..], at).map_err(failed("read a page of", path))?;
            check(&page.bytes[..], path, at)?;
            page.index = Some(wanted);
        }
        let inside = (index % self.per_page()) as usize * self.entry_len;
        Ok(&page.bytes[inside..inside + self.entry_len])
    }

    /// Hands over every entry in order, reading many pages at once and checking each.
    pub(super) fn for_each(self, file: &File, path: &Path, mut visit: impl FnMut(&[u8])) -> Result<(), Error> {
        const AT_ONCE: u64 = 256;
        let mut buffer = vec![0; PAGE * AT_ONCE as usize];
        let mut left = self.entries;
        let mut page = self.first_page;
        while page < self.end_page() {
            let count = AT_ONCE.min(self.end_page() - page) as usize;
            let bytes = &mut buffer[..count * PAGE];
            file.read_exact_at(bytes, page * PAGE as u64).map_err(failed("read pages of", path))?;
            for (n, one) in bytes.chunks_exact(PAGE).enumerate() {
                check(one, path, (page + n as u64) * PAGE as u64)?;
                let here = left.min(self.per_page());
                one.chunks_exact(self.entry_len).take(here as usize).for_each(&mut visit);
                left -= here;
            }
            page += count as u64;
        }
        Ok(())
    }
}

fn check(page: &[u8], path: &Path, at: u64) -> Result<(), Error> {
    let (payload, crc) = page.split_at(PAYLOAD);
    if crc32fast::hash(payload).to_le_bytes() != crc {
        return Err(Error::damaged(path, at, "a page of the side file does not match its checksum"));
    }
    Ok(())
}

/// Collects entries into pages.
#[derive(Debug)]
pub(super) struct PageBuilder {
    out: Vec<u8>,
    used: usize,
}

impl PageBuilder {
    pub(super) fn new() -> Self {
        Self { out: Vec::new(), used: 0 }
    }

    /// Appends an entry; true when it begins a page.
    pub(super) fn push(&mut self, entry: &[u8]) -> bool {
        if self.used + entry.len() > PAYLOAD {
            self.finish_page();
        }
        let begins = self.used == 0;
        self.out.extend_from_slice(entry);
        self.used += entry.len();
        begins
    }

    /// Closes the page being filled, if any.
    pub(super) fn finish_page(&mut self) {
        if self.used == 0 {
            return;
        }
        let begin = self.out.len() - self.used;
        self.out.resize(begin + PAYLOAD, 0);
        let crc = crc32fast::hash(&self.out[begin..]);
        self.out.extend_from_slice(&crc.to_le_bytes());
        self.used = 0;
    }

    /// Whole pages so far, taken out.
    pub(super) fn take_whole(&mut self) -> Vec<u8> {
        let rest = self.out.split_off(self.out.len() - self.used);
        std::mem::replace(&mut self.out, rest)
    }

    pub(super) fn whole_bytes(&self) -> usize {
        self.out.len() - self.used
    }
}
