//! The judge: what the systems' ledger says happened, against what an engine says it decided.
//!
//! It trusts only effects that a system really had. Rules, by the names in a report:
//!
//! | rule | what it found |
//! |---|---|
//! | `lost` | completed, but a step that must have an effect has none |
//! | `undone` | completed, but the effect of a step was taken back |
//! | `kept` | aborted, but the effect of a step stands |
//! | `doubled` | one call key had two effects, or one step stood twice at the same time |
//! | `unknown-tx` | an effect of a transaction that the engine does not know, or of none |
//! | `foreign-undo` | an undo took back what another transaction did |
//! | `money` | aborted and money moved, or completed and two systems moved different amounts |
//!
//! A report says how much it compared: one that compared nothing has not passed.

mod report;
mod story;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use crate::ledger::{self, Order, Row};

pub use report::{Counted, Money, Report, Rule, Violation};
pub use story::{Story, Verdict};

/// Audits a ledger file, which may be in use. Stories may come in any order; a second one for a transaction replaces
/// the first.
pub fn audit(path: &Path, stories: impl IntoIterator<Item = Story>) -> Result<Report, ledger::Error> {
    let mut auditor = Auditor::new(stories);
    ledger::rows(path, Order::ByTransaction, 0, u64::MAX, |row| {
        auditor.take(row);
        ControlFlow::Continue(())
    })?;
    Ok(auditor.report())
}

/// Audits rows at hand, in any order.
pub fn audit_rows(rows: impl IntoIterator<Item = Row>, stories: impl IntoIterator<Item = Story>) -> Report {
    let mut rows: Vec<Row> = rows.into_iter().collect();
    rows.sort_by(|a, b| (&a.tx, a.seq).cmp(&(&b.tx, b.seq)));
    let mut auditor = Auditor::new(stories);
    rows.into_iter().for_each(|row| auditor.take(row));
    auditor.report()
}

/// Takes rows by transaction and seq.
struct Auditor {
    stories: HashMap<String, Story>,
    seen: HashSet<String>,
    /// The transaction whose rows are coming, and its effects so far.
    tx: Option<String>,
    effects: Vec<Row>,
    report: Report,
}

impl Auditor {
    fn new(stories: impl IntoIterator<Item = Story>) -> Self {
        let stories = stories.into_iter().map(|story| (story.tx.clone(), story)).collect();
        Self { stories, seen: HashSet::new(), tx: None, effects: Vec::new(), report: Report::default() }
    }

    fn take(&mut self, row: Row) {
        self.report.counted.rows += 1;
        match row.came.as_str() {
            "effect" if row.kind == "undo" => self.report.counted.undoes += 1,
            "effect" => self.report.counted.effects += 1,
            "repeat" => self.report.counted.repeats += 1,
            _ => {}
        }
        let Some(tx) = &row.tx else {
            if row.came == "effect" {
                let detail = format!("row {} names no transaction", row.seq);
                self.report.add(Rule::UnknownTx, "-", &row.system, row.step.as_deref().unwrap_or("-"), detail);
            }
            return;
        };
        if self.tx.as_ref() != Some(tx) {
            self.judge();
            self.tx = Some(tx.clone());
        }
        if row.came == "effect" {
            self.effects.push(row);
        }
    }

    /// Judges the transaction whose rows have all come.
    fn judge(&mut self) {
        let Some(tx) = self.tx.take() else { return };
        let effects = std::mem::take(&mut self.effects);
        let Some(story) = self.stories.get(&tx) else {
            if let Some(first) = effects.first() {
                let detail = format!("{} effects, the engine knows nothing of it", effects.len());
                let step = first.step.as_deref().unwrap_or("-");
                self.report.add(Rule::UnknownTx, &tx, &first.system, step, detail);
            }
            return;
        };
        self.seen.insert(tx);
        compare(story, &effects, &mut self.report);
    }

    fn report(mut self) -> Report {
        self.judge();
        let silent: Vec<&Story> = self.stories.values().filter(|story| !self.seen.contains(&story.tx)).collect();
        for story in silent {
            compare(story, &[], &mut self.report);
        }
        self.report.sort();
        self.report
    }
}

/// What one step did at one system.
#[derive(Default)]
struct Step {
    /// Effects by call key that stand now; for calls without a key all are under "".
    standing: BTreeMap<String, i64>,
    executed: BTreeMap<String, u32>,
    /// It stood twice at some time.
    twice: bool,
}

