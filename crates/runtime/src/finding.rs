//! Lists and counts over what is live and what is in history, newest first, under one cursor.

use bytes::Bytes;
use compact_str::CompactString;
use model::{Timestamp, TxId};
use store::history::{Cursor, Filter as Stored};
use tokio::sync::oneshot;

use crate::engine::{Engine, internal, stopped};
use crate::inbox::Note;
use crate::query::{Counted, Filter, GroupBy, Page};
use crate::refusal::Refusal;
use crate::shared::{key_hash, tag};
use crate::view::Detail;
use crate::worker::ENDED;

/// The most that one page may hold.
const LIMIT_MAX: usize = 1_000;
/// The most records of history that one count looks at.
const COUNTED_MAX: usize = 1_000_000;

impl Engine {
    /// A page of transactions, newest first. The cursor belongs to its filter and stays good under writes.
    pub async fn list(&self, filter: Filter, limit: usize, cursor: Option<String>) -> Result<Page, Refusal> {
        if limit == 0 || limit > LIMIT_MAX {
            return Err(Refusal::BadRequest(format!("limit is {limit}, it must be from 1 to {LIMIT_MAX}")));
        }
        let query = format!("{filter:?}");
        let before = match cursor {
            None => None,
            Some(text) => {
                let cursor: Cursor = text.parse().map_err(|e: store::Error| Refusal::BadRequest(e.to_string()))?;
                if !cursor.belongs_to(query.as_bytes()) {
                    return Err(Refusal::BadRequest("the cursor belongs to another query".into()));
                }
                Some(cursor.below)
            }
        };
        // History is asked after the live ones, so that what ends in between is seen twice rather than never.
        let live = self.list_live(&filter, before.map(TxId), limit + 1).await?;
        let ended = self.list_ended(&filter, before, limit + 1)?;
        let mut all: Vec<(TxId, Bytes)> = ended;
        // Of one that is seen twice the end is shown: the sort keeps it first.
        all.extend(live);
        all.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        all.dedup_by_key(|(id, _)| *id);
        let more = all.len() > limit;
        all.truncate(limit);
        let next_cursor = match all.last() {
            Some((id, _)) if more => Some(Cursor::new(query.as_bytes(), id.0).to_string()),
            _ => None,
        };
        Ok(Page { items: all.into_iter().map(|(_, summary)| summary).collect(), next_cursor })
    }

    pub(crate) async fn list_live(
        &self,
        filter: &Filter,
        before: Option<TxId>,
        limit: usize,
    ) -> Result<Vec<(TxId, Bytes)>, Refusal> {
        let mut all = Vec::new();
        if filter.state.as_deref() == Some("ended") {
            return Ok(all);
        }
        for inbox in &self.shared.inboxes {
            let (to, found) = oneshot::channel();
            inbox.send(Note::List { filter: filter.clone(), before, limit, to });
            all.extend(found.await.map_err(|_| stopped())?);
        }
        Ok(all)
    }

    fn list_ended(&self, filter: &Filter, before: Option<u128>, limit: usize) -> Result<Vec<(TxId, Bytes)>, Refusal> {
        let Some(stored) = stored(filter) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut below = before;
        while found.len() < limit {
            let page = self.shared.history.list(&stored, below, limit - found.len()).map_err(internal)?;
            for record in &page.records {
                // Hashes may meet by chance: the row itself decides.
                if self.fits(filter, &record.row)? {
                    found.push((TxId(record.id), self.render_record(&record.row, Detail::Summary)?));
                }
            }
            match page.next_below {
                Some(next) => below = Some(next),
                None => break,
            }
        }
        Ok(found)
    }

    fn fits(&self, filter: &Filter, row: &[u8]) -> Result<bool, Refusal> {
        let tables = self.shared.tables();
        let hash = wire::row::plan_of(row).map_err(internal)?;
        let Some(plan) = tables.plans.get(&hash) else { return Ok(false) };
        let tx = wire::row::read(row, |_| Some(0)).map_err(internal)?;
        Ok(crate::worker::matches(filter, &tx, &plan.saga))
    }

