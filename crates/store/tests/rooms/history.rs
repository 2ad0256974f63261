//! The history: what is appended is found, listed, counted, kept over restarts, dropped when it is old.

use std::collections::BTreeMap;
use std::path::Path;

use store::history::{
    Block, Cursor, Filter, GroupBy, History, Position, Record, Refusal, Settings, StoredRecord, inspect,
};

pub(crate) const SMALL: Settings =
    Settings { segment_bytes: 1 << 20, segment_records_max: 1000, queue_bytes_max: 8 << 20 };

/// Record `n` of a world in which ids rise with time but ends come shuffled.
pub(crate) fn record(n: u64) -> StoredRecord {
    StoredRecord {
        id: (u128::from(n) << 86) | 0x1234,
        idempotency: u128::from(n) * 0x1_0000_0001_0000_0001_0000_0001,
        key: n % 50,
        began_at_us: n * 1000,
        ended_at_us: n * 1000 + 500,
        definition: (n % 3) as u32,
        state: (n % 2) as u8,
        outcome: (n % 5) as u8,
        reason: 0,
        tags: vec![(n % 7) as u32, 100 + (n % 11) as u32],
        row: vec![n as u8; 20 + (n % 90) as usize],
    }
}

pub(crate) fn push(block: &mut Block, r: &StoredRecord) {
    assert!(block.push(&Record {
        id: r.id,
        idempotency: r.idempotency,
        key: r.key,
        began_at_us: r.began_at_us,
        ended_at_us: r.ended_at_us,
        definition: r.definition,
        state: r.state,
        outcome: r.outcome,
        reason: r.reason,
        tags: &r.tags,
        row: &r.row,
    }));
}

/// Appends the records in blocks of `at_once`, each block's order reversed; waits out a busy history.
pub(crate) fn append(history: &History, numbers: impl Iterator<Item = u64>, at_once: usize) -> Position {
    let numbers: Vec<u64> = numbers.collect();
    let mut position = history.position();
    for some in numbers.chunks(at_once) {
        let mut block = history.take_block();
        some.iter().rev().for_each(|n| push(&mut block, &record(*n)));
        loop {
            match history.append(block) {
                Ok(at) => break position = at,
                Err(refused) => {
                    assert!(matches!(refused.why, Refusal::Busy { .. }), "{:?}", refused.why);
                    block = refused.block;
                    std::thread::yield_now();
                }
            }
        }
    }
    position
}

pub(crate) fn open(dir: &Path) -> History {
    let (history, opened) = History::open(dir, SMALL).expect("open");
    assert_eq!(opened.warnings, Vec::<String>::new());
    assert_eq!(opened.cut_bytes, 0);
    history
}

fn finds_all(history: &History, numbers: std::ops::Range<u64>) {
    for n in numbers.step_by(37) {
        let wanted = record(n);
        assert!(history.contains(wanted.id).expect("contains"), "{n}");
        assert_eq!(history.get(wanted.id).expect("get").as_ref(), Some(&wanted), "{n}");
        assert_eq!(history.find_idempotency(wanted.idempotency).expect("find"), vec![wanted], "{n}");
    }
}

fn page_through(history: &History, filter: &Filter, limit: usize) -> Vec<StoredRecord> {
    let (mut all, mut below) = (Vec::new(), None);
    loop {
        let page = history.list(filter, below, limit).expect("a page");
        assert!(page.records.len() <= limit);
        all.extend(page.records);
        match page.next_below {
            Some(next) => {
                assert!(below.is_none_or(|below| next < below), "pages go down");
                below = Some(next);
            }
            None => return all,
        }
    }
}

