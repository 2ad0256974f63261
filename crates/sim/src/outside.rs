//! The participants of a world and the network to them: each call gets a fate when it is sent.
//!
//! A participant keeps what its file declares and not a bit more: it recognises a call key for as long as it says and
//! where it says, a call takes effect no later than `settles_within` after we stopped waiting, an undo blocks a later
//! do only if declared. Within that it refuses, fails, forgets, answers too late, answers 503 after the effect.
//! What happened is in the ledger; what was answered is what the engine gets.
//!
//! Left out: time and order (`queue`), who is told (`world`).

use std::time::Duration;

use compact_str::CompactString;
use model::{CallKey, Direction, Map as Object, Timestamp, Value};
use partition::{Body, CallRef, Evidence};
use plan::{Idempotency, Method, Participant, PromiseScope};

use crate::event::Work;
use crate::features::Temper;
use crate::fixed::{Map, Rng};
use crate::ledger::Ledger;

/// Longer than any backward step of the node's clock: nobody forgets sooner than declared by that clock.
const MEMORY_SLACK: Duration = Duration::from_secs(20 * 60);

/// One call between its start and the last thing that it does.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) node: u32,
    pub(crate) token: u64,
    pub(crate) call: CallRef,
    pub(crate) key: CallKey,
    pub(crate) participant: u32,
    pub(crate) endpoint: u16,
    method: Method,
    digest: u64,
    amount: i64,
    pub(crate) started_at: Timestamp,
    timeout_at: Timestamp,
    /// When it takes effect, while it has not.
    effect_at: Option<Timestamp>,
    reply: Reply,
    /// Nobody listens any more: the process that made it is gone, or it has been answered.
    pub(crate) is_deaf: bool,
    /// The participant counts it as running.
    running: bool,
    refuses: bool,
    proves: bool,
    generation: u32,
}

/// What comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    /// Whatever the work gives.
    Natural,
    Status {
        status: u16,
        retry_after: bool,
    },
    Unusable,
    TimedOut,
    Cut,
    NotSent,
}

/// A name of a flight in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlightId {
    place: u32,
    generation: u32,
}

/// When what of a flight happens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) id: FlightId,
    pub(crate) effect_at: Option<Timestamp>,
    pub(crate) reply_at: Timestamp,
    /// It is at the participant already.
    pub(crate) arrives_now: bool,
    pub(crate) again_at: Option<Timestamp>,
}

/// A call key that a participant recognises.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: Timestamp,
    endpoint: u16,
    digest: u64,
    status: u16,
    /// The attempt that it was first seen with: a copy of that one is not told that it came before.
    attempt: u32,
}

/// How one participant is just now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    pub(crate) is_down: bool,
    pub(crate) is_slow: bool,
    pub(crate) knows_us_not: bool,
    pub(crate) running: u32,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Outside {
    flights: Vec<Flight>,
    free: Vec<u32>,
    known: Map<CallKey, Known>,
    /// Forward keys whose undo has come, where that blocks them.
    blocked: Map<CallKey, ()>,
    pub(crate) moods: Vec<Mood>,
    tempers: Vec<Temper>,
    rng: Rng,
    tick_us: u64,
    pub(crate) is_calm: bool,
    answers: u64,
}

/// What a participant did, for the ledger's reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Worked {
    pub(crate) key: CallKey,
    pub(crate) participant: u32,
    pub(crate) endpoint: u16,
    pub(crate) deed: Work,
    pub(crate) amount: i64,
    /// It was not running until now.
    pub(crate) arrived_late: bool,
}

/// What the engine is told, and what the load manager is.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) flight: Flight,
    pub(crate) evidence: Evidence,
    pub(crate) for_load: load::Evidence,
    pub(crate) took: Duration,
}

impl Flight {
    /// It was at the participant when its end was told.
    pub(crate) fn was_running(&self) -> bool {
        self.running
    }
}

impl Outside {
    pub(crate) fn new(tempers: Vec<Temper>, tick_us: u64, rng: Rng) -> Self {
        Self {
            flights: Vec::new(),
            free: Vec::new(),
            known: Map::default(),
            blocked: Map::default(),
            moods: vec![Mood::default(); tempers.len()],
            tempers,
            rng,
            tick_us,
            is_calm: false,
            answers: 0,
        }
    }

