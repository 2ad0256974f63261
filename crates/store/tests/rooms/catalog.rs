//! The catalog: all of a change or none, versions, damage, rewriting.

use std::fs;

use store::catalog::{Catalog, NodeIdentity, ObjectKey, Op, inspect};
use store::{Error, Severity};

use crate::files::{copy_dir, flip, names};

/// A change without anything in it.
const SEAL_LEN: usize = 20;

fn put(kind: &str, name: &str, version: u64, bytes: &[u8]) -> Op {
    Op::Put { key: ObjectKey::new(kind, name, version), bytes: bytes.to_vec() }
}

fn all(catalog: &Catalog) -> Vec<(String, u64, Vec<u8>)> {
    ["definition", "participant"]
        .iter()
        .flat_map(|kind| catalog.list(kind))
        .map(|object| (object.key.name.clone(), object.key.version, object.bytes.to_vec()))
        .collect()
}

#[test]
fn a_change_cut_anywhere_is_not_there_at_all() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!(catalog.change(vec![put("definition", "top-up", 1, b"one")]).expect("change"), 1);
    let (before, path) = (all(&catalog), dir.path().join("catalog.log"));
    let old_len = fs::read(&path).expect("file").len();
    let ops = vec![
        put("definition", "top-up", 2, b"two"),
        put("participant", "billing", 1, b"http"),
        Op::Delete { key: ObjectKey::new("definition", "top-up", 1) },
    ];
    assert_eq!(catalog.change(ops).expect("change"), 2);
    let after = all(&catalog);
    drop(catalog);
    let whole = fs::read(&path).expect("file");
    let end = whole.len() - SEAL_LEN;
    for len in old_len - SEAL_LEN..=whole.len() {
        let cut = copy_dir(dir.path());
        fs::write(cut.path().join("catalog.log"), &whole[..len]).expect("cut");
        let catalog = Catalog::open(cut.path()).expect("open");
        let expected = if len >= end { &after } else { &before };
        assert_eq!(&all(&catalog), expected, "cut at {len}");
        assert_eq!(catalog.last_change(), if len >= end { 2 } else { 1 }, "cut at {len}");
        assert_eq!(
            catalog.warnings().is_empty(),
            [old_len - SEAL_LEN, end, whole.len()].contains(&len),
            "cut at {len}"
        );
    }
}

/// Behind the last change stands a seal, so that old damage is not taken for a write that was cut short.
#[test]
fn a_flipped_byte_of_the_last_change_is_damage_and_not_a_torn_write() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalog = Catalog::open(dir.path()).expect("open");
    let before = fs::read(dir.path().join("catalog.log")).expect("file").len();
    catalog.change(vec![put("definition", "a", 1, &[1; 30])]).expect("change");
    drop(catalog);
    let len = fs::read(dir.path().join("catalog.log")).expect("file").len();
    for at in before..len - SEAL_LEN {
        let hurt = copy_dir(dir.path());
        flip(&hurt.path().join("catalog.log"), at);
        assert!(matches!(Catalog::open(hurt.path()), Err(Error::Damaged { .. })), "byte {at}");
        assert_eq!(inspect(hurt.path()).expect("inspect").worst(), Some(Severity::Loss), "byte {at}");
    }
    // The next change stands in the seal's place, with the next number.
    let mut catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!(catalog.change(vec![put("definition", "b", 1, b"b")]).expect("change"), 2);
    drop(catalog);
    let catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!((catalog.last_change(), catalog.warnings().len(), all(&catalog).len()), (2, 0, 2));
}

#[test]
fn a_flipped_byte_with_a_whole_change_behind_it_is_damage() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalog = Catalog::open(dir.path()).expect("open");
    catalog.change(vec![put("definition", "a", 1, &[1; 30])]).expect("change");
    let first_len = fs::read(dir.path().join("catalog.log")).expect("file").len() - SEAL_LEN;
    catalog.change(vec![put("definition", "b", 1, &[2; 30])]).expect("change");
    drop(catalog);
    for at in 0..first_len {
        let hurt = copy_dir(dir.path());
        flip(&hurt.path().join("catalog.log"), at);
        assert!(matches!(Catalog::open(hurt.path()), Err(Error::Damaged { .. })), "byte {at}");
        assert_eq!(inspect(hurt.path()).expect("inspect").worst(), Some(Severity::Loss), "byte {at}");
    }
    let report = inspect(dir.path()).expect("inspect");
    assert_eq!((report.items, report.findings), (2, vec![]));
}

#[test]
fn versions_are_listed_and_the_file_is_rewritten_when_mostly_dead() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalog = Catalog::open(dir.path()).expect("open");
    for version in 1..=3 {
        catalog.change(vec![put("definition", "top-up", version, &[version as u8; 10])]).expect("change");
    }
    catalog.change(vec![put("definition", "top-up-2", 9, b"x")]).expect("change");
    for n in 0..200_u64 {
        catalog.change(vec![put("pause", "billing", 0, &[n as u8; 4000])]).expect("change");
    }
    assert!(fs::read(dir.path().join("catalog.log")).expect("file").len() < 300_000);
    drop(catalog);
    let mut catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!(catalog.last_change(), 204);
    let versions: Vec<u64> = catalog.versions("definition", "top-up").map(|object| object.key.version).collect();
    assert_eq!(versions, [1, 2, 3]);
    assert_eq!(catalog.latest("definition", "top-up").map(|object| object.key.version), Some(3));
    assert_eq!(catalog.get(&ObjectKey::new("pause", "billing", 0)).map(|o| o.bytes[0]), Some(199));
    catalog.change(vec![Op::Delete { key: ObjectKey::new("pause", "billing", 0) }]).expect("change");
    drop(catalog);
    let catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!((catalog.last_change(), catalog.list("pause").count()), (205, 0));
    assert_eq!(names(dir.path()), ["catalog.log"]);
}

#[test]
fn what_places_a_key_never_changes() {
    let dir = tempfile::tempdir().expect("dir");
    let mut catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!(catalog.identity().expect("identity"), None);
    let identity = NodeIdentity { partitions: 16, hash_version: 1, incarnation: 1, epoch: 1, created_at_us: 77 };
    catalog.set_identity(&identity).expect("set");
    catalog.set_identity(&NodeIdentity { epoch: 2, ..identity }).expect("a restart");
    for wrong in [
        NodeIdentity { partitions: 32, epoch: 3, ..identity },
        NodeIdentity { hash_version: 2, epoch: 3, ..identity },
        NodeIdentity { created_at_us: 78, epoch: 3, ..identity },
        NodeIdentity { epoch: 1, ..identity },
    ] {
        assert!(matches!(catalog.set_identity(&wrong), Err(Error::Refused(_))), "{wrong:?}");
    }
    drop(catalog);
    let catalog = Catalog::open(dir.path()).expect("open");
    assert_eq!(catalog.identity().expect("identity"), Some(NodeIdentity { epoch: 2, ..identity }));
}
