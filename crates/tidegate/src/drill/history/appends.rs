//! Judges a history of appends to lists: is there one order of all transactions, in keeping with real time, that
//! explains every read?
//!
//! After Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (2020): elements are
//! unique, so a read of a list shows the order of all appends to it; from these orders follow which transaction must
//! come before which, and a cycle among them is a contradiction. It knows the file and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::findings::Findings;
use super::op::{Kind, NEVER, Op};

type List = i64;
type Element = i64;

/// The parts of one operation.
#[derive(Debug, Default)]
struct Parts {
    appends: Vec<(List, Element)>,
    reads: Vec<(List, Vec<Element>)>,
}

pub(crate) fn judge(ops: &[Op]) -> Findings {
    let mut findings = Findings::default();
    findings.count(ops);
    let mut parts = Vec::with_capacity(ops.len());
    for op in ops {
        // What was not ok was still asked.
        let value = if op.kind == Kind::Ok { &op.value } else { &op.asked };
        match parts_of(value, op.kind == Kind::Ok) {
            Ok(these) => parts.push(these),
            Err(why) => {
                findings.wrong("malformed", format!("operation {}: {why}", op.invoked));
                parts.push(Parts::default());
            }
        }
    }
    let writers = writers(ops, &parts, &mut findings);
    for (op, these) in ops.iter().zip(&parts).filter(|(op, _)| op.kind == Kind::Ok) {
        each_read(op, these, ops, &writers, &mut findings);
    }
    let orders = orders(ops, &parts, &mut findings);
    in_real_time(ops, &parts, &orders, &mut findings);
    cycles(ops, &parts, &writers, &orders, &mut findings);
    findings
}

fn parts_of(value: &Value, is_ok: bool) -> Result<Parts, String> {
    let mut parts = Parts::default();
    for micro in value.as_array().ok_or("its value is no list of appends and reads")? {
        let list = micro[1].as_i64().ok_or("a list is not named by a whole number")?;
        match (micro[0].as_str(), &micro[2]) {
            (Some("append"), element) => {
                let element = element.as_i64().ok_or("what is appended is no whole number")?;
                parts.appends.push((list, element));
            }
            (Some("r"), Value::Array(elements)) => {
                let elements: Option<Vec<Element>> = elements.iter().map(Value::as_i64).collect();
                parts.reads.push((list, elements.ok_or("what was read are no whole numbers")?));
            }
            (Some("r"), Value::Null) if !is_ok => {}
            _ => return Err(format!("{micro} is neither an append nor a read with its result")),
        }
    }
    Ok(parts)
}

fn writers(ops: &[Op], parts: &[Parts], findings: &mut Findings) -> BTreeMap<(List, Element), usize> {
    let mut writers = BTreeMap::new();
    for (n, these) in parts.iter().enumerate() {
        for append in &these.appends {
            if let Some(other) = writers.insert(*append, n) {
                let (one, other) = (ops[other].invoked, ops[n].invoked);
                findings
                    .wrong("malformed", format!("operations {one} and {other} append {} to {}", append.1, append.0));
            }
        }
    }
    writers
}

/// What a read must not show, whatever the order.
fn each_read(op: &Op, these: &Parts, ops: &[Op], writers: &BTreeMap<(List, Element), usize>, findings: &mut Findings) {
    for (list, elements) in &these.reads {
        findings.reads_compared += 1;
        let read = format!("operation {} read {elements:?} in list {list}", op.invoked);
        if elements.iter().collect::<BTreeSet<_>>().len() < elements.len() {
            findings.wrong("duplicate element", &read);
        }
        for element in elements {
            match writers.get(&(*list, *element)).map(|writer| &ops[*writer]) {
                None => findings.wrong("phantom", format!("{read}; nobody appended {element}")),
                Some(writer) if writer.kind == Kind::Fail => {
                    findings.wrong("aborted read", format!("{read}; {element} is of {}, which failed", writer.invoked));
                }
                Some(writer) if writer.invoked > op.ended => {
                    let later = writer.invoked;
                    findings.wrong("future read", format!("{read}; {element} was not appended before {later}"));
                }
                Some(_) => {}
            }
        }
        let own: Vec<Element> = these.appends.iter().filter(|(l, _)| l == list).map(|(_, e)| *e).collect();
        if !own.is_empty() && !elements.ends_with(&own) {
            findings.wrong("internal", format!("{read} after its own appends {own:?}"));
        }
    }
}

