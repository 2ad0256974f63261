//! The keys a system has seen and what it answered: the promise that makes a repeat safe.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Answer;

/// Answers by key, the oldest forgotten first.
pub(crate) struct Memory {
    remembers_us: u64,
    keys_max: usize,
    known: HashMap<Arc<str>, Known>,
    by_age: VecDeque<(u64, Arc<str>)>,
    /// Keys dropped for room although the promise still ran.
    pub(crate) forgotten_early: u64,
}

struct Known {
    digest: u64,
    at_us: u64,
    answer: Answer,
}

pub(crate) enum Recall {
    New,
    Same(Answer),
    Other,
}

/// Tells requests under one key apart.
pub(crate) fn digest(method: &Method, path: &str, body: &[u8]) -> u64 {
    let method = xxh3_64_with_seed(method.as_str().as_bytes(), 0);
    xxh3_64_with_seed(body, xxh3_64_with_seed(path.as_bytes(), method))
}

/// Tells answers apart; stored in ledgers, so it may never change.
pub(crate) fn digest_of_answer(answer: &Answer) -> u64 {
    xxh3_64_with_seed(&answer.body, u64::from(answer.status))
}

impl Memory {
    pub(crate) fn new(remembers_for: Duration, keys_max: usize) -> Self {
        Self {
            remembers_us: u64::try_from(remembers_for.as_micros()).unwrap_or(u64::MAX),
            keys_max: keys_max.max(1),
            known: HashMap::new(),
            by_age: VecDeque::new(),
            forgotten_early: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn recall(&mut self, key: &str, digest: u64, at_us: u64, forget_us: Option<u64>) -> Recall {
        self.forget_old(at_us);
        match self.known.get(key) {
            Some(known) if forget_us.is_none_or(|limit| at_us.saturating_sub(known.at_us) < limit) => {
                if known.digest == digest { Recall::Same(known.answer.clone()) } else { Recall::Other }
            }
            _ => Recall::New,
        }
    }

    pub(crate) fn keep(&mut self, key: &str, digest: u64, at_us: u64, answer: &Answer) {
        let key: Arc<str> = Arc::from(key);
        self.by_age.push_back((at_us, Arc::clone(&key)));
        self.known.insert(key, Known { digest, at_us, answer: answer.clone() });
        while self.by_age.len() > self.keys_max {
            self.forgotten_early += u64::from(self.drop_oldest());
        }
    }

    fn forget_old(&mut self, at_us: u64) {
        while self.by_age.front().is_some_and(|(then, _)| at_us.saturating_sub(*then) >= self.remembers_us) {
            self.drop_oldest();
        }
    }

    /// Whether a key went: one that was kept again meanwhile stays.
    fn drop_oldest(&mut self) -> bool {
        let Some((then, key)) = self.by_age.pop_front() else { return false };
        let is_that_one = self.known.get(&key).is_some_and(|known| known.at_us == then);
        is_that_one && self.known.remove(&key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_key_makes_room_and_is_counted() {
        let mut memory = Memory::new(Duration::from_secs(1), 2);
        let answer = Answer::fixed(200, "{}");
        for (at, key) in [(1, "a"), (2, "b"), (3, "c")] {
            memory.keep(key, 0, at, &answer);
        }
        assert!(matches!(memory.recall("a", 0, 3, None), Recall::New));
        assert!(matches!(memory.recall("b", 0, 3, None), Recall::Same(_)));
        assert!(matches!(memory.recall("c", 1, 3, None), Recall::Other));
        assert_eq!((memory.len(), memory.forgotten_early), (2, 1));
        assert!(matches!(memory.recall("c", 0, 1_000_003, None), Recall::New));
        assert_eq!((memory.len(), memory.forgotten_early), (0, 1));
    }
}
