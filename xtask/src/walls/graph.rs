//! The crates as cargo resolved them, and the checks of who links whom.
//!
//! Edges are what ends up in a room's library: normal dependencies, for every platform and with the features the
//! workspace asks for. Development and build dependencies are left out, and so is what a procedural macro uses:
//! it runs in the compiler.

use super::Violation;
use super::map::{Kind, Map, PAGE};
use crate::setup::cargo;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

/// What a room that links no I/O must not reach, even through others, and why. This backs up the determinism lints,
/// which only see the room's own source. A denylist, because the innocent crates (parsers, hashes, collections)
/// are many and change; whatever does I/O, waits, draws or reads a clock ends in one of these few.
const OUTSIDE: &[(&str, &str)] = &[
    ("tokio", "an async runtime"),
    ("async-io", "an async runtime"),
    ("futures-executor", "an async runtime"),
    ("hyper", "the network"),
    ("axum", "the network"),
    ("mio", "the network"),
    ("socket2", "the network"),
    ("rustls", "the network"),
    ("rusqlite", "a database"),
    ("libsqlite3-sys", "a database"),
    ("rustix", "the operating system"),
    ("nix", "the operating system"),
    ("libc", "the operating system"),
    ("windows-sys", "the operating system"),
    ("tempfile", "the file system"),
    ("memmap2", "the file system"),
    ("walkdir", "the file system"),
    ("getrandom", "randomness"),
    ("rand", "randomness"),
    ("rand_core", "randomness"),
    ("fastrand", "randomness"),
    ("time", "a clock"),
    ("chrono", "a clock"),
    ("jiff", "a clock"),
    ("quanta", "a clock"),
    ("iana-time-zone", "a clock"),
    ("rayon-core", "threads"),
    ("crossbeam-channel", "threads"),
    ("parking_lot", "threads"),
    ("tracing", "output: what is worth saying is a value for the caller"),
    ("log", "output: what is worth saying is a value for the caller"),
];

/// (room, dependency, through, why): what is reached, but only through one library that is known to be harmless there.
const EXCUSED: &[(&str, &str, &str, &str)] = &[
    (
        "definition",
        "parking_lot",
        "cel",
        "the CEL grammar's tables are behind locks; parsing one file starts no thread",
    ),
    ("definition", "libc", "cel", "comes with those locks"),
];

