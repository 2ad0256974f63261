//! The handle to a running node: cheap to clone, safe to share between threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use model::id::PartitionScope;
use model::{TxId, partition_of};
use partition::Operator;
use tokio::sync::oneshot;

use crate::answer::{Answer, Until};
use crate::applying;
use crate::backup::{BackupError, BackupReport};
use crate::catalog::{Applied, ApplyRefused, DefinitionReport, PauseReport, PinReport, SourceText, VersionReport};
use crate::idempotency::Known;
use crate::inbox::{Note, ResolveOrder, Responder, Waiter};
use crate::numbers::bump;
use crate::prepare::{Prepared, TENANT, prepare};
use crate::refusal::{Accepted, Refusal};
use crate::report::{NodeReport, ParticipantReport, Readiness};
use crate::settings::{Components, Settings};
use crate::shared::Shared;
use crate::start::Threads;
use crate::submission::{SignalOrder, SignalTo, Submission, Verb};
use crate::view::{Detail, View};

const RETRY_SOON: Duration = Duration::from_secs(1);

/// A running node.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) threads: Arc<Threads>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("data", &self.shared.settings.data).finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A submission on its way.
#[derive(Clone, Copy)]
struct Offered {
    /// The hash that finds it.
    scope: u128,
    /// Another of the same key came before it.
    repeats: bool,
}

impl Engine {
    /// Opens the data directory, replays, and starts the workers. Returns when it may take work.
    pub fn start(settings: Settings, components: Components) -> Result<Self, StartError> {
        let Components { renderer, serve } = components;
        crate::start::start(settings, renderer, serve.as_ref())
    }

    /// Begins a transaction and waits for it, at most `wait`. Zero: answers as soon as it is accepted.
    pub async fn submit(&self, order: Submission, wait: Duration, until: Until) -> Result<Answer, Refusal> {
        let (to, answer) = oneshot::channel();
        let waits = (!wait.is_zero()).then_some(until);
        let waiter = Waiter { until: waits, detail: Detail::Answer, replayed: false, to: Responder::Once(to) };
        let offered = self.offer(order, waiter)?;
        let answer = self.await_answer(answer, wait, offered.scope).await?;
        // Of those that race with one key the first is the one that was here first, whichever reached the worker
        // first and however each is answered: at once, with the end, or as it stands when the wait is over.
        Ok(Answer { replayed: offered.repeats, ..answer })
    }

    /// Begins a transaction; `done` is called on a worker's thread with the answer, and must hand over and return.
    ///
    /// # Errors
    /// What can be said at once is said here, and `done` is not called.
    pub fn submit_with(
        &self,
        order: Submission,
        until: Option<Until>,
        done: impl FnOnce(Result<Answer, Refusal>) + Send + 'static,
    ) -> Result<(), Refusal> {
        let to = Responder::Call(crate::inbox::Callback::new(done));
        self.offer(order, Waiter { until, detail: Detail::Answer, replayed: false, to }).map(|_| ())
    }