impl Step {
    fn stands(&self) -> i64 {
        self.standing.values().sum()
    }

    fn did(&mut self, row: &Row) {
        let key = row.call_key.clone().unwrap_or_default();
        // Without a key only an absolute value (PUT, DELETE) can be set again without harm.
        let again_is_harmless = row.call_key.is_none() && matches!(row.method.as_str(), "PUT" | "DELETE");
        if again_is_harmless {
            self.standing.insert(key, 1);
            return;
        }
        *self.executed.entry(key.clone()).or_default() += 1;
        *self.standing.entry(key).or_default() += 1;
        self.twice |= self.stands() > 1;
    }

    fn undid(&mut self, key: &str) {
        if let Some(standing) = self.standing.get_mut(key) {
            *standing -= 1;
        }
    }
}

fn compare(story: &Story, effects: &[Row], report: &mut Report) {
    let tx = story.tx.as_str();
    let mut steps: BTreeMap<(&str, &str), Step> = BTreeMap::new();
    let mut nets: BTreeMap<&str, i64> = BTreeMap::new();
    for row in effects {
        let at = (row.system.as_str(), row.step.as_deref().unwrap_or("-"));
        *nets.entry(at.0).or_default() += row.amount_minor.unwrap_or(0);
        if row.kind != "undo" {
            steps.entry(at).or_default().did(row);
            continue;
        }
        match &row.undoes_key {
            None => {
                // An undo by value: whatever the step set is gone.
                let step = steps.entry(at).or_default();
                step.standing.values_mut().for_each(|standing| *standing = 0);
            }
            Some(key) => {
                let owner =
                    steps.iter_mut().find(|((system, _), step)| *system == at.0 && step.standing.contains_key(key));
                match owner {
                    Some((_, step)) => step.undid(key),
                    None => report.add(Rule::ForeignUndo, tx, at.0, at.1, format!("took back the call {key}")),
                }
            }
        }
    }
    report.counted.steps += steps.len() as u64;
    for ((system, name), step) in &steps {
        for (key, times) in step.executed.iter().filter(|(_, times)| **times > 1) {
            let which = if key.is_empty() { "a call without a key".to_owned() } else { format!("the call {key}") };
            report.add(Rule::Doubled, tx, system, name, format!("{which} had {times} effects"));
        }
        if step.twice && step.executed.values().all(|times| *times == 1) {
            let keys: Vec<&str> = step.executed.keys().map(String::as_str).collect();
            report.add(Rule::Doubled, tx, system, name, format!("stood twice, by the calls {}", keys.join(", ")));
        }
    }
    let excused = |step: &str| story.may_stay().iter().any(|may| may == step);
    let given_up = |step: &str| story.uncompensated.iter().any(|left| left == step);
    match story.verdict {
        Verdict::Live => report.counted.live += 1,
        Verdict::Completed => {
            report.counted.completed += 1;
            for must in story.must() {
                report.counted.musts += 1;
                if !steps.keys().any(|(_, step)| *step == must) {
                    report.add(Rule::Lost, tx, "-", &must, "no system saw its effect".to_owned());
                }
            }
            for ((system, step), _) in steps.iter().filter(|((_, name), step)| !excused(name) && step.stands() <= 0) {
                report.add(Rule::Undone, tx, system, step, "its effect was taken back".to_owned());
            }
            for (one, other) in story.balanced() {
                let of = |system: &str| nets.get(system).copied().unwrap_or(0);
                report.counted.balances += 1;
                if of(&one) != of(&other) {
                    let detail = format!("{one} moved {}, {other} moved {}", of(&one), of(&other));
                    report.add(Rule::Money, tx, &one, "-", detail);
                }
            }
        }
        Verdict::Aborted => {
            report.counted.aborted += 1;
            let stays = |name: &str| excused(name) || given_up(name);
            for ((system, step), found) in steps.iter().filter(|((_, name), step)| !stays(name) && step.stands() > 0) {
                report.add(Rule::Kept, tx, system, step, format!("{} effects stand", found.stands()));
            }
            let by_hand = steps.keys().any(|(_, name)| given_up(name));
            for (system, net) in nets.iter().filter(|(_, net)| !by_hand && **net != 0) {
                report.add(Rule::Money, tx, system, "-", format!("{net} were moved"));
            }
        }
    }
    for (system, net) in nets {
        let money = report.money.entry(system.to_owned()).or_default();
        *match story.verdict {
            Verdict::Completed => &mut money.completed_minor,
            Verdict::Aborted => &mut money.aborted_minor,
            Verdict::Live => &mut money.live_minor,
        } += net;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in words: `system.step do|undo|put|unput KEY AMOUNT [of KEY]`, of transaction `t` unless it begins with `TX:`.
    fn rows(text: &str) -> Vec<Row> {
        text.split(';')
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .enumerate()
            .map(|(place, line)| row(place, line))
            .collect()
    }

    fn row(place: usize, line: &str) -> Row {
        let (tx, line) = line.split_once(": ").unwrap_or(("t", line));
        let words: Vec<&str> = line.split_whitespace().collect();
        let (system, step) = words[0].split_once('.').unwrap();
        let (kind, method) = match words[1] {
            "do" => ("do", "POST"),
            "undo" => ("undo", "POST"),
            "put" => ("do", "PUT"),
            "unput" => ("undo", "PUT"),
            other => panic!("{other}"),
        };
        let owned = |word: Option<&&str>| word.filter(|word| **word != "-").map(|word| (*word).to_owned());
        Row {
            seq: place as u64 + 1,
            system: system.to_owned(),
            tx: (tx != "none").then(|| tx.to_owned()),
            step: Some(step.to_owned()),
            kind: kind.to_owned(),
            came: "effect".to_owned(),
            method: method.to_owned(),
            call_key: owned(words.get(2)),
            amount_minor: words.get(3).and_then(|n| n.parse().ok()),
            undoes_key: owned(words.get(5)),
            ..Row::default()
        }
    }

    const TOP_UP: &str = "payments.charge do c 10; billing.credit do k 10; sms.notify do - 0";
    const UNDONE: &str = "payments.charge do c 10; billing.credit do k 10; \
                          billing.credit undo ku -10 of k; payments.charge undo cu -10 of c";

    /// The broken rules, with transaction and step.
    fn check(definition: &str, verdict: Verdict, text: &str, want: &[&str]) {
        let report = audit_rows(rows(text), [Story::new("t", definition, verdict)]);
        let found: Vec<String> =
            report.violations.iter().map(|v| format!("{} {} {}.{}", v.rule.as_str(), v.tx, v.system, v.step)).collect();
        assert_eq!(found, want, "{text}\n{report}");
        assert_eq!(report.passed(), want.is_empty() && verdict != Verdict::Live, "only an ended transaction proves");
    }

    #[test]
    fn honest_transactions_pass() {
        check("top-up", Verdict::Completed, TOP_UP, &[]);
        check("top-up", Verdict::Completed, "payments.charge do c 10; billing.credit do k 10", &[]);
        check("top-up", Verdict::Aborted, UNDONE, &[]);
        check("top-up", Verdict::Live, "payments.charge do c 10", &[]);
        let tariff = "billing.fee do f -499; hlr.network put - 0; crm.records put - 0; hlr.network put - 0";
        check("tariff-change", Verdict::Completed, tariff, &[]);
        let back = "billing.fee do f -499; hlr.network put - 0; crm.records put - 0; \
                    crm.records unput - 0; hlr.network unput - 0; billing.fee undo fu 499 of f";
        check("tariff-change", Verdict::Aborted, back, &[]);
    }

    #[test]
    fn planted_lost() {
        check("top-up", Verdict::Completed, "payments.charge do c 10", &["lost t -.credit", "money t payments.-"]);
        check("tariff-change", Verdict::Completed, "hlr.network put - 0", &["lost t -.records"]);
    }

    #[test]
    fn planted_lost_without_a_single_row() {
        let report = audit_rows(Vec::new(), [Story::new("t", "top-up", Verdict::Completed)]);
        assert_eq!(report.violations_count[&Rule::Lost], 2);
        assert!(!report.passed());
    }

    #[test]
    fn planted_undone() {
        let want = ["undone t billing.credit", "money t payments.-"];
        check(
            "top-up",
            Verdict::Completed,
            "payments.charge do c 10; billing.credit do k 10; billing.credit undo u -10 of k",
            &want,
        );
        let network = "hlr.network put - 0; crm.records put - 0; hlr.network unput - 0";
        check("tariff-change", Verdict::Completed, network, &["undone t hlr.network"]);
    }

    #[test]
    fn planted_kept() {
        check("top-up", Verdict::Aborted, "payments.charge do c 10", &["kept t payments.charge", "money t payments.-"]);
        // The undo came first and found nothing, so it left no effect; the late do stands.
        check("tariff-change", Verdict::Aborted, "hlr.network unput - 0; hlr.network put - 0", &["kept t hlr.network"]);
    }

    #[test]
    fn planted_doubled() {
        let twice = "payments.charge do c 10; billing.credit do k 10; billing.credit do k 10";
        check("top-up", Verdict::Completed, twice, &["doubled t billing.credit", "money t payments.-"]);
        let two_keys = "payments.charge do c 0; billing.credit do k 0; billing.credit do k2 0";
        check("top-up", Verdict::Completed, two_keys, &["doubled t billing.credit"]);
        let sms = "payments.charge do c 10; billing.credit do k 10; sms.notify do - 0; sms.notify do - 0";
        check("top-up", Verdict::Completed, sms, &["doubled t sms.notify"]);
        check(
            "top-up",
            Verdict::Live,
            "payments.charge do c 10; payments.charge do c 10",
            &["doubled t payments.charge"],
        );
    }

    #[test]
    fn a_new_round_after_an_undo_is_not_doubled() {
        let again = "payments.charge do c0 10; payments.charge undo u -10 of c0; payments.charge do c1 10; billing.credit do k 10";
        check("top-up", Verdict::Completed, again, &[]);
    }

    #[test]
    fn planted_unknown_tx() {
        check("top-up", Verdict::Completed, &format!("{TOP_UP}; x: sms.notify do - 0"), &["unknown-tx x sms.notify"]);
        check(
            "top-up",
            Verdict::Completed,
            &format!("{TOP_UP}; none: sms.notify do - 0"),
            &["unknown-tx - sms.notify"],
        );
    }

    #[test]
    fn planted_foreign_undo() {
        let text = "payments.charge do c 10; payments.charge undo cu 0 of c; payments.charge undo cv -10 of other";
        check("top-up", Verdict::Aborted, text, &["foreign-undo t payments.charge"]);
    }

    #[test]
    fn planted_money() {
        let less = "payments.charge do c 10; billing.credit do k 9";
        check("top-up", Verdict::Completed, less, &["money t payments.-"]);
        let part = "payments.charge do c 10; payments.charge undo cu -9 of c";
        check("top-up", Verdict::Aborted, part, &["money t payments.-"]);
    }

    #[test]
    fn what_a_person_gave_up_is_excused_by_name() {
        let mut story = Story::new("t", "top-up", Verdict::Aborted);
        story.uncompensated = vec!["charge".to_owned()];
        let report = audit_rows(rows("payments.charge do c 10"), [story.clone()]);
        assert!(report.passed(), "{report}");
        assert_eq!(report.money["payments"].aborted_minor, 10);
        let report = audit_rows(rows("payments.charge do c 10; billing.credit do k 10"), [story]);
        assert_eq!(report.violations_count.get(&Rule::Kept), Some(&1), "only the named step is excused");
    }

    #[test]
    fn an_audit_of_nothing_does_not_pass() {
        assert!(!audit_rows(Vec::new(), []).passed());
        assert!(!audit_rows(Vec::new(), [Story::new("t", "other", Verdict::Completed)]).passed(), "no effect");
        assert!(!audit_rows(rows(TOP_UP), [Story::new("t", "top-up", Verdict::Live)]).passed(), "nothing ended");
    }

    #[test]
    fn a_report_counts_what_it_compared_and_reads_well() {
        let text = format!("{TOP_UP}; u: payments.charge do d 5; u: payments.charge undo du -5 of d");
        let stories = [Story::new("t", "top-up", Verdict::Completed), Story::new("u", "top-up", Verdict::Aborted)];
        let report = audit_rows(rows(&text), stories);
        let want = Counted {
            rows: 5,
            effects: 4,
            undoes: 1,
            completed: 1,
            aborted: 1,
            steps: 4,
            musts: 2,
            balances: 1,
            ..Counted::default()
        };
        assert_eq!(report.counted, want);
        let shown = report.to_string();
        assert!(shown.contains("compared   1 completed, 1 aborted, 0 live"), "{shown}");
        assert!(shown.ends_with("every effect agrees with the engine's word"), "{shown}");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
