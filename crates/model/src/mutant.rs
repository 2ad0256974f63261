//! Planted bugs: defects with a name that the simulation switches on, one at a time, to learn whether its checkers
//! would see them.
//!
//! Without the feature `mutants` there is no switch: [`is_planted`] is a constant and every planted place compiles to
//! nothing. Only the room `sim` asks for the feature. Where a build of the whole workspace brings it along, nothing
//! is planted unless somebody calls `plant`, which nothing but `sim` does, and then on that thread only.
//!
//! Left out: what finds them, and how soon. That is the campaign's (`docs/internals/simulation.md`).

/// Names the planted bugs, with what each of them does and the hazard of SEMANTICS that it is an example of.
macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $name:ident = $hazard:literal,)+) => {
        /// One planted bug.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Mutant {
            $($(#[doc = $what])+ $name,)+
        }

        impl Mutant {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name, as the command line takes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it does, in words.
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($what),+).trim_ascii(),)+
                }
            }

            /// The number of the hazard in SEMANTICS that it is an example of; 0 for an invariant of DESIGN.md itself.
            pub fn hazard(self) -> u8 {
                match self {
                    $(Self::$name => $hazard,)+
                }
            }
        }
    };
}

mutants! {
    // The state machine: what may have executed.
    /// A refusal clears that an earlier attempt may have executed.
    RefusedClearsMayHaveExecuted = 1,
    /// An unknown outcome does not set that it may have executed.
    UnknownIsForgotten = 1,
    /// What was outstanding at a restart counts as never sent.
    RestartMeansNotSent = 1,
    /// A read that was given another's answer counts as executed.
    SharedCountsAsExecuted = 27,
    /// A call that fails, fails the reads that wait for its answer.
    LeadFailsJoiners = 27,
    /// An answer to an earlier attempt is taken for the answer to the one that is under way.
    LateAnswerDecides = 1,
    /// Declared proof is believed while an earlier attempt may still arrive.
    ProofBelievedTooEarly = 1,
    /// What may have executed is asked again where nothing promises to recognise it.
    PromiseNeverEnds = 2,
    /// A repeat goes to any endpoint, though only one of them remembers the call key.
    PinForgotten = 2,
    /// A repeat whose endpoint is no longer declared goes to another one, which knows nothing of the call key.
    GoneEndpointIsReplaced = 2,
    /// A repeat whose endpoint is no longer declared is released all the same, for nobody who could take it.
    GoneEndpointIsAwaited = 18,
    /// A timeout is judged as a refusal.
    TimeoutMeansRefused = 3,
    /// A connection that was cut counts as proof that nothing was sent.
    CutMeansNotSent = 3,
    /// A 503 without Retry-After counts as proof that nothing ran.
    Any503MeansNotTaken = 3,
    /// A 401 is judged as the participant's refusal.
    UnauthorizedMeansRefused = 3,
    /// Undoing begins while a forward call is outstanding.
    UndoBeforeQuiet = 4,
    /// A cancel or a deadline decides while a call is outstanding.
    StopDoesNotWait = 4,
    /// An undo starts before what it undoes has settled.
    UndoBeforeItSettled = 4,
    /// An undo that is refused counts as done.
    RefusedUndoIsDone = 4,

    // The state machine: replay.
    /// `apply` takes the time from somewhere else than the entry.
    ApplyReadsAnotherClock = 11,
    /// A backoff is decided and not recorded.
    VerdictNotRecorded = 11,
    /// The leader's time follows the wall clock back.
    ClockGoesBack = 14,
    /// A batch that was applied already is applied again.
    BatchAppliedTwice = 5,

    // The state machine: what wakes.
    /// A timer that moves is taken out and not put in again.
    MovedTimerIsLost = 18,
    /// A restart brings rows back without their timers.
    TimerNotRestored = 18,
    /// A call that was not taken is parked, and nobody is told.
    ParkedIsForgotten = 18,
    /// An optional step waits for its participant without end.
    PatienceWithoutEnd = 18,
    /// The deadline does not end the wait for a lock.
    DeadlineForgottenWhileQueued = 19,
    /// A step waits for a signal that has come already.
    EarlySignalForgotten = 18,

    // The state machine: locks.
    /// A lock that is freed is given to nobody.
    LockNotHandedOn = 19,
    /// The last to come gets the lock first.
    LatestGetsTheLock = 19,
    /// A transaction begins although another holds its lock.
    LockIgnored = 19,
    /// A restart forgets who holds a lock.
    LockNotRestored = 19,
    /// The lock is free before what was done under it has been undone.
    LockFreedBeforeTheUndo = 19,

    // The state machine: attempts.
    /// Calls that were not taken spend the attempts of the step.
    OutageBurnsAttempts = 21,
    /// An attempt that a restart cut off is not counted.
    RestartCountsNoAttempt = 21,
    /// A step is tried once more than its retry says.
    OneAttemptTooMany = 0,
    /// The next attempt does not wait.
    BackoffForgotten = 0,
    /// An undo that fails three times counts as done.
    UndoEndsTooSoon = 0,

    // The state machine: the shape of a saga.
    /// A cancel or a deadline undoes beyond the point of no return.
    PivotIgnored = 22,
    /// A refusal beyond the point of no return aborts.
    RefusalAfterPivotAborts = 22,
    /// An optional step that does not work out aborts the transaction.
    OptionalFailureAborts = 22,
    /// What an optional step may have done is left standing.
    OptionalEffectStays = 22,
    /// What was done first is undone first.
    OldestUndoneFirst = 23,
    /// Steps do not wait for the steps before them.
    StepsDoNotWait = 23,
    /// Cancelling what is decided decides it again.
    OutcomeDecidedTwice = 0,
    /// A person's decision is written to another step.
    ResolvesTheWrongStep = 23,
    /// The undo carries the call key of what it undoes.
    UndoUnderTheSameKey = 24,
    /// All steps of a transaction carry one call key.
    StepMissingInTheKey = 24,
    /// Each attempt carries a call key of its own.
    KeyOfItsOwnForEachAttempt = 24,
    /// An undo is given the transaction's deadline.
    UndoHasADeadline = 14,

    // Rows and checkpoints.
    /// A checkpoint leaves out what changed last.
    CheckpointMissesTheLast = 5,
    /// The row of what has ended stays in the checkpoint.
    EndedRowStays = 5,
    /// A row leaves memory though the checkpoint has an older one.
    EvictsWhatIsDirty = 5,
    /// A row comes back without the transaction's deadline.
    RowForgetsTheDeadline = 14,
    /// A row comes back without knowing that its undo may have executed.
    RowForgetsTheUndo = 2,
    /// An entry does not carry the fields that were kept of an answer.
    EntryForgetsTheResult = 11,

    // The load manager.
    /// One call more than the limit.
    LimitExceededByOne = 0,
    /// A restart opens at the whole limit at once.
    RestartOpensAtOnce = 20,
    /// A call starts after its deadline.
    ExpiredCallStarts = 14,
    /// A paused participant is called.
    PausedIsCalled = 0,
    /// A participant that is held gets more than one probe.
    HeldIsFlooded = 0,
    /// More calls than allowed wait in memory for a participant that is held.
    HeldBacklogGrows = 28,
    /// Whoever waits longest has no turn.
    OldestStarves = 0,
    /// A call that was taken back stays in the backlog.
    WithdrawnStaysQueued = 13,
    /// A call without an answer keeps its place under the limit.
    UnknownKeepsItsPlace = 0,
    /// Repeats start without a budget.
    RepeatsWithoutBudget = 20,
    /// Starts are not paced.
    PaceIgnored = 0,
    /// Parked calls are never asked for again.
    ParkedNeverAskedFor = 18,

    /// A kept answer serves past its age.
    AnswerKeptTooLong = 27,
    /// A read joins a call that started too long before it asked.
    JoinedTooLate = 27,
    /// Reads that waited for a call that fails are forgotten with it.
    JoinersForgotten = 27,

    // The leader's pipeline around the pure rooms, as the simulation hosts it.
    /// Another's answer is taken for whatever is asked.
    AnswerOfAnotherRequest = 27,
    /// Effects leave before their entry is durable.
    EffectBeforeCommit = 11,
    /// A client is answered before its submission is durable.
    AnswerBeforeCommit = 0,
    /// A fenced owner's effects leave all the same.
    FenceSkipped = 7,
    /// Rows written after the checkpoint are seen by the replay.
    RowAheadOfReplay = 5,
    /// A parked call starts without an entry that says so.
    UnparkWithoutEntry = 13,
    /// A parked call that is asked for is lost on its way.
    UnparkLost = 18,
    /// Nobody proposes to recover what an earlier epoch left outstanding.
    RecoverForgotten = 18,
    /// Nobody grants what became free just before a restart.
    GrantForgotten = 18,
    /// A restart knows the submissions of the journal only, not those of the checkpoint.
    KeysForgottenAtCheckpoint = 5,
    /// A submission is forgotten when its outcome is decided.
    KeyFreedTooEarly = 9,
    /// What ended just before a crash does not reach history.
    HistoryRowLost = 0,
    /// A checkpoint becomes valid before the entries that it contains.
    CheckpointBeforeCommit = 5,
    /// The journal forgets more than the last checkpoint holds.
    TrimmedTooFar = 17,
    /// A torn group at the end is replayed as far as it can be read.
    TornTailAccepted = 15,
    /// Damage before a later valid group is cut like a torn end.
    SealIgnored = 15,
    /// A group counts as durable before its fsync.
    SyncForgotten = 15,
    /// A failed fsync is tried again, and counts then.
    FailedSyncIsRetried = 15,
    /// What was read at the end of the journal is served without being made durable first.
    TailServedUnsecured = 15,
}

