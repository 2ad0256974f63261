//! Where each live row is: key → (segment, offset, length), 21 bytes a slot.
//!
//! `reach` says how many segments back an older version of the key may still lie; a delete needs to be remembered
//! only while one of those exists (see `compaction`). It saturates: 255 means "any older segment".

use hashbrown::HashTable;

/// The place of a row's newest version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Byte of the record's header in the segment.
    pub(super) offset: u32,
    /// Bytes of the row without its header; below 2^24.
    pub(super) len: u32,
    pub(super) reach: u8,
}

impl Place {
    /// The oldest segment that may hold a version of this key.
    pub(super) fn first_segment(self) -> u32 {
        first_segment(self.segment, self.reach)
    }
}

/// The oldest segment that `reach` counted from `segment` covers.
pub(super) fn first_segment(segment: u32, reach: u8) -> u32 {
    if reach == u8::MAX { 0 } else { segment.saturating_sub(u32::from(reach)) }
}

/// The reach from `segment` back to `first`, rounded up to "any older" when it does not fit.
pub(super) fn reach(segment: u32, first: u32) -> u8 {
    u8::try_from(segment.saturating_sub(first)).unwrap_or(u8::MAX)
}

/// Packed to four-byte alignment so that a slot takes 20 bytes and not 24.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: [u32; 2],
    segment: u32,
    offset: u32,
    len_reach: u32,
}

impl Slot {
    fn key(self) -> u64 {
        u64::from(self.key[0]) | (u64::from(self.key[1]) << 32)
    }

    fn place(self) -> Place {
        Place {
            segment: self.segment,
            offset: self.offset,
            len: self.len_reach & 0x00ff_ffff,
            reach: (self.len_reach >> 24) as u8,
        }
    }

    fn new(key: u64, place: Place) -> Self {
        Self {
            key: [key as u32, (key >> 32) as u32],
            segment: place.segment,
            offset: place.offset,
            len_reach: (place.len & 0x00ff_ffff) | (u32::from(place.reach) << 24),
        }
    }
}

/// Spreads keys that are nearly consecutive; keys come from our own sequence, not from strangers.
fn hash(key: u64) -> u64 {
    let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    (product as u64) ^ ((product >> 64) as u64)
}

#[derive(Debug, Default)]
pub(super) struct Index {
    slots: HashTable<Slot>,
}

impl Index {
    pub(super) fn get(&self, key: u64) -> Option<Place> {
        self.slots.find(hash(key), |slot| slot.key() == key).map(|slot| slot.place())
    }

    /// Sets a row's place and returns the one it had.
    pub(super) fn insert(&mut self, key: u64, place: Place) -> Option<Place> {
        let slot = Slot::new(key, place);
        match self.slots.entry(hash(key), |slot| slot.key() == key, |slot| hash(slot.key())) {
            hashbrown::hash_table::Entry::Occupied(mut taken) => Some(std::mem::replace(taken.get_mut(), slot).place()),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(slot);
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<Place> {
        let taken = self.slots.find_entry(hash(key), |slot| slot.key() == key).ok()?;
        Some(taken.remove().0.place())
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.slots.allocation_size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_packing() {
        let mut index = Index::default();
        let place = Place { segment: 7, offset: 4_000_000_000, len: 0x00ff_fffe, reach: 200 };
        assert_eq!(index.insert(u64::MAX - 1, place), None);
        assert_eq!(index.get(u64::MAX - 1), Some(place));
        assert_eq!(index.remove(u64::MAX - 1), Some(place));
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn reach_rounds_up_to_everything() {
        assert_eq!(first_segment(10, reach(10, 4)), 4);
        assert_eq!(first_segment(1000, reach(1000, 4)), 0);
    }

    #[test]
    fn a_slot_takes_twenty_bytes() {
        assert_eq!(size_of::<Slot>(), 20);
    }
}
