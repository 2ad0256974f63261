//! The second reading: hands every batch behind the caller's snapshots back, in order.
//!
//! Opening has judged everything already; this reads again instead of keeping gigabytes in memory, and checks again
//! because reading is where bits rot. Left out: deciding about the end (`recovery`).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chain::{self, Chains, Fate};
use crate::disk::Disk;
use crate::error::{Damage, Error, Place};
use crate::format::BATCH_HEADER_BYTES;
use crate::recovered::{Gate, Recovered, RecoveredBatch, Starts, Verdict};
use crate::survey::Survey;
use crate::walk::{self, GroupAt, Step, Walker};

/// Iterator over [`Recovered`]. After an error it ends.
#[derive(Debug)]
pub struct Batches {
    /// One for each side file, then one for all segments.
    walkers: VecDeque<Walker>,
    chains: Chains,
    gate: Gate,
    pending: VecDeque<Recovered>,
    last: (Place, u64),
    failed: bool,
}

impl Batches {
    pub(crate) fn new(disk: &Arc<dyn Disk>, starts: &Starts) -> Result<Self, Error> {
        let survey = Survey::read(disk)?;
        if let Some(damage) = survey.damage.first() {
            return Err(Error::damage(damage));
        }
        let mut walkers = VecDeque::new();
        for side in survey.sides {
            walkers.push_back(Walker::new(Arc::clone(disk), vec![side]));
        }
        walkers.push_back(Walker::new(Arc::clone(disk), survey.segments));
        Ok(Self {
            walkers,
            chains: Chains::default(),
            gate: Gate::new(starts),
            pending: VecDeque::new(),
            last: (Place::Segment { segment: 0, offset: 0 }, 0),
            failed: false,
        })
    }

    /// Reads until there is something to give back. False at the end.
    fn advance(&mut self) -> Result<bool, Error> {
        while self.pending.is_empty() {
            let Some(walker) = self.walkers.front_mut() else { return Ok(false) };
            match walker.step()? {
                Some(Step::Group(group)) => self.open_group(&group)?,
                Some(Step::Damage(damage)) => return Err(Error::damage(&damage)),
                None => {
                    self.walkers.pop_front();
                    if self.walkers.is_empty() {
                        self.finish();
                    }
                }
            }
        }
        Ok(true)
    }

    fn open_group(&mut self, group: &GroupAt) -> Result<(), Error> {
        let Some(walker) = self.walkers.front() else { return Ok(()) };
        let segment = walker.source(group.source).header.segment;
        let frame = walker.frame(group);
        self.last = (Place::new(segment, group.offset), group.header.group);
        // Copied once, when the first of its batches is wanted; all of them share it.
        let mut shared: Option<Arc<[u8]>> = None;
        for batch in walk::batches(&group.header, frame) {
            let batch = batch.map_err(|at| Error::damage(&chain::unreadable(segment, group, at)))?;
            let place = Place::new(segment, group.offset + batch.offset);
            let partition = batch.header.partition;
            match self.chains.see(segment, group, &batch) {
                Fate::Known | Fate::Behind => continue,
                Fate::Damaged(damage) => {
                    if self.gate.stop(partition) {
                        self.pending.push_back(Recovered::Damaged(damage));
                    }
                    continue;
                }
                Fate::Follows => {}
            }
            match self.gate.admit(&batch.header) {
                Verdict::Skip => {}
                Verdict::Deliver => {
                    let bytes = Arc::clone(shared.get_or_insert_with(|| frame.into()));
                    let start = batch.offset + BATCH_HEADER_BYTES;
                    let entries = start..start + batch.header.length as usize;
                    let batch = RecoveredBatch::new(&batch.header, group.header.group, place, bytes, entries);
                    self.pending.push_back(Recovered::Batch(batch));
                }
                Verdict::Damaged(kind) => {
                    let (group, batch, partition) = (group.header.group, Some(batch.index), Some(partition));
                    self.pending.push_back(Recovered::Damaged(Damage { place, group, batch, partition, kind }));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        let (place, group) = self.last;
        for (partition, kind) in self.gate.finish() {
            let damage = Damage { place, group, batch: None, partition: Some(partition), kind };
            self.pending.push_back(Recovered::Damaged(damage));
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Recovered, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(_) => self.pending.pop_front().map(Ok),
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}
