//! Choices, one after the other; when they run out, always the first. And a saga made of choices.

use std::fmt::Write;

#[derive(Debug)]
pub(crate) struct Tape {
    choices: Vec<u16>,
    at: usize,
}

impl Tape {
    pub(crate) fn new(choices: Vec<u16>) -> Self {
        Self { choices, at: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.choices.len()
    }

    /// One of `0..n`.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(choice) * n / 65_536
    }

    /// A saga of 2 to 6 steps that `definition` accepts.
    pub(crate) fn saga(&mut self) -> String {
        let count = 2 + self.pick(5);
        let pivot = self.pick(2).checked_sub(1).map(|_| self.pick(count));
        let parallel = self.pick(2) == 1;
        let mut text = String::from("saga");
        if self.pick(2) == 1 {
            text += [" timeout=30s", " timeout=5m"][self.pick(2)];
        }
        if self.pick(2) == 1 {
            text += " lock=balance";
        }
        text.push('\n');
        let mut kept: Option<char> = None;
        for place in 0..count {
            let (line, keeps) = self.step(place, pivot, parallel, kept);
            kept = keeps.then(|| letter(place));
            text += &line;
        }
        if let Some(kept) = kept {
            text = text.replacen("saga", &format!("saga output={kept}.id"), 1);
        }
        text
    }

    fn step(&mut self, place: usize, pivot: Option<usize>, parallel: bool, kept: Option<char>) -> (String, bool) {
        let is_pivot = pivot == Some(place);
        let before = pivot.is_none_or(|p| place < p);
        let name = letter(place);
        let mut line = String::new();
        let after = if parallel { self.after(place, pivot) } else { String::new() };
        if !is_pivot && self.pick(6) == 0 {
            let kind = self.pick(4);
            let optional = if kind == 0 && self.pick(3) == 0 { " optional" } else { "" };
            let wait = match kind {
                0 => format!("wait=signal:go_{name}:10s refused_if=signal.body.no"),
                1 => format!("wait=signal:go_{name}:2h"),
                2 => "wait=for:3s".to_owned(),
                _ => "wait=until:input.at".to_owned(),
            };
            let _ = writeln!(line, "{name} {wait}{optional}{after}");
            return (line, false);
        }
        let participant = ["pay", "bill", "crm", "hlr", "tomb"][self.pick(5)];
        let keyed = !matches!(participant, "crm" | "hlr");
        let method = ["POST", "POST", "PUT", "GET"][self.pick(if is_pivot { 3 } else { 4 })];
        let optional = !is_pivot && self.pick(4) == 0;
        let _ = write!(line, "{name}@{participant} {method}{after}");
        let mut undoable = false;
        if before && method != "GET" {
            let undos: &[&str] =
                if keyed { &["undo", "undo=PUT", "undo=gone", "undo=none"] } else { &["undo=PUT", "undo=operator"] };
            let undo = undos[self.pick(undos.len())];
            undoable = undo != "undo=none";
            let _ = write!(line, " {undo}");
        }
        if method == "POST" && !keyed {
            let ways: &[&str] = match (before && undoable, optional) {
                (true, true) => &["compensate", "operator", "ignore"],
                (true, false) => &["compensate", "operator"],
                (false, true) => &["operator", "ignore"],
                (false, false) => &["operator"],
            };
            let _ = write!(line, " unknown={}", ways[self.pick(ways.len())]);
        }
        if is_pivot {
            line += " pivot";
        }
        if optional {
            line += " optional";
        }
        let conditional = self.pick(5) == 0;
        if conditional {
            line += [" when=input.x>0", " when=1/input.x>0"][usize::from(self.pick(4) == 0)];
        }
        if let Some(kept) = kept
            && !parallel
            && method != "GET"
        {
            let _ = write!(line, " reads={kept}.id");
        }
        let keeps = !parallel && !optional && !conditional && self.pick(3) == 0;
        if keeps {
            line += " keep=id";
        }
        line.push('\n');
        (line, keeps)
    }

    /// What it waits for, so that the pivot stays a cut.
    fn after(&mut self, place: usize, pivot: Option<usize>) -> String {
        let names = |places: Vec<usize>| {
            let list: Vec<String> = places.into_iter().map(|p| letter(p).to_string()).collect();
            format!(" after={}", if list.is_empty() { "-".to_owned() } else { list.join(",") })
        };
        match pivot {
            Some(pivot) if place == pivot => names((0..place).collect()),
            Some(pivot) if place > pivot => {
                let mut places = vec![pivot];
                places.extend((pivot + 1..place).filter(|_| self.pick(2) == 0));
                names(places)
            }
            _ => names((0..place).filter(|_| self.pick(3) == 0).collect()),
        }
    }
}

fn letter(place: usize) -> char {
    char::from(b'a' + place as u8)
}
