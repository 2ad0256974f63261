//! Judges a history of transfers: the total never changes, what failed leaves no trace, what was acknowledged stays,
//! and every read can be explained by what had ended, what was under way and nothing else.
//!
//! A read of all balances is compared with the first one plus every transfer that had ended by then, plus some of those
//! whose fate was open at that moment: if no choice of these gives the balances, the history is wrong. It knows the file
//! and nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::findings::Findings;
use super::op::{Kind, NEVER, Op};

/// Transfers whose fate is open at one read; beyond it the read is undecided.
const OPEN_MAX: usize = 18;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Transfer {
    from: usize,
    to: usize,
    amount: i64,
}

pub(crate) fn judge(ops: &[Op]) -> Findings {
    let mut findings = Findings::default();
    findings.count(ops);
    let mut reads: Vec<&Op> = ops.iter().filter(|op| op.f == "read" && op.kind == Kind::Ok).collect();
    reads.sort_by_key(|op| op.ended);
    let Some(first) = reads.first() else {
        findings.wrong("malformed", "no read was ok");
        return findings;
    };
    let names: Vec<String> = first.value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let places: BTreeMap<&str, usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
    let Ok(begin) = balances(&first.value, &names) else {
        findings.wrong("malformed", format!("operation {} read no balances", first.invoked));
        return findings;
    };
    let mut transfers: Vec<(&Op, Transfer)> = Vec::new();
    for op in ops.iter().filter(|op| op.f == "transfer") {
        match transfer(&op.asked, &places) {
            Some(these) => transfers.push((op, these)),
            None => findings.wrong("malformed", format!("operation {} is no transfer: {}", op.invoked, op.asked)),
        }
        if op.invoked < first.ended {
            findings.wrong("malformed", format!("operation {} began before the first read ended", op.invoked));
        }
    }
    let total: i64 = begin.iter().sum();
    let last_read = reads.last().map_or(0, |op| op.invoked);
    for op in &reads {
        match balances(&op.value, &names) {
            Err(why) => findings.wrong("malformed", format!("operation {}: {why}", op.invoked)),
            Ok(found) => {
                findings.reads_compared += 1;
                let sum: i64 = found.iter().sum();
                if sum != total {
                    findings.wrong("wrong total", format!("operation {} read {sum}, the total is {total}", op.invoked));
                }
                explain(op, &found, &begin, &transfers, &mut findings);
            }
        }
    }
    findings.writes_proven =
        transfers.iter().filter(|(op, _)| op.kind == Kind::Ok && op.ended < last_read).count() as u64;
    findings
}

fn balances(value: &Value, names: &[String]) -> Result<Vec<i64>, String> {
    let found = value.as_object().ok_or("its value is no map of balances")?;
    if found.len() != names.len() {
        return Err(format!("it read {} accounts of {}", found.len(), names.len()));
    }
    let of = |name: &String| found.get(name).and_then(Value::as_i64);
    names.iter().map(|name| of(name).ok_or_else(|| format!("account {name} has no balance"))).collect()
}

fn transfer(value: &Value, places: &BTreeMap<&str, usize>) -> Option<Transfer> {
    let place = |end: &str| {
        let name = value[end].as_i64()?.to_string();
        places.get(name.as_str()).copied()
    };
    Some(Transfer { from: place("from")?, to: place("to")?, amount: value["amount"].as_i64()? })
}

/// Whether these balances can be what they are.
fn explain(read: &Op, found: &[i64], begin: &[i64], transfers: &[(&Op, Transfer)], findings: &mut Findings) {
    let mut missing: Vec<i64> = found.iter().zip(begin).map(|(found, begin)| found - begin).collect();
    let mut open = Vec::new();
    for (op, these) in transfers {
        let is_later = op.invoked > read.ended;
        if op.kind == Kind::Fail || is_later {
            continue;
        }
        if op.kind == Kind::Ok && op.ended != NEVER && op.ended < read.invoked {
            apply(&mut missing, *these, -1);
        } else {
            open.push(*these);
        }
    }
    if missing.iter().all(|left| *left == 0) {
        return;
    }
    if open.len() > OPEN_MAX {
        findings.undecided += 1;
        return;
    }
    if !some_of(&mut missing, &open) {
        let what = format!("operation {} read {found:?}: off by {missing:?}", read.invoked);
        let why = format!("{what}, and {} transfers that were open then do not explain it", open.len());
        findings.wrong("unexplained balances", why);
    }
}

fn apply(balances: &mut [i64], transfer: Transfer, sign: i64) {
    balances[transfer.from] -= sign * transfer.amount;
    balances[transfer.to] += sign * transfer.amount;
}

