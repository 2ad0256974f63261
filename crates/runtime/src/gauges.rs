//! What the node says of itself: readiness, participants, `/v1/node`, and the families behind `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use journal::Status;
use plan::PlanHash;

use crate::numbers::{Durations, get};
use crate::report::{Family, FamilyKind, NodeReport, ParticipantReport, Readiness, SampleValue};
use crate::shared::Shared;

/// Ended transactions that may wait for history in memory before new work is refused.
const HISTORY_BEHIND_BYTES_MAX: u64 = 32 << 20;

impl Shared {
    pub(crate) fn readiness(&self) -> Readiness {
        let not = |why: &str| Readiness::NotReady(why.to_owned());
        if self.has_failed.load(Ordering::Acquire) {
            let why = self.failed.lock().clone().unwrap_or_default();
            return Readiness::NotReady(format!("the node has failed: {why}"));
        }
        if self.draining.load(Ordering::Acquire) {
            return not("the node is shutting down");
        }
        if self.journal.read().is_none() {
            return not("the node is starting");
        }
        match self.journal_status() {
            Status::Well => {}
            Status::DiskLow { free_bytes } => {
                return Readiness::NotReady(format!(
                    "the disk is nearly full: {} MiB can still be written; what is under way is being finished",
                    free_bytes >> 20
                ));
            }
            Status::DiskFull => return not("the disk is full; it resumes by itself when there is room"),
            Status::Failed { why } => return Readiness::NotReady(format!("the journal has failed: {why}")),
        }
        if self.history_behind_bytes.load(Ordering::Relaxed) > HISTORY_BEHIND_BYTES_MAX {
            return not("history is behind, its disk is slow or full; it resumes by itself");
        }
        let kept = self.load.lock().kept().1 as u64;
        if get(&self.numbers.resident) * crate::worker::RESIDENT_BYTES + kept > self.settings.memory_bytes_max {
            return not("live transactions fill the memory that they may have; it resumes by itself");
        }
        Readiness::Ready
    }

    /// Renews the answer to "may new work come in", so that the hot path reads one flag.
    pub(crate) fn renew_admission(&self) {
        self.disk_is_low.store(!matches!(self.journal_status(), Status::Well), Ordering::Relaxed);
        self.admits.store(self.readiness() == Readiness::Ready, Ordering::Release);
    }

    /// Live transactions by plan, as the workers last counted them.
    pub(crate) fn running_by_plan(&self) -> BTreeMap<PlanHash, u64> {
        let mut sums = BTreeMap::new();
        for counts in self.running.lock().values() {
            for (hash, count) in counts {
                *sums.entry(*hash).or_default() += count;
            }
        }
        sums
    }

    pub(crate) fn participants(&self) -> Vec<ParticipantReport> {
        let tables = self.tables();
        let now = self.clock.now();
        let reports = self.load.lock().report(now);
        let avoided = self.avoided.lock().clone();
        reports
            .into_iter()
            .filter_map(|report| {
                let place = *tables.places.get(&report.name)?;
                let declared = &tables.participants[place as usize];
                let [avoided_joined, avoided_kept] = avoided.get(&place).copied().unwrap_or_default();
                Some(ParticipantReport {
                    name: report.name.to_string(),
                    owner: declared.spec.owner.as_ref().map(ToString::to_string),
                    endpoints: declared.spec.endpoints.clone(),
                    state: report.state.as_str(),
                    limit: report.limit,
                    max_per_second: declared.spec.limits.max_per_second,
                    in_flight: report.in_flight,
                    backlog: report.backlog + report.parked,
                    parked: report.parked,
                    done_per_s: report.done_per_s,
                    p99_ms: report.p99_ms,
                    why: report.why,
                    paused: declared.paused.clone(),
                    gated: report.gated,
                    learn: report.learn.as_str(),
                    pinned: declared.pinned.clone(),
                    learned: report.learned,
                    avoided_joined,
                    avoided_kept,
                    explain: report.explain,
                })
            })
            .collect()
    }

    pub(crate) fn node(&self) -> NodeReport {
        let figures = self.journal.read().as_ref().map(|j| j.figures()).unwrap_or_default();
        let free = store::disk::space(&self.settings.data).map_or(0, |space| space.available_bytes);
        let s = &self.settings;
        let setting = |name: &str, value: String| (name.to_owned(), value, "in force".to_owned());
        NodeReport {
            version: env!("CARGO_PKG_VERSION"),
            formats: vec![
                ("entry", u32::from(wire::entry::VERSION)),
                ("row", u32::from(wire::row::VERSION)),
                ("semantics", u32::from(partition::leader::SEMANTICS)),
            ],
            started_at: self.started_at,
            partitions: self.partitions,
            workers: self.inboxes.len(),
            live: get(&self.numbers.live),
            history_records: self.history.stats().records,
            idempotency_window_days: (s.idempotency_window.as_secs() / 86_400) as u32,
            disk_free_bytes: free,
            journal_bytes: figures.written_bytes,
            memory_ceiling_bytes: s.memory_bytes_max,
            settings: vec![
                setting("checkpoint_every_bytes", s.checkpoint_every_bytes.to_string()),
                setting("memory_bytes_max", s.memory_bytes_max.to_string()),
                setting("inbox_max", s.inbox_max.to_string()),
                setting("journal_disk_bytes_max", s.journal_disk_bytes_max.to_string()),
                setting("history_retention_s", s.history_retention.as_secs().to_string()),
                setting("workers", s.workers.to_string()),
            ],
            readiness: self.readiness(),
        }
    }

