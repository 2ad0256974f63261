//! One operation of a history, in the form that Elle-style checkers read: a JSON array of maps, one to a line.
//!
//! `{"index", "process", "type", "f", "value", "time"}`: `type` is `invoke`, then `ok` (it happened), `fail` (it did
//! not) or `info` (nobody knows; its process is never heard of again). `time` is nanoseconds since the beginning.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Invoke, Self::Ok, Self::Fail, Self::Info];

    fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// What is written while it happens.
#[derive(Debug)]
pub(crate) struct Recorder {
    began: std::time::Instant,
    lines: Vec<String>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { began: std::time::Instant::now(), lines: Vec::new() }
    }

    pub(crate) fn note(&mut self, process: u64, kind: Kind, f: &str, value: &Value) {
        let time = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let op = json!({
            "index": self.lines.len(), "process": process, "type": kind.as_str(), "f": f, "value": value, "time": time,
        });
        self.lines.push(op.to_string());
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = format!("[{}]\n", self.lines.join(",\n"));
        std::fs::write(path, text).map_err(|why| format!("cannot write {}: {why}", path.display()))
    }
}

/// An operation from its call to its end.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Op {
    pub(crate) process: u64,
    pub(crate) f: String,
    /// Index of the call.
    pub(crate) invoked: u64,
    /// Index of the end; what has none may still happen, so it is behind everything.
    pub(crate) ended: u64,
    pub(crate) kind: Kind,
    /// As called.
    pub(crate) asked: Value,
    /// As ended; of an `ok` what was read is in it.
    pub(crate) value: Value,
}

/// Never, as the index of an end.
pub(crate) const NEVER: u64 = u64::MAX;

/// Reads a history and pairs each call with its end.
pub(crate) fn read(path: &Path) -> Result<Vec<Op>, String> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    pair(&text).map_err(|why| format!("{}: {why}", path.display()))
}

pub(crate) fn pair(text: &str) -> Result<Vec<Op>, String> {
    let lines: Vec<Value> = serde_json::from_str(text).map_err(|why| format!("no JSON array of operations: {why}"))?;
    let mut ops: Vec<Op> = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    let mut gone: BTreeMap<u64, u64> = BTreeMap::new();
    for (place, line) in (0u64..).zip(&lines) {
        let wrong = |what: &str| format!("operation {place}: {what}");
        if line["index"].as_u64() != Some(place) {
            return Err(wrong("its index is not its place"));
        }
        let process = line["process"].as_u64().ok_or_else(|| wrong("it has no process"))?;
        let kind = Kind::ALL.into_iter().find(|kind| line["type"] == kind.as_str());
        let kind = kind.ok_or_else(|| wrong("its type is none of invoke, ok, fail and info"))?;
        let f = line["f"].as_str().ok_or_else(|| wrong("it has no f"))?.to_owned();
        let value = line["value"].clone();
        if let Some(since) = gone.get(&process) {
            return Err(wrong(&format!("process {process} is gone since {since}")));
        }
        if kind == Kind::Invoke {
            if open.insert(process, ops.len()).is_some() {
                return Err(wrong(&format!("process {process} does two things at once")));
            }
            let asked = value.clone();
            ops.push(Op { process, f, invoked: place, ended: NEVER, kind: Kind::Info, asked, value });
            continue;
        }
        let called = open.remove(&process).ok_or_else(|| wrong(&format!("process {process} had called nothing")))?;
        let op = &mut ops[called];
        if op.f != f {
            return Err(wrong(&format!("it ends a {f}, called was a {}", op.f)));
        }
        (op.kind, op.value) = (kind, value);
        if kind == Kind::Info {
            gone.insert(process, place);
        } else {
            op.ended = place;
        }
    }
    Ok(ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again() {
        let mut recorder = Recorder::new();
        recorder.note(0, Kind::Invoke, "read", &Value::Null);
        recorder.note(1, Kind::Invoke, "transfer", &json!({"from": 0, "to": 1, "amount": 5}));
        recorder.note(0, Kind::Ok, "read", &json!({"0": 5}));
        recorder.note(1, Kind::Info, "transfer", &json!({"from": 0, "to": 1, "amount": 5}));
        let Ok(folder) = tempfile::tempdir() else { panic!("a folder") };
        let path = folder.path().join("history.json");
        assert_eq!(recorder.write(&path), Ok(()));
        let Ok(ops) = read(&path) else { panic!("it is read") };
        assert_eq!(ops.len(), 2);
        assert_eq!((ops[0].invoked, ops[0].ended, ops[0].kind, &ops[0].value), (0, 2, Kind::Ok, &json!({"0": 5})));
        assert_eq!((ops[1].invoked, ops[1].ended, ops[1].kind), (1, NEVER, Kind::Info));
    }

    #[test]
    fn histories_that_cannot_be_are_refused() {
        let op = |index: u64, process: u64, kind: &str| json!({"index": index, "process": process, "type": kind, "f": "read", "value": null, "time": 0});
        for (ops, words) in [
            (vec![op(1, 0, "invoke")], "index"),
            (vec![op(0, 0, "invoke"), op(1, 0, "invoke")], "two things at once"),
            (vec![op(0, 0, "ok")], "called nothing"),
            (vec![op(0, 0, "invoke"), op(1, 0, "info"), op(2, 0, "invoke")], "is gone"),
            (vec![op(0, 0, "maybe")], "type"),
        ] {
            let why = pair(&Value::from(ops).to_string()).err().unwrap_or_default();
            assert!(why.contains(words), "{why}");
        }
        assert!(pair("{}").is_err());
    }
}
