//! One run: a scenario, a seed and an arm; events until the backlog is empty.
//!
//! The world draws everything that happens (who arrives, how long a call takes, what is refused) by names that no
//! arm can shift, so that two arms meet the same day. It knows what is true; an arm is told only what a client sees.
//! `life.rs` says how a transaction goes from step to step. Left out: parallel branches within a transaction.

use std::time::Duration;

use model::Timestamp;

use crate::agenda::{Agenda, Event};
use crate::arm::{self, Act, Arm, Call, CallId, Class, Cx, Declared, Ended, Outcome, Truth, Tx};
use crate::dice::Dice;
use crate::dist::{self, Arrival, Zipf};
use crate::life::{Life, Phase};
use crate::plant::{OTHERS, Plant, Taken};
use crate::scenario::Scenario;
use crate::tally::Tally;

/// Virtual time 0 as arms see it: not zero, as no clock of theirs would be.
const EPOCH_US: u64 = 1_800_000_000_000_000;
/// A run that makes more events than this is stopped; it says so.
const EVENTS_MAX: u64 = 60_000_000;
/// How often what is true and what is under way is written down.
pub(crate) const SAMPLE_US: u64 = 100_000;

/// What an arm is told before it starts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ArmSetup {
    pub participants: Vec<Declared>,
    pub definitions: Vec<arm::Definition>,
    pub node: u16,
    /// Nodes at most; the first of them share nothing unless the arm does it itself.
    pub nodes: u16,
    pub now: Timestamp,
}

pub(crate) type MakeArm<'a> = &'a dyn Fn(&ArmSetup) -> Box<dyn Arm>;

#[derive(Debug)]
struct Node {
    arm: Box<dyn Arm>,
    dice: Dice,
    wake_at: u64,
    wake_generation: u32,
    in_flight: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) call: Call,
    state: FlightState,
    endpoint: u16,
    started: u64,
    in_flight_at_start: u32,
    outcome: Outcome,
    work_s: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FlightState {
    Released,
    InFlight,
    /// The client waits no longer; the server may be at it.
    GivenUp,
    Ended,
}

pub(crate) struct World<'a> {
    pub(crate) scenario: &'a Scenario,
    arrivals: &'a [Arrival],
    seed: u64,
    pub(crate) now: u64,
    pub(crate) agenda: Agenda,
    plants: Vec<Plant>,
    nodes: Vec<Node>,
    one_brain: bool,
    definitions: Vec<arm::Definition>,
    keys: Vec<Vec<Option<Zipf>>>,
    pub(crate) lives: Vec<Life>,
    flights: Vec<Flight>,
    /// Each with the node that wants it, in order; worked off after every event.
    acts: std::collections::VecDeque<(u16, Act)>,
    scratch: Vec<Act>,
    truth: Truth,
    pub(crate) open: usize,
    pub(crate) tally: Tally,
    ends_at: u64,
}

pub(crate) fn stamp(at: u64) -> Timestamp {
    Timestamp(EPOCH_US + at)
}

fn declared(scenario: &Scenario) -> Vec<Declared> {
    let each = scenario.participants.iter().map(|p| Declared {
        endpoints: p.endpoints,
        initial_limit: p.initial_limit,
        max_in_flight: p.max_in_flight,
        min_in_flight: p.min_in_flight,
        max_per_second: p.max_per_second,
        timeout: Duration::from_secs_f64(p.timeout_s),
        share_for: p.share_for_s.map(Duration::from_secs_f64),
    });
    each.collect()
}