    /// Counts what fits, live and ended.
    pub async fn count(&self, filter: Filter, group_by: Vec<GroupBy>) -> Result<Vec<Counted>, Refusal> {
        let mut sums = std::collections::BTreeMap::<Vec<CompactString>, u64>::new();
        if filter.state.as_deref() != Some("ended") {
            for inbox in &self.shared.inboxes {
                let (to, counted) = oneshot::channel();
                inbox.send(Note::Count { filter: filter.clone(), group_by: group_by.clone(), to });
                for counted in counted.await.map_err(|_| stopped())? {
                    *sums.entry(counted.group).or_default() += counted.count;
                }
            }
        }
        if let Some(stored) = stored(&filter) {
            let mut below = None;
            let mut seen = 0;
            loop {
                let page = self.shared.history.list(&stored, below, LIMIT_MAX).map_err(internal)?;
                seen += page.records.len();
                for record in &page.records {
                    self.count_record(&filter, &group_by, &record.row, &mut sums)?;
                }
                match page.next_below {
                    Some(next) if seen < COUNTED_MAX => below = Some(next),
                    Some(_) => {
                        let what =
                            format!("more than {COUNTED_MAX} ended transactions fit; narrow it by time or definition");
                        return Err(Refusal::BadRequest(what));
                    }
                    None => break,
                }
            }
        }
        Ok(sums.into_iter().map(|(group, count)| Counted { group, count }).collect())
    }

    fn count_record(
        &self,
        filter: &Filter,
        group_by: &[GroupBy],
        row: &[u8],
        sums: &mut std::collections::BTreeMap<Vec<CompactString>, u64>,
    ) -> Result<(), Refusal> {
        let tables = self.shared.tables();
        let hash = wire::row::plan_of(row).map_err(internal)?;
        let Some(plan) = tables.plans.get(&hash) else { return Ok(()) };
        let tx = wire::row::read(row, |_| Some(0)).map_err(internal)?;
        if crate::worker::matches(filter, &tx, &plan.saga) {
            for group in crate::worker::groups(&tx, &plan.saga, group_by) {
                *sums.entry(group).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// The filter as history knows it; `None` if nothing ended can fit.
fn stored(filter: &Filter) -> Option<Stored> {
    if filter.state.as_deref().is_some_and(|state| state != "ended") {
        return None;
    }
    let outcome = match filter.outcome.as_deref() {
        None => None,
        Some("completed") => Some(1),
        Some("aborted") => Some(2),
        Some(_) => return None,
    };
    let reason = match filter.reason.as_deref() {
        None => None,
        Some("refused") => Some(1),
        Some("failed") => Some(2),
        Some("cancelled") => Some(3),
        Some("timed_out") => Some(4),
        Some(_) => return None,
    };
    let key = match (&filter.definition, &filter.key) {
        (Some(definition), Some(_)) => Some(key_hash(definition, &filter.key)),
        _ => None,
    };
    let idempotency = match (&filter.definition, &filter.idempotency_key) {
        (Some(definition), Some(key)) => Some(crate::idempotency::scope(crate::prepare::TENANT, definition, key)),
        _ => None,
    };
    let mut tags = Vec::new();
    tags.extend(filter.participant.as_ref().map(|name| tag("participant", name)));
    tags.extend(filter.step.as_ref().map(|name| tag("step", name)));
    let id_at = |at: Timestamp| TxId::new(at, 0, model::PartitionId(0), 0, 0).0;
    Some(Stored {
        definition: filter.definition.as_ref().map(|name| tag("definition", name)),
        state: Some(ENDED),
        outcome,
        reason,
        key,
        idempotency,
        tags,
        id_from: filter.began_after.map(id_at),
        id_below: filter.began_before.map(id_at),
    })
}
