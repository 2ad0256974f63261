//! One seed from beginning to audit: lives that end in the middle of anything, clients that go on, and what is left.
//!
//! Eight seeds by default. `TIDEGATE_FAULT_SEEDS=500 TIDEGATE_FAULT_FIRST=1000 cargo test -p runtime --test faults
//! seeds` runs others; nextest's time limit per test is then too short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::TxId;
use runtime::{Engine, Refusal, SignalOrder, SignalTo, Until, Verb};

use crate::bank::Bank;
use crate::dice::Dice;
use crate::disk::{Faults, Shadow};
use crate::life::{self, Life, Line, WAIT};

const CLIENTS: u64 = 8;
const ACCOUNTS: u64 = 12;
/// A start that fails is tried again; the disk does not fail for ever.
const STARTS_MAX: u32 = 20;

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    lives: u64,
    power_cuts: u64,
    deaths: u64,
    ended_inside: u64,
    node_failures: u64,
    starts_refused: u64,
    acknowledged: u64,
    completed: u64,
    aborted: u64,
    failed_syncs: u64,
    read_errors: u64,
    refused_for_space: u64,
}

/// What the clients asked for and were promised, over all lives.
#[derive(Debug, Default)]
struct Promises {
    submitted: BTreeMap<String, (&'static str, String, usize)>,
    acknowledged: BTreeMap<String, TxId>,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Clients {
    seed: u64,
    promises: Mutex<Promises>,
    ending: AtomicBool,
}

impl Clients {
    fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn promised(&self, name: &str, id: TxId, replayed: bool) {
        let mut promises = self.promises();
        match promises.acknowledged.insert(name.to_owned(), id) {
            Some(before) if before != id => {
                let what = format!("TX-1: {name} was {before}, and is {id} now (replayed: {replayed})");
                promises.wrong.push(what);
            }
            _ => {}
        }
    }

    /// Submits, repeats, cancels, gives the word that some wait for, until the life is over.
    async fn run(self: Arc<Self>, engine: Engine, life: u64, client: u64) {
        let mut dice = Dice::new(self.seed, &format!("client {life} {client}"));
        let mut n = 0;
        while !self.ending.load(Ordering::SeqCst) && engine.failure().is_none() {
            n += 1;
            let (name, definition, account, note) = self.choose(&mut dice, &format!("{life}-{client}-{n}"));
            let wait = Duration::from_millis(if dice.one_in(2) { 0 } else { dice.below(150) });
            let order = life::order(definition, &account, &name, note);
            match engine.submit(order, wait, Until::Outcome).await {
                Ok(answer) => {
                    self.promised(&name, answer.id, answer.replayed);
                    self.follow(&engine, &mut dice, &name, definition, answer.id).await;
                }
                Err(Refusal::Unavailable { .. } | Refusal::Full { .. }) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // A disk that cannot be read is no answer, and says so.
                Err(Refusal::Internal(why)) if why.contains("as it was told") || why.contains("is over") => {}
                Err(other) => self.promises().wrong.push(format!("{name} was answered {other:?}")),
            }
        }
    }

    /// A new order, or one in six an old one again, acknowledged or not.
    fn choose(&self, dice: &mut Dice, name: &str) -> (String, &'static str, String, usize) {
        let mut promises = self.promises();
        let old = dice.below(promises.submitted.len() as u64) as usize;
        if dice.one_in(6)
            && let Some((name, (definition, account, note))) = promises.submitted.iter().nth(old)
        {
            return (name.clone(), definition, account.clone(), *note);
        }
        let definition = ["transfer", "transfer", "locked", "locked", "sleeping", "awaiting"][dice.below(6) as usize];
        let account = format!("a{}", dice.below(ACCOUNTS));
        let ending = if dice.one_in(6) { "refused" } else { "" };
        let note = if dice.one_in(8) { dice.below(20_000) as usize } else { 0 };
        let name = format!("{name}{ending}");
        promises.submitted.insert(name.clone(), (definition, account.clone(), note));
        (name, definition, account, note)
    }

    async fn follow(&self, engine: &Engine, dice: &mut Dice, name: &str, definition: &str, id: TxId) {
        if dice.one_in(15) {
            // Taken or too late, or nobody answers any more: the audit tells.
            let _ = engine.operate(id, Verb::Cancel, "client".into(), "changed its mind".into()).await;
        }
        if definition == "awaiting" && dice.below(3) > 0 {
            give_word(engine, name, id).await;
        }
        if dice.one_in(10)
            && let Err(Refusal::NoTransaction(id)) =
                engine.get(id, Duration::ZERO, Until::Outcome, runtime::view::Detail::Answer).await
        {
            self.promises().wrong.push(format!("TX-1: {name} was acknowledged as {id}, which is unknown"));
        }
    }
}

async fn give_word(engine: &Engine, name: &str, id: TxId) {
    let body = model::json::parse(b"{}").expect("JSON");
    let order = SignalOrder {
        to: SignalTo::Transaction(id),
        signal: "word_given".into(),
        body,
        idempotency_key: format!("word-{name}").into(),
    };
    let _ = engine.signal(order).await;
}

/// What a seed turns on.
#[derive(Clone, Copy, Debug)]
struct Mixture {
    power: bool,
    failing_syncs: bool,
    slow_syncs: bool,
    full_disks: bool,
    read_errors: bool,
    ends_inside: bool,
    bank_down: bool,
    checkpoints: bool,
    small_memory: bool,
}

impl Mixture {
    fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "mixture");
        let mut on = || dice.one_in(2);
        Self {
            power: on(),
            failing_syncs: on(),
            slow_syncs: on(),
            full_disks: on(),
            read_errors: on(),
            ends_inside: on(),
            bank_down: on(),
            checkpoints: on(),
            small_memory: on(),
        }
    }