/// By list the longest that was read, of which every other one must be the beginning.
fn orders(ops: &[Op], parts: &[Parts], findings: &mut Findings) -> BTreeMap<List, Vec<Element>> {
    let mut orders: BTreeMap<List, Vec<Element>> = BTreeMap::new();
    let reads = || ops.iter().zip(parts).flat_map(|(op, these)| these.reads.iter().map(move |(l, e)| (op, l, e)));
    for (_, list, elements) in reads() {
        let longest = orders.entry(*list).or_default();
        if elements.len() > longest.len() {
            longest.clone_from(elements);
        }
    }
    for (op, list, elements) in reads() {
        if !orders[list].starts_with(elements) {
            let longest = &orders[list];
            let what = format!("operation {} read {elements:?} in list {list}, another {longest:?}", op.invoked);
            findings.wrong("incompatible order", what);
        }
    }
    orders
}

/// What ended before a read began is in it: appends that were acknowledged, and all that others had read.
fn in_real_time(ops: &[Op], parts: &[Parts], orders: &BTreeMap<List, Vec<Element>>, findings: &mut Findings) {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (n, op) in ops.iter().enumerate().filter(|(_, op)| op.kind == Kind::Ok) {
        events.push((op.invoked, n, false));
        events.push((op.ended, n, true));
    }
    events.sort_unstable();
    let mut acknowledged: BTreeMap<List, BTreeSet<Element>> = BTreeMap::new();
    let mut seen: BTreeMap<List, usize> = BTreeMap::new();
    // What must be in a read, as it was when the read began.
    let mut due: BTreeMap<usize, Vec<(List, BTreeSet<Element>, usize)>> = BTreeMap::new();
    let mut proven: BTreeSet<(List, Element)> = BTreeSet::new();
    for (_, n, is_end) in events {
        let these = &parts[n];
        if !is_end {
            let lists = these.reads.iter().map(|(list, _)| *list);
            let now = |list: List| {
                (list, acknowledged.get(&list).cloned().unwrap_or_default(), seen.get(&list).copied().unwrap_or(0))
            };
            due.insert(n, lists.map(now).collect());
            continue;
        }
        for ((list, must, length), (_, elements)) in due.remove(&n).unwrap_or_default().iter().zip(&these.reads) {
            let found: BTreeSet<Element> = elements.iter().copied().collect();
            for lost in must.difference(&found) {
                let what = format!("{lost} in list {list}: acknowledged before operation {} read", ops[n].invoked);
                findings.wrong("lost append", what);
            }
            proven.extend(must.intersection(&found).map(|element| (*list, *element)));
            if elements.len() < *length {
                let what = format!("operation {} read {} elements of list {list}", ops[n].invoked, elements.len());
                findings.wrong("stale read", format!("{what}, when {length} had been read"));
            }
        }
        for (list, elements) in &these.reads {
            let longest = seen.entry(*list).or_default();
            *longest = elements.len().max(*longest);
        }
        for (list, element) in &these.appends {
            acknowledged.entry(*list).or_default().insert(*element);
        }
    }
    findings.writes_proven = proven.len() as u64;
    let all = acknowledged.iter().flat_map(|(list, elements)| elements.iter().map(|element| (*list, *element)));
    for (list, element) in all.filter(|append| !proven.contains(append)) {
        if !orders.get(&list).is_some_and(|order| order.contains(&element)) {
            findings.wrong("lost append", format!("{element} in list {list}: acknowledged, and nobody ever read it"));
        }
    }
}