    /// Sends a call. Its fate is decided here.
    #[expect(clippy::too_many_arguments, reason = "what a request carries")]
    pub(crate) fn start(
        &mut self,
        node: u32,
        token: u64,
        outgoing: &partition::OutgoingCall,
        endpoint: u16,
        declared: &Participant,
        now: Timestamp,
        executions: u32,
    ) -> Course {
        let participant = outgoing.participant;
        let undo = outgoing.call.direction == Direction::Compensate;
        let mut flight = Flight {
            node,
            token,
            call: outgoing.call,
            key: outgoing.key,
            participant,
            endpoint,
            method: outgoing.request.method,
            digest: outgoing.request.digest(),
            amount: amount(outgoing.request.body.as_deref().unwrap_or_default()),
            started_at: now,
            timeout_at: now.after(outgoing.timeout),
            effect_at: None,
            reply: Reply::Natural,
            is_deaf: false,
            running: true,
            refuses: false,
            proves: false,
            generation: 0,
        };
        let mood = self.moods[participant as usize];
        let temper = if self.is_calm {
            Temper { service_us: (100, 2_000), ..Temper::default() }
        } else {
            self.tempers[participant as usize]
        };
        let us = |us: u64| Duration::from_micros(us);
        // Overload makes it slower, up to five times.
        let load = 1 + u64::from(mood.running) / u64::from(declared.limits.max_in_flight.max(1)).min(4);
        let factor = load * if mood.is_slow { 30 } else { 1 };
        let service_us = self.rng.between(temper.service_us.0, temper.service_us.1) * factor;
        let served_at = self.ticked(now.after(us(service_us)));
        let settles = declared.settles_within.mul_f64(0.9);
        let latest = flight.timeout_at.after(settles);
        let mut reply_at = served_at;
        flight.effect_at = Some(served_at);
        if mood.is_down {
            flight.running = false;
            flight.effect_at = None;
            flight.reply = Reply::NotSent;
            reply_at = self.ticked(now.after(us(1_000)));
        } else if mood.knows_us_not {
            flight.effect_at = None;
            flight.reply = Reply::Status { status: 401, retry_after: false };
        } else {
            self.temper(&mut flight, temper, declared, executions, undo, now, latest, &mut reply_at);
        }
        if reply_at > flight.timeout_at && flight.reply != Reply::NotSent {
            // It takes too long: nobody hears how it went, and it may still go on for a while.
            flight.reply = Reply::TimedOut;
            flight.effect_at = flight.effect_at.map(|at| at.min(latest));
            reply_at = flight.timeout_at;
        }
        let arrives_now = flight.running;
        if flight.running {
            self.moods[participant as usize].running += 1;
        }
        let keyed = declared.idempotency.remembers().is_some();
        let again_at = (keyed && self.rng.chance(u64::from(temper.twice), 10_000) && flight.effect_at.is_some())
            .then(|| now.after(us(self.rng.below(latest.since(now).as_micros() as u64 + 1))));
        let effect_at = flight.effect_at;
        let id = self.keep(flight);
        Course { id, effect_at, reply_at, arrives_now, again_at }
    }

