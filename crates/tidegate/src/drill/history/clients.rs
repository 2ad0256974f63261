//! Clients that write down what they asked for and what they were told.
//!
//! Each repeats its submission under its key until it knows the outcome; now and then one gives up after the first
//! try that is not answered, says that nobody knows, and goes on under another name.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::demo::ask::{Ask, Asker};
use crate::demo::dice::Dice;

use super::Model;
use super::op::{Kind, Recorder};
use super::sagas::ACCOUNTS;

const CLIENTS: u64 = 8;
/// Appends to one list, before another one takes its place.
const APPENDS_MAX: u64 = 40;
/// Lists in use at once.
const LISTS: u64 = 3;
const AMOUNT_MAX: u64 = 20;
/// One operation in so many only reads.
const READS_ONE_IN: u64 = 4;
/// One client in so many gives up on what is not answered.
const GIVES_UP_ONE_IN: u64 = 60;
/// What is given up on in all: each is an open question for ever.
const GIVEN_UP_MAX: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Clients {
    model: Model,
    asker: Asker,
    seed: u64,
    recorder: RefCell<Recorder>,
    next_key: Cell<u64>,
    next_process: Cell<u64>,
    /// Appends so far.
    appended: Cell<u64>,
    given_up: Cell<u64>,
    known: Cell<u64>,
    ending: Cell<bool>,
}

pub(super) struct AtWork(Vec<JoinHandle<Result<(), String>>>);

/// What one operation asks of the engine, and how it stands in a history.
struct Asked {
    f: &'static str,
    value: Value,
    definition: &'static str,
    input: Value,
}

/// What is known of it.
enum Outcome {
    Completed(Value),
    Aborted,
    Unknown,
}

impl Clients {
    pub(super) fn new(model: Model, asker: Asker, seed: u64) -> Self {
        Self {
            model,
            asker,
            seed,
            recorder: RefCell::new(Recorder::new()),
            next_key: Cell::new(0),
            next_process: Cell::new(CLIENTS),
            appended: Cell::new(0),
            given_up: Cell::new(0),
            known: Cell::new(0),
            ending: Cell::new(false),
        }
    }

    pub(super) fn begin(self: &Rc<Self>) -> AtWork {
        let start = |number| {
            let clients = Rc::clone(self);
            tokio::task::spawn_local(async move { clients.client(number).await })
        };
        AtWork((0..CLIENTS).map(start).collect())
    }

    pub(super) async fn end(&self, at_work: AtWork) -> Result<(), String> {
        self.ending.set(true);
        for client in at_work.0 {
            client.await.map_err(|why| format!("a client broke: {why}"))??;
        }
        Ok(())
    }

    pub(super) fn progress(&self) -> String {
        format!("{} outcomes known, {} given up on", self.known.get(), self.given_up.get())
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), String> {
        self.recorder.borrow().write(path)
    }

    /// Reads everything that there is, one after the other.
    pub(super) async fn read_all(&self) -> Result<(), String> {
        let process = self.new_process();
        match self.model {
            Model::Bank => self.perform(process, &balances(), false).await.map(drop),
            Model::Append => {
                for list in 0..=self.newest_list() {
                    self.perform(process, &look(list), false).await?;
                }
                Ok(())
            }
        }
    }

    fn new_process(&self) -> u64 {
        self.next_process.replace(self.next_process.get() + 1)
    }

    fn newest_list(&self) -> u64 {
        self.appended.get() / APPENDS_MAX + LISTS - 1
    }

    async fn client(&self, number: u64) -> Result<(), String> {
        let mut dice = Dice::new(self.seed, &format!("client {number}"));
        let mut process = number;
        while !self.ending.get() {
            let asked = self.choose(&mut dice);
            let may_give_up = dice.below(GIVES_UP_ONE_IN) == 0 && self.given_up.get() < GIVEN_UP_MAX;
            if matches!(self.perform(process, &asked, may_give_up).await?, Outcome::Unknown) {
                process = self.new_process();
            }
            tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
        }
        Ok(())
    }

    fn choose(&self, dice: &mut Dice) -> Asked {
        let reads = dice.below(READS_ONE_IN) == 0;
        match self.model {
            Model::Append => {
                let list = self.newest_list() - dice.below(LISTS);
                if reads { look(list) } else { self.append(list) }
            }
            Model::Bank if reads => balances(),
            Model::Bank => transfer(dice),
        }
    }