/// Transactions of which each must come before the next, in a ring.
fn cycles(
    ops: &[Op],
    parts: &[Parts],
    writers: &BTreeMap<(List, Element), usize>,
    orders: &BTreeMap<List, Vec<Element>>,
    findings: &mut Findings,
) {
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); ops.len()];
    let mut edge = |from: usize, to: usize| {
        if from != to {
            before[from].insert(to);
        }
    };
    let writer = |list: List, element: Option<&Element>| element.and_then(|e| writers.get(&(list, *e)).copied());
    for (list, order) in orders {
        for pair in order.windows(2) {
            if let (Some(one), Some(other)) = (writer(*list, pair.first()), writer(*list, pair.last())) {
                edge(one, other);
            }
        }
    }
    for (n, these) in parts.iter().enumerate().filter(|(n, _)| ops[*n].kind == Kind::Ok) {
        for (list, elements) in &these.reads {
            if let Some(one) = writer(*list, elements.last()) {
                edge(one, n);
            }
            if let Some(next) = writer(*list, orders.get(list).and_then(|order| order.get(elements.len()))) {
                edge(n, next);
            }
        }
    }
    real_time_edges(ops, &mut edge);
    for ring in components(&before).into_iter().filter(|ring| ring.len() > 1) {
        let indexes: Vec<u64> = ring.iter().take(8).map(|n| ops[*n].invoked).collect();
        findings.wrong("cycle", format!("{} operations, among them {indexes:?}", ring.len()));
    }
}

/// Each operation comes after those that had ended when it began; only the nearest of them need an edge.
fn real_time_edges(ops: &[Op], edge: &mut impl FnMut(usize, usize)) {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (n, op) in ops.iter().enumerate().filter(|(_, op)| op.kind != Kind::Fail) {
        events.push((op.invoked, n, false));
        if op.ended != NEVER {
            events.push((op.ended, n, true));
        }
    }
    events.sort_unstable();
    let mut newest: Vec<usize> = Vec::new();
    let mut behind: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (_, n, is_end) in events {
        if is_end {
            let passed = behind.remove(&n).unwrap_or_default();
            newest.retain(|other| !passed.contains(other));
            newest.push(n);
        } else {
            newest.iter().for_each(|other| edge(*other, n));
            behind.insert(n, newest.clone());
        }
    }
}