    #[expect(clippy::too_many_arguments, reason = "a fate depends on much")]
    fn temper(
        &mut self,
        flight: &mut Flight,
        temper: Temper,
        declared: &Participant,
        executions: u32,
        undo: bool,
        now: Timestamp,
        latest: Timestamp,
        reply_at: &mut Timestamp,
    ) {
        let mut roll = self.rng.below(10_000) as u32;
        let mut falls = |chance: u32| {
            let falls = roll < chance;
            roll = roll.wrapping_sub(chance);
            if !falls && roll > 10_000 {
                roll = u32::MAX;
            }
            falls
        };
        let executes = self.rng.chance(1, 2);
        let status = |status: u16, retry_after: bool| Reply::Status { status, retry_after };
        if falls(temper.refuses) {
            flight.refuses = true;
        } else if falls(temper.fails) {
            flight.effect_at = flight.effect_at.filter(|_| executes);
            flight.reply = status(*self.rng.pick(&[500, 500, 502, 504, 408]), false);
        } else if falls(temper.busy) {
            flight.effect_at = None;
            flight.reply = if executes { status(429, self.rng.chance(1, 2)) } else { status(503, true) };
        } else if falls(temper.gateway) {
            // The gateway gave up on an answer, the effect is there.
            flight.effect_at = flight.effect_at.filter(|_| executes);
            flight.reply = status(503, false);
        } else if falls(temper.hangs) {
            flight.effect_at = flight.effect_at.filter(|_| executes).map(|at| at.min(latest));
            flight.reply = Reply::TimedOut;
            *reply_at = flight.timeout_at;
        } else if falls(temper.cuts) {
            flight.effect_at = flight.effect_at.filter(|_| executes);
            flight.reply = Reply::Cut;
        } else if falls(temper.late) {
            // Held up on its way: it arrives when nobody waits any more.
            let span = latest.since(flight.timeout_at).as_micros() as u64;
            flight.effect_at = Some(flight.timeout_at.after(Duration::from_micros(self.rng.below(span + 1))));
            flight.running = false;
            flight.reply = Reply::TimedOut;
            *reply_at = flight.timeout_at;
        } else if falls(temper.unauthorized) {
            flight.effect_at = None;
            flight.reply = status(401, false);
        } else if falls(temper.bad_body) && !undo {
            flight.reply = Reply::Unusable;
        } else if falls(temper.proves) && !undo && executions == 0 && !declared.answers.is_empty() {
            flight.proves = true;
        }
        let _ = now;
    }

