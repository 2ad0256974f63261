//! The schedule of faults, drawn before a life begins, and what each of them does when its time comes.

use std::sync::Arc;
use std::time::Duration;

use model::Timestamp;

use super::World;
use crate::disk::End;
use crate::event::{Event, Fault, Violation};
use crate::features::Features;
use crate::fixed::Rng;
use crate::node::{Note, Wish};
use crate::queue::Happening;

/// One fault of the schedule.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Timestamp,
    pub(crate) fault: Fault,
    /// Whom it hits, or how; what that means is the fault's own.
    which: u64,
    /// How long it lasts, if it lasts.
    lasts: Duration,
    /// The storm goes on at least so long.
    pub(crate) holds_up: Duration,
    pub(crate) is_dropped: bool,
    is_on: bool,
}

/// Draws the schedule.
pub(crate) fn schedule(features: &Features, start: Timestamp, participants: usize) -> Vec<Planned> {
    let mut rng = Rng::named(features.seed, "schedule");
    let mut planned = Vec::new();
    if features.faults.is_empty() {
        return planned;
    }
    let count = 1 + features.intensity * features.storm_us / 60_000_000;
    for _ in 0..count {
        let fault = *rng.pick(&features.faults);
        let at = start.after(Duration::from_micros(rng.below(features.storm_us)));
        let which = rng.u64();
        let seconds =
            |rng: &mut Rng, low: u64, high: u64| Duration::from_millis(rng.between(low * 1_000, high * 1_000));
        let (lasts, holds_up) = match fault {
            Fault::SlowDisk | Fault::Slow | Fault::Pause | Fault::FailedCheckpoint => {
                (seconds(&mut rng, 0, 8), Duration::ZERO)
            }
            Fault::FullDisk => (seconds(&mut rng, 0, 5), Duration::ZERO),
            Fault::Down if rng.chance(1, 4) => {
                let hours = seconds(&mut rng, 600, 40 * 3_600);
                (hours, hours)
            }
            Fault::Down => (seconds(&mut rng, 0, 30), Duration::ZERO),
            Fault::Downtime => {
                let hours = seconds(&mut rng, 60, 30 * 3_600);
                (hours, hours)
            }
            Fault::ClockJump => {
                let minutes = seconds(&mut rng, 130, 600);
                (minutes, minutes)
            }
            _ => (Duration::ZERO, Duration::ZERO),
        };
        let which =
            if matches!(fault, Fault::Down | Fault::Slow | Fault::Pause) { which % participants as u64 } else { which };
        planned.push(Planned { at, fault, which, lasts, holds_up, is_dropped: false, is_on: false });
    }
    planned.sort_by_key(|item| item.at);
    planned
}

impl World {
    pub(super) fn fault_begins(&mut self, n: u32) {
        if self.out.facts.is_calm {
            return;
        }
        let item = self.planned[n as usize].clone();
        let on = Event::FaultWindow { fault: item.fault, on: true };
        let place = item.which as usize;
        match item.fault {
            Fault::Crash => self.dies_soon(item.which % 40, End::Process),
            Fault::PowerCut => self.dies_soon(item.which % 40, End::Power),
            Fault::FailedSync => self.out.moods.next_sync_fails = true,
            Fault::SlowDisk => self.out.moods.slow_disk += 1,
            Fault::FullDisk => {
                self.out.moods.full_disk += 1;
                self.out.disk.is_full = true;
            }
            Fault::BitRot => self.rot(),
            Fault::FailedCheckpoint => self.out.moods.fails_checkpoints += 1,
            Fault::ClockJump => {
                // Forward by up to a year, back by less than any participant's memory is longer than declared.
                self.wall_us = match item.which % 3 {
                    0 => -(((item.which >> 8) % 600_000_000) as i64),
                    1 => ((item.which >> 8) % 7_200_000_000) as i64,
                    _ => ((item.which >> 8) % (365 * 86_400_000_000)) as i64,
                };
                self.crash(End::Power, item.lasts);
            }
            Fault::Downtime => {
                self.crash(if item.which.is_multiple_of(2) { End::Power } else { End::Process }, item.lasts)
            }
            Fault::TwoOwners => self.usurp(),
            Fault::Down if item.which % 5 == 4 => self.out.outside.moods[place].knows_us_not = true,
            Fault::Down => self.out.outside.moods[place].is_down = true,
            Fault::Slow => self.out.outside.moods[place].is_slow = true,
            Fault::Panic => self.out.panics.set(true),
            Fault::Operator => self.somebody_acts(item.which),
            Fault::Definitions => self.change_files(item.which),
            Fault::Pause => self.tell_node(Note::Pause { participant: place as u32, on: true }),
            _ => return,
        }
        if item.fault != Fault::FailedSync {
            self.say(&on);
        }
        if item.lasts > Duration::ZERO && !matches!(item.fault, Fault::Downtime | Fault::ClockJump) {
            self.planned[n as usize].is_on = true;
            self.out.queue.plan(self.out.facts.now.after(item.lasts), Happening::FaultEnds { n });
        }
    }

