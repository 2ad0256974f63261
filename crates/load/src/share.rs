//! Calls that need not be made: equal reads wait for one of them, or take its answer while that is young enough.
//!
//! ```text
//!  a read that may be shared ──► a kept answer, young enough? ──► Answered
//!                                 │ no
//!                                 ├─► an equal call waits, or is under way, young enough? ──► joins it
//!                                 │ no                                      │ answered        │ anything else
//!                                 ▼                                         ▼                 ▼
//!                                leads: an ordinary call                 Answered          asks again
//! ```
//!
//! One number says what is young enough. An answer tells how things stood at some moment after its call started, so
//! whoever asks gets nothing older than the time from that start to the asking. A call that has not started may
//! always be joined; with an age of zero, no other may.
//!
//! Those that join take no place under a limit, wait for no pace and teach nothing. They share good luck only: what is
//! no answer says nothing to them, and they ask again. After [`JOINS_MAX`] such calls they go by themselves, so that
//! nobody stands behind a row of timeouts.
//!
//! Left out: what was answered (the caller keeps it under the name of the call that was told to be kept), and whether
//! the answer does for whoever gets it.
//!
//! Joining is Go's `singleflight` with an age; the memo's bound by what may be old follows "stale content" of RFC 9111,
//! counted from the request as there (section 4.2.3).

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use hashbrown::HashMap;
use model::Timestamp;
use model::mutant::{Mutant, is_planted};

use crate::call::{CallRef, Class, Decision, Released, Verdict};
use crate::manager::CallHash;

/// That wait for one call, at most; the next goes by itself, and others join it.
const JOINERS_PER_CALL_MAX: usize = 1_024;
/// That wait for any call of this node.
const JOINERS_MAX: usize = 16_384;
/// Calls that end without an answer, before whoever joined them goes by itself.
pub(crate) const JOINS_MAX: u8 = 2;
/// Answers that are kept, and their bytes; the one that ends soonest goes first.
const KEPT_MAX: usize = 4_096;
const KEPT_BYTES_MAX: usize = 16 << 20;
/// A larger answer serves those that wait for it and is not kept.
const KEPT_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Times from several threads may be this much out of order; further back, the clock was set, and ages mean nothing.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// How a released read may be shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The same for equal requests to one participant, and for no others.
    pub identity: u128,
    /// By how much what an answer tells may be older than the moment of asking.
    pub max_age: Duration,
    /// It may take another's answer; else it only serves others with its own.
    pub may_join: bool,
}

/// What becomes of a read that may be shared.
#[derive(Debug)]
pub(crate) enum Asked {
    Answered { by: CallRef, age: Duration },
    Joined,
    Goes,
}

/// One that waits for another's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joiner {
    pub(crate) released: Released,
    pub(crate) share: Share,
    asked_at: Timestamp,
    /// Calls that it has waited for so far.
    pub(crate) joins: u8,
}

/// A call that others may wait for.
#[derive(Debug)]
struct Flight {
    released: Released,
    share: Share,
    generation: u32,
    started_at: Option<Timestamp>,
    joiners: Vec<Joiner>,
}

/// An answer that the caller keeps.
#[derive(Debug)]
struct Kept {
    by: CallRef,
    generation: u32,
    started_at: Timestamp,
    ends_at: Timestamp,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// The newest call of an identity.
    leads: HashMap<u128, CallRef, IdentityHash>,
    flights: HashMap<CallRef, Flight, CallHash>,
    /// Whom each of those that joined waits for.
    joined: HashMap<CallRef, CallRef, CallHash>,
    kept: HashMap<u128, Kept, IdentityHash>,
    by_end: BTreeSet<(Timestamp, u128)>,
    kept_bytes: usize,
    /// Not kept any more; the caller has not been told yet.
    dropped: Vec<CallRef>,
    /// Whom they waited for was taken back; they ask again at the next tick.
    orphans: Vec<Joiner>,
    /// Grows when a participant becomes another: nothing from before counts.
    generations: Vec<u32>,
    newest: Timestamp,
}

