//! What was done under which call key and whether it was undone: how a system finds what an undo means.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Deeds by the key of the call that did them, and the tombstones of undoes that came first.
pub(crate) struct Deeds {
    max: usize,
    by_key: HashMap<Arc<str>, Entry>,
    by_age: VecDeque<Arc<str>>,
}

struct Entry {
    account: Box<str>,
    amount_minor: i64,
    done: u32,
    undone: u32,
    tombstone: bool,
}

/// What an undo found.
pub(crate) enum Found {
    Undone {
        account: String,
        amount_minor: i64,
    },
    Already,
    /// A tombstone stands now.
    Never,
}

impl Deeds {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), by_key: HashMap::new(), by_age: VecDeque::new() }
    }

    pub(crate) fn did(&mut self, key: Option<&str>, account: &str, amount_minor: i64) {
        let Some(key) = key else { return };
        let entry = self.entry(key);
        entry.account = account.into();
        entry.amount_minor = amount_minor;
        entry.done += 1;
    }

    /// Undoes one execution of the call `key`.
    pub(crate) fn undo(&mut self, key: &str) -> Found {
        let entry = self.entry(key);
        if entry.done > entry.undone {
            entry.undone += 1;
            return Found::Undone { account: entry.account.to_string(), amount_minor: entry.amount_minor };
        }
        if entry.done == 0 {
            entry.tombstone = true;
            return Found::Never;
        }
        Found::Already
    }

    pub(crate) fn is_tombstone(&self, key: &str) -> bool {
        self.by_key.get(key).is_some_and(|entry| entry.tombstone)
    }

    fn entry(&mut self, key: &str) -> &mut Entry {
        if !self.by_key.contains_key(key) {
            while self.by_age.len() >= self.max {
                if let Some(oldest) = self.by_age.pop_front() {
                    self.by_key.remove(&oldest);
                }
            }
            self.by_age.push_back(Arc::from(key));
        }
        let new = || Entry { account: "".into(), amount_minor: 0, done: 0, undone: 0, tombstone: false };
        self.by_key.entry(Arc::from(key)).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undo_finds_what_was_done_once() {
        let mut deeds = Deeds::new(2);
        deeds.did(Some("a"), "acc", 5);
        assert!(matches!(deeds.undo("a"), Found::Undone { amount_minor: 5, .. }));
        assert!(matches!(deeds.undo("a"), Found::Already));
        assert!(matches!(deeds.undo("b"), Found::Never));
        assert!(deeds.is_tombstone("b") && !deeds.is_tombstone("a"));
        deeds.did(Some("c"), "acc", 5);
        assert_eq!(deeds.by_key.len(), 2, "the oldest made room");
    }
}