    pub(super) fn fault_ends(&mut self, n: u32) {
        let item = &mut self.planned[n as usize];
        if !std::mem::take(&mut item.is_on) {
            return;
        }
        let item = item.clone();
        let place = item.which as usize;
        match item.fault {
            Fault::SlowDisk => self.out.moods.slow_disk = self.out.moods.slow_disk.saturating_sub(1),
            Fault::FullDisk => {
                self.out.moods.full_disk = self.out.moods.full_disk.saturating_sub(1);
                self.out.disk.is_full = self.out.moods.full_disk > 0;
                self.wake();
            }
            Fault::FailedCheckpoint => {
                self.out.moods.fails_checkpoints = self.out.moods.fails_checkpoints.saturating_sub(1);
            }
            Fault::Down => {
                let mood = &mut self.out.outside.moods[place];
                mood.is_down = false;
                mood.knows_us_not = false;
            }
            Fault::Slow => self.out.outside.moods[place].is_slow = false,
            Fault::Pause => self.tell_node(Note::Pause { participant: place as u32, on: false }),
            _ => {}
        }
        self.say(&Event::FaultWindow { fault: item.fault, on: false });
    }

    fn dies_soon(&mut self, steps: u64, end: End) {
        self.end = end;
        if let Some(node) = &mut self.node {
            node.dies_in = Some(steps as u32);
            self.wake();
        }
    }

    fn rot(&mut self) {
        if self.out.journal.writing.is_some() {
            return;
        }
        if let Err(what) = self.out.disk.rot() {
            self.say(&Event::Damaged { partition: None, what: &what });
            self.out.watch.found(Violation::new("JR-2", None, what));
        }
    }

    fn somebody_acts(&mut self, which: u64) {
        let Some(node) = &self.node else { return };
        let host = &node.hosts[which as usize % node.hosts.len()];
        let live = host.leader.partition.live_seqs();
        if live.is_empty() {
            return;
        }
        let mut rng = Rng::named(which, "person");
        for _ in 0..rng.between(1, 4) {
            let seq = *rng.pick(&live);
            let Some(tx) =
                self.node.as_ref().and_then(|n| n.hosts[which as usize % n.hosts.len()].leader.partition.get(seq))
            else {
                continue;
            };
            let id = tx.id;
            let wish = if tx.attention.is_some() {
                *rng.pick(&[Wish::Decide, Wish::Retry, Wish::Cancel])
            } else {
                *rng.pick(&[Wish::Cancel, Wish::Cancel, Wish::Retry])
            };
            self.tell_node(Note::Person { tx: id, wish });
        }
    }

    fn change_files(&mut self, which: u64) {
        let mut rng = Rng::named(which, "files");
        if rng.chance(1, 2) {
            if let Some(family) = self.out.tables.change(&mut rng) {
                if let Some(new) = family.versions.last() {
                    let hosts = self.node.iter_mut().flat_map(|node| &mut node.hosts);
                    let led = hosts.map(|host| &mut host.leader.partition);
                    for partition in led.chain(&mut self.out.facts.followers) {
                        partition.plans.know(Arc::clone(&new.slot));
                    }
                }
                let what = format!("{} has {} versions", family.name, family.versions.len());
                self.say(&Event::Changed { what: &what });
            }
            return;
        }
        let place = rng.below(self.out.facts.participants.len() as u64) as usize;
        let declared = &mut self.out.facts.participants[place];
        declared.limits.max_in_flight = rng.between(1, 40) as u32;
        declared.retry.attempts = rng.between(1, 6) as u32;
        declared.retry.backoff = Duration::from_millis(rng.between(50, 3_000));
        declared.retry.max_backoff = declared.retry.backoff * 4;
        declared.timeout = Duration::from_millis(rng.between(300, 5_000));
        let what = format!("participant {} has other limits and retries", declared.name);
        for (declared, first) in self.out.facts.participants.iter_mut().zip(crate::menu::participants()) {
            let most = rng.between(1, first.endpoints.len() as u64) as usize;
            declared.endpoints = first.endpoints[..most].to_vec();
        }
        self.say(&Event::Changed { what: &what });
        self.tell_node(Note::Tables);
    }
}