impl Shares {
    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.is_empty()
    }

    pub(crate) fn has_joined(&self, call: CallRef) -> bool {
        self.joined.contains_key(&call) || self.orphans.iter().any(|o| o.released.call == call)
    }

    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.kept_bytes)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.joined.len() + self.orphans.len()
    }

    fn generation(&self, participant: u32) -> u32 {
        self.generations.get(participant as usize).copied().unwrap_or(0)
    }

    /// The participant is another from now on, or everything may be otherwise there.
    pub(crate) fn renew(&mut self, participant: u32) {
        let at = participant as usize;
        if self.generations.len() <= at {
            self.generations.resize(at + 1, 0);
        }
        self.generations[at] = self.generations[at].wrapping_add(1);
    }

    /// Drops what has become too old. A clock that was set back makes everything so.
    pub(crate) fn pass_time(&mut self, now: Timestamp) {
        if now.after(CLOCK_SLACK) < self.newest {
            for generation in &mut self.generations {
                *generation = generation.wrapping_add(1);
            }
            while let Some((_, identity)) = self.by_end.first().copied() {
                self.drop_kept(identity);
            }
            self.newest = now;
        }
        self.newest = self.newest.max(now);
        while let Some((ends_at, identity)) = self.by_end.first().copied()
            && ends_at < now
            && !is_planted(Mutant::AnswerKeptTooLong)
        {
            self.drop_kept(identity);
        }
    }

    fn drop_kept(&mut self, identity: u128) {
        if let Some(kept) = self.kept.remove(&identity) {
            self.by_end.remove(&(kept.ends_at, identity));
            self.kept_bytes -= kept.bytes;
            self.dropped.push(kept.by);
        }
    }

    /// What is not kept any more since this was asked last.
    pub(crate) fn take_dropped(&mut self) -> std::vec::Drain<'_, CallRef> {
        self.dropped.drain(..)
    }

    /// A read that may be shared asks for an answer; `joins` as in [`Joiner`].
    pub(crate) fn ask(&mut self, now: Timestamp, released: &Released, share: &Share, joins: u8) -> Asked {
        self.pass_time(now);
        if self.generations.len() <= released.participant as usize {
            self.generations.resize(released.participant as usize + 1, 0);
        }
        let generation = self.generation(released.participant);
        if !share.may_join {
            return Asked::Goes;
        }
        if let Some(kept) = self.kept.get(&share.identity)
            && kept.generation == generation
        {
            let age = now.since(kept.started_at);
            if age <= share.max_age || is_planted(Mutant::AnswerKeptTooLong) {
                let by = kept.by;
                return Asked::Answered { by, age };
            }
        }
        if joins >= JOINS_MAX || self.joined.len() >= JOINERS_MAX {
            return Asked::Goes;
        }
        let Some(lead) = self.leads.get(&share.identity).copied() else { return Asked::Goes };
        let Some(flight) = self.flights.get_mut(&lead) else { return Asked::Goes };
        let is_young = match flight.started_at {
            Some(at) => now.since(at) <= share.max_age || is_planted(Mutant::JoinedTooLate),
            None => goes_before(&flight.released, released),
        };
        if !is_young || flight.generation != generation || flight.joiners.len() >= JOINERS_PER_CALL_MAX {
            return Asked::Goes;
        }
        flight.joiners.push(Joiner { released: *released, share: *share, asked_at: now, joins: joins + 1 });
        self.joined.insert(released.call, lead);
        Asked::Joined
    }

    /// It goes by itself, with this decision: others may wait for it from here on.
    pub(crate) fn lead(&mut self, now: Timestamp, released: &Released, share: &Share, decision: Decision) {
        let started_at = match decision {
            Decision::Start { .. } => Some(now),
            Decision::Queued => None,
            Decision::Park { .. } | Decision::Expired | Decision::Answered { .. } => return,
        };
        let generation = self.generation(released.participant);
        let flight = Flight { released: *released, share: *share, generation, started_at, joiners: Vec::new() };
        self.flights.insert(released.call, flight);
        self.leads.insert(share.identity, released.call);
    }

    pub(crate) fn started(&mut self, now: Timestamp, call: CallRef) {
        if let Some(flight) = self.flights.get_mut(&call) {
            flight.started_at.get_or_insert(now);
        }
    }

    fn land(&mut self, call: CallRef) -> Option<Flight> {
        let flight = self.flights.remove(&call)?;
        if self.leads.get(&flight.share.identity) == Some(&call) {
            self.leads.remove(&flight.share.identity);
        }
        for joiner in &flight.joiners {
            self.joined.remove(&joiner.released.call);
        }
        Some(flight)
    }

    /// The call is over without an answer, or will not be made: those that waited for it.
    pub(crate) fn lost(&mut self, call: CallRef) -> Vec<Joiner> {
        match self.land(call) {
            Some(_) if is_planted(Mutant::JoinersForgotten) => Vec::new(),
            Some(flight) => flight.joiners,
            None => Vec::new(),
        }
    }

    /// The call was answered, in so many bytes. True if the answer is to be kept.
    pub(crate) fn answered(&mut self, now: Timestamp, call: CallRef, bytes: usize, out: &mut Vec<Verdict>) -> bool {
        self.pass_time(now);
        let Some(flight) = self.land(call) else { return false };
        let participant = flight.released.participant;
        let started_at = flight.started_at.unwrap_or(now);
        for joiner in &flight.joiners {
            let age = joiner.asked_at.since(started_at);
            out.push(Verdict::Answered { call: joiner.released.call, participant, by: call, age });
        }
        let ends_at = started_at.after(flight.share.max_age);
        let is_newest = self.kept.get(&flight.share.identity).is_none_or(|kept| kept.started_at <= started_at);
        if ends_at <= now
            || flight.share.max_age.is_zero()
            || bytes > KEPT_ANSWER_BYTES_MAX
            || flight.generation != self.generation(participant)
            || !is_newest
        {
            return false;
        }
        self.drop_kept(flight.share.identity);
        while self.kept.len() >= KEPT_MAX || self.kept_bytes + bytes > KEPT_BYTES_MAX {
            let Some((_, soonest)) = self.by_end.first().copied() else { break };
            self.drop_kept(soonest);
        }
        let kept = Kept { by: call, generation: flight.generation, started_at, ends_at, bytes };
        self.kept_bytes += bytes;
        self.by_end.insert((ends_at, flight.share.identity));
        self.kept.insert(flight.share.identity, kept);
        true
    }

    /// One that joined is taken back. False if it is none.
    pub(crate) fn leave(&mut self, call: CallRef) -> bool {
        if let Some(place) = self.orphans.iter().position(|o| o.released.call == call) {
            self.orphans.swap_remove(place);
            return true;
        }
        let Some(lead) = self.joined.remove(&call) else { return false };
        if let Some(flight) = self.flights.get_mut(&lead) {
            flight.joiners.retain(|joiner| joiner.released.call != call);
        }
        true
    }

    /// A call was taken back that others waited for.
    pub(crate) fn orphan(&mut self, call: CallRef) {
        let mut joiners = self.lost(call);
        // It did not fail: waiting for it costs them nothing.
        joiners.iter_mut().for_each(|joiner| joiner.joins = joiner.joins.saturating_sub(1));
        self.orphans.append(&mut joiners);
    }

    pub(crate) fn take_orphans(&mut self) -> Vec<Joiner> {
        std::mem::take(&mut self.orphans)
    }
}

/// Whether a call that waits starts no later than another would that is released now: nobody joins what goes after
/// it.
fn goes_before(lead: &Released, other: &Released) -> bool {
    let rank = |class: Class| match class {
        Class::Retry => 0,
        Class::First => 1,
        Class::Compensate | Class::AfterPivot => 2,
    };
    rank(lead.class) >= rank(other.class)
        && lead.priority >= other.priority
        && lead.progress >= other.progress
        && lead.deadline <= other.deadline
        && (lead.route == 0 || lead.route == other.route)
}

/// An identity is mixed already.
#[derive(Clone, Copy, Default, Debug)]
struct IdentityHash(u64);

impl BuildHasher for IdentityHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for IdentityHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, n: u128) {
        self.0 = (n as u64) ^ (n >> 64) as u64;
    }
}