/// Runs to the end.
pub(crate) fn run(scenario: &Scenario, arrivals: &[Arrival], seed: u64, make: MakeArm<'_>) -> Tally {
    let mut world = World::new(scenario, arrivals, seed, make);
    world.go();
    world.tally
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, arrivals: &'a [Arrival], seed: u64, make: MakeArm<'_>) -> Self {
        let mut agenda = Agenda::default();
        let plants: Vec<Plant> = scenario
            .participants
            .iter()
            .enumerate()
            .map(|(n, spec)| Plant::new(n as u16, spec, seed, scenario.duration_s, &mut agenda))
            .collect();
        let definitions: Vec<arm::Definition> = scenario
            .definitions
            .iter()
            .map(|d| arm::Definition {
                participants: d.steps.iter().map(|s| s.participant).collect(),
                operations: d.steps.iter().map(|s| s.operation).collect(),
            })
            .collect();
        let keys = scenario
            .definitions
            .iter()
            .map(|d| d.steps.iter().map(|s| s.keys.map(|k| Zipf::new(k.count, k.zipf))).collect())
            .collect();
        let most = scenario.nodes.iter().map(|(_, count)| *count).max().unwrap_or(1);
        let mut setup = ArmSetup {
            participants: declared(scenario),
            definitions: definitions.clone(),
            node: 0,
            nodes: most,
            now: stamp(0),
        };
        let mut nodes = Vec::new();
        let mut one_brain = false;
        for node in 0..most {
            setup.node = node;
            let arm = make(&setup);
            one_brain = arm.is_oracle();
            nodes.push(Node {
                arm,
                dice: Dice::named(seed, [u64::from_be_bytes(*b"arm dice"), u64::from(node), 0]),
                wake_at: u64::MAX,
                wake_generation: 0,
                in_flight: vec![0; plants.len()],
            });
            if one_brain {
                break;
            }
        }
        if let Some(first) = arrivals.first() {
            agenda.at(first.at_us, Event::Arrive);
        }
        agenda.at(0, Event::Sample);
        let mut world = Self {
            tally: Tally::new(scenario),
            scenario,
            arrivals,
            seed,
            now: 0,
            agenda,
            truth: Truth::default(),
            plants,
            nodes,
            one_brain,
            definitions,
            keys,
            lives: Vec::with_capacity(arrivals.len()),
            flights: Vec::with_capacity(arrivals.len() * 2),
            acts: std::collections::VecDeque::new(),
            scratch: Vec::new(),
            open: 0,
            ends_at: ((scenario.duration_s + scenario.drain_s) * 1e6) as u64,
        };
        world.see_truth();
        world
    }

    fn go(&mut self) {
        while let Some((at, event)) = self.agenda.next() {
            if at > self.ends_at {
                break;
            }
            self.now = at;
            self.tally.events += 1;
            if self.tally.events > EVENTS_MAX {
                self.tally.is_cut_short = true;
                break;
            }
            self.handle(event);
            self.settle();
            let all_arrived = self.lives.len() == self.arrivals.len();
            if all_arrived && self.open == 0 && at as f64 >= self.scenario.duration_s * 1e6 {
                break;
            }
        }
        self.tally.ended_at = self.now;
        self.tally.unfinished = self.open as u64;
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Arrive => self.arrive(),
            Event::AtServer(call) => self.at_server(call),
            Event::Served { participant, endpoint, call } => {
                self.plants[usize::from(participant)].served(now, endpoint, call, &mut self.agenda);
                self.answer(participant, endpoint, call);
            }
            Event::Shared { participant, endpoint, generation } => {
                let mut done = Vec::new();
                self.plants[usize::from(participant)].shared(now, endpoint, generation, &mut done, &mut self.agenda);
                for call in done {
                    self.answer(participant, endpoint, call);
                }
            }
            Event::Reply(call) => {
                let outcome = self.flights[call as usize].outcome;
                self.end(call, outcome);
            }
            Event::Timeout(call) => {
                if self.flights[call as usize].state == FlightState::InFlight {
                    self.end(call, Outcome::TimedOut);
                }
            }
            Event::Again(tx) => self.again(tx),
            Event::Wake { node, generation } => {
                if self.nodes[usize::from(node)].wake_generation == generation {
                    self.nodes[usize::from(node)].wake_at = u64::MAX;
                    self.with(node, |arm, cx| arm.wake(cx));
                }
            }
            Event::Change { participant, index } => {
                self.plants[usize::from(participant)].change(now, index, &mut self.agenda);
                self.see_truth();
            }
            Event::Other { participant, generation } => {
                self.plants[usize::from(participant)].other(now, generation, &mut self.agenda);
            }
            Event::Scale { participant } => self.plants[usize::from(participant)].scale(now, &mut self.agenda),
            Event::Scaled { participant, workers_milli } => {
                self.plants[usize::from(participant)].scaled(now, workers_milli, &mut self.agenda);
            }
            Event::ProbeReply { node, participant, endpoint } => {
                if let Some((inside, latency)) = self.plants[usize::from(participant)].looks(endpoint) {
                    self.with(node, |arm, cx| arm.probed(cx, participant, endpoint, inside, latency));
                }
            }
            Event::Sample => {
                self.see_truth();
                self.sample();
                self.agenda.at(now + SAMPLE_US, Event::Sample);
            }
        }
    }

    /// What is true now; the mix of sizes counts, so it is looked at again and again.
    fn see_truth(&mut self) {
        let demand = self.scenario.demand_at(self.now as f64 / 1e6);
        for (plant, (_, size)) in self.plants.iter_mut().zip(demand) {
            plant.set_mean_size(size);
        }
        self.truth.participants = self.plants.iter().map(Plant::truth).collect();
    }

    fn sample(&mut self) {
        let mut limits = vec![0.0; self.plants.len()];
        for node in &self.nodes {
            let mut own = Vec::with_capacity(limits.len());
            node.arm.limits(stamp(self.now), &mut own);
            limits.iter_mut().zip(own).for_each(|(sum, limit)| *sum += limit);
        }
        for (n, (plant, truth)) in self.plants.iter().zip(&self.truth.participants).enumerate() {
            let in_flight: u32 = self.nodes.iter().map(|node| node.in_flight[n]).sum();
            let limit = limits[n];
            self.tally.sample(n, self.now, in_flight, plant.inside(), limit, truth);
        }
        let by_node = self.nodes.iter().map(|node| node.in_flight.iter().sum::<u32>());
        self.tally.sample_nodes(self.now, by_node);
    }

    /// Lets an arm do something; what it wants waits in `acts`.
    pub(crate) fn with<T>(&mut self, node: u16, turn: impl FnOnce(&mut dyn Arm, &mut Cx<'_>) -> T) -> T {
        let Node { arm, dice, .. } = &mut self.nodes[usize::from(node)];
        let mut cx = Cx {
            now: stamp(self.now),
            dice,
            acts: &mut self.scratch,
            definitions: &self.definitions,
            truth: self.one_brain.then_some(&self.truth),
        };
        let said = turn(&mut **arm, &mut cx);
        self.acts.extend(self.scratch.drain(..).map(|act| (node, act)));
        said
    }

    /// Does what arms want until they want nothing more, and plans their next wake.
    fn settle(&mut self) {
        while let Some((node, act)) = self.acts.pop_front() {
            self.act(node, act);
        }
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            let Some(wake) = node.arm.next_wake(stamp(self.now)) else { continue };
            // A microsecond on at least, so that time moves whatever an arm says.
            let at = wake.0.saturating_sub(EPOCH_US).max(self.now + 1);
            if at < node.wake_at && at < self.ends_at {
                node.wake_at = at;
                node.wake_generation = node.wake_generation.wrapping_add(1);
                self.agenda.at(at, Event::Wake { node: n as u16, generation: node.wake_generation });
            }
        }
    }

    fn act(&mut self, node: u16, act: Act) {
        match act {
            Act::Begin(tx) => {
                if self.lives[tx as usize].phase == Phase::Entry {
                    self.lives[tx as usize].phase = Phase::Forward;
                    self.release(tx);
                }
            }
            Act::Turn(tx) => {
                if self.lives[tx as usize].phase == Phase::Entry {
                    self.tally.turned += 1;
                    self.over(tx, false);
                }
            }
            Act::Start { call, endpoint } => self.start(node, call, endpoint),
            Act::Reject(call) => {
                if self.close_released(call) {
                    self.tally.rejected += 1;
                    self.attempt_failed(call, None);
                }
            }
            Act::Expire(call) => {
                if self.close_released(call) {
                    self.gave_up(call);
                }
            }
            Act::Answer { call, from } => {
                // Only a call that was answered well can answer another.
                let known = self
                    .flights
                    .get(from as usize)
                    .is_some_and(|f| f.state == FlightState::Ended && f.outcome == Outcome::Done);
                if known && self.close_released(call) {
                    self.tally.answered_here += 1;
                    self.answered(call, Outcome::Done, false);
                }
            }
            Act::Probe { participant, endpoint } => {
                self.tally.probes += 1;
                let way = 2 * self.plants[usize::from(participant)].way_us();
                self.agenda.at(self.now + way, Event::ProbeReply { node, participant, endpoint });
            }
        }
    }

    fn close_released(&mut self, call: CallId) -> bool {
        let flight = &mut self.flights[call as usize];
        let was_released = flight.state == FlightState::Released;
        if was_released {
            flight.state = FlightState::Ended;
        }
        was_released
    }

    fn arrive(&mut self) {
        let id = self.lives.len() as u32;
        let Some(arrival) = self.arrivals.get(id as usize).copied() else { return };
        if let Some(next) = self.arrivals.get(id as usize + 1) {
            self.agenda.at(next.at_us, Event::Arrive);
        }
        let definition = &self.scenario.definitions[usize::from(arrival.definition)];
        let at_s = self.now as f64 / 1e6;
        let count = self.scenario.nodes.iter().rfind(|(from, _)| *from <= at_s).map_or(1, |(_, count)| *count);
        let node = if self.one_brain {
            0
        } else {
            Dice::named(self.seed, [u64::from_be_bytes(*b"whatnode"), u64::from(id), 0]).below(usize::from(count))
                as u16
        };
        let deadline = definition.deadline_s.map_or(Timestamp::NEVER, |s| stamp(self.now + (s * 1e6) as u64));
        let tx = Tx {
            id,
            node,
            definition: arrival.definition,
            label: arrival.label,
            priority: definition.priority,
            arrived: stamp(self.now),
            deadline,
        };
        self.lives.push(Life::new(tx, self.now, arrival.size));
        self.open += 1;
        self.tally.arrived(self.now, &tx);
        self.with(node, |arm, cx| arm.arrived(cx, &tx));
    }

    /// Hands the next attempt of a transaction to its arm.
    pub(crate) fn hand_over(&mut self, tx: u32, class: Class) {
        let life = &self.lives[tx as usize];
        let definition = &self.scenario.definitions[usize::from(life.tx.definition)];
        let step = &definition.steps[usize::from(life.step)];
        let spec = &self.scenario.participants[usize::from(step.participant)];
        let is_undo = class == Class::Compensate;
        let name = [u64::from(tx), u64::from(life.step) << 1 | u64::from(is_undo), u64::from(life.attempt)];
        let mut dice = Dice::named(self.seed ^ u64::from_be_bytes(*b"callwork"), name);
        let size = if is_undo { step.undo_size } else { step.size } * life.size;
        let work_s = spec.server.service_s * size * dist::draw(spec.server.shape, &mut dice);
        let key = self.keys[usize::from(life.tx.definition)][usize::from(life.step)].as_ref().map(|zipf| {
            let mut dice =
                Dice::named(self.seed ^ u64::from_be_bytes(*b"read key"), [u64::from(tx), u64::from(life.step), 0]);
            u64::from(step.participant) << 48 | zipf.rank(dice.unit())
        });
        let last = definition.steps.len().max(2) - 1;
        let id = self.flights.len() as u32;
        let call = Call {
            id,
            tx,
            node: life.tx.node,
            definition: life.tx.definition,
            label: life.tx.label,
            participant: step.participant,
            operation: step.operation,
            step: life.step,
            attempt: life.attempt,
            class,
            priority: life.tx.priority,
            deadline: if is_undo { Timestamp::NEVER } else { life.tx.deadline },
            progress: (usize::from(life.step) * 255 / last) as u8,
            key: key.filter(|_| spec.share_for_s.is_some()),
            released: stamp(self.now),
            timeout: Duration::from_secs_f64(spec.timeout_s),
        };
        self.flights.push(Flight {
            call,
            state: FlightState::Released,
            endpoint: 0,
            started: 0,
            in_flight_at_start: 0,
            outcome: Outcome::Done,
            work_s,
        });
        self.with(call.node, |arm, cx| arm.released(cx, &call));
    }

    fn start(&mut self, node: u16, id: CallId, endpoint: u16) {
        let flight = &mut self.flights[id as usize];
        if flight.state != FlightState::Released {
            return;
        }
        let call = flight.call;
        let participant = usize::from(call.participant);
        let in_flight = &mut self.nodes[usize::from(node)].in_flight[participant];
        *in_flight += 1;
        flight.state = FlightState::InFlight;
        flight.endpoint = endpoint;
        flight.started = self.now;
        flight.in_flight_at_start = *in_flight;
        let life = &mut self.lives[call.tx as usize];
        life.calls += 1;
        self.tally.started(self.now, &call, life.arrived);
        self.agenda.at(self.now + call.timeout.as_micros() as u64, Event::Timeout(id));
        match self.plants[participant].way_us() {
            0 => self.at_server(id),
            way => self.agenda.at(self.now + way, Event::AtServer(id)),
        }
    }

    fn at_server(&mut self, id: CallId) {
        let Flight { call, endpoint, work_s, .. } = self.flights[id as usize];
        let name = [
            u64::from(call.tx),
            u64::from(call.step) << 1 | u64::from(call.class == Class::Compensate),
            u64::from(call.attempt),
        ];
        let mut dice = Dice::named(self.seed ^ u64::from_be_bytes(*b"takecall"), name);
        let plant = &mut self.plants[usize::from(call.participant)];
        match plant.take(self.now, endpoint, id, work_s, &mut dice, &mut self.agenda) {
            Taken::In => {
                self.tally.busy_s += work_s;
                let step = &self.scenario.definitions[usize::from(call.definition)].steps[usize::from(call.step)];
                let is_refused = call.class != Class::Compensate && {
                    // By transaction and step: business does not change its mind at the second attempt.
                    let name = [u64::from(call.tx), u64::from(call.step), 0];
                    Dice::named(self.seed ^ u64::from_be_bytes(*b"refused?"), name).chance(step.refuse)
                };
                self.flights[id as usize].outcome = if is_refused { Outcome::Refused } else { Outcome::Done };
            }
            Taken::Answered { after_us, outcome } => {
                let way = plant.way_us();
                self.flights[id as usize].outcome = outcome;
                self.agenda.at(self.now + after_us + way, Event::Reply(id));
            }
            Taken::Swallowed => {}
        }
    }

    /// The server is done with a call; the answer goes back, if there is a way.
    fn answer(&mut self, participant: u16, endpoint: u16, call: u32) {
        if call == OTHERS || !self.plants[usize::from(participant)].can_answer(endpoint) {
            return;
        }
        if self.flights[call as usize].state == FlightState::InFlight {
            let way = self.plants[usize::from(participant)].way_us();
            self.agenda.at(self.now + way, Event::Reply(call));
        }
    }

    fn end(&mut self, id: CallId, outcome: Outcome) {
        let flight = &mut self.flights[id as usize];
        if flight.state != FlightState::InFlight {
            return;
        }
        flight.state = if outcome == Outcome::TimedOut { FlightState::GivenUp } else { FlightState::Ended };
        flight.outcome = outcome;
        let (call, endpoint, started, at_start) =
            (flight.call, flight.endpoint, flight.started, flight.in_flight_at_start);
        let in_flight = &mut self.nodes[usize::from(call.node)].in_flight[usize::from(call.participant)];
        *in_flight -= 1;
        let ended = Ended {
            endpoint,
            started: stamp(started),
            rtt: Duration::from_micros(self.now - started),
            outcome,
            in_flight_at_start: at_start,
            in_flight: *in_flight,
        };
        if outcome.is_answer() {
            self.plants[usize::from(call.participant)].answer_used();
        }
        self.tally.ended(outcome);
        self.with(call.node, |arm, cx| arm.ended(cx, &call, &ended));
        match outcome {
            Outcome::Done | Outcome::Refused => self.answered(id, outcome, true),
            _ => self.attempt_failed(id, Some(outcome)),
        }
    }

    pub(crate) fn call(&self, id: CallId) -> Call {
        self.flights[id as usize].call
    }
}
