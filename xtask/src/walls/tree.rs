//! The files: how each opens, how long it is, what must not be in it, and that a pure room carries its lints.
//!
//! Looks at `crates/` and `xtask/` only, and at text, not syntax: a forbidden word in a string counts too.

use super::Violation;
use super::map::{self, Kind, Map, PAGE};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const LONG_FILES: &str = ".config/long-files.txt";
const LINES_MAX: usize = 900;
const DETERMINISM: &str = ".config/deterministic.clippy.toml";

/// What must not land, and why. Put together from halves so that this file does not find itself.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("FIX", "ME"), "fix it, or say in an issue what is left"),
    (concat!("db", "g!("), "a leftover of debugging"),
    (concat!("to", "do!("), "a stub is not done"),
    (concat!("unimple", "mented!("), "a stub is not done"),
    (concat!("#[ig", "nore"), "a test that is not run proves nothing"),
];

/// Names that tell a newcomer nothing.
const VAGUE: &[&str] = &["utils.rs", "util.rs", "helpers.rs", "helper.rs", "common.rs", "misc.rs"];

/// What the first lines of a pure room's `lib.rs` must say.
const PURE_LINTS: &[&str] = &["#![forbid(unsafe_code)]", "clippy::disallowed_types", "clippy::disallowed_methods"];

pub(super) fn check(root: &Path, map: &Map, page: &str) -> Result<Vec<Violation>, String> {
    let long_files =
        std::fs::read_to_string(root.join(LONG_FILES)).map_err(|error| format!("{LONG_FILES}: {error}"))?;
    let long_files = LongFiles::parse(&long_files)?;
    let mut violations = Vec::new();
    let mut lines = BTreeMap::new();
    for path in rust_files(root)? {
        let text = std::fs::read_to_string(root.join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.to_string_lossy().into_owned();
        violations.extend(check_file(&name, &text));
        lines.insert(name, text.lines().count());
    }
    violations.extend(long_files.check(&lines));
    violations.extend(check_folders(root, map)?);
    for (name, _) in map.rooms.iter().filter(|(_, room)| room.kind == Kind::Pure) {
        violations.extend(check_pure(root, name));
    }
    for (line, path) in map::named_paths(page).into_iter().filter(|(_, path)| !root.join(path).exists()) {
        violations.push(Violation::new(format!("{PAGE}:{line}"), format!("names {path}, which does not exist")));
    }
    Ok(violations)
}

/// What one file must keep, wherever it stands.
fn check_file(name: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let file_name = name.rsplit('/').next().unwrap_or(name);
    if file_name == "mod.rs" {
        violations
            .push(Violation::new(name, "a module is foo.rs with its parts in foo/, so that every tab has a name"));
    }
    if VAGUE.contains(&file_name) {
        violations.push(Violation::new(name, "the name tells nothing: name the file after what it does"));
    }
    let opens = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = opens.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let head = first.strip_prefix("//!").map(str::trim);
    if name.contains("/src/") && head.is_none_or(str::is_empty) {
        violations.push(Violation::new(format!("{name}:1"), "must open with `//!`: what it is and what it leaves out"));
    }
    for (index, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
            violations.push(Violation::new(format!("{name}:{}", index + 1), format!("`{word}`: {why}")));
        }
    }
    violations
}

/// A room has one folder and a folder is one room; a crate that the workspace does not build would be seen by nobody.
fn check_folders(root: &Path, map: &Map) -> Result<Vec<Violation>, String> {
    let mut violations = Vec::new();
    let mut folders = BTreeSet::new();
    let entries = std::fs::read_dir(root.join("crates")).map_err(|error| format!("crates: {error}"))?;
    for entry in entries {
        let path = entry.map_err(|error| format!("crates: {error}"))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            folders.insert(name.to_owned());
            if !map.rooms.contains_key(name) {
                violations.push(Violation::new(format!("crates/{name}"), format!("is no room of the table in {PAGE}")));
            }
        }
    }
    for name in map.rooms.keys().filter(|name| *name != "xtask" && !folders.contains(*name)) {
        violations.push(Violation::new(PAGE, format!("room {name} has no folder crates/{name}")));
    }
    Ok(violations)
}

