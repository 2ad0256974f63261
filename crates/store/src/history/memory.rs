//! The tables of a segment that has no side file yet: entries in order of arrival and two hash tables over them.

use std::sync::Arc;

use hashbrown::HashTable;

use super::block::{Entry, mix};

/// Entries per chunk. Full chunks are shared with readers and never change.
const CHUNK: usize = 8192;

#[derive(Debug)]
pub(super) struct MemoryTable {
    full: Vec<Arc<Vec<Entry>>>,
    current: Vec<Entry>,
    by_id: HashTable<u32>,
    by_idempotency: HashTable<u32>,
    /// Bytes of the segment that the entries cover, header included.
    pub(super) data_len: u64,
}

impl MemoryTable {
    /// Room for `expected` records without growing, so that no append pays for a rehash.
    pub(super) fn with_capacity(expected: usize, data_len: u64) -> Self {
        Self {
            full: Vec::with_capacity(expected / CHUNK + 1),
            current: Vec::with_capacity(CHUNK),
            by_id: HashTable::with_capacity(expected),
            by_idempotency: HashTable::with_capacity(expected),
            data_len,
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.current.len() == CHUNK {
            self.full.push(Arc::new(std::mem::replace(&mut self.current, Vec::with_capacity(CHUNK))));
        }
        let ordinal = self.len() as u32;
        self.current.push(entry);
        let (full, current) = (&self.full, &self.current);
        self.by_id.insert_unique(mix(entry.id), ordinal, |o| mix(at(full, current, *o).id));
        self.by_idempotency.insert_unique(entry.idempotency, ordinal, |o| at(full, current, *o).idempotency);
    }

    pub(super) fn len(&self) -> usize {
        self.full.len() * CHUNK + self.current.len()
    }

    pub(super) fn find_id(&self, id: u128) -> Option<(u32, u32)> {
        let ordinal = self.by_id.find(mix(id), |o| at(&self.full, &self.current, *o).id == id)?;
        let entry = at(&self.full, &self.current, *ordinal);
        Some((entry.offset, entry.len))
    }

    pub(super) fn find_idempotency(&self, hash: u64, places: &mut Vec<(u32, u32)>) {
        for ordinal in self.by_idempotency.iter_hash(hash) {
            let entry = at(&self.full, &self.current, *ordinal);
            if entry.idempotency == hash {
                places.push((entry.offset, entry.len));
            }
        }
    }

    /// All entries as of now, cheap enough to take under a lock.
    pub(super) fn entries(&self) -> Vec<Arc<Vec<Entry>>> {
        let mut chunks = self.full.clone();
        chunks.push(Arc::new(self.current.clone()));
        chunks
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let entries = (self.full.len() + 1) * CHUNK * size_of::<Entry>();
        (entries + self.by_id.allocation_size() + self.by_idempotency.allocation_size()) as u64
    }
}

fn at<'a>(full: &'a [Arc<Vec<Entry>>], current: &'a [Entry], ordinal: u32) -> &'a Entry {
    let (chunk, inside) = (ordinal as usize / CHUNK, ordinal as usize % CHUNK);
    match full.get(chunk) {
        Some(chunk) => &chunk[inside],
        None => &current[inside],
    }
}
