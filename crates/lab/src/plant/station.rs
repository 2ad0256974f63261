//! One endpoint: workers and those who wait for them, or calls that share the workers.
//!
//! Sharing is exact: each call has as much done for it as any other since it came, so a single clock of "service
//! given to each" (`given`) tells who is done when it reaches what it was on arrival plus the call's work.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::agenda::{Agenda, Event};
use crate::scenario::{Discipline, Server, State};

/// A nanosecond of service: rounding of event times to microseconds must not leave a call undone for ever.
const DONE_S: f64 = 1e-9;
const LOOKS: usize = 16;

#[derive(Debug)]
pub(super) struct Station {
    pub(super) base: f64,
    pub(super) capacity: f64,
    pub(super) capacity_series: f64,
    /// Service takes so many times as long.
    pub(super) slow: f64,
    pub(super) fail: f64,
    pub(super) state: State,
    waiting: VecDeque<(u32, f64, u64)>,
    working: u32,
    /// Of calls that share: (bits of what `given` will be, number, call, since). Positive floats order as their bits.
    sharing: BinaryHeap<Reverse<(u64, u64, u32, u64)>>,
    shared_ever: u64,
    given: f64,
    given_at: u64,
    generation: u32,
    busy_s: f64,
    busy_at: u64,
    /// Of the last calls: how many were inside when they came, and how long they took.
    latencies: VecDeque<u64>,
    started: VecDeque<(u32, u64)>,
}