/// A pure room carries the determinism lints: the symlinked settings, and the attributes that make them errors.
fn check_pure(root: &Path, room: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let link = format!("crates/{room}/clippy.toml");
    let is_link = std::fs::read_link(root.join(&link)).is_ok();
    let target = root.join(&link).canonicalize();
    let wanted = root.join(DETERMINISM).canonicalize();
    if !is_link || !matches!((target, wanted), (Ok(target), Ok(wanted)) if target == wanted) {
        violations.push(Violation::new(link, format!("must be a symbolic link to ../../{DETERMINISM}")));
    }
    let library = format!("crates/{room}/src/lib.rs");
    let text = std::fs::read_to_string(root.join(&library)).unwrap_or_default();
    let attributes: String =
        text.lines().filter(|line| line.starts_with("#![") || line.starts_with("    clippy::")).collect();
    for lint in PURE_LINTS.iter().filter(|lint| !attributes.contains(*lint)) {
        violations.push(Violation::new(library.clone(), format!("is a pure room's: must say {lint} (deny)")));
    }
    violations
}

/// The files that may be longer than the rest: path → ceiling.
#[derive(Debug, Default)]
struct LongFiles(BTreeMap<String, usize>);

impl LongFiles {
    fn parse(text: &str) -> Result<LongFiles, String> {
        let mut files = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (path, ceiling) = (words.next(), words.next().and_then(|word| word.parse().ok()));
            match (path, ceiling, words.next()) {
                (Some(path), Some(ceiling), Some(_reason)) => files.insert(path.to_owned(), ceiling),
                _ => {
                    return Err(format!(
                        "{LONG_FILES}:{}: must be a path, a ceiling in lines, and a reason",
                        index + 1
                    ));
                }
            };
        }
        Ok(LongFiles(files))
    }

    fn check(&self, lines: &BTreeMap<String, usize>) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (name, count) in lines {
            let ceiling = self.0.get(name).copied().unwrap_or(LINES_MAX);
            if *count > ceiling {
                let what =
                    format!("has {count} lines, {ceiling} allowed: split it, or give the reason in {LONG_FILES}");
                violations.push(Violation::new(name.clone(), what));
            }
        }
        for name in self.0.keys().filter(|name| lines.get(*name).is_none_or(|count| *count <= LINES_MAX)) {
            violations.push(Violation::new(LONG_FILES, format!("{name} needs no exception any more: delete its line")));
        }
        violations
    }
}

