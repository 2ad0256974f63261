//! Which segments may hold an idempotency hash: one table over all segments, 4 bytes a slot.
//!
//! A slot is 16 bits of the hash and 16 bits of segment name; sixteen slots are one cache line, chosen by the top bits
//! of the hash. A full line overflows into the next. Against a Bloom filter per segment this costs one cache line in
//! total instead of one per segment, names the segment to look into, and can forget a dropped segment.
//! A wrong "maybe" needs 16 equal bits: about one lookup in 5,000, and costs one look into one side file.
//!
//! Lines are chosen by top bits so that filling from a side file, which is sorted by hash, runs through memory in order.
//! A full layer is followed by a new one; the keeper thread merges them (`keeper`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const LINE: usize = 16;
/// Lines looked at before a layer counts as full at that place.
const LINES_PROBED_MAX: usize = 8;
/// A slot whose segment was dropped: free for the next, but does not end a line.
const FORGOTTEN: u32 = u32::MAX;
/// The smallest layer: 256 KiB.
const SLOTS_MIN: u64 = 1 << 16;

/// Segment names that a lookup found, without doubles.
#[derive(Debug, Default)]
pub(super) struct Slots {
    names: Vec<u16>,
}

impl Slots {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn contains(&self, name: u16) -> bool {
        self.names.contains(&name)
    }

    fn add(&mut self, name: u16) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }
}

#[repr(align(64))]
#[derive(Debug)]
struct Line([AtomicU32; LINE]);

#[derive(Debug)]
pub(super) struct Layer {
    lines: Vec<Line>,
    used: AtomicU64,
    used_max: u64,
}

impl Layer {
    /// A layer that takes `records` before it is full at 11 of 16 slots.
    pub(super) fn for_records(records: u64) -> Self {
        let slots = (records + records / 2).max(SLOTS_MIN);
        let lines = slots.div_ceil(LINE as u64) as usize;
        let lines = std::iter::repeat_with(|| Line(Default::default())).take(lines).collect();
        Self { lines, used: AtomicU64::new(0), used_max: slots / 16 * 11 }
    }

    /// Puts hashes in, as the only thread that does so, and returns how many before the layer was full. Plain stores
    /// instead of compare-and-swap let the cache misses of consecutive hashes overlap; forgetting, which may run at the
    /// same time, touches only slots that are taken.
    fn insert_alone(&self, hashes: &mut impl Iterator<Item = u64>, segment: u16) -> Result<(), u64> {
        let mut room = self.used_max.saturating_sub(self.used.load(Ordering::Relaxed));
        let mut put = 0;
        let mut left_over = None;
        for hash in hashes {
            let free = self.probed(hash).flat_map(|line| &line.0).find(|place| {
                let seen = place.load(Ordering::Relaxed);
                seen == 0 || seen == FORGOTTEN
            });
            match free {
                Some(place) if room > 0 => place.store(slot(hash, segment), Ordering::Release),
                _ => {
                    left_over = Some(hash);
                    break;
                }
            }
            room -= 1;
            put += 1;
        }
        self.used.fetch_add(put, Ordering::Relaxed);
        left_over.map_or(Ok(()), Err)
    }

    /// False when the layer is full, there or altogether. Any number of threads may insert like this.
    pub(super) fn insert(&self, hash: u64, segment: u16) -> bool {
        if self.used.load(Ordering::Relaxed) >= self.used_max {
            return false;
        }
        let value = slot(hash, segment);
        for line in self.probed(hash) {
            for place in &line.0 {
                let mut seen = place.load(Ordering::Relaxed);
                while seen == 0 || seen == FORGOTTEN {
                    match place.compare_exchange_weak(seen, value, Ordering::Release, Ordering::Relaxed) {
                        Ok(_) => {
                            self.used.fetch_add(1, Ordering::Relaxed);
                            return true;
                        }
                        Err(now) => seen = now,
                    }
                }
            }
        }
        false
    }

    fn find(&self, hash: u64, found: &mut Slots) {
        let wanted = print(hash);
        for line in self.probed(hash) {
            for place in &line.0 {
                let value = place.load(Ordering::Acquire);
                if value == 0 {
                    return;
                }
                if value >> 16 == wanted && value != FORGOTTEN {
                    found.add(value as u16);
                }
            }
        }
    }