impl Station {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            base: server.workers,
            capacity: 1.0,
            capacity_series: 1.0,
            slow: 1.0,
            fail: 0.0,
            state: State::Up,
            waiting: VecDeque::new(),
            working: 0,
            sharing: BinaryHeap::new(),
            shared_ever: 0,
            given: 0.0,
            given_at: 0,
            generation: 0,
            busy_s: 0.0,
            busy_at: 0,
            latencies: VecDeque::with_capacity(LOOKS),
            started: VecDeque::new(),
        }
    }

    /// How many calls can be worked on at once: whole workers where each call has one of its own.
    pub(super) fn workers(&self, server: &Server) -> f64 {
        let exact = self.base * self.capacity * self.capacity_series;
        match server.discipline {
            Discipline::Fifo if exact > 0.0 => exact.round().max(1.0),
            Discipline::Fifo | Discipline::Sharing { .. } => exact,
        }
    }

    pub(super) fn inside(&self) -> u32 {
        self.working + (self.waiting.len() + self.sharing.len()) as u32
    }

    pub(super) fn is_full(&self, server: &Server) -> bool {
        match server.discipline {
            Discipline::Fifo => {
                f64::from(self.working) >= self.workers(server) && self.waiting.len() >= server.queue_max as usize
            }
            Discipline::Sharing { .. } => {
                self.sharing.len() as f64 >= self.workers(server) + f64::from(server.queue_max)
            }
        }
    }

    pub(super) fn typical_latency(&self, server: &Server) -> Duration {
        let mut sorted: Vec<u64> = self.latencies.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).map(|us| Duration::from_micros(*us));
        median.unwrap_or_else(|| Duration::from_secs_f64(server.service_s))
    }

    fn note_latency(&mut self, us: u64) {
        if self.latencies.len() == LOOKS {
            self.latencies.pop_front();
        }
        self.latencies.push_back(us);
    }

    pub(super) fn set_state(&mut self, state: State) {
        if state != State::Up {
            // Whatever waited there is lost with the process that held it.
            self.waiting.clear();
            self.sharing.clear();
        }
        self.state = state;
    }

    #[expect(clippy::too_many_arguments, reason = "who and where it is, for the agenda")]
    pub(super) fn add(
        &mut self,
        now: u64,
        call: u32,
        work_s: f64,
        participant: u16,
        endpoint: u16,
        server: &Server,
        agenda: &mut Agenda,
    ) {
        self.count_busy(now, server);
        match server.discipline {
            Discipline::Fifo => {
                self.waiting.push_back((call, work_s, now));
                self.start(now, participant, endpoint, server, agenda);
            }
            Discipline::Sharing { .. } => {
                self.give(now, server);
                let until = self.given + work_s * self.slow;
                self.sharing.push(Reverse((until.to_bits(), self.shared_ever, call, now)));
                self.shared_ever += 1;
                self.plan(now, participant, endpoint, server, agenda);
            }
        }
    }

    /// Free workers take the next calls.
    fn start(&mut self, now: u64, participant: u16, endpoint: u16, server: &Server, agenda: &mut Agenda) {
        while f64::from(self.working) < self.workers(server) {
            let Some((call, work_s, since)) = self.waiting.pop_front() else { return };
            self.working += 1;
            let waits = self.waiting.len() as f64;
            let service_s = work_s * self.slow * (1.0 + server.gc * waits).min(server.gc_max);
            let ends = now + (service_s * 1e6).max(1.0) as u64;
            self.started.push_back((call, since));
            agenda.at(ends, Event::Served { participant, endpoint, call });
        }
    }

    pub(super) fn served(
        &mut self,
        now: u64,
        call: u32,
        participant: u16,
        endpoint: u16,
        server: &Server,
        agenda: &mut Agenda,
    ) {
        self.count_busy(now, server);
        self.working = self.working.saturating_sub(1);
        if let Some(at) = self.started.iter().position(|(c, _)| *c == call)
            && let Some((_, since)) = self.started.swap_remove_back(at)
        {
            self.note_latency(now - since);
        }
        self.start(now, participant, endpoint, server, agenda);
    }

    /// How fast each of the calls inside goes.
    fn speed(&self, server: &Server) -> f64 {
        let n = self.sharing.len() as f64;
        let Discipline::Sharing { sigma, kappa } = server.discipline else { return 0.0 };
        if n <= 0.0 {
            return 0.0;
        }
        (self.workers(server) / n).min(1.0) / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
    }

    /// Counts what the calls inside were given since the last time.
    fn give(&mut self, now: u64, server: &Server) {
        let passed_s = (now - self.given_at) as f64 / 1e6;
        self.given += passed_s * self.speed(server);
        self.given_at = now;
        if self.sharing.is_empty() {
            // Nobody is inside who would notice; keeps the sum exact over a long run.
            self.given = 0.0;
        }
    }

    fn plan(&mut self, now: u64, participant: u16, endpoint: u16, server: &Server, agenda: &mut Agenda) {
        self.generation = self.generation.wrapping_add(1);
        let speed = self.speed(server);
        if let Some(Reverse((until, ..))) = self.sharing.peek()
            && speed > 0.0
        {
            let wait_s = (f64::from_bits(*until) - self.given).max(0.0) / speed;
            // Rounded up, so that the call is done when its time comes.
            let at = now + ((wait_s * 1e6).ceil().max(1.0) as u64);
            agenda.at(at, Event::Shared { participant, endpoint, generation: self.generation });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "who and where it is, for the agenda")]
    pub(super) fn shared(
        &mut self,
        now: u64,
        generation: u32,
        done: &mut Vec<u32>,
        participant: u16,
        endpoint: u16,
        server: &Server,
        agenda: &mut Agenda,
    ) {
        if generation != self.generation {
            return;
        }
        self.count_busy(now, server);
        self.give(now, server);
        while let Some(Reverse((until, _, call, since))) = self.sharing.peek().copied()
            && f64::from_bits(until) <= self.given + DONE_S
        {
            self.sharing.pop();
            self.note_latency(now - since);
            done.push(call);
        }
        self.plan(now, participant, endpoint, server, agenda);
    }

    /// Changes a setting; what is inside goes on under the new one.
    pub(super) fn turn(
        &mut self,
        now: u64,
        participant: u16,
        endpoint: u16,
        server: &Server,
        agenda: &mut Agenda,
        turn: &mut dyn FnMut(&mut Self),
    ) {
        self.count_busy(now, server);
        self.give(now, server);
        turn(self);
        match server.discipline {
            Discipline::Fifo => self.start(now, participant, endpoint, server, agenda),
            Discipline::Sharing { .. } => self.plan(now, participant, endpoint, server, agenda),
        }
    }

    fn count_busy(&mut self, now: u64, server: &Server) {
        let busy = match server.discipline {
            Discipline::Fifo => f64::from(self.working),
            Discipline::Sharing { .. } => (self.sharing.len() as f64).min(self.workers(server)),
        };
        self.busy_s += busy * (now - self.busy_at) as f64 / 1e6;
        self.busy_at = now;
    }

    /// Worker seconds that were used since the last time it was asked.
    pub(super) fn busy_seconds(&mut self, now: u64, server: &Server) -> f64 {
        self.count_busy(now, server);
        std::mem::take(&mut self.busy_s)
    }
}