/// Strongly connected components, after Tarjan, "Depth-first search and linear graph algorithms" (1972), without
/// recursion.
fn components(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    const NONE: usize = usize::MAX;
    let (mut index, mut low) = (vec![NONE; edges.len()], vec![NONE; edges.len()]);
    let mut on_stack = vec![false; edges.len()];
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..edges.len() {
        if index[root] != NONE {
            continue;
        }
        let mut work = vec![(root, edges[root].iter())];
        (index[root], low[root]) = (next, next);
        next += 1;
        stack.push(root);
        on_stack[root] = true;
        while let Some((node, to)) = work.last_mut() {
            let node = *node;
            match to.next() {
                Some(&other) if index[other] == NONE => {
                    (index[other], low[other]) = (next, next);
                    next += 1;
                    stack.push(other);
                    on_stack[other] = true;
                    work.push((other, edges[other].iter()));
                }
                Some(&other) if on_stack[other] => low[node] = low[node].min(index[other]),
                Some(_) => {}
                None => {
                    work.pop();
                    if let Some((parent, _)) = work.last() {
                        low[*parent] = low[*parent].min(low[node]);
                    }
                    if low[node] == index[node] {
                        let from = stack.iter().rposition(|n| *n == node).unwrap_or(0);
                        let ring = stack.split_off(from);
                        ring.iter().for_each(|n| on_stack[*n] = false);
                        found.push(ring);
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::op::pair;
    use super::*;

    /// Process, type and value of a transaction.
    type Line = (u64, &'static str, Value);

    fn judged(lines: &[Line]) -> Findings {
        let ops: Vec<Value> = (0..)
            .zip(lines)
            .map(|(index, (process, kind, value))| {
                let index: u64 = index;
                json!({"index": index, "process": process, "type": kind, "f": "txn", "value": value, "time": index})
            })
            .collect();
        match pair(&Value::from(ops).to_string()) {
            Ok(ops) => judge(&ops),
            Err(why) => panic!("{why}"),
        }
    }

    fn rules(findings: &Findings) -> BTreeSet<&str> {
        findings.told.iter().filter_map(|told| told.split(':').next()).collect()
    }

    fn append(element: i64) -> Value {
        json!([["append", 0, element], ["r", 0, null]])
    }

    fn appended(element: i64, read: &[i64]) -> Value {
        json!([["append", 0, element], ["r", 0, read]])
    }

    #[test]
    fn a_history_that_can_be_explained_is_valid() {
        let found = judged(&[
            (0, "invoke", append(1)),
            (1, "invoke", append(2)),
            (1, "ok", appended(2, &[2])),
            (0, "ok", appended(1, &[2, 1])),
            (0, "invoke", append(3)),
            (0, "fail", append(3)),
            (1, "invoke", append(4)),
            (1, "info", append(4)),
            (0, "invoke", json!([["r", 0, null]])),
            (0, "ok", json!([["r", 0, [2, 1]]])),
            (0, "invoke", json!([["r", 0, null]])),
            // What nobody knew of comes in the end.
            (0, "ok", json!([["r", 0, [2, 1, 4]]])),
        ]);
        assert_eq!(found.told, Vec::<String>::new());
        assert!(found.passed());
        assert_eq!((found.reads_compared, found.writes_proven, found.ops), (4, 2, 6));
    }

    #[test]
    fn every_planted_violation_is_found() {
        let read = |elements: &[i64]| json!([["r", 0, elements]]);
        let nothing = || json!([["r", 0, null]]);
        let cases: [(&str, Vec<Line>); 9] = [
            (
                "lost append",
                vec![
                    (0, "invoke", append(1)),
                    (0, "ok", appended(1, &[1])),
                    (0, "invoke", nothing()),
                    (0, "ok", read(&[])),
                ],
            ),
            ("duplicate element", vec![(0, "invoke", append(1)), (0, "ok", appended(1, &[1, 1]))]),
            ("phantom", vec![(0, "invoke", nothing()), (0, "ok", read(&[7]))]),
            (
                "aborted read",
                vec![(0, "invoke", append(1)), (0, "fail", append(1)), (0, "invoke", nothing()), (0, "ok", read(&[1]))],
            ),
            (
                "future read",
                vec![
                    (0, "invoke", nothing()),
                    (0, "ok", read(&[1])),
                    (0, "invoke", append(1)),
                    (0, "ok", appended(1, &[1])),
                ],
            ),
            ("internal", vec![(0, "invoke", append(1)), (0, "ok", appended(1, &[]))]),
            (
                "incompatible order",
                vec![
                    (0, "invoke", append(1)),
                    (1, "invoke", append(2)),
                    (0, "ok", appended(1, &[2, 1])),
                    (1, "ok", appended(2, &[1, 2])),
                ],
            ),
            (
                "stale read",
                vec![
                    (0, "invoke", append(1)),
                    (1, "invoke", nothing()),
                    (1, "ok", read(&[1])),
                    (1, "invoke", nothing()),
                    (1, "ok", read(&[])),
                    (0, "ok", appended(1, &[1])),
                ],
            ),
            // Each list by itself is fine: the first reader saw only one of two appends that belong together.
            (
                "cycle",
                vec![
                    (0, "invoke", json!([["append", 0, 1], ["append", 1, 1]])),
                    (1, "invoke", json!([["r", 0, null], ["r", 1, null]])),
                    (1, "ok", json!([["r", 0, [1]], ["r", 1, []]])),
                    (0, "ok", json!([["append", 0, 1], ["append", 1, 1]])),
                    (1, "invoke", json!([["r", 0, null], ["r", 1, null]])),
                    (1, "ok", json!([["r", 0, [1]], ["r", 1, [1]]])),
                ],
            ),
        ];
        for (rule, lines) in cases {
            let found = judged(&lines);
            assert!(rules(&found).contains(rule), "{rule}: {found:?}");
            assert!(!found.passed(), "{rule}");
        }
    }

    #[test]
    fn an_append_that_nobody_ever_read_is_lost() {
        let found = judged(&[(0, "invoke", json!([["append", 0, 1]])), (0, "ok", json!([["append", 0, 1]]))]);
        assert_eq!(rules(&found), BTreeSet::from(["lost append"]));
    }

    #[test]
    fn a_history_without_reads_has_shown_nothing() {
        let found = judged(&[(0, "invoke", append(1)), (0, "fail", append(1))]);
        assert_eq!((found.violations, found.passed()), (0, false));
    }

    #[test]
    fn rings_are_found_in_large_graphs_without_recursion() {
        let many = 100_000;
        let mut edges: Vec<BTreeSet<usize>> = (0..many).map(|n| BTreeSet::from([(n + 1) % many])).collect();
        assert_eq!(components(&edges).len(), 1);
        edges[many - 1].clear();
        assert_eq!(components(&edges).len(), many);
    }
}
