//! Reads ARCHITECTURE.md: the rooms and what each may depend on, the narrow doors, and the paths it names.
//!
//! Markdown is read only as far as the page uses it: `##` headings, tables with `|`, text in backticks.

use super::Violation;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const PAGE: &str = "ARCHITECTURE.md";

/// What a room is, and so which checks it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Links no I/O and carries the determinism lints.
    Pure,
    /// Links no I/O.
    Codec,
    Io,
    Tool,
    Wiring,
}

impl Kind {
    fn parse(word: &str) -> Option<Kind> {
        Some(match word {
            "pure" => Kind::Pure,
            "codec" => Kind::Codec,
            "I/O" => Kind::Io,
            "tool" => Kind::Tool,
            "wiring" => Kind::Wiring,
            _ => return None,
        })
    }

    pub(super) fn links_no_io(self) -> bool {
        matches!(self, Kind::Pure | Kind::Codec)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) kind: Kind,
    pub(super) may_depend_on: BTreeSet<String>,
}

/// The tables of the page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) rooms: BTreeMap<String, Room>,
    /// A third-party crate → the rooms that may reach it.
    pub(super) doors: BTreeMap<String, BTreeSet<String>>,
}

/// Rooms that must never meet, even through others. The table could be widened by one careless edit; these
/// sentences of the page cannot be, without being deleted here too.
const NEVER: &[(&str, &str, &str)] = &[
    ("partition", "load", "what must happen does not depend on how much may happen"),
    ("load", "partition", "the load manager does not know what a transaction is"),
    ("load", "plan", "the load manager does not know what a saga is"),
    ("journal", "model", "the journal cannot read what it keeps"),
    ("journal", "wire", "the journal cannot read what it keeps"),
    ("store", "partition", "the store does not know a rule"),
    ("connectors", "load", "one attempt does not know the limits"),
    ("runtime", "api", "the engine does not know its surface"),
    ("stand", "partition", "the stand judges the engine and must not share its mistakes"),
    ("stand", "runtime", "the stand judges the engine and must not share its mistakes"),
    ("partition", "definition", "the engine runs plans; parsing happens where a file is applied"),
];

impl Map {
    pub(super) fn parse(page: &str) -> Result<Map, String> {
        let mut map = Map::default();
        for row in table(page, "Rooms", &["room", "one line", "kind", "may depend on", "must not know"])? {
            let name = bare(&row[0]);
            let kind = Kind::parse(&row[2]).ok_or_else(|| {
                format!("{PAGE}: room {name}: `{}` is no kind (pure, codec, I/O, tool, wiring)", row[2])
            })?;
            let room = Room { kind, may_depend_on: names(&row[3]) };
            if map.rooms.insert(name.clone(), room).is_some() {
                return Err(format!("{PAGE}: room {name} stands twice in the table"));
            }
        }
        for row in table(page, "Narrow doors", &["dependency", "only through", "why"])? {
            let name = bare(&row[0]);
            if map.doors.insert(name.clone(), names(&row[1])).is_some() {
                return Err(format!("{PAGE}: dependency {name} stands twice among the narrow doors"));
            }
        }
        Ok(map)
    }

    /// What is wrong with the drawing itself.
    pub(super) fn check(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (name, room) in &self.rooms {
            for other in room.may_depend_on.iter().filter(|other| !self.rooms.contains_key(*other)) {
                violations.push(Violation::new(PAGE, format!("room {name} may depend on {other}, which is no room")));
            }
            for other in &room.may_depend_on {
                let Some(target) = self.rooms.get(other) else { continue };
                if room.kind.links_no_io() && !target.kind.links_no_io() {
                    let what = format!("room {name} links no I/O and so cannot be allowed {other}, which does");
                    violations.push(Violation::new(PAGE, what));
                }
            }
            if self.reaches(name).contains(name) {
                violations.push(Violation::new(PAGE, format!("room {name} may depend on itself by a detour")));
            }
        }
        for (from, to, why) in NEVER {
            if self.reaches(from).contains(*to) {
                violations.push(Violation::new(PAGE, format!("the table lets {from} reach {to}, but {why}")));
            }
        }
        for (dependency, rooms) in &self.doors {
            for room in rooms.iter().filter(|room| !self.rooms.contains_key(*room)) {
                violations
                    .push(Violation::new(PAGE, format!("the door of {dependency} is in {room}, which is no room")));
            }
        }
        violations
    }

    /// Every room that the table lets `name` link, directly or through others.
    fn reaches(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&String> = self.rooms.get(name).into_iter().flat_map(|room| &room.may_depend_on).collect();
        while let Some(next) = open.pop() {
            if found.insert(next.clone()) {
                open.extend(self.rooms.get(next).into_iter().flat_map(|room| &room.may_depend_on));
            }
        }
        found
    }
}

/// Paths of the repository that the page names in backticks, each with its line.
pub(super) fn named_paths(page: &str) -> Vec<(usize, String)> {
    const ROOTS: &[&str] = &["crates/", "xtask/", "bench/", "docs/", "examples/", ".ci/", ".config/"];
    let mut paths = Vec::new();
    for (index, line) in page.lines().enumerate() {
        for text in line.split('`').skip(1).step_by(2) {
            if ROOTS.iter().any(|root| text.starts_with(root)) && !text.contains(['<', '*', ' ']) {
                paths.push((index + 1, text.to_owned()));
            }
        }
    }
    paths
}

