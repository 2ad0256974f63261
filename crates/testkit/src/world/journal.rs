//! The journal of one run, as wire bytes: what keeps it, what replays it, what comes back from it after a crash.

use partition::branch::Branch;
use partition::{Command, Entry, Evidence, Leader, Partition};

use super::{Hold, ID, World};
use crate::ledger::{Fate, Told};

impl World<'_> {
    /// The entry as bytes, and through them to the replica.
    pub(super) fn keep(&mut self, entry: &Entry) {
        let mut writer = wire::EntryWriter::default();
        writer.push(entry);
        let payload = writer.payload().to_vec();
        let read = wire::EntryReader::new(&payload, entry.seq).ok().and_then(|mut entries| entries.next());
        match read {
            Some(Ok(again)) if again == *entry => {
                if let Err(e) = self.replica.apply(&again) {
                    self.ledger.note("JR-1", format!("a replay does not take entry {}: {e}", entry.seq));
                }
            }
            _ => self.ledger.note("JR-1", format!("entry {} does not read as it was written", entry.seq)),
        }
        self.journal.push((entry.seq, payload));
    }

    pub(super) fn compare(&mut self) {
        if self.leader.partition.get(self.tx) != self.replica.get(self.tx) {
            self.ledger.note("JR-1", "the replay of the journal gives another state");
        }
    }

    /// The process ends and another one starts, from the bytes of the journal.
    pub(super) fn restart(&mut self) {
        self.follows.clear();
        self.parked.clear();
        let mut rebuilt = Partition::new(ID);
        for (first, payload) in &self.journal {
            let Ok(entries) = wire::EntryReader::new(payload, *first) else { continue };
            for entry in entries.flatten() {
                if let Err(e) = rebuilt.apply(&entry) {
                    self.ledger.note("JR-1", format!("recovery does not take entry {}: {e}", entry.seq));
                }
            }
        }
        self.leader = Leader::new(rebuilt);
        self.compare();
        let epoch = self.leader.partition.epoch + 1;
        let incarnation = self.leader.partition.incarnation;
        match self.leader.open_epoch(epoch, incarnation, self.now) {
            Ok(entry) => self.keep(&entry),
            Err(e) => return self.ledger.note("JR-1", format!("no epoch can be opened: {e}")),
        }
        self.tell("", format!("the engine starts again from {} journal entries", self.journal.len()));
        // They end together, and the engine finds them in order of their steps.
        self.flying.sort_by_key(|flown| flown.call.step);
        for lost in std::mem::take(&mut self.flying) {
            let participant = &self.setting.participants[lost.participant as usize];
            let good = matches!(lost.evidence, Some(Evidence::Answered { status: 200..=299, .. }));
            let fate = lost.fate.unwrap_or(if good { Fate::At(lost.answers_at) } else { Fate::Never });
            self.taken.insert((lost.call.step, lost.call.direction), true);
            self.ledger.answered((lost.call.step, lost.call.direction), participant, Told::Unknown, fate, self.now);
        }
        for hold in &mut self.holds {
            *hold = Hold { down: hold.down, ..Hold::default() };
        }
        self.around.held.fill(false);
        let Some(tx) = self.live().cloned() else { return };
        for effect in partition::leader::effects_of(&tx, &self.leader.partition, &self.around) {
            self.take(effect);
        }
        if tx.steps.iter().any(|s| matches!(s.branch, Branch::Outstanding { .. }))
            && let Err(rejected) = self.propose(Command::Recover(self.tx))
        {
            self.ledger.note("TX-4", format!("what was outstanding is not recovered: {rejected}"));
        }
        for seq in self.leader.partition.locks.overdue() {
            let _ = self.propose(Command::Grant(seq));
        }
    }
}