impl Mutant {
    /// The mutant of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }
}

/// Whether this bug is to show itself here.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::{Planted, is_planted, plant, reached};

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
        static REACHED: Cell<u64> = const { Cell::new(0) };
    }

    /// Whether this bug is to show itself here.
    #[inline]
    pub fn is_planted(mutant: Mutant) -> bool {
        let planted = PLANTED.get() == Some(mutant);
        if planted {
            REACHED.set(REACHED.get() + 1);
        }
        planted
    }

    /// Plants a bug on this thread until the guard is dropped.
    pub fn plant(mutant: Mutant) -> Planted {
        REACHED.set(0);
        Planted { before: PLANTED.replace(Some(mutant)) }
    }

    /// How often the planted bug has been met on this thread since it was planted: one that is never met is not
    /// hidden, the world does not go there.
    pub fn reached() -> u64 {
        REACHED.get()
    }

    /// While it lives, a bug is planted on this thread.
    #[derive(Debug)]
    #[must_use = "the bug is taken out when this is dropped"]
    pub struct Planted {
        before: Option<Mutant>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_planted_by_default() {
        assert!(Mutant::ALL.iter().all(|mutant| !is_planted(*mutant)));
    }

    #[test]
    fn names_are_found_and_hazards_exist() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::by_name(mutant.name()), Some(*mutant));
            assert!(mutant.hazard() <= 35 && mutant.what().ends_with('.'), "{mutant:?}");
        }
        assert_eq!(Mutant::by_name("no such"), None);
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn one_is_planted_while_its_guard_lives() {
        let guard = plant(Mutant::PivotIgnored);
        assert!(is_planted(Mutant::PivotIgnored) && !is_planted(Mutant::LockIgnored));
        assert_eq!(reached(), 1);
        drop(guard);
        assert!(!is_planted(Mutant::PivotIgnored));
    }
}