    fn forget(&self, segment: u16) {
        for line in &self.lines {
            for place in &line.0 {
                let value = place.load(Ordering::Relaxed);
                if value != 0
                    && value != FORGOTTEN
                    && value as u16 == segment
                    && place.compare_exchange(value, FORGOTTEN, Ordering::Release, Ordering::Relaxed).is_ok()
                {
                    self.used.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn probed(&self, hash: u64) -> impl Iterator<Item = &Line> {
        let first = ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize;
        let count = LINES_PROBED_MAX.min(self.lines.len());
        (0..count).map(move |step| &self.lines[(first + step) % self.lines.len()])
    }
}

/// 16 bits from the low end of the hash, where the choice of line takes none; never 0, never all ones.
fn print(hash: u64) -> u32 {
    let bits = hash as u16;
    u32::from(bits.clamp(1, 0xfffe))
}

fn slot(hash: u64, segment: u16) -> u32 {
    (print(hash) << 16) | u32::from(segment)
}

#[derive(Debug)]
pub(super) struct Signpost {
    layers: Vec<Arc<Layer>>,
    /// Filled beside the layers while it is being built from the side files.
    building: Option<Arc<Layer>>,
}

impl Signpost {
    pub(super) fn new(layer: Layer) -> Self {
        Self { layers: vec![Arc::new(layer)], building: None }
    }

    pub(super) fn find(&self, hash: u64, found: &mut Slots) {
        for layer in &self.layers {
            layer.find(hash, found);
        }
    }

    /// Puts hashes in until the layers are full. Then it returns the hash that did not fit: the caller adds a layer and
    /// goes on from that one. Only one thread inserts at a time.
    pub(super) fn insert(&self, hashes: &mut impl Iterator<Item = u64>, segment: u16) -> Result<(), u64> {
        match (&self.building, self.layers.last()) {
            (None, Some(layer)) => layer.insert_alone(hashes, segment),
            (building, layer) => {
                for hash in hashes {
                    // The one being built is filled by the keeper as well.
                    let both = building.iter().chain(layer).all(|layer| layer.insert(hash, segment));
                    if !both {
                        return Err(hash);
                    }
                }
                Ok(())
            }
        }
    }

    /// Adds a layer. One being built is given up and started again later, larger.
    pub(super) fn grow(&mut self) {
        self.building = None;
        let records = self.records();
        self.layers.push(Arc::new(Layer::for_records(records.max(1))));
    }

    pub(super) fn records(&self) -> u64 {
        self.layers.iter().map(|layer| layer.used.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn begin_rebuild(&mut self, layer: Arc<Layer>) {
        self.building = Some(layer);
    }

    /// Puts the rebuilt layer in the place of all others; false when it had been given up.
    pub(super) fn finish_rebuild(&mut self, layer: &Arc<Layer>) -> bool {
        let current = self.building.take().is_some_and(|building| Arc::ptr_eq(&building, layer));
        if current {
            self.layers = vec![layer.clone()];
        }
        current
    }

    pub(super) fn give_up_rebuild(&mut self) {
        self.building = None;
    }

    /// Forgets a dropped segment; its name may be given to another afterwards.
    pub(super) fn forget(&self, segment: u16) {
        for layer in self.layers.iter().chain(&self.building) {
            layer.forget(segment);
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.layers.iter().chain(&self.building).map(|l| (l.lines.len() * size_of::<Line>()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::mix;
    use super::*;

    fn found(post: &Signpost, hash: u64) -> Vec<u16> {
        let mut slots = Slots::default();
        post.find(hash, &mut slots);
        slots.names
    }

    fn put(post: &Signpost, n: u128, segment: u16) -> Result<(), u64> {
        post.insert(&mut std::iter::once(mix(n)), segment)
    }

    #[test]
    fn every_record_is_found_and_few_others_are() {
        let post = Signpost::new(Layer::for_records(100_000));
        for n in 0..100_000_u128 {
            assert_eq!(put(&post, n, (n % 7) as u16), Ok(()), "record {n}");
        }
        for n in 0..100_000_u128 {
            assert!(found(&post, mix(n)).contains(&((n % 7) as u16)), "record {n}");
        }
        let wrong = (1_000_000..1_200_000_u128).filter(|n| !found(&post, mix(*n)).is_empty()).count();
        // Expected: 11 slots a line / 65,534, so about 34 of 200,000.
        assert!(wrong < 100, "{wrong} of 200,000 lookups were wrong");
    }

    #[test]
    fn a_full_layer_is_followed_by_another_and_a_dropped_segment_is_forgotten() {
        let mut post = Signpost::new(Layer::for_records(1));
        let mut n = 0_u128;
        while post.layers() < 3 {
            if put(&post, n, (n % 2) as u16).is_err() {
                post.grow();
                assert_eq!(put(&post, n, (n % 2) as u16), Ok(()));
            }
            n += 1;
        }
        assert_eq!(post.records(), n as u64);
        post.forget(0);
        assert_eq!(post.records(), (n / 2) as u64);
        assert!((0..n).filter(|n| n % 2 == 1).all(|n| found(&post, mix(n)).contains(&1)));
        assert!((0..n).all(|n| !found(&post, mix(n)).contains(&0)));
    }
}