    /// Checks a submission and sends it to its worker.
    fn offer(&self, order: Submission, mut waiter: Waiter) -> Result<Offered, Refusal> {
        let tables = self.shared.tables();
        let prepared = prepare(order, &tables, self.shared.partitions)?;
        let scope = prepared.scope;
        // A known key is answered before admission (SEMANTICS 26).
        let follows = match self.shared.keys.reserve(scope, prepared.digest) {
            None => false,
            Some(Known::Begun { id, digest }) if digest == prepared.digest => {
                bump(&self.shared.numbers.replayed);
                let mut waiter = Waiter { replayed: true, ..waiter };
                match self.shared.inbox_of(id) {
                    Some(inbox) => {
                        waiter.to.set_handed_over(true);
                        inbox.send(Note::Look { tx: id, waiter });
                    }
                    None => return Err(Refusal::NoTransaction(id)),
                }
                return Ok(Offered { scope, repeats: true });
            }
            Some(Known::Begun { id, .. }) => return Err(Refusal::KeyReused { first: id }),
            // It is on its way: this one follows, and finds it there.
            Some(Known::Pending { digest }) if digest == prepared.digest => true,
            Some(Known::Pending { .. }) => {
                let what = "a submission with this idempotency key and another body is just being accepted";
                return Err(Refusal::Conflict(what.into()));
            }
        };
        // Every submission looks into history itself, after it is counted as on its way: what ends from now on stays
        // known by its key until this one has arrived.
        match self.ended(&prepared, &waiter) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                self.shared.keys.give_up(scope);
                bump(&self.shared.numbers.replayed);
                waiter.to.send(Ok(answer));
                return Ok(Offered { scope, repeats: true });
            }
            Err(refusal) => {
                self.shared.keys.give_up(scope);
                return Err(refusal);
            }
        }
        let inbox = self.shared.worker_of(prepared.partition);
        if follows {
            waiter.to.set_handed_over(true);
            inbox.send(Note::Begin(Box::new(prepared), waiter));
            return Ok(Offered { scope, repeats: true });
        }
        if let Err(refusal) = self.admit() {
            self.shared.keys.give_up(scope);
            return Err(refusal);
        }
        waiter.to.set_handed_over(true);
        if let Err(mut back) = inbox.begin(Note::Begin(Box::new(prepared), waiter)) {
            if let Note::Begin(_, waiter) = back.as_mut() {
                waiter.to.set_handed_over(false);
            }
            self.shared.keys.give_up(scope);
            bump(&self.shared.numbers.refused_full);
            let what = "the node has as many submissions waiting as it may".to_owned();
            return Err(Refusal::Full { what, retry_after: RETRY_SOON, accepted: Accepted::No });
        }
        Ok(Offered { scope, repeats: false })
    }

    /// The answer of an ended transaction that this submission repeats.
    fn ended(&self, prepared: &Prepared, waiter: &Waiter) -> Result<Option<Answer>, Refusal> {
        let found = self.shared.history.find_idempotency(prepared.scope).map_err(internal)?;
        let Some(record) = found.into_iter().next() else { return Ok(None) };
        let tables = self.shared.tables();
        let tx = wire::row::read(&record.row, |_| Some(0)).map_err(internal)?;
        if tx.submission_digest != prepared.digest {
            return Err(Refusal::KeyReused { first: tx.id });
        }
        let hash = wire::row::plan_of(&record.row).map_err(internal)?;
        let Some(plan) = tables.plans.get(&hash) else {
            return Err(Refusal::Internal(format!("the plan of {} is missing", tx.id)));
        };
        let view = View { tx: &tx, plan: &plan.saga, now: self.shared.clock.now(), detail: waiter.detail };
        let body = Bytes::from((self.shared.renderer)(&view));
        Ok(Some(Answer { id: tx.id, decided: true, replayed: true, body }))
    }

    /// Whether new work may come in at all.
    fn admit(&self) -> Result<(), Refusal> {
        let no = |what: String| {
            bump(&self.shared.numbers.refused_unavailable);
            Err(Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted: Accepted::No })
        };
        if self.shared.admits.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::NotReady(why) => no(why),
        }
    }

    async fn await_answer(
        &self,
        answer: oneshot::Receiver<Result<Answer, Refusal>>,
        wait: Duration,
        scope: u128,
    ) -> Result<Answer, Refusal> {
        let gone = || Refusal::Unavailable {
            what: "the node stopped before it could answer; ask again with the same idempotency key".into(),
            retry_after: RETRY_SOON,
            accepted: Accepted::Unknown,
        };
        // A submission that was known when it came, and that has ended since, is in history.
        let found = |answer: Result<Answer, Refusal>| match answer {
            Err(Refusal::NoTransaction(id)) => self.shared.ended_answer(id, Detail::Answer),
            Ok(answer) if answer.body.is_empty() => self.shared.ended_answer(answer.id, Detail::Answer),
            answer => answer,
        };
        if wait.is_zero() {
            return answer.await.map_or_else(|_| Err(gone()), found);
        }
        let as_it_stands = async |id| self.get(id, Duration::ZERO, Until::Outcome, Detail::Answer).await;
        match tokio::time::timeout(wait, answer).await {
            Ok(answer) => answer.map_or_else(|_| Err(gone()), found),
            // The end of the wait never ends the transaction: it is answered as it stands.
            Err(_) => match self.shared.keys.get(scope) {
                Some(Known::Begun { id, .. }) => as_it_stands(id).await,
                Some(Known::Pending { .. }) => Err(Refusal::Unavailable {
                    what: "it is not durable yet; ask again with the same idempotency key".into(),
                    retry_after: RETRY_SOON,
                    accepted: Accepted::Unknown,
                }),
                None => match self.shared.history.find_idempotency(scope).map_err(internal)?.first() {
                    Some(record) => as_it_stands(TxId(record.id)).await,
                    None => Err(gone()),
                },
            },
        }
    }

    /// A transaction by id, at once or after waiting until it is decided or ended, at most `wait`.
    pub async fn get(&self, id: TxId, wait: Duration, until: Until, detail: Detail) -> Result<Answer, Refusal> {
        let Some(inbox) = self.shared.inbox_of(id) else { return Err(Refusal::NoTransaction(id)) };
        if !wait.is_zero() {
            let (to, answer) = oneshot::channel();
            let waiter = Waiter { until: Some(until), detail, replayed: false, to: Responder::Once(to) };
            inbox.send(Note::Look { tx: id, waiter });
            match tokio::time::timeout(wait, answer).await {
                Ok(Ok(Err(Refusal::NoTransaction(_)))) => return self.shared.ended_answer(id, detail),
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        let (to, answer) = oneshot::channel();
        inbox.send(Note::Look {
            tx: id,
            waiter: Waiter { until: None, detail, replayed: false, to: Responder::Once(to) },
        });
        match answer.await {
            Ok(Err(Refusal::NoTransaction(_))) => self.shared.ended_answer(id, detail),
            Ok(answer) => answer,
            Err(_) => Err(stopped()),
        }
    }

    pub(crate) fn render_record(&self, row: &[u8], detail: Detail) -> Result<Bytes, Refusal> {
        self.shared.render_record(row, detail)
    }

    /// Cancel, retry or resolve. `who` and `why` go into the history for ever.
    pub async fn operate(
        &self,
        id: TxId,
        verb: Verb,
        who: CompactString,
        why: CompactString,
    ) -> Result<Answer, Refusal> {
        let Some(inbox) = self.shared.inbox_of(id) else { return Err(Refusal::NoTransaction(id)) };
        let (to, answer) = oneshot::channel();
        let waiter = Waiter { until: None, detail: Detail::Full, replayed: false, to: Responder::Once(to) };
        inbox.send(match verb {
            Verb::Cancel => Note::Operate { tx: id, verb: Operator::Cancel, who, why, waiter },
            Verb::Retry => Note::Operate { tx: id, verb: Operator::Retry, who, why, waiter },
            Verb::Resolve { step, direction, done, result } => {
                let order = ResolveOrder { direction, done, result: result.map(Arc::new) };
                Note::Resolve { tx: id, step, order, who, why, waiter }
            }
        });
        match answer.await {
            // Taken, and ended since.
            Ok(Ok(answer)) if answer.body.is_empty() => {
                self.shared.ended_answer(id, Detail::Full).map(|found| Answer { replayed: answer.replayed, ..found })
            }
            Ok(Err(Refusal::NoTransaction(_))) => match self.shared.ended_answer(id, Detail::Summary) {
                Ok(_) => Err(Refusal::Conflict(format!("{id} has ended"))),
                Err(refusal) => Err(refusal),
            },
            Ok(answer) => answer,
            Err(_) => Err(stopped()),
        }
    }

    /// Delivers a signal; the answer names the transaction that took it.
    pub async fn signal(&self, order: SignalOrder) -> Result<Answer, Refusal> {
        let SignalOrder { to, signal, body, idempotency_key } = order;
        let tx = match to {
            SignalTo::Transaction(tx) => tx,
            SignalTo::Key { definition, key } => self.find_awaiting(&definition, &key, &signal).await?,
        };
        let Some(inbox) = self.shared.inbox_of(tx) else { return Err(Refusal::NoTransaction(tx)) };
        let (to, answer) = oneshot::channel();
        let waiter = Waiter { until: None, detail: Detail::Answer, replayed: false, to: Responder::Once(to) };
        inbox.send(Note::Signal { tx, name: signal, idempotency_key, body: Arc::new(body), waiter });
        match answer.await {
            Ok(Err(Refusal::NoTransaction(_))) => match self.shared.ended_answer(tx, Detail::Summary) {
                Ok(_) => Err(Refusal::Conflict(format!("{tx} has ended"))),
                Err(refusal) => Err(refusal),
            },
            Ok(answer) => answer,
            Err(_) => Err(stopped()),
        }
    }

    async fn find_awaiting(&self, definition: &str, key: &str, signal: &str) -> Result<TxId, Refusal> {
        if !self.shared.tables().definitions.contains_key(definition) {
            return Err(Refusal::NoDefinition { name: definition.into(), version: None });
        }
        let partition = partition_of(TENANT, PartitionScope::Key(key), self.shared.partitions);
        let (to, found) = oneshot::channel();
        self.shared.worker_of(partition).send(Note::Await {
            partition,
            definition: definition.into(),
            key: key.into(),
            signal: signal.into(),
            to,
        });
        let found = found.await.map_err(|_| stopped())?;
        match found.as_slice() {
            [one] => Ok(*one),
            [] => self.recent_signal(definition, key).await,
            _ => Err(Refusal::SeveralLive { definition: definition.into(), key: key.into() }),
        }
    }

    /// The only live transaction of the key has had the signal: it says whether this is the same one again.
    async fn recent_signal(&self, definition: &str, key: &str) -> Result<TxId, Refusal> {
        let filter =
            crate::query::Filter { definition: Some(definition.into()), key: Some(key.into()), ..Default::default() };
        let live = self.list_live(&filter, None, 2).await?;
        match live.as_slice() {
            [(one, _)] => Ok(*one),
            _ => Err(Refusal::NoneLive { definition: definition.into(), key: key.into() }),
        }
    }

    /// Checks and applies files, all or nothing.
    pub async fn apply(&self, files: Vec<SourceText>, dry_run: bool, who: &str) -> Result<Applied, ApplyRefused> {
        if !dry_run && let Readiness::NotReady(why) = self.readiness() {
            return Err(ApplyRefused::Unavailable(why));
        }
        let shared = Arc::clone(&self.shared);
        let applied = tokio::task::spawn_blocking(move || applying::apply(&shared, files, dry_run)).await;
        let applied = applied.map_err(|e| ApplyRefused::Unavailable(e.to_string()))?;
        if let Ok(applied) = &applied
            && !dry_run
        {
            tracing::info!(who, objects = applied.objects.len(), "files applied");
        }
        applied
    }

    pub fn definitions(&self) -> Vec<DefinitionReport> {
        let tables = self.shared.tables();
        let running = self.shared.running_by_plan();
        tables
            .definitions
            .iter()
            .map(|(name, definition)| DefinitionReport {
                name: name.to_string(),
                active_version: definition.active,
                paused: definition.paused.clone(),
                versions: definition
                    .versions
                    .values()
                    .map(|v| VersionReport {
                        version: v.saga.version,
                        running: running.get(&v.hash).copied().unwrap_or(0),
                        text: v.text.clone(),
                        plan: Arc::clone(&v.saga),
                    })
                    .collect(),
            })
            .collect()
    }

    pub fn definition(&self, name: &str) -> Option<DefinitionReport> {
        self.definitions().into_iter().find(|d| d.name == name)
    }

    pub async fn activate(&self, name: &str, version: u32, who: &str) -> Result<DefinitionReport, Refusal> {
        if self.shared.tables().active(name, Some(version)).is_none() {
            return Err(Refusal::NoDefinition { name: name.into(), version: Some(version) });
        }
        tracing::info!(who, definition = name, version, "a version is made active");
        let (shared, owned) = (Arc::clone(&self.shared), name.to_owned());
        on_disk(move || applying::activate(&shared, &owned, version)).await?;
        self.definition(name).ok_or_else(|| Refusal::NoDefinition { name: name.into(), version: Some(version) })
    }

    /// Pauses a definition (new submissions are refused with 409) or resumes it.
    pub async fn pause_definition(
        &self,
        name: &str,
        pause: Option<String>,
        who: &str,
    ) -> Result<DefinitionReport, Refusal> {
        if self.definition(name).is_none() {
            return Err(Refusal::NoDefinition { name: name.into(), version: None });
        }
        self.set_pause("definition", name, pause, who).await?;
        self.definition(name).ok_or_else(|| Refusal::NoDefinition { name: name.into(), version: None })
    }

    async fn set_pause(&self, kind: &'static str, name: &str, pause: Option<String>, who: &str) -> Result<(), Refusal> {
        let since = self.shared.clock.now();
        tracing::info!(
            who,
            kind,
            name,
            reason = pause.as_deref(),
            "{}",
            if pause.is_some() { "paused" } else { "resumed" }
        );
        let pause = pause.map(|reason| PauseReport { reason, who: who.to_owned(), since });
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        on_disk(move || applying::set_pause(&shared, kind, &name, pause)).await
    }

    pub fn participants(&self) -> Vec<ParticipantReport> {
        self.shared.participants()
    }

    /// Pauses all calls to a participant with a reason, or resumes them (`None`) as a ramp.
    pub async fn pause_participant(
        &self,
        name: &str,
        pause: Option<String>,
        who: &str,
    ) -> Result<ParticipantReport, Refusal> {
        let missing = || Refusal::NoObject { kind: "participant", name: name.into() };
        if self.shared.tables().participant(name).is_none() {
            return Err(missing());
        }
        self.set_pause("participant", name, pause, who).await?;
        self.participants().into_iter().find(|p| p.name == name).ok_or_else(missing)
    }

    /// Fixes the limit of a participant at so many calls at once, or lets it be learned again (`None`).
    pub async fn pin_participant(
        &self,
        name: &str,
        pin: Option<(u32, String)>,
        who: &str,
    ) -> Result<ParticipantReport, Refusal> {
        let missing = || Refusal::NoObject { kind: "participant", name: name.into() };
        let tables = self.shared.tables();
        let (_, spec) = tables.participant(name).ok_or_else(missing)?;
        let most = spec.limits.max_in_flight;
        if let Some((in_flight, _)) = &pin
            && !(1..=most).contains(in_flight)
        {
            return Err(Refusal::BadRequest(format!("in_flight is from 1 to {most}, the declared max_in_flight")));
        }
        let since = self.shared.clock.now();
        let in_flight = pin.as_ref().map(|(in_flight, _)| *in_flight);
        tracing::info!(who, name, in_flight, "the limit of a participant is pinned, or learned again if none is said");
        let pin = pin.map(|(in_flight, reason)| PinReport { in_flight, reason, who: who.to_owned(), since });
        let (shared, owned) = (Arc::clone(&self.shared), name.to_owned());
        on_disk(move || crate::steering::set_pin(&shared, &owned, pin)).await?;
        self.participants().into_iter().find(|p| p.name == name).ok_or_else(missing)
    }

    /// Forgets what was learned about a participant: its limit, its latency, its quota.
    pub async fn forget_participant(&self, name: &str, reason: &str, who: &str) -> Result<ParticipantReport, Refusal> {
        let missing = || Refusal::NoObject { kind: "participant", name: name.into() };
        if self.shared.tables().participant(name).is_none() {
            return Err(missing());
        }
        tracing::info!(who, name, reason, "what was learned about a participant is forgotten");
        let (shared, owned) = (Arc::clone(&self.shared), name.to_owned());
        let (reason, who) = (reason.to_owned(), who.to_owned());
        on_disk(move || crate::steering::forget(&shared, &owned, &reason, &who)).await?;
        self.participants().into_iter().find(|p| p.name == name).ok_or_else(missing)
    }

    /// Pauses all calls of the node with a reason, or resumes them (`None`) as a ramp.
    pub async fn pause_calls(&self, pause: Option<String>, who: &str) -> Result<(), Refusal> {
        self.set_pause("node", "calls", pause, who).await
    }

    /// Who paused all calls, when and why, if they are.
    pub fn calls_paused(&self) -> Option<PauseReport> {
        self.shared.tables().paused.clone()
    }

    /// Copies the data directory, as it is now, to the new or empty folder `to` of this machine. Work goes on.
    pub async fn back_up(&self, to: std::path::PathBuf, who: &str) -> Result<BackupReport, BackupError> {
        tracing::info!(who, to = %to.display(), "a backup is made");
        let shared = Arc::clone(&self.shared);
        let made = tokio::task::spawn_blocking(move || crate::backup::back_up(&shared, &to)).await;
        made.map_err(|e| BackupError(e.to_string()))?
    }

    pub fn readiness(&self) -> Readiness {
        self.shared.readiness()
    }

    pub fn node(&self) -> Option<NodeReport> {
        Some(self.shared.node())
    }

    /// The numbers for `/metrics`, gathered now.
    pub fn metrics(&self) -> Vec<crate::report::Family> {
        self.shared.families()
    }

    /// No new work from now on: `/readyz` says so, clients that wait are answered as it stands.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.admits.store(false, Ordering::Release);
        for inbox in &self.shared.inboxes {
            inbox.send(Note::Drain);
        }
    }

    /// Why the node has stopped working for good, if it has.
    pub fn failure(&self) -> Option<String> {
        self.shared.failed.lock().clone()
    }

    /// Takes no new work, starts no more calls, waits at most `drain` for those in flight, seals the journal. Blocks
    /// until done. Not to be called on a worker's own thread.
    pub fn stop(&self) {
        self.drain();
        self.threads.stop(&self.shared);
    }
}

