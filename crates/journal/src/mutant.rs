//! Planted bugs of this room: defects with a name that the simulation switches on, to learn whether anybody sees them.
//!
//! The switch of the other rooms is in `model`, which this one does not know. As there: without the feature `mutants`
//! [`is_planted`] is a constant and every planted place compiles to nothing; with it nothing is planted unless
//! somebody calls `plant`, and then on that thread only.

/// One planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A torn group at the end is read as far as it can be.
    TornTailAccepted,
    /// Damage before a later valid group is cut like a torn end.
    SealIgnored,
    /// What was read at the end of the journal is copied, but not made durable.
    TailServedUnsecured,
}

/// Whether this bug is to show itself here.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(crate) const fn is_planted(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Plants this bug on this thread, or takes out what is planted.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether this bug is to show itself here.
#[cfg(feature = "mutants")]
pub(crate) fn is_planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}