/// The rows of the table under `## heading`, whose head must be exactly `columns`.
fn table(page: &str, heading: &str, columns: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let section = page
        .lines()
        .skip_while(|line| line.strip_prefix("## ").map(str::trim) != Some(heading))
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let mut rows = section.filter(|line| line.starts_with('|')).map(cells);
    match rows.next() {
        Some(head) if head == columns => {}
        Some(head) => {
            return Err(format!("{PAGE}: the table under `{heading}` has the columns {head:?}, not {columns:?}"));
        }
        None => return Err(format!("{PAGE}: there is no table under `## {heading}`")),
    }
    let rows: Vec<Vec<String>> = rows.skip(1).collect();
    if let Some(row) = rows.iter().find(|row| row.len() != columns.len()) {
        return Err(format!(
            "{PAGE}: under `{heading}`, the row {row:?} has {} cells, not {}",
            row.len(),
            columns.len()
        ));
    }
    if rows.is_empty() {
        return Err(format!("{PAGE}: the table under `{heading}` is empty"));
    }
    Ok(rows)
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn names(cell: &str) -> BTreeSet<String> {
    if cell == "nothing" {
        return BTreeSet::new();
    }
    cell.split(',').map(|name| bare(name.trim())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A page with the rows given, in the form of the real one.
    pub(in crate::walls) fn page(rooms: &[&str], doors: &[&str]) -> String {
        format!(
            "# Map\n\n## Rooms\n\ntext\n\n| room | one line | kind | may depend on | must not know |\n|---|---|---|---|---|\n{}\n\n\
             ## Narrow doors\n\n| dependency | only through | why |\n|---|---|---|\n{}\n\n## After\n\n| x |\n",
            rooms.join("\n"),
            doors.join("\n")
        )
    }

    const SMALL: &[&str] = &[
        "| `model` | words | pure | nothing | all |",
        "| `load` | how much | pure | model | sagas |",
        "| `runtime` | drives | I/O | model, load | HTTP |",
    ];
    const DOOR: &[&str] = &["| hyper | runtime | edge |"];

    fn complaints(rooms: &[&str], doors: &[&str]) -> Vec<String> {
        let map = Map::parse(&page(rooms, doors)).expect("a page that can be read");
        map.check().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_rooms_and_doors() {
        let map = Map::parse(&page(SMALL, DOOR)).expect("a page that can be read");
        assert_eq!(map.rooms.len(), 3);
        assert_eq!(map.rooms["model"], Room { kind: Kind::Pure, may_depend_on: BTreeSet::new() });
        assert_eq!(map.rooms["runtime"].may_depend_on, BTreeSet::from(["load".to_owned(), "model".to_owned()]));
        assert_eq!(map.doors["hyper"], BTreeSet::from(["runtime".to_owned()]));
        assert!(map.check().is_empty());
    }

    #[test]
    fn a_page_that_cannot_be_read_is_an_error_and_not_an_empty_map() {
        assert!(Map::parse("# Map\n").expect_err("no table").contains("Rooms"));
        assert!(Map::parse(&page(SMALL, &[])).expect_err("no rows").contains("empty"));
        assert!(
            Map::parse(&page(&["| `a` | x | pure | nothing |"], DOOR)).expect_err("a cell short").contains("cells")
        );
        assert!(Map::parse(&page(&["| `a` | x | odd | nothing | x |"], DOOR)).expect_err("odd").contains("no kind"));
        let twice = [SMALL[0], SMALL[0]];
        assert!(Map::parse(&page(&twice, DOOR)).expect_err("twice").contains("twice"));
        let renamed = page(SMALL, DOOR).replace("may depend on", "links");
        assert!(Map::parse(&renamed).expect_err("another column").contains("columns"));
    }

    #[test]
    fn a_table_that_breaks_its_own_sentences_is_refused() {
        let cycle = ["| `a` | x | I/O | b | x |", "| `b` | x | I/O | a | x |", "| `runtime` | x | I/O | nothing | x |"];
        assert!(complaints(&cycle, DOOR).iter().any(|text| text.contains("room a may depend on itself")));
        let leak = [SMALL[0], SMALL[2], "| `load` | how much | pure | model, runtime | x |"];
        assert!(complaints(&leak, DOOR).iter().any(|text| text.contains("load links no I/O")));
        let unknown = [SMALL[0], SMALL[1], "| `runtime` | x | I/O | cellar | x |"];
        assert!(complaints(&unknown, DOOR).iter().any(|text| text.contains("cellar, which is no room")));
        assert!(
            complaints(SMALL, &["| hyper | attic | x |"]).iter().any(|text| text.contains("attic, which is no room"))
        );
        let detour = [
            SMALL[0],
            SMALL[1],
            SMALL[2],
            "| `partition` | x | pure | between | x |",
            "| `between` | x | pure | load | x |",
        ];
        assert!(complaints(&detour, DOOR).iter().any(|text| text.contains("lets partition reach load")));
    }

    #[test]
    fn finds_the_paths_it_names() {
        let text = "see `crates/model/src/lib.rs` and `load`\n`bench/peers/README.md`, `crates/<room>/x`";
        let expected = [(1, "crates/model/src/lib.rs".to_owned()), (2, "bench/peers/README.md".to_owned())];
        assert_eq!(named_paths(text), expected);
    }
}