impl Shared {
    /// An ended transaction, as history has it. Reads from the disk.
    pub(crate) fn ended_answer(&self, id: TxId, detail: Detail) -> Result<Answer, Refusal> {
        let Some(record) = self.history.get(id.0).map_err(internal)? else {
            return Err(self.unknown(id));
        };
        let body = self.render_record(&record.row, detail)?;
        Ok(Answer { id, decided: true, replayed: false, body })
    }

    fn render_record(&self, row: &[u8], detail: Detail) -> Result<Bytes, Refusal> {
        let tables = self.tables();
        let hash = wire::row::plan_of(row).map_err(internal)?;
        let plan =
            tables.plans.get(&hash).ok_or_else(|| Refusal::Internal("the plan of a stored row is missing".into()))?;
        let tx = wire::row::read(row, |_| Some(0)).map_err(internal)?;
        let view = View { tx: &tx, plan: &plan.saga, now: self.clock.now(), detail };
        Ok(Bytes::from((self.renderer)(&view)))
    }

    fn unknown(&self, id: TxId) -> Refusal {
        let now = self.clock.now();
        if now.since(id.began_at()) > self.settings.history_retention && id.began_at() < now {
            Refusal::PastRetention(id)
        } else {
            Refusal::NoTransaction(id)
        }
    }
}

/// Runs something that waits for a disk where it holds nobody up.
async fn on_disk(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(what)) => Err(Refusal::Unavailable { what, retry_after: RETRY_SOON, accepted: Accepted::No }),
        Err(e) => Err(Refusal::Internal(e.to_string())),
    }
}

pub(crate) fn internal(e: impl std::fmt::Display) -> Refusal {
    Refusal::Internal(e.to_string())
}

pub(crate) fn stopped() -> Refusal {
    Refusal::Unavailable { what: "the node is stopping".into(), retry_after: RETRY_SOON, accepted: Accepted::Unknown }
}