    fn ticked(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.next_multiple_of(self.tick_us))
    }

    fn keep(&mut self, mut flight: Flight) -> FlightId {
        match self.free.pop() {
            Some(place) => {
                flight.generation = self.flights[place as usize].generation + 1;
                let generation = flight.generation;
                self.flights[place as usize] = flight;
                FlightId { place, generation }
            }
            None => {
                self.flights.push(flight);
                FlightId { place: self.flights.len() as u32 - 1, generation: 0 }
            }
        }
    }

    fn flight(&mut self, id: FlightId) -> Option<&mut Flight> {
        self.flights.get_mut(id.place as usize).filter(|f| f.generation == id.generation)
    }

    /// The moment in which a call takes effect has come.
    pub(crate) fn work(
        &mut self,
        id: FlightId,
        declared: &Participant,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Option<Worked> {
        let flight = self.flight(id)?;
        let due = flight.effect_at?;
        if due > now {
            // It was put off since.
            return None;
        }
        flight.effect_at = None;
        let copy = flight.clone();
        let arrived_late = !copy.running;
        let (deed, status) = self.execute(&copy, declared, ledger, now);
        let place = id.place as usize;
        if self.flights[place].reply == Reply::Natural {
            self.flights[place].reply = Reply::Status { status, retry_after: false };
        }
        if copy.is_deaf {
            ledger.comes_in(copy.key);
            self.land(id);
        }
        let Flight { key, participant, endpoint, amount, .. } = copy;
        Some(Worked { key, participant, endpoint, deed, amount, arrived_late })
    }

    /// The same request comes once more, by somebody's retry on the way.
    pub(crate) fn work_again(
        &mut self,
        flight: &Flight,
        declared: &Participant,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Worked {
        let (deed, _) = self.execute(flight, declared, ledger, now);
        let Flight { key, participant, endpoint, amount, .. } = *flight;
        Worked { key, participant, endpoint, deed, amount, arrived_late: true }
    }

    pub(crate) fn copy_of(&self, id: FlightId) -> Option<Flight> {
        self.flights.get(id.place as usize).filter(|f| f.generation == id.generation).cloned()
    }

    fn execute(&mut self, flight: &Flight, declared: &Participant, ledger: &mut Ledger, now: Timestamp) -> (Work, u16) {
        let temper = self.tempers[flight.participant as usize];
        let key = flight.key;
        let undo = key.direction == Direction::Compensate;
        {
            let deed = ledger.deed_mut(key.tx, key.step);
            if undo {
                deed.undos_arrived += 1
            } else {
                deed.arrived += 1
            }
            if !undo {
                deed.changes |= flight.method.changes();
                deed.participant = flight.participant;
            }
        }
        if !flight.method.changes() {
            return (Work::Read, 200);
        }
        if let (Some(remembers), Some(known)) = (declared.idempotency.remembers(), self.known.get(&key)) {
            let here = match declared.idempotency {
                Idempotency::Header { scope: PromiseScope::Endpoint, .. }
                | Idempotency::Body { scope: PromiseScope::Endpoint, .. } => known.endpoint == flight.endpoint,
                _ => true,
            };
            let forgotten = temper.forgetful && now >= known.at.after(remembers).after(MEMORY_SLACK);
            if here && !forgotten {
                if known.digest != flight.digest {
                    return (Work::Reused, 422);
                }
                let conflict =
                    temper.conflict_on_repeat && !undo && !self.is_calm && known.attempt != flight.call.attempt;
                return (Work::Repeat, if conflict { 409 } else { known.status });
            }
        }
        if flight.refuses || flight.proves {
            let status = if flight.proves {
                418
            } else {
                match (undo, declared.name.as_str()) {
                    (false, "payments") => 402,
                    _ => 409,
                }
            };
            return (Work::Nothing, status);
        }
        if undo { self.undo(flight, declared, ledger, now) } else { self.do_it(flight, declared, ledger, now) }
    }

    fn do_it(&mut self, flight: &Flight, declared: &Participant, ledger: &mut Ledger, now: Timestamp) -> (Work, u16) {
        let key = flight.key;
        if declared.undo_blocks_do && self.blocked.contains_key(&key) {
            return (Work::Nothing, 409);
        }
        let deed = ledger.deed(key.tx, key.step);
        let done = if flight.method.is_idempotent() && deed.standing > 0 {
            Work::Repeat
        } else {
            ledger.executed(key, flight.participant, flight.amount);
            Work::Done
        };
        self.remember(flight, declared, now, 200);
        (done, 200)
    }

    fn undo(&mut self, flight: &Flight, declared: &Participant, ledger: &mut Ledger, now: Timestamp) -> (Work, u16) {
        let key = flight.key;
        let forward = CallKey { direction: Direction::Call, ..key };
        if declared.undo_blocks_do {
            self.blocked.insert(forward, ());
        }
        let deed = ledger.deed(key.tx, key.step);
        let never = deed.executions == 0 || deed.undone_by_hand;
        if never || (flight.method.is_idempotent() && deed.standing <= 0) {
            let status = if self.is_calm || self.rng.chance(1, 2) { 200 } else { 404 };
            if status == 200 {
                self.remember(flight, declared, now, 200);
            }
            return (Work::NothingThere, status);
        }
        ledger.undone(key);
        self.remember(flight, declared, now, 200);
        (Work::Undone, 200)
    }

    fn remember(&mut self, flight: &Flight, declared: &Participant, now: Timestamp, status: u16) {
        if declared.idempotency.remembers().is_some() {
            let Flight { endpoint, digest, call, .. } = *flight;
            let known = Known { at: now, endpoint, digest, status, attempt: call.attempt };
            self.known.insert(flight.key, known);
        }
    }

    /// The moment in which somebody would hear of it has come. `None`: nobody listens.
    pub(crate) fn reply(&mut self, id: FlightId, ledger: &mut Ledger, now: Timestamp) -> Option<Told> {
        let flight = self.flight(id)?;
        if flight.is_deaf {
            return None;
        }
        flight.is_deaf = true;
        let flight = flight.clone();
        if flight.effect_at.is_none() {
            self.land(id);
        } else {
            // It goes on over there, but its place is free: the connection is closed.
            self.flights[id.place as usize].running = false;
            ledger.sets_out(flight.key);
        }
        if flight.running {
            let running = &mut self.moods[flight.participant as usize].running;
            *running = running.saturating_sub(1);
        }
        let took = now.since(flight.started_at);
        let (evidence, for_load) = self.told(&flight);
        Some(Told { evidence, for_load, took, flight })
    }

    fn told(&mut self, flight: &Flight) -> (Evidence, load::Evidence) {
        match flight.reply {
            Reply::NotSent => {
                (Evidence::NotSent("connection refused".into()), load::Evidence::NotTaken { retry_after: None })
            }
            Reply::TimedOut => (Evidence::TimedOut, load::Evidence::Unknown),
            Reply::Cut => (Evidence::Cut("the connection was reset".into()), load::Evidence::Unknown),
            Reply::Unusable => {
                let body = Body::Unusable("it is cut".into());
                (Evidence::Answered { status: 200, has_retry_after: false, body }, load::Evidence::Done)
            }
            Reply::Natural => self.answered(flight, 500, false),
            Reply::Status { status, retry_after } => self.answered(flight, status, retry_after),
        }
    }

    fn answered(&mut self, flight: &Flight, status: u16, has_retry_after: bool) -> (Evidence, load::Evidence) {
        let retry_after = has_retry_after.then_some(Duration::from_secs(1));
        let for_load = match status {
            200..=299 => load::Evidence::Done,
            429 => load::Evidence::Throttled { retry_after },
            503 if has_retry_after => load::Evidence::NotTaken { retry_after },
            401 | 407 => load::Evidence::Unauthorized,
            300..=399 | 405 | 415 | 421 | 426 | 431 => load::Evidence::Cancelled,
            408 | 425 | 500..=u16::MAX => load::Evidence::Unknown,
            _ => load::Evidence::Refused,
        };
        self.answers += 1;
        let body = if status < 300 { Body::Json(body(flight, self.answers)) } else { Body::Empty };
        (Evidence::Answered { status, has_retry_after, body }, for_load)
    }

    fn land(&mut self, id: FlightId) {
        let flight = &mut self.flights[id.place as usize];
        flight.generation += 1;
        self.free.push(id.place);
    }

    /// The process that made these calls is gone: nobody listens, and what has not taken effect does so before
    /// it must have settled, or never. Gives those that take effect at another time now.
    pub(crate) fn orphan(
        &mut self,
        node: u32,
        participants: &[Participant],
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Vec<(FlightId, Timestamp)> {
        let mut moved = Vec::new();
        for place in 0..self.flights.len() {
            let flight = &mut self.flights[place];
            let id = FlightId { place: place as u32, generation: flight.generation };
            // Those that have landed are deaf too.
            if flight.node != node || flight.is_deaf {
                continue;
            }
            flight.is_deaf = true;
            if flight.running {
                flight.running = false;
                let running = &mut self.moods[flight.participant as usize].running;
                *running = running.saturating_sub(1);
            }
            let settles = participants[flight.participant as usize].settles_within.mul_f64(0.9);
            if let Some(at) = flight.effect_at
                && self.rng.chance(3, 4)
            {
                let span = settles.as_micros() as u64;
                let at = at.min(now.after(Duration::from_micros(self.rng.below(span + 1))));
                self.flights[place].effect_at = Some(at);
                ledger.sets_out(self.flights[place].key);
                moved.push((id, at));
            } else {
                self.flights[place].effect_at = None;
                self.land(id);
            }
        }
        moved
    }

    /// Anything that takes effect later.
    pub(crate) fn has_anything_on_its_way(&self) -> bool {
        self.flights.iter().any(|f| f.effect_at.is_some())
    }

    /// A call that will still arrive although nobody waits for it.
    pub(crate) fn is_on_its_way(&self, key: CallKey) -> bool {
        self.flights.iter().any(|f| f.key == key && f.effect_at.is_some())
    }
}

/// The number behind `"amount":` or `"amount_minor":` in a body.
fn amount(body: &[u8]) -> i64 {
    const NAME: &[u8] = b"\"amount";
    let Some(at) = body.windows(NAME.len()).position(|w| w == NAME) else { return 0 };
    let rest = &body[at + NAME.len()..];
    let Some(colon) = rest.iter().position(|b| *b == b':') else { return 0 };
    rest[colon + 1..].iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + i64::from(b - b'0'))
}

/// An answer that any definition of the menu can read.
fn body(flight: &Flight, n: u64) -> Value {
    let text = CompactString::const_new;
    let number = |n: i64| Value::int(n);
    let mut members = vec![(text("id"), number(n as i64))];
    match flight.method {
        // As the telecom definitions read a contract.
        Method::Get => {
            members.insert(0, (text("debt_minor"), number(if n.is_multiple_of(41) { 100 } else { 0 })));
            members.insert(0, (text("change_fee_minor"), number(if n.is_multiple_of(2) { 500 } else { 0 })));
            members.push((text("tariff"), Value::text("OLD_S")));
        }
        _ => {
            members.insert(0, (text("balance_minor"), number(1_000)));
            members.push((text("result"), Value::text("OK")));
        }
    }
    Value::Map(Object::from_members(members).unwrap_or_default())
}
