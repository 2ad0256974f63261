//! What really happened at the participants, whatever they answered: the truth that a life is judged by.
//!
//! Kept by the simulated participants alone; the engine never sees it. Left out: how a participant behaves (`outside`).

use model::{CallKey, Direction, StepIndex, TxId};
use smallvec::SmallVec;

use crate::fixed::Map;

/// One step of one transaction, at its participant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deed {
    /// Place of the participant; meaningless while nothing arrived.
    pub participant: u32,
    /// Money that one execution moves there.
    pub amount: i64,
    /// How often it executed, and how often an undo executed.
    pub executions: u32,
    pub undos: u32,
    /// What is there now: 0 or 1 in a right world.
    pub standing: i32,
    /// Calls that arrived, forward and back, repeats included.
    pub arrived: u32,
    pub undos_arrived: u32,
    /// Forward calls that nobody waits for and that will still arrive.
    pub on_their_way: u32,
    /// A person undid it outside, and told the engine so.
    pub undone_by_hand: bool,
    /// It changes something over there: not a read.
    pub changes: bool,
}

/// All deeds of a world.
#[derive(Debug, Default)]
pub struct Ledger {
    deeds: Map<TxId, SmallVec<[Deed; 4]>>,
    /// Money at each participant: moved when a deed executes, moved back when it is undone.
    balances: Vec<i64>,
}

impl Ledger {
    /// Deeds of a transaction by step; steps that nothing arrived for may be missing at the end.
    pub fn deeds(&self, tx: TxId) -> &[Deed] {
        self.deeds.get(&tx).map_or(&[], |deeds| deeds.as_slice())
    }

    pub fn deed(&self, tx: TxId, step: StepIndex) -> Deed {
        self.deeds(tx).get(usize::from(step)).copied().unwrap_or_default()
    }

    /// Money at a participant.
    pub fn balance(&self, participant: u32) -> i64 {
        self.balances.get(participant as usize).copied().unwrap_or_default()
    }

    /// How many transactions have deeds.
    pub fn len(&self) -> usize {
        self.deeds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deeds.is_empty()
    }

    /// Every transaction with a deed, sorted.
    pub fn transactions(&self) -> Vec<TxId> {
        let mut all: Vec<TxId> = self.deeds.keys().copied().collect();
        all.sort_unstable();
        all
    }

    pub(crate) fn deed_mut(&mut self, tx: TxId, step: StepIndex) -> &mut Deed {
        let deeds = self.deeds.entry(tx).or_default();
        let place = usize::from(step);
        if deeds.len() <= place {
            deeds.resize(place + 1, Deed::default());
        }
        &mut deeds[place]
    }

    pub(crate) fn executed(&mut self, key: CallKey, participant: u32, amount: i64) {
        debug_assert_eq!(key.direction, Direction::Call);
        let deed = self.deed_mut(key.tx, key.step);
        deed.participant = participant;
        deed.amount = amount;
        deed.executions += 1;
        deed.standing += 1;
        self.move_money(participant, amount);
    }

    pub(crate) fn undone(&mut self, key: CallKey) {
        let deed = self.deed_mut(key.tx, key.step);
        deed.undos += 1;
        deed.standing -= 1;
        let (participant, amount) = (deed.participant, deed.amount);
        self.move_money(participant, -amount);
    }

    /// A person undid it by other means.
    pub(crate) fn undo_by_hand(&mut self, tx: TxId, step: StepIndex) {
        let deed = self.deed_mut(tx, step);
        let (standing, participant, amount) = (deed.standing, deed.participant, deed.amount);
        deed.undone_by_hand = true;
        deed.standing = 0;
        self.move_money(participant, -amount * i64::from(standing));
    }

    /// A call that nobody waits for is still on its way.
    pub(crate) fn sets_out(&mut self, key: CallKey) {
        if key.direction == Direction::Call {
            self.deed_mut(key.tx, key.step).on_their_way += 1;
        }
    }

    /// It has come.
    pub(crate) fn comes_in(&mut self, key: CallKey) {
        if key.direction == Direction::Call {
            let deed = self.deed_mut(key.tx, key.step);
            deed.on_their_way = deed.on_their_way.saturating_sub(1);
        }
    }

    fn move_money(&mut self, participant: u32, amount: i64) {
        let place = participant as usize;
        if self.balances.len() <= place {
            self.balances.resize(place + 1, 0);
        }
        self.balances[place] += amount;
    }
}
