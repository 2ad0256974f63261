//! Definitions in force, with every version that was ever applied. Participants are in `facts`.

use std::sync::Arc;

use compact_str::CompactString;
use partition::Partition;
use plan::Saga;

use crate::fixed::Rng;
use crate::menu::{self, Dish, Input, SHAPES};

/// One definition by name.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: CompactString,
    pub(crate) versions: Vec<Dish>,
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) families: Vec<Family>,
}

impl Tables {
    pub(crate) fn new(dishes: &[usize]) -> Self {
        let mut families: Vec<Family> = Vec::new();
        for n in dishes {
            let dish = menu::dish(*n);
            if !families.iter().any(|f| f.name == dish.saga.name) {
                families.push(Family { name: dish.saga.name.clone(), versions: vec![dish.clone()] });
            }
        }
        Self { families }
    }

    /// What a submission of this family begins with now.
    pub(crate) fn active(&self, family: u32) -> &Dish {
        let versions = &self.families[family as usize].versions;
        &versions[versions.len() - 1]
    }

    /// Spares a new partition the decoding of what all have decoded.
    pub(crate) fn teach(&self, partition: &mut Partition) {
        for dish in self.families.iter().flat_map(|family| &family.versions) {
            partition.plans.know(Arc::clone(&dish.slot));
        }
    }

    pub(crate) fn family_of(&self, name: &str) -> u32 {
        self.families.iter().position(|f| f.name == name).unwrap_or(usize::MAX) as u32
    }

    /// Applies another version of a random family: other steps, the same name, key and input.
    pub(crate) fn change(&mut self, rng: &mut Rng) -> Option<&Family> {
        let family = rng.below(self.families.len() as u64) as u32;
        let old = self.active(family).clone();
        if old.input != Input::Random {
            return None;
        }
        let other = menu::dish(3 + rng.below(SHAPES as u64) as usize);
        let lock = if old.saga.key.is_some() { other.saga.lock.clone() } else { None };
        let saga = Saga { key: old.saga.key.clone(), lock, ..(*other.saga).clone() };
        let with_key = Dish { saga: saga.into(), ..other.clone() };
        let new = menu::renamed(&with_key, &old.saga.name, old.saga.version + 1);
        let family = &mut self.families[family as usize];
        family.versions.push(new);
        Some(family)
    }
}