#[test]
fn records_are_found_at_once_and_after_every_restart() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    append(&history, 0..5000, 50);
    // Some are queued, some in memory, some sealed: all are found.
    finds_all(&history, 0..5000);
    assert!(!history.contains(record(5000).id).expect("contains"));
    assert!(history.find_idempotency(record(5000).idempotency).expect("find").is_empty());
    drop(history);
    let history = open(dir.path());
    assert_eq!(history.stats().records, 5000);
    finds_all(&history, 0..5000);
    append(&history, 5000..7000, 33);
    finds_all(&history, 0..7000);
    drop(history);
    finds_all(&open(dir.path()), 0..7000);
    let report = inspect(dir.path()).expect("inspect");
    assert_eq!((report.items, report.findings), (7000, vec![]));
}

#[test]
fn a_flush_makes_everything_before_it_durable() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    let first = append(&history, 0..100, 10);
    history.flush_to_disk(first).expect("flush");
    assert!(history.durable_position() >= first);
    let second = append(&history, 100..2500, 10);
    assert!(second > first);
    history.flush_to_disk(second).expect("flush");
    assert_eq!(history.durable_position(), history.position());
}

#[test]
fn lists_are_newest_first_and_every_filter_agrees_with_a_plain_search() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    append(&history, 0..3500, 50);
    let world: Vec<StoredRecord> = (0..3500).rev().map(record).collect();
    let base = Filter::default();
    let filters = [
        base.clone(),
        Filter { definition: Some(1), ..base.clone() },
        Filter { state: Some(1), outcome: Some(3), ..base.clone() },
        Filter { key: Some(17), ..base.clone() },
        Filter { key: Some(17), state: Some(0), ..base.clone() },
        Filter { idempotency: Some(record(1234).idempotency), ..base.clone() },
        Filter { tags: vec![3], ..base.clone() },
        Filter { tags: vec![3, 105], definition: Some(2), ..base.clone() },
        Filter { tags: vec![99_999], ..base.clone() },
        Filter { reason: Some(9), ..base.clone() },
        Filter { id_from: Some(record(700).id), id_below: Some(record(2300).id), ..base.clone() },
        Filter { key: Some(3), id_from: Some(record(700).id), id_below: Some(record(2300).id), ..base.clone() },
    ];
    for filter in &filters {
        let wanted: Vec<&StoredRecord> = world.iter().filter(|r| passes(filter, r)).collect();
        for limit in [7, 1000] {
            let found = page_through(&history, filter, limit);
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{filter:?} by {limit}");
        }
        let counted = history.count(filter, &[]).expect("count").first().map_or(0, |count| count.records);
        assert_eq!(counted, wanted.len() as u64, "{filter:?}");

        let mut groups: BTreeMap<(u32, u8), u64> = BTreeMap::new();
        wanted.iter().for_each(|r| *groups.entry((r.definition, r.outcome)).or_default() += 1);
        let counts = history.count(filter, &[GroupBy::Definition, GroupBy::Outcome]).expect("count");
        let counts: BTreeMap<(u32, u8), u64> =
            counts.iter().map(|c| ((c.definition.expect("grouped"), c.outcome.expect("grouped")), c.records)).collect();
        assert_eq!(counts, groups, "{filter:?}");
    }
    let by_tag = history.count(&Filter { definition: Some(0), ..base }, &[GroupBy::Tag]).expect("count");
    let threes = world.iter().filter(|r| r.definition == 0 && r.tags.contains(&3)).count() as u64;
    assert_eq!(by_tag.iter().find(|count| count.tag == Some(3)).map(|count| count.records), Some(threes));
}

fn passes(filter: &Filter, r: &StoredRecord) -> bool {
    filter.definition.is_none_or(|v| v == r.definition)
        && filter.state.is_none_or(|v| v == r.state)
        && filter.outcome.is_none_or(|v| v == r.outcome)
        && filter.reason.is_none_or(|v| v == r.reason)
        && filter.key.is_none_or(|v| v == r.key)
        && filter.idempotency.is_none_or(|v| v == r.idempotency)
        && filter.tags.iter().all(|tag| r.tags.contains(tag))
        && filter.id_from.is_none_or(|v| r.id >= v)
        && filter.id_below.is_none_or(|v| r.id < v)
}

