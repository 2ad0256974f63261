//! One life again: its story, and the smallest life that still breaks the same promise.
//!
//! Shrinking leaves out: faults of the schedule one after the other, features, submissions at the end. A smaller life
//! counts if the same checker breaks the same rule. After Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input" (2002), without its halving: schedules are short.

use model::TxId;

use crate::event::{Fault, Violation};
use crate::features::Features;
use crate::world::{Life, Orders, live, schedule};

/// A life to be told.
#[derive(Debug)]
pub struct Replay {
    pub seed: u64,
    pub digest: u64,
    pub entries: u64,
    pub broken: Option<(&'static str, Violation)>,
    pub features: Vec<&'static str>,
    pub submissions: u32,
    /// The faults of the schedule that were left in, in order.
    pub faults: Vec<Fault>,
    pub story: Vec<String>,
}

/// What is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    All,
    Only(TxId),
    /// What concerns the transaction that the broken promise names; all, if it names none.
    Concerned,
}

/// Lives a seed again, and writes its story down.
pub fn replay(seed: u64, told: Told, shrinks: bool) -> Replay {
    let mut features = Features::of(seed);
    let mut dropped = Vec::new();
    let first = live(&features, &Orders::default());
    if shrinks && let Some((checker, violation)) = &first.broken {
        (features, dropped) = shrink(features, (*checker, violation.rule));
    }
    let orders = Orders { dropped: dropped.clone(), ..Orders::default() };
    let again = live(&features, &orders);
    let about = match told {
        Told::All => None,
        Told::Only(tx) => Some(tx),
        Told::Concerned => again.broken.as_ref().and_then(|(_, violation)| violation.tx),
    };
    let last = live(&features, &Orders { story: Some(about), ..orders });
    let Life { digest, entries, broken, story, features: names, submissions, .. } = last;
    let planned = schedule(&features, model::Timestamp::ZERO, crate::menu::participants().len());
    let faults = (0..planned.len()).filter(|n| !dropped.contains(&(*n as u32))).map(|n| planned[n].fault).collect();
    let story = story.map_or_else(Vec::new, |story| story.lines);
    Replay { seed, digest, entries, broken, features: names, submissions, faults, story }
}

type Broken = (&'static str, &'static str);

fn shrink(mut features: Features, same: Broken) -> (Features, Vec<u32>) {
    let mut dropped: Vec<u32> = Vec::new();
    let fails = |features: &Features, dropped: &[u32]| {
        let orders = Orders { dropped: dropped.to_vec(), ..Orders::default() };
        let life = live(features, &orders);
        life.broken.is_some_and(|(checker, violation)| (checker, violation.rule) == same)
    };
    // Fewer submissions first: every later trial is quicker.
    let mut step = features.submissions / 2;
    while step > 0 {
        let fewer = features.with_submissions(features.submissions.saturating_sub(step).max(1));
        if fewer.submissions < features.submissions && fails(&fewer, &dropped) {
            features = fewer;
        } else {
            step /= 2;
        }
    }
    for n in 0..schedule(&features, model::Timestamp::ZERO, crate::menu::participants().len()).len() as u32 {
        dropped.push(n);
        if !fails(&features, &dropped) {
            dropped.pop();
        }
    }
    for name in features.names().to_vec() {
        // A fault that the schedule has must stay in it, or the places of the others would move.
        if crate::features::is_scheduled(name) {
            continue;
        }
        let less = features.without(name);
        if fails(&less, &dropped) {
            features = less;
        }
    }
    (features, dropped)
}