/// Whether some of these transfers together make this difference. Leaves `missing` as it was.
fn some_of(missing: &mut [i64], open: &[Transfer]) -> bool {
    if missing.iter().all(|left| *left == 0) {
        return true;
    }
    let Some((first, rest)) = open.split_first() else { return false };
    if some_of(missing, rest) {
        return true;
    }
    apply(missing, *first, -1);
    let found = some_of(missing, rest);
    apply(missing, *first, 1);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::op::pair;
    use super::*;

    /// Process, type, function and value.
    type Line = (u64, &'static str, &'static str, Value);

    fn judged(lines: &[Line]) -> Findings {
        let ops: Vec<Value> = (0u64..)
            .zip(lines)
            .map(|(index, (process, kind, f, value))| {
                json!({"index": index, "process": process, "type": kind, "f": f, "value": value, "time": index})
            })
            .collect();
        match pair(&Value::from(ops).to_string()) {
            Ok(ops) => judge(&ops),
            Err(why) => panic!("{why}"),
        }
    }

    fn rules(findings: &Findings) -> Vec<&str> {
        findings.told.iter().filter_map(|told| told.split(':').next()).collect()
    }

    fn all(a: i64, b: i64, c: i64) -> Value {
        json!({"0": a, "1": b, "2": c})
    }

    fn moved(from: u64, to: u64, amount: i64) -> Value {
        json!({"from": from, "to": to, "amount": amount})
    }

    const READ: &str = "read";
    const MOVE: &str = "transfer";

    fn begun() -> Vec<Line> {
        vec![(9, "invoke", READ, Value::Null), (9, "ok", READ, all(10, 20, 30))]
    }

    #[test]
    fn a_history_that_can_be_explained_is_valid() {
        let mut lines = begun();
        lines.extend([
            (0, "invoke", MOVE, moved(0, 1, 5)),
            (1, "invoke", MOVE, moved(1, 2, 7)),
            // One of the two has happened, nobody knows which.
            (9, "invoke", READ, Value::Null),
            (9, "ok", READ, all(10, 13, 37)),
            (0, "ok", MOVE, moved(0, 1, 5)),
            (1, "ok", MOVE, moved(1, 2, 7)),
            (0, "invoke", MOVE, moved(2, 0, 30)),
            (0, "fail", MOVE, moved(2, 0, 30)),
            (1, "invoke", MOVE, moved(2, 0, 1)),
            (1, "info", MOVE, moved(2, 0, 1)),
            (9, "invoke", READ, Value::Null),
            (9, "ok", READ, all(5, 18, 37)),
            (9, "invoke", READ, Value::Null),
            (9, "ok", READ, all(6, 18, 36)),
        ]);
        let found = judged(&lines);
        assert_eq!(found.told, Vec::<String>::new());
        assert!(found.passed());
        assert_eq!((found.reads_compared, found.writes_proven), (4, 2));
    }

    #[test]
    fn every_planted_violation_is_found() {
        let read = |a, b, c| [(9, "invoke", READ, Value::Null), (9, "ok", READ, all(a, b, c))];
        let done = |kind: &'static str| [(0, "invoke", MOVE, moved(0, 1, 5)), (0, kind, MOVE, moved(0, 1, 5))];
        let two = [(9, "invoke", READ, Value::Null), (9, "ok", READ, json!({"0": 10, "1": 50}))];
        let cases: [(&str, Vec<Line>); 7] = [
            ("unexplained balances", [done("ok"), read(10, 20, 30)].concat()), // An acknowledged transfer is gone.
            ("unexplained balances", [done("fail"), read(5, 25, 30)].concat()), // A failed one left its trace.
            ("wrong total", [done("fail"), read(5, 20, 30)].concat()),         // Half of it.
            ("unexplained balances", [done("ok"), read(0, 30, 30)].concat()),  // It happened twice.
            ("wrong total", [done("info"), read(10, 25, 30)].concat()),        // Half of what nobody knows.
            ("unexplained balances", [read(5, 25, 30), done("ok")].concat()),  // Read before it began.
            ("malformed", [done("fail"), two].concat()),                       // An account is missing.
        ];
        for (rule, rest) in cases {
            let mut lines = begun();
            lines.extend(rest);
            let found = judged(&lines);
            assert!(rules(&found).contains(&rule), "{rule}: {found:?}");
            assert!(!found.passed());
        }
    }

    #[test]
    fn nothing_read_is_nothing_shown() {
        assert!(!judged(&[(0, "invoke", MOVE, moved(0, 1, 5)), (0, "ok", MOVE, moved(0, 1, 5))]).passed());
        assert!(!judged(&begun()).passed(), "nothing was written");
    }
}