#[test]
fn pages_stay_in_place_while_records_arrive() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    append(&history, 0..2000, 50);
    let (mut seen, mut below, mut newer) = (Vec::new(), None, 2000);
    loop {
        let page = history.list(&Filter::default(), below, 90).expect("a page");
        seen.extend(page.records.iter().map(|r| r.id));
        append(&history, newer..newer + 100, 50);
        newer += 100;
        match page.next_below {
            Some(next) => below = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (0..2000).rev().map(|n| record(n).id).collect::<Vec<_>>());
}

#[test]
fn a_cursor_keeps_its_place_and_refuses_another_query() {
    let cursor = Cursor::new(b"state=ended", record(77).id);
    let back: Cursor = cursor.to_string().parse().expect("a cursor");
    assert_eq!(back, cursor);
    assert!(back.belongs_to(b"state=ended"));
    assert!(!back.belongs_to(b"state=running"));
    let mut wrong = cursor.to_string();
    wrong.replace_range(20..21, if &wrong[20..21] == "0" { "1" } else { "0" });
    for text in ["", "xyz", &wrong, "ä".repeat(28).as_str()] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}

#[test]
fn retention_drops_whole_old_segments_and_forgets_their_keys() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    let position = append(&history, 0..4500, 50);
    history.flush_to_disk(position).expect("flush");
    drop(history);
    let history = open(dir.path());
    let before = history.stats();
    // Cut-off inside the third segment: two go.
    let dropped = history.drop_ended_before(record(2500).ended_at_us).expect("drop");
    assert_eq!((dropped.segments, dropped.records), (2, 2000));
    assert_eq!(history.stats().records, before.records - 2000);
    assert!(history.find_idempotency(record(10).idempotency).expect("find").is_empty());
    assert!(!history.contains(record(1999).id).expect("contains"));
    finds_all(&history, 2000..4500);
    assert_eq!(history.drop_ended_before(record(2500).ended_at_us).expect("drop").segments, 0);
    append(&history, 4500..6000, 50);
    drop(history);
    finds_all(&open(dir.path()), 2000..6000);
}

#[test]
fn a_block_that_no_segment_holds_is_given_back() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    let mut block = history.take_block();
    let large = StoredRecord { row: vec![0; 2 << 20], ..record(1) };
    push(&mut block, &large);
    let refused = history.append(block).expect_err("too large");
    assert_eq!((refused.why, refused.block.len()), (Refusal::TooLarge, 1));
}

#[test]
fn the_same_key_again_gives_both_newest_first() {
    let dir = tempfile::tempdir().expect("dir");
    let history = open(dir.path());
    let again = StoredRecord { idempotency: record(1).idempotency, ..record(9) };
    for r in [record(1), again.clone()] {
        let mut block = history.take_block();
        push(&mut block, &r);
        history.append(block).expect("append");
        append(&history, (r.ended_at_us..r.ended_at_us + 1200).map(|n| n + 10_000), 100);
    }
    assert_eq!(history.find_idempotency(again.idempotency).expect("find"), vec![again, record(1)]);
}

#[test]
fn many_records_cost_little_memory_and_few_wrong_answers() {
    let dir = tempfile::tempdir().expect("dir");
    let settings = Settings { segment_bytes: 8 << 20, segment_records_max: 40_000, queue_bytes_max: 16 << 20 };
    let (history, _) = History::open(dir.path(), settings).expect("open");
    let total = 300_000;
    append(&history, 0..total, 500);
    for n in (0..total).step_by(997) {
        assert_eq!(history.find_idempotency(record(n).idempotency).expect("find").len(), 1);
    }
    for n in total..total + 50_000 {
        assert!(history.find_idempotency(record(n).idempotency).expect("find").is_empty());
    }
    drop(history);
    let (history, opened) = History::open(dir.path(), settings).expect("open");
    assert_eq!((opened.records, opened.warnings), (total, vec![]));
    let stats = history.stats();
    assert!(stats.signpost_bytes <= total * 10, "{stats:?}");
}
