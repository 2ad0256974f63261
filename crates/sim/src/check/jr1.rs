//! JR-1: replay of the journal gives the same state. The follower applies what it reads back from the bytes, and must
//! be where the leader was; recovery builds checkpoint and journal together, and must be where the follower is; what
//! reaches history is what ended. The time of entries never runs back (SEMANTICS 11, 14).

use model::{Timestamp, TxId};
use partition::{EntryKind, Partition, Transaction};

use crate::event::{Checker, Event, View, Violation};
use crate::fixed::Map;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Replays {
    /// By partition, the time of its last entry.
    at: Vec<Timestamp>,
    /// What ended by a durable entry, until history has it.
    ended: Map<TxId, Box<Transaction>>,
}

impl Checker for Replays {
    fn name(&self) -> &'static str {
        "JR-1"
    }

    fn on(&mut self, _: Timestamp, event: &Event<'_>, world: &View<'_>) -> Result<(), Violation> {
        match event {
            Event::Applied { partition, entry, ended } => {
                let place = usize::from(*partition);
                if self.at.len() <= place {
                    self.at.resize(place + 1, Timestamp::ZERO);
                }
                if entry.at < self.at[place] {
                    let what = format!("entry {} is of {}, the one before of {}", entry.seq, entry.at, self.at[place]);
                    return Err(Violation::new("JR-1", None, what));
                }
                self.at[place] = entry.at;
                if let Some(tx) = ended {
                    self.ended.insert(tx.id, Box::new(Transaction::clone(tx)));
                }
                let of = world.partition(*partition);
                let seq = match &entry.kind {
                    EntryKind::Begin(_) => entry.seq,
                    EntryKind::Moves { tx, .. } => *tx,
                    EntryKind::Epoch { .. } | EntryKind::Plan { .. } => return Ok(()),
                };
                let Some(leader) = of.leader else { return Ok(()) };
                // Compared where the leader has not gone on meanwhile; its last entry always is.
                if leader.epoch != of.follower.epoch || world.last_touch(*partition, seq) != entry.seq {
                    return Ok(());
                }
                if let (Some(led), Some(replayed)) = (leader.get(seq), of.follower.get(seq)) {
                    same(led, replayed, "replayed")?;
                }
                Ok(())
            }
            Event::Ended { tx, .. } => match self.ended.remove(&tx.id) {
                Some(replayed) => same(tx, &replayed, "in history"),
                None => Ok(()),
            },
            Event::Recovered { partition, restored, .. } => {
                let follower = world.partition(*partition).follower;
                if restored.seq == follower.seq { rebuilt(restored, follower) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, _: Timestamp, _: &View<'_>) -> Result<(), Violation> {
        Ok(())
    }
}

/// Two views of one transaction.
fn same(one: &Transaction, other: &Transaction, how: &str) -> Result<(), Violation> {
    if one == other {
        return Ok(());
    }
    let step = one.steps.iter().zip(&other.steps).position(|(a, b)| a != b);
    let what = match step {
        Some(step) => format!("step {step} is {:?}, {how} it is {:?}", one.steps[step], other.steps[step]),
        None => format!("it is {one:?}, {how} {other:?}"),
    };
    Err(Violation::new("JR-1", one.id, what))
}

/// Recovery against the follower, both at one seq.
fn rebuilt(restored: &Partition, follower: &Partition) -> Result<(), Violation> {
    let broken = |what: String| Err(Violation::new("JR-1", None, format!("partition {}: {what}", follower.id.0)));
    let (one, other) = (restored.live_seqs(), follower.live_seqs());
    if one != other {
        let odd: Vec<_> =
            one.iter().filter(|s| !other.contains(s)).chain(other.iter().filter(|s| !one.contains(s))).collect();
        return broken(format!("recovery and replay differ in what is live: {odd:?}"));
    }
    if (restored.epoch, restored.at, restored.plans.len()) != (follower.epoch, follower.at, follower.plans.len()) {
        return broken(format!(
            "recovery is at {} of epoch {}, replay at {} of epoch {}",
            restored.at, restored.epoch, follower.at, follower.epoch
        ));
    }
    for seq in one {
        if let (Some(rebuilt), Some(replayed)) = (restored.get(seq), follower.get(seq)) {
            same(rebuilt, replayed, "replayed")?;
        }
    }
    let all = Timestamp(u64::MAX - 1);
    if restored.due(all, usize::MAX) != follower.due(all, usize::MAX) {
        return broken("recovery and replay differ in what is due".to_owned());
    }
    if !restored
        .locks
        .iter()
        .map(|(l, k, q)| (l, k, q.holder, &q.waiting))
        .eq(follower.locks.iter().map(|(l, k, q)| (l, k, q.holder, &q.waiting)))
    {
        return broken("recovery and replay differ in who holds and awaits locks".to_owned());
    }
    Ok(())
}