    fn settings(self, settings: &mut runtime::Settings) {
        if self.checkpoints {
            settings.checkpoint_every_bytes = 8 << 10;
        }
        if self.small_memory {
            settings.memory_bytes_max = 2 << 20;
        }
    }
}

struct Campaign {
    dice: Dice,
    mixture: Mixture,
    root: tempfile::TempDir,
    folders: u32,
    data: PathBuf,
    shadow: Arc<Shadow>,
    bank: Arc<Bank>,
    clients: Arc<Clients>,
    figures: Figures,
    stranded: u64,
}

impl Campaign {
    fn new(seed: u64) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let data = root.path().join("0");
        std::fs::create_dir(&data).expect("a folder");
        let clients = Clients { seed, promises: Mutex::default(), ending: AtomicBool::new(false) };
        Self {
            dice: Dice::new(seed, "campaign"),
            mixture: Mixture::of(seed),
            root,
            folders: 0,
            data,
            shadow: Shadow::new(seed),
            bank: Bank::new(seed),
            clients: Arc::new(clients),
            figures: Figures::default(),
            stranded: 0,
        }
    }

    /// Starts a node. A disk that fails may refuse it; a disk that does not must not.
    async fn begin(&mut self, life: u64) -> Result<Life, String> {
        for start in 0..STARTS_MAX {
            let disturbed = self.disturb_start(start);
            let mixture = self.mixture;
            match Life::begin(&self.data, &self.shadow, &self.bank, |settings| mixture.settings(settings)) {
                // What was to end its start may have ended it a moment later.
                Ok(node) if node.door.is_shut() || (disturbed && node.engine.failure().is_some()) => {
                    self.figures.starts_refused += 1;
                    self.stranded += node.die();
                }
                Ok(node) => {
                    self.shadow.set(Faults::default());
                    return Ok(node);
                }
                Err(_) if disturbed => {
                    self.figures.starts_refused += 1;
                    if self.mixture.power && self.dice.one_in(2) {
                        self.cut_power();
                    }
                }
                Err(why) => return Err(format!("life {life} does not start although the disk is well: {why}")),
            }
        }
        Err(format!("life {life} has not started after {STARTS_MAX} tries"))
    }

    /// Whether anything may go wrong during this start.
    fn disturb_start(&mut self, start: u32) -> bool {
        let mut faults = Faults::default();
        if start < STARTS_MAX / 2 {
            if self.mixture.ends_inside && self.dice.one_in(3) {
                faults.ends_in = Some(self.dice.below(60));
            }
            if self.mixture.read_errors && self.dice.one_in(3) {
                faults.read_error_one_in = Some(30);
            }
            if self.mixture.failing_syncs && self.dice.one_in(5) {
                faults.failing_sync_in = Some(self.dice.below(8));
            }
        }
        self.shadow.set(faults);
        faults.ends_in.is_some() || faults.read_error_one_in.is_some() || faults.failing_sync_in.is_some()
    }

    fn faults_of_a_life(&mut self) -> Faults {
        let (mixture, dice) = (self.mixture, &mut self.dice);
        let mut faults = Faults::default();
        if mixture.ends_inside && dice.one_in(2) {
            faults.ends_in = Some(dice.below(400));
        }
        if mixture.failing_syncs && dice.one_in(2) {
            faults.failing_sync_in = Some(dice.below(100));
        }
        if mixture.slow_syncs {
            faults.slow_sync_one_in = Some(20);
        }
        if mixture.read_errors && dice.one_in(3) {
            faults.read_error_one_in = Some(200);
        }
        faults
    }

    async fn live(&mut self, number: u64) -> Result<(), String> {
        let node = self.begin(number).await?;
        self.figures.lives += 1;
        if number == 0 {
            node.engine.apply(life::files(), false, "test").await.map_err(|why| format!("not applied: {why:?}"))?;
        }
        self.clients.ending.store(false, Ordering::SeqCst);
        let at_work: Vec<_> = (0..CLIENTS)
            .map(|client| tokio::spawn(Arc::clone(&self.clients).run(node.engine.clone(), number, client)))
            .collect();
        let faults = self.faults_of_a_life();
        self.shadow.set(faults);
        let moments = 2 + self.dice.below(6);
        for _ in 0..moments {
            tokio::time::sleep(Duration::from_millis(20 + self.dice.below(100))).await;
            if self.mixture.full_disks {
                let is_full = self.dice.one_in(2);
                self.shadow.change(|faults| faults.is_full = is_full);
            }
            if self.mixture.bank_down {
                self.bank.set_down(self.dice.one_in(3));
            }
            if node.door.is_shut() || node.engine.failure().is_some() {
                break;
            }
        }
        self.figures.ended_inside += u64::from(node.door.is_shut());
        self.figures.node_failures += u64::from(node.engine.failure().is_some());
        self.clients.ending.store(true, Ordering::SeqCst);
        // One in six ends as a person would end it.
        let clean = self.dice.one_in(6);
        if clean {
            self.shadow.set(Faults::default());
        }
        let ended = tokio::task::spawn_blocking(move || if clean { node.end() } else { node.die() });
        let within = tokio::time::timeout(WAIT, ended).await;
        self.stranded += within.map_err(|_| format!("life {number} does not end"))?.map_err(|why| why.to_string())?;
        for client in at_work {
            let within = tokio::time::timeout(WAIT, client).await;
            within.map_err(|_| format!("a client of life {number} hangs"))?.map_err(|why| why.to_string())?;
        }
        if self.mixture.power && self.dice.below(3) > 0 {
            self.cut_power();
        } else {
            self.figures.deaths += 1;
        }
        Ok(())
    }

    fn cut_power(&mut self) {
        self.figures.power_cuts += 1;
        self.folders += 1;
        let next = self.root.path().join(self.folders.to_string());
        self.shadow.cut_power(&self.data, &next);
        std::fs::remove_dir_all(&self.data).expect("the old disk is removed");
        self.data = next;
    }

    /// Nothing fails any more: everything must end, and agree.
    async fn audit(&mut self) -> Result<(), String> {
        self.bank.recover();
        self.shadow.set(Faults::default());
        let node =
            Life::begin(&self.data, &self.shadow, &self.bank, |_| ()).map_err(|why| format!("the last life: {why}"))?;
        self.help_to_the_end(&node.engine).await?;
        let lines = life::everything(&node.engine).await;
        let (submitted, acknowledged, mut wrong) = {
            let promises = self.clients.promises();
            (promises.submitted.clone(), promises.acknowledged.clone(), promises.wrong.clone())
        };
        wrong.extend(compare_promises(&submitted, &acknowledged, &lines));
        for (name, id) in acknowledged.iter().step_by(acknowledged.len().div_ceil(50).max(1)) {
            let (definition, account, note) = &submitted[name];
            let again = node.engine.submit(life::order(definition, account, name, *note), WAIT, Until::End).await;
            match again {
                Ok(answer) if answer.id == *id && answer.replayed => {}
                other => wrong.push(format!("TX-1: the repeat of {name}, {id}, was answered {other:?}")),
            }
        }
        wrong.extend(compare_effects(&lines, &self.bank));
        if acknowledged.is_empty() {
            wrong.push("nothing was acknowledged, so nothing is proven".to_owned());
        }
        self.stranded += node.end();
        if self.stranded > 0 {
            wrong.push(format!("TX-4: the node counted {} stranded calls", self.stranded));
        }
        wrong.extend(doctor(&self.data));
        self.figures.acknowledged = acknowledged.len() as u64;
        self.figures.completed = lines.iter().filter(|line| line.outcome == "completed").count() as u64;
        self.figures.aborted = lines.iter().filter(|line| line.outcome == "aborted").count() as u64;
        let told = self.shadow.told();
        self.figures.failed_syncs = told.failed_syncs;
        self.figures.read_errors = told.read_errors;
        self.figures.refused_for_space = told.refused_for_space;
        if wrong.is_empty() { Ok(()) } else { Err(wrong[..wrong.len().min(10)].join("\n")) }
    }

    /// Gives the words that are waited for, tries again what asks for a person, and waits for the end of all.
    async fn help_to_the_end(&self, engine: &Engine) -> Result<(), String> {
        for _ in 0..10 {
            for line in life::everything(engine).await.iter().filter(|line| line.state != "ended") {
                match line.state.as_str() {
                    "needs_attention" => {
                        let _ = engine.operate(line.id, Verb::Retry, "person".into(), "all is well now".into()).await;
                    }
                    _ => give_word(engine, &line.key, line.id).await,
                }
            }
            let began = std::time::Instant::now();
            while began.elapsed() < WAIT / 10 {
                if life::number(engine, "tidegate_transactions_live") == 0 {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let left: Vec<Line> = life::everything(engine).await.into_iter().filter(|line| line.state != "ended").collect();
        let why = engine.failure().unwrap_or_default();
        Err(format!("TX-4: {} have not ended; {why}; the first: {:?}", left.len(), &left[..left.len().min(5)]))
    }
}

fn compare_promises(
    submitted: &BTreeMap<String, (&'static str, String, usize)>,
    acknowledged: &BTreeMap<String, TxId>,
    lines: &[Line],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut by_key: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        by_key.entry(&line.key).or_default().push(line);
        if line.state != "ended" {
            wrong.push(format!("TX-2: {line:?} has not ended"));
        }
    }
    for (key, lines) in &by_key {
        if lines.len() > 1 {
            wrong.push(format!("TX-1: {key} began {} times", lines.len()));
        }
        if !submitted.contains_key(*key) {
            wrong.push(format!("TX-1: {key} was never submitted"));
        }
    }
    for (key, id) in acknowledged {
        if !by_key.get(key.as_str()).is_some_and(|lines| lines.iter().any(|line| line.id == *id)) {
            wrong.push(format!("TX-1: {key} was acknowledged as {id} and is gone"));
        }
    }
    wrong
}

/// Everything kept of what completed, nothing of what was aborted.
fn compare_effects(lines: &[Line], bank: &Bank) -> Vec<String> {
    let (standing, mut wrong) = bank.standing();
    for line in lines {
        let of = |step: &str| standing.get(&line.key).and_then(|steps| steps.get(step)).copied().unwrap_or(0);
        let found = (of("debit"), of("credit"));
        let want = if line.outcome == "completed" { (1, 1) } else { (0, 0) };
        if found != want {
            wrong.push(format!("TX-3: {line:?} has {found:?} effects, not {want:?}"));
        }
    }
    let known: BTreeSet<&str> = lines.iter().map(|line| line.key.as_str()).collect();
    let unknown = standing.keys().filter(|name| !known.contains(name.as_str()));
    wrong.extend(unknown.map(|name| format!("TX-3: effects of {name}, which the node does not know")));
    wrong
}

pub(crate) fn doctor(data: &Path) -> Vec<String> {
    match runtime::doctor::examine(data, runtime::doctor::Settings::default(), &mut |_| {}) {
        Ok(report) if report.is_well() => Vec::new(),
        Ok(report) => report.findings.iter().map(|f| format!("doctor: {} {}: {}", f.check, f.place, f.what)).collect(),
        Err(why) => vec![format!("doctor: {why}")],
    }
}

async fn play(seed: u64) -> Result<Figures, String> {
    let mut campaign = Campaign::new(seed);
    let lives = 3 + campaign.dice.below(4);
    for number in 0..lives {
        campaign.live(number).await?;
    }
    campaign.audit().await?;
    Ok(campaign.figures)
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn add(all: &mut Figures, one: Figures) {
    let Figures {
        lives,
        power_cuts,
        deaths,
        ended_inside,
        node_failures,
        starts_refused,
        acknowledged,
        completed,
        aborted,
        failed_syncs,
        read_errors,
        refused_for_space,
    } = one;
    all.lives += lives;
    all.power_cuts += power_cuts;
    all.deaths += deaths;
    all.ended_inside += ended_inside;
    all.node_failures += node_failures;
    all.starts_refused += starts_refused;
    all.acknowledged += acknowledged;
    all.completed += completed;
    all.aborted += aborted;
    all.failed_syncs += failed_syncs;
    all.read_errors += read_errors;
    all.refused_for_space += refused_for_space;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds() {
    let (first, count) = (variable("TIDEGATE_FAULT_FIRST", 1), variable("TIDEGATE_FAULT_SEEDS", 8));
    let mut all = Figures::default();
    let mut failed = Vec::new();
    for seed in first..first + count {
        let began = std::time::Instant::now();
        match play(seed).await {
            Ok(figures) => add(&mut all, figures),
            Err(why) => {
                eprintln!("seed {seed}, {:?}: {why}", Mixture::of(seed));
                failed.push(seed);
            }
        }
        eprintln!("seed {seed} took {:.1} s", began.elapsed().as_secs_f64());
    }
    eprintln!("{all:?}");
    assert!(failed.is_empty(), "seeds {failed:?} failed, see above; TIDEGATE_FAULT_FIRST repeats one");
    // A campaign in which nothing went wrong has shown nothing.
    if first == 1 && count >= 8 {
        assert!(all.power_cuts > 0 && all.deaths > 0 && all.failed_syncs > 0, "{all:?}");
        assert!(all.completed > 200 && all.aborted > 20 && all.ended_inside > 0, "{all:?}");
    }
}