/// Every Rust file of the workspace, as a path from the root, in order.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::from("crates"), PathBuf::from("xtask")];
    while let Some(folder) = open.pop() {
        let entries =
            std::fs::read_dir(root.join(&folder)).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|error| format!("{}: {error}", path.display()))?;
            if kind.is_dir() && entry.file_name() != "target" {
                open.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::map::tests::page;
    use super::*;
    use std::fs;

    /// A small workspace on disk that keeps every rule.
    struct Building {
        folder: tempfile::TempDir,
        page: String,
    }

    impl Building {
        fn new() -> Building {
            let building = Building {
                folder: tempfile::tempdir().expect("a temporary folder"),
                page: page(
                    &["| `model` | words | pure | nothing | x |", "| `xtask` | x | tool | nothing | x |"],
                    &["| hyper | model | x |"],
                ),
            };
            building.write(".config/deterministic.clippy.toml", "");
            building.write(LONG_FILES, "# none\n");
            let head = "//! The words.\n\n#![forbid(unsafe_code)]\n#![deny(clippy::disallowed_types, clippy::disallowed_methods)]\n";
            building.write("crates/model/src/lib.rs", head);
            building.write("xtask/src/main.rs", "//! Chores.\n");
            std::os::unix::fs::symlink(
                "../../.config/deterministic.clippy.toml",
                building.path("crates/model/clippy.toml"),
            )
            .expect("a link");
            building
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }

        fn complaints(&self) -> Vec<String> {
            let map = Map::parse(&self.page).expect("a page that can be read");
            let found = check(self.folder.path(), &map, &self.page).expect("a tree that can be read");
            found.iter().map(ToString::to_string).collect()
        }

        #[track_caller]
        fn complains_only(&self, expected: &str) {
            let found = self.complaints();
            assert!(found.len() == 1 && found[0].contains(expected), "expected `{expected}`, found {found:?}");
        }
    }

    #[test]
    fn a_tree_that_keeps_the_rules_has_no_violation() {
        assert_eq!(Building::new().complaints(), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_a_head() {
        let building = Building::new();
        building.write("crates/model/src/value.rs", "pub struct Value;\n");
        building.complains_only("crates/model/src/value.rs:1: must open with `//!`");
        building.write("crates/model/src/value.rs", "//!\npub struct Value;\n");
        building.complains_only("must open with `//!`");
    }

    #[test]
    fn every_forbidden_word() {
        for (word, why) in FORBIDDEN {
            let building = Building::new();
            building.write("crates/model/src/value.rs", &format!("//! A value.\n\n    {word}\n"));
            building.complains_only("crates/model/src/value.rs:3:");
            building.complains_only(why);
        }
    }

    #[test]
    fn names_that_hide_or_tell_nothing() {
        let building = Building::new();
        building.write("crates/model/tests/story/mod.rs", "");
        building.complains_only("crates/model/tests/story/mod.rs: a module is foo.rs");
        for name in VAGUE {
            let building = Building::new();
            building.write(&format!("crates/model/src/{name}"), "//! Things.\n");
            building.complains_only("the name tells nothing");
        }
    }

    #[test]
    fn a_long_file_needs_a_reason_and_keeps_its_ceiling() {
        let building = Building::new();
        let name = "crates/model/src/value.rs";
        building.write(name, &format!("//! A value.\n{}", "\n".repeat(LINES_MAX - 1)));
        assert_eq!(building.complaints(), Vec::<String>::new());
        building.write(name, &format!("//! A value.\n{}", "\n".repeat(LINES_MAX)));
        building.complains_only("has 901 lines, 900 allowed");
        building.write(LONG_FILES, &format!("{name} 950 one table that reads best in one piece\n"));
        assert_eq!(building.complaints(), Vec::<String>::new());
        building.write(name, &format!("//! A value.\n{}", "\n".repeat(950)));
        building.complains_only("has 951 lines, 950 allowed");
        building.write(name, "//! A value.\n");
        building.complains_only("needs no exception any more");
    }

    #[test]
    fn an_exception_without_a_reason_cannot_be_read() {
        assert!(LongFiles::parse("crates/a/src/b.rs 950\n").is_err());
        assert!(LongFiles::parse("crates/a/src/b.rs many because\n").is_err());
    }

    #[test]
    fn a_folder_without_a_room_and_a_room_without_a_folder() {
        let building = Building::new();
        building.write("crates/attic/src/lib.rs", "//! Old things.\n");
        building.complains_only("crates/attic: is no room");
        let mut building = Building::new();
        building.page = building.page.replace("| `xtask`", "| `cellar` | x | tool | nothing | x |\n| `xtask`");
        building.complains_only("room cellar has no folder");
    }

    #[test]
    fn a_pure_room_without_its_lints() {
        let building = Building::new();
        fs::remove_file(building.path("crates/model/clippy.toml")).expect("the link goes");
        building.complains_only("crates/model/clippy.toml: must be a symbolic link");
        building.write("crates/model/clippy.toml", "");
        building.complains_only("must be a symbolic link");
        fs::remove_file(building.path("crates/model/clippy.toml")).expect("the file goes");
        building.write(".config/other.toml", "");
        std::os::unix::fs::symlink("../../.config/other.toml", building.path("crates/model/clippy.toml"))
            .expect("a link");
        building.complains_only("must be a symbolic link");
        for lint in PURE_LINTS {
            let building = Building::new();
            let library = building.path("crates/model/src/lib.rs");
            let text = fs::read_to_string(&library).expect("the library").replace(lint, "");
            fs::write(&library, text).expect("the library");
            building.complains_only(lint);
        }
    }

    #[test]
    fn a_page_that_names_what_is_not_there() {
        let mut building = Building::new();
        building.page.push_str("see `crates/model/src/lib.rs`\nand `crates/model/src/gone.rs`\n");
        building.complains_only("names crates/model/src/gone.rs, which does not exist");
    }
}