#[derive(Debug)]
struct Package {
    name: String,
    is_member: bool,
    /// Indices of normal dependencies.
    links: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Graph {
    packages: Vec<Package>,
}

impl Graph {
    /// Asks cargo. Takes the lock file as it is.
    pub(super) fn of_workspace(root: &Path) -> Result<Graph, String> {
        let output = cargo(root)
            .args(["metadata", "--format-version", "1", "--quiet"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
        Graph::parse(&metadata).ok_or_else(|| "cargo metadata: not in the form of format version 1".to_owned())
    }

    fn parse(metadata: &Value) -> Option<Graph> {
        let members: BTreeSet<&str> =
            metadata["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let mut packages = Vec::new();
        let mut index = BTreeMap::new();
        let mut macros = BTreeSet::new();
        for package in metadata["packages"].as_array()? {
            let id = package["id"].as_str()?;
            let kinds = package["targets"].as_array()?.iter().filter_map(|target| target["kind"].as_array()).flatten();
            if kinds.into_iter().any(|kind| kind == "proc-macro") {
                macros.insert(id);
            }
            index.insert(id, packages.len());
            let name = package["name"].as_str()?.to_owned();
            packages.push(Package { name, is_member: members.contains(id), links: Vec::new() });
        }
        for node in metadata["resolve"]["nodes"].as_array()? {
            let id = node["id"].as_str()?;
            if macros.contains(id) {
                continue;
            }
            for dependency in node["deps"].as_array()? {
                let normal = dependency["dep_kinds"].as_array()?.iter().any(|kind| kind["kind"].is_null());
                if normal {
                    let target = *index.get(dependency["pkg"].as_str()?)?;
                    packages[*index.get(id)?].links.push(target);
                }
            }
        }
        Some(Graph { packages })
    }

    pub(super) fn check(&self, map: &Map) -> Vec<Violation> {
        let mut violations = self.check_rooms(map);
        violations.extend(self.check_no_io(map, EXCUSED));
        violations.extend(self.check_doors(map));
        violations
    }

    fn members(&self) -> impl Iterator<Item = (usize, &Package)> {
        self.packages.iter().enumerate().filter(|(_, package)| package.is_member)
    }

    /// Rooms of the table and crates of the workspace are the same, and no room links more than the table says.
    fn check_rooms(&self, map: &Map) -> Vec<Violation> {
        let mut violations = Vec::new();
        let crates: BTreeSet<&str> = self.members().map(|(_, package)| package.name.as_str()).collect();
        for name in map.rooms.keys().filter(|name| !crates.contains(name.as_str())) {
            violations
                .push(Violation::new(PAGE, format!("room {name} is in the table but is no crate of the workspace")));
        }
        for (_, package) in self.members() {
            let Some(room) = map.rooms.get(&package.name) else {
                let what = format!("crate {} has no row in the table of rooms", package.name);
                violations.push(Violation::new(PAGE, what));
                continue;
            };
            for other in package.links.iter().map(|link| &self.packages[*link]).filter(|other| other.is_member) {
                if !room.may_depend_on.contains(&other.name) {
                    let what = format!("depends on {}, which the table of rooms in {PAGE} does not allow", other.name);
                    violations.push(Violation::new(place(&package.name), what));
                }
            }
        }
        violations
    }

    /// Pure rooms and codecs reach nothing of `OUTSIDE`, except what `excused` names; an excuse that is not needed is
    /// a violation too.
    fn check_no_io(&self, map: &Map, excused: &[(&str, &str, &str, &str)]) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut used = BTreeSet::new();
        for (start, package) in self.members() {
            if !map.rooms.get(&package.name).is_some_and(|room| room.kind.links_no_io()) {
                continue;
            }
            let kind = if map.rooms[&package.name].kind == Kind::Pure { "a pure room" } else { "a codec" };
            let all = self.reach(start, &|_| true);
            for (dependency, what_it_is) in OUTSIDE {
                let Some(path) = self.path_to(&all, dependency) else { continue };
                let excuse = excused.iter().find(|(room, what, ..)| *room == package.name && what == dependency);
                let path = match excuse {
                    Some((_, _, through, _)) => {
                        used.insert((package.name.as_str(), *dependency));
                        let others = self.reach(start, &|next| self.packages[next].name != *through);
                        match self.path_to(&others, dependency) {
                            Some(path) => path,
                            None => continue,
                        }
                    }
                    None => path,
                };
                let what = format!("is {kind} and must not reach {dependency} ({what_it_is}): {path}");
                violations.push(Violation::new(place(&package.name), what));
            }
        }
        for (room, dependency, ..) in
            excused.iter().filter(|(room, dependency, ..)| !used.contains(&(*room, *dependency)))
        {
            let what = format!("{room} no longer reaches {dependency}: delete its excuse");
            violations.push(Violation::new("xtask/src/walls/graph.rs", what));
        }
        violations
    }

    /// A narrow dependency is reached, without crossing another room, only from the rooms that have its door.
    fn check_doors(&self, map: &Map) -> Vec<Violation> {
        let mut violations = Vec::new();
        let known: BTreeSet<&str> = self.packages.iter().map(|package| package.name.as_str()).collect();
        for dependency in map.doors.keys().filter(|name| !known.contains(name.as_str())) {
            let what = format!("the narrow door of {dependency} leads nowhere: nothing in the workspace uses it");
            violations.push(Violation::new(PAGE, what));
        }
        for (start, package) in self.members() {
            let own = self.reach(start, &|next| !self.packages[next].is_member);
            for (dependency, rooms) in &map.doors {
                if rooms.contains(&package.name) {
                    continue;
                }
                if let Some(path) = self.path_to(&own, dependency) {
                    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
                    let what = format!("reaches {dependency}, whose only door is in {}: {path}", rooms.join(", "));
                    violations.push(Violation::new(place(&package.name), what));
                }
            }
        }
        violations
    }

    /// Everything reached from `start` by a shortest way, stepping only on what `enter` lets in: package → where from.
    fn reach(&self, start: usize, enter: &dyn Fn(usize) -> bool) -> BTreeMap<usize, usize> {
        let mut from = BTreeMap::from([(start, start)]);
        let mut open = std::collections::VecDeque::from([start]);
        while let Some(current) = open.pop_front() {
            for next in &self.packages[current].links {
                if !from.contains_key(next) && enter(*next) {
                    from.insert(*next, current);
                    open.push_back(*next);
                }
            }
        }
        from
    }

    /// `room > library > dependency`, if `dependency` is among what was reached.
    fn path_to(&self, reached: &BTreeMap<usize, usize>, dependency: &str) -> Option<String> {
        let mut current = *reached.keys().find(|index| self.packages[**index].name == dependency)?;
        let mut names = vec![self.packages[current].name.as_str()];
        while reached[&current] != current {
            current = reached[&current];
            names.push(self.packages[current].name.as_str());
        }
        if names.len() == 1 {
            return None;
        }
        names.reverse();
        Some(names.join(" > "))
    }
}

fn place(room: &str) -> String {
    if room == "xtask" { "xtask/Cargo.toml".to_owned() } else { format!("crates/{room}/Cargo.toml") }
}

#[cfg(test)]
mod tests {
    use super::super::map::tests::page;
    use super::*;
    use serde_json::json;

    const ROOMS: &[&str] = &[
        "| `model` | words | pure | nothing | x |",
        "| `definition` | files | pure | model | x |",
        "| `wire` | bytes | codec | model | x |",
        "| `runtime` | drives | I/O | model, definition, wire | x |",
        "| `api` | asks | I/O | model, runtime | x |",
    ];
    const DOORS: &[&str] = &["| hyper | api | edge |"];

    fn map() -> Map {
        Map::parse(&page(ROOMS, DOORS)).expect("a page that can be read")
    }

    /// A world of `from > to` edges; `from ~ to` is a development dependency, `from ^ to` a build dependency,
    /// `name!` makes it a procedural macro. Rooms are members, everything else is third party.
    fn world(edges: &[&str]) -> Graph {
        let mut names: BTreeSet<String> = ["model", "definition", "wire", "runtime", "api"].map(str::to_owned).into();
        names.insert("hyper".to_owned());
        let mut deps: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut macros = BTreeSet::new();
        for edge in edges {
            let parts: Vec<&str> = edge.split(' ').collect();
            let kind = match parts[1] {
                ">" => Value::Null,
                "~" => json!("dev"),
                _ => json!("build"),
            };
            for part in [parts[0], parts[2]] {
                let name = part.trim_end_matches('!').to_owned();
                if part.ends_with('!') {
                    macros.insert(name.clone());
                }
                names.insert(name);
            }
            deps.entry(parts[0].trim_end_matches('!').to_owned())
                .or_default()
                .push(json!({"pkg": parts[2].trim_end_matches('!'), "dep_kinds": [{"kind": kind, "target": null}]}));
        }
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let kind = if macros.contains(name) { "proc-macro" } else { "lib" };
                json!({"id": name, "name": name, "targets": [{"kind": [kind]}]})
            })
            .collect();
        let nodes: Vec<Value> =
            names.iter().map(|name| json!({"id": name, "deps": deps.get(name).cloned().unwrap_or_default()})).collect();
        let members: Vec<&str> = ["model", "definition", "wire", "runtime", "api", "attic"]
            .into_iter()
            .filter(|name| names.contains(*name))
            .collect();
        let metadata = json!({"packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}});
        Graph::parse(&metadata).expect("metadata in cargo's form")
    }

    fn complaints(edges: &[&str]) -> Vec<String> {
        let graph = world(edges);
        let mut violations = graph.check_rooms(&map());
        violations.extend(graph.check_no_io(&map(), &[]));
        violations.extend(graph.check_doors(&map()));
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_building_like_its_drawing_has_no_violation() {
        let edges =
            ["definition > model", "runtime > wire", "api > runtime", "api > hyper", "hyper > tokio", "model > itoa"];
        assert_eq!(complaints(&edges), Vec::<String>::new());
    }

    #[test]
    fn a_dependency_that_the_table_does_not_list() {
        let found = complaints(&["runtime > api"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("crates/runtime/Cargo.toml: depends on api"), "{found:?}");
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate() {
        let found = complaints(&["attic > model"]);
        assert!(found.iter().any(|text| text.contains("crate attic has no row")), "{found:?}");
        let mut rooms = ROOMS.to_vec();
        rooms.push("| `cellar` | x | tool | nothing | x |");
        let map = Map::parse(&page(&rooms, DOORS)).expect("a page that can be read");
        let found = world(&[]).check_rooms(&map);
        assert!(found.iter().any(|violation| violation.what.contains("room cellar is in the table")), "{found:?}");
    }

    #[test]
    fn a_pure_room_that_reaches_the_world_through_a_library() {
        let found = complaints(&["model > fancy", "fancy > inner", "inner > getrandom"]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("must not reach getrandom") && found[0].contains("model > fancy > inner > getrandom")
        );
        assert!(complaints(&["wire > tokio"])[0].contains("a codec and must not reach tokio"));
        assert!(complaints(&["runtime > tokio"]).is_empty());
    }

    #[test]
    fn tests_build_scripts_and_macros_may_reach_the_world() {
        let edges =
            ["model ~ tempfile", "model ^ walkdir", "model > derive!", "derive! > rand", "model ~ api", "api > hyper"];
        assert_eq!(complaints(&edges), Vec::<String>::new());
    }

    #[test]
    fn an_excuse_holds_for_one_way_only_and_must_be_needed() {
        let excused = [("definition", "libc", "cel", "known")];
        let through = world(&["definition > cel", "cel > libc"]);
        assert!(through.check_no_io(&map(), &excused).is_empty());
        let other_way = world(&["definition > cel", "cel > libc", "definition > sneaky", "sneaky > libc"]);
        let found = other_way.check_no_io(&map(), &excused);
        assert!(found.len() == 1 && found[0].what.contains("definition > sneaky > libc"), "{found:?}");
        let other_room = world(&["definition > cel", "cel > libc", "wire > cel"]);
        assert_eq!(other_room.check_no_io(&map(), &excused).len(), 1);
        let stale = world(&["definition > cel"]).check_no_io(&map(), &excused);
        assert!(stale.len() == 1 && stale[0].what.contains("delete its excuse"), "{stale:?}");
    }

    #[test]
    fn a_narrow_door_is_narrow_for_libraries_too() {
        let direct = complaints(&["runtime > hyper"]);
        assert!(direct.len() == 1 && direct[0].contains("reaches hyper, whose only door is in api"), "{direct:?}");
        let hidden = complaints(&["runtime > reqwest", "reqwest > hyper"]);
        assert!(hidden.len() == 1 && hidden[0].contains("runtime > reqwest > hyper"), "{hidden:?}");
        // Through the room that has the door is the proper way.
        let mut rooms = ROOMS.to_vec();
        rooms.push("| `attic` | x | wiring | api | x |");
        let map = Map::parse(&page(&rooms, DOORS)).expect("a page that can be read");
        assert!(world(&["attic > api", "api > hyper"]).check_doors(&map).is_empty());
    }

    #[test]
    fn a_door_to_nothing() {
        let map = Map::parse(&page(ROOMS, &["| sqlx | api | x |"])).expect("a page that can be read");
        let found = world(&[]).check_doors(&map);
        assert!(found.len() == 1 && found[0].what.contains("leads nowhere"), "{found:?}");
    }

    #[test]
    fn metadata_in_another_form_is_an_error() {
        assert!(Graph::parse(&json!({"packages": []})).is_none());
    }
}