    pub(crate) fn families(&self) -> Vec<Family> {
        let n = &self.numbers;
        let mut all = Vec::new();
        let mut one = |name, help, kind, value: f64| {
            all.push(Family { name, help, kind, samples: vec![(Vec::new(), SampleValue::Number(value))] });
        };
        use FamilyKind::{Counter, Gauge, Histogram};
        let count = |c| get(c) as f64;
        one("tidegate_transactions_begun_total", "Transactions accepted.", Counter, count(&n.begun));
        one("tidegate_submissions_replayed_total", "Submissions that began nothing new.", Counter, count(&n.replayed));
        one("tidegate_transactions_ended_total", "Transactions that have ended.", Counter, count(&n.ended));
        one(
            "tidegate_uncompensated_steps_total",
            "Undos given up by a person (TX-2 exception).",
            Counter,
            count(&n.uncompensated),
        );
        one(
            "tidegate_tx4_stranded_total",
            "Outstanding calls that nobody was making (TX-4): must stay 0.",
            Counter,
            count(&n.stranded_found),
        );
        one(
            "tidegate_ld2_late_starts_total",
            "Calls started at or after their deadline (LD-2): must stay 0.",
            Counter,
            count(&n.late_starts),
        );
        one(
            "tidegate_quarantined_total",
            "Transactions put aside because the state machine broke off (SEMANTICS 12): must stay 0.",
            Counter,
            count(&n.quarantined),
        );
        one("tidegate_transactions_live", "Transactions that have not ended.", Gauge, count(&n.live));
        one("tidegate_transactions_resident", "Live transactions whose row is in memory.", Gauge, count(&n.resident));
        one("tidegate_journal_entries_total", "Entries proposed.", Counter, count(&n.entries));
        one("tidegate_checkpoints_total", "Checkpoints verified.", Counter, count(&n.checkpoints));
        one("tidegate_checkpoint_rows_total", "Rows written by checkpoints.", Counter, count(&n.checkpoint_rows));
        one(
            "tidegate_clock_held_seconds",
            "How far the wall clock has jumped from the node's time.",
            Gauge,
            self.clock.held_us() as f64 / 1e6,
        );
        if let Some(journal) = self.journal.read().as_ref() {
            let f = journal.figures();
            one("tidegate_journal_groups_total", "Group commits.", Counter, f.groups as f64);
            one("tidegate_journal_batches_total", "Batches in them.", Counter, f.batches as f64);
            one(
                "tidegate_journal_written_bytes_total",
                "Bytes written to the journal.",
                Counter,
                f.written_bytes as f64,
            );
            one("tidegate_journal_fsync_seconds_total", "Time in fsync.", Counter, f.sync_time_us as f64 / 1e6);
            one("tidegate_journal_write_seconds_total", "Time in write.", Counter, f.write_time_us as f64 / 1e6);
            one("tidegate_journal_free_bytes", "Bytes that can still be written.", Gauge, f.free_bytes as f64);
            one("tidegate_journal_live_segments", "Segments that are still needed.", Gauge, f.live_segments as f64);
        }
        if let Ok(space) = store::disk::space(&self.settings.data) {
            one(
                "tidegate_disk_free_bytes",
                "Free bytes of the data directory's file system.",
                Gauge,
                space.available_bytes as f64,
            );
        }
        let history = self.history.stats();
        one("tidegate_history_records", "Ended transactions that can be looked up.", Gauge, history.records as f64);
        one("tidegate_history_bytes", "Bytes of history.", Gauge, history.segment_bytes as f64);
        let labelled = |name, help, kind, samples: Vec<(&'static str, &str, f64)>| Family {
            name,
            help,
            kind,
            samples: samples
                .into_iter()
                .map(|(label, value, number)| (vec![(label, value.to_owned())], SampleValue::Number(number)))
                .collect(),
        };
        all.push(labelled(
            "tidegate_decisions_total",
            "Outcomes decided.",
            Counter,
            vec![
                ("outcome", "completed", count(&n.completed)),
                ("outcome", "aborted_refused", count(&n.aborted_refused)),
                ("outcome", "aborted_failed", count(&n.aborted_failed)),
                ("outcome", "aborted_cancelled", count(&n.aborted_cancelled)),
                ("outcome", "aborted_timed_out", count(&n.aborted_timed_out)),
            ],
        ));
        all.push(labelled(
            "tidegate_submissions_shed_total",
            "Submissions refused for want of room.",
            Counter,
            vec![("why", "full", count(&n.refused_full)), ("why", "unavailable", count(&n.refused_unavailable))],
        ));
        all.push(labelled(
            "tidegate_calls_total",
            "Answers of participants.",
            Counter,
            vec![
                ("outcome", "done", count(&n.calls_done)),
                ("outcome", "refused", count(&n.calls_refused)),
                ("outcome", "failed", count(&n.calls_failed)),
                ("outcome", "unknown", count(&n.calls_unknown)),
            ],
        ));
        let mut by_participant: Vec<Family> = Vec::new();
        let reports = self.participants();
        let mut gauge = |name, help, value: &dyn Fn(&ParticipantReport) -> f64| {
            by_participant.push(Family {
                name,
                help,
                kind: Gauge,
                samples: reports
                    .iter()
                    .map(|r| (vec![("participant", r.name.clone())], SampleValue::Number(value(r))))
                    .collect(),
            });
        };
        gauge("tidegate_participant_in_flight", "Calls started and not answered.", &|r| f64::from(r.in_flight));
        gauge("tidegate_participant_limit", "The most calls at once.", &|r| f64::from(r.limit));
        gauge("tidegate_participant_backlog", "Calls that wait, parked ones included.", &|r| r.backlog as f64);
        gauge("tidegate_participant_parked", "Calls that wait on disk.", &|r| r.parked as f64);
        gauge("tidegate_participant_gated", "Transactions that wait for it before their first call.", &|r| {
            r.gated as f64
        });
        gauge("tidegate_participant_learned_limit", "The limit that is learned, or would be; 0 if none is.", &|r| {
            r.learned.map_or(0.0, |l| l.limit)
        });
        gauge("tidegate_participant_learned_per_second", "Calls it is believed to take; 0 if not known.", &|r| {
            r.learned.and_then(|l| l.capacity_per_s).unwrap_or(0.0)
        });
        gauge("tidegate_participant_quota_per_second", "Calls before it refuses more; 0 if not known.", &|r| {
            r.learned.and_then(|l| l.quota_per_s).unwrap_or(0.0)
        });
        gauge("tidegate_participant_well", "1 while calls are let through.", &|r| {
            f64::from(u8::from(r.state == "well"))
        });
        all.extend(by_participant);
        let ways = reports.iter().flat_map(|r| [(r, "joined", r.avoided_joined), (r, "kept", r.avoided_kept)]);
        let labels = |name: &str, way: &str| vec![("participant", name.to_owned()), ("way", way.to_owned())];
        all.push(Family {
            name: "tidegate_calls_avoided_total",
            help: "Reads that another's answer served: of a call on its way (joined), or kept.",
            kind: Counter,
            samples: ways.map(|(r, way, n)| (labels(&r.name, way), SampleValue::Number(n as f64))).collect(),
        });
        let (answers, bytes) = self.load.lock().kept();
        for (name, help, value) in [
            ("tidegate_kept_answers", "Answers of shared reads that are kept.", answers),
            ("tidegate_kept_answers_bytes", "Memory that they take, about.", bytes),
        ] {
            all.push(Family {
                name,
                help,
                kind: Gauge,
                samples: vec![(Vec::new(), SampleValue::Number(value as f64))],
            });
        }
        let ages = self.ages.lock();
        let mut oldest: BTreeMap<(&str, String), u64> = BTreeMap::new();
        for by in ages.values() {
            for ((kind, name), since) in by {
                let slot = oldest.entry((kind, name.clone())).or_insert(*since);
                *slot = (*slot).min(*since);
            }
        }
        let now = self.clock.now();
        all.push(Family {
            name: "tidegate_oldest_live_seconds",
            help: "Age of the oldest live transaction, by what it waits for.",
            kind: Gauge,
            samples: oldest
                .into_iter()
                .map(|((kind, name), since)| {
                    let age = now.since(model::Timestamp(since)).as_secs_f64();
                    (vec![("waits_for", kind.to_owned()), ("name", name)], SampleValue::Number(age))
                })
                .collect(),
        });
        drop(ages);
        let histogram = |name, help, durations: &Durations| {
            let (buckets, sum, count) = durations.read();
            Family {
                name,
                help,
                kind: Histogram,
                samples: vec![(Vec::new(), SampleValue::Histogram { buckets, sum, count })],
            }
        };
        all.push(histogram("tidegate_decision_seconds", "From acceptance to the outcome.", &n.decision_latency));
        all.push(histogram("tidegate_commit_seconds", "From hand-over to durable.", &n.commit_latency));
        all
    }
}