    fn append(&self, list: u64) -> Asked {
        let element = self.appended.replace(self.appended.get() + 1);
        let (one, two) = (2 * list, 2 * list + 1);
        Asked {
            f: "txn",
            value: json!([["append", one, element], ["append", two, element], ["r", one, null], ["r", two, null]]),
            definition: "append",
            input: json!({"list": list.to_string(), "element": element}),
        }
    }

    async fn perform(&self, process: u64, asked: &Asked, may_give_up: bool) -> Result<Outcome, String> {
        let note = |kind, value: &Value| self.recorder.borrow_mut().note(process, kind, asked.f, value);
        note(Kind::Invoke, &asked.value);
        let outcome = self.until_known(asked, may_give_up).await?;
        match &outcome {
            Outcome::Completed(output) => note(Kind::Ok, &completed(asked, output)?),
            Outcome::Aborted => note(Kind::Fail, &asked.value),
            Outcome::Unknown => note(Kind::Info, &asked.value),
        }
        match outcome {
            Outcome::Unknown => self.given_up.set(self.given_up.get() + 1),
            _ => self.known.set(self.known.get() + 1),
        }
        Ok(outcome)
    }

    async fn until_known(&self, asked: &Asked, may_give_up: bool) -> Result<Outcome, String> {
        let n = self.next_key.replace(self.next_key.get() + 1);
        let key = format!("history-{}-{n}", self.seed);
        let body = json!({"definition": asked.definition, "input": asked.input}).to_string();
        let begun = Instant::now();
        loop {
            let ask = Ask::post("/v1/transactions?wait=10s", &body).with_key(&key);
            match self.asker.ask(ask).await {
                Ok(reply) if reply.status == 200 => {
                    let view = reply.json();
                    match view["outcome"].as_str() {
                        Some("completed") => return Ok(Outcome::Completed(view["output"].clone())),
                        Some("aborted") => return Ok(Outcome::Aborted),
                        _ => return Err(format!("{key} was answered 200 without an outcome: {view}")),
                    }
                }
                Ok(reply) if reply.status == 202 || reply.is_overload() => {}
                Ok(reply) => return Err(format!("{key} was answered {}", reply.problem())),
                Err(_) if may_give_up => return Ok(Outcome::Unknown),
                Err(_) => {}
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the outcome of {key} is not known after {PATIENCE:?}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn look(list: u64) -> Asked {
    Asked {
        f: "txn",
        value: json!([["r", 2 * list, null], ["r", 2 * list + 1, null]]),
        definition: "look",
        input: json!({"list": list.to_string()}),
    }
}

fn balances() -> Asked {
    Asked { f: "read", value: Value::Null, definition: "balances", input: json!({"bank": "0"}) }
}

fn transfer(dice: &mut Dice) -> Asked {
    let from = dice.below(ACCOUNTS.len() as u64) as usize;
    let others: Vec<usize> = (0..ACCOUNTS.len()).filter(|n| ACCOUNTS[*n].0 != ACCOUNTS[from].0).collect();
    let (to, amount) = (*dice.pick(&others), 1 + dice.below(AMOUNT_MAX));
    Asked {
        f: "transfer",
        value: json!({"from": from, "to": to, "amount": amount}),
        definition: if ACCOUNTS[from].0 == 0 { "transfer-there" } else { "transfer-back" },
        input: json!({"bank": "0", "from": ACCOUNTS[from].1, "to": ACCOUNTS[to].1, "amount": amount}),
    }
}

/// What was asked, with what was read in its place.
fn completed(asked: &Asked, output: &Value) -> Result<Value, String> {
    let of = |name: &str| match &output[name] {
        Value::Null => Err(format!("a completed {} has no {name} in its output {output}", asked.definition)),
        value => Ok(value.clone()),
    };
    match asked.f {
        "read" => {
            let read = |n: usize| Ok((n.to_string(), of(&format!("a{n}"))?));
            let all: Result<serde_json::Map<String, Value>, String> = (0..ACCOUNTS.len()).map(read).collect();
            all.map(Value::Object)
        }
        "txn" => {
            let mut reads = [of("here")?, of("there")?].into_iter();
            let filled = asked.value.as_array().into_iter().flatten().map(|micro| match micro[0].as_str() {
                Some("r") => json!(["r", micro[1], reads.next()]),
                _ => micro.clone(),
            });
            Ok(filled.collect())
        }
        _ => Ok(asked.value.clone()),
    }
}
