//! Sets of entry numbers of one partition, a bit each: numbers are dense, so millions cost little.

use std::collections::BTreeMap;

const WORDS: usize = 64;
const CHUNK: u64 = 64 * WORDS as u64;

/// A set of seqs. 512 bytes for each stretch of 4,096 that has any.
#[derive(Debug, Default)]
pub(super) struct SeqSet {
    chunks: BTreeMap<u64, Box<[u64; WORDS]>>,
    len: u64,
}

impl SeqSet {
    /// False if it was there.
    pub(super) fn insert(&mut self, seq: u64) -> bool {
        let chunk = self.chunks.entry(seq / CHUNK).or_insert_with(|| Box::new([0; WORDS]));
        let word = &mut chunk[(seq % CHUNK / 64) as usize];
        let bit = 1 << (seq % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        self.len += u64::from(is_new);
        is_new
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.chunks.get(&(seq / CHUNK)).is_some_and(|chunk| chunk[(seq % CHUNK / 64) as usize] & 1 << (seq % 64) != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.chunks.iter().flat_map(|(chunk, words)| {
            let base = chunk * CHUNK;
            (0..CHUNK).filter(|at| words[(at / 64) as usize] & 1 << (at % 64) != 0).map(move |at| base + at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::SeqSet;

    #[test]
    fn it_keeps_what_was_put_in_once() {
        let mut set = SeqSet::default();
        assert!(set.insert(1) && set.insert(4_095) && set.insert(4_096) && set.insert(1 << 40));
        assert!(!set.insert(4_096));
        assert!(set.contains(1 << 40) && !set.contains(2));
        assert_eq!(set.len(), 4);
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 4_095, 4_096, 1 << 40]);
    }
}
