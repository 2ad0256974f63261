//! Where each partition's chain ends, so that a batch that does not follow is never written.
//!
//! A batch out of order is a mistake of the caller; on disk it would look like damage for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Batch;
use crate::contract::{Fault, Part};
use crate::recovered::Tail;

/// A partition that is not named is unknown (new, or trimmed to nothing): its next batch sets the chain.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    ends: BTreeMap<u16, Tail>,
    frozen: BTreeSet<u16>,
    undo: Vec<(u16, Option<Tail>)>,
}

impl Tails {
    pub(crate) fn new(ends: BTreeMap<u16, Tail>, frozen: BTreeSet<u16>) -> Self {
        Self { ends, frozen, undo: Vec::new() }
    }

    /// Moves the ends behind `part`, or leaves all of them where they are and says why.
    pub(crate) fn advance(&mut self, part: &Part) -> Result<(), Fault> {
        self.undo.clear();
        for batch in &part.batches {
            if let Err(fault) = self.advance_one(batch) {
                while let Some((partition, end)) = self.undo.pop() {
                    match end {
                        Some(end) => self.ends.insert(partition, end),
                        None => self.ends.remove(&partition),
                    };
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    fn advance_one(&mut self, batch: &Batch) -> Result<(), Fault> {
        let partition = batch.partition();
        if self.frozen.contains(&partition) {
            return Err(Fault::Frozen { partition });
        }
        let end = Tail { seq: batch.last_seq(), hash: batch.hash() };
        let before = self.ends.get(&partition).copied();
        if let Some(tail) = before
            && (batch.prev_hash() != tail.hash || batch.first_seq() != tail.seq + 1)
        {
            return Err(Fault::Chain {
                partition,
                first_seq: batch.first_seq(),
                prev_hash: batch.prev_hash(),
                tail_seq: tail.seq,
                tail_hash: tail.hash,
            });
        }
        self.ends.insert(partition, end);
        self.undo.push((partition, before));
        Ok(())
    }
}
