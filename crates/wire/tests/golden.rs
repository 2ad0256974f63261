//! Golden bytes of version 1: what was written once must be read for ever, and be written the same.
//!
//! A difference here is a changed format. Released bytes are never edited: a new version gets its own.

use std::fmt::Write;

use crate::support::every;
use expect_test::{Expect, expect_file};
use partition::{Entry, EntryKind};
use smallvec::smallvec;

#[allow(clippy::needless_pass_by_value, reason = "reads as expect_test is read everywhere")]
fn check(lines: Vec<(&'static str, Vec<u8>)>, expected: expect_test::ExpectFile) {
    let mut text = String::new();
    for (name, bytes) in lines {
        let _ = writeln!(text, "{name}: {}", hex(&bytes));
    }
    expected.assert_eq(&text);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

fn lines(file: &str) -> Vec<(&str, Vec<u8>)> {
    file.lines().filter_map(|line| line.split_once(": ")).map(|(name, text)| (name, unhex(text))).collect()
}

fn batch(entries: &[Entry]) -> Vec<u8> {
    let mut writer = wire::EntryWriter::default();
    entries.iter().for_each(|entry| writer.push(entry));
    writer.payload().to_vec()
}

fn read(payload: &[u8], first_seq: u64) -> Vec<Entry> {
    let reader = wire::EntryReader::new(payload, first_seq).expect("a batch");
    reader.collect::<Result<_, _>>().expect("readable entries")
}

#[test]
fn every_verdict() {
    let entry = |m| Entry { seq: 9, at: every::AT, kind: EntryKind::Moves { tx: 9, moves: smallvec![m] } };
    let moves = every::moves();
    for (name, a_move) in &moves {
        assert_eq!(*name, every::name_of(a_move));
    }
    for ((name, golden), (_, a_move)) in lines(include_str!("golden/moves.hex")).iter().zip(&moves) {
        assert_eq!(read(golden, 9), [entry(a_move.clone())], "{name}");
    }
    let lines = moves.into_iter().map(|(name, m)| (name, batch(&[entry(m)]))).collect();
    check(lines, expect_file!["golden/moves.hex"]);
}

#[test]
fn every_entry() {
    let entries = every::entries();
    for ((name, golden), (_, entry)) in lines(include_str!("golden/entries.hex")).iter().zip(&entries) {
        assert_eq!(read(golden, entry.seq), std::slice::from_ref(entry), "{name}");
    }
    let all: Vec<Entry> = entries.iter().map(|(_, entry)| entry.clone()).collect();
    assert_eq!(read(&batch(&all), all[0].seq), all);
    let mut lines: Vec<_> = entries.into_iter().map(|(name, entry)| (name, batch(&[entry]))).collect();
    lines.push(("all in one batch", batch(&all)));
    check(lines, expect_file!["golden/entries.hex"]);
}

#[test]
fn every_row() {
    let rows = every::rows();
    let plan = *b"0123456789abcdef";
    let place = |hash: &plan::PlanHash| (*hash == plan).then_some(0);
    for ((name, golden), (_, tx)) in lines(include_str!("golden/rows.hex")).iter().zip(&rows) {
        assert_eq!(wire::row::read(golden, place).as_ref(), Ok(tx), "{name}");
        assert_eq!(wire::row::plan_of(golden), Ok(plan));
    }
    let lines = rows.into_iter().map(|(name, tx)| {
        let mut row = Vec::new();
        wire::row::write(&tx, &plan, &mut row);
        (name, row)
    });
    check(lines.collect(), expect_file!["golden/rows.hex"]);
}

#[test]
fn the_frame_of_a_checkpoint() {
    let mut partition = partition::Partition::new(model::PartitionId(5));
    partition.epoch = 300;
    partition.incarnation = 2;
    partition.seq = 70_000;
    partition.at = every::AT;
    let mut frame = Vec::new();
    wire::checkpoint::write(&partition, &mut frame);
    for (_, golden) in lines(include_str!("golden/frame.hex")) {
        let again = wire::checkpoint::read(partition.id, &golden).expect("a frame");
        assert_eq!((again.epoch, again.incarnation, again.seq, again.at), (300, 2, 70_000, every::AT));
    }
    check(vec![("frame", frame)], expect_file!["golden/frame.hex"]);
}

/// Codes, once released, mean the same for ever: every member of every enum that is written as a byte.
#[test]
fn every_code() {
    let expected: Expect = expect_test::expect![[r#"
        status: Pending 0, Active 1, Done 2, Refused 3, Failed 4, Unknown 5, Skipped 6, Undoing 7, Compensated 8, GivenUp 9
        reason: Refused 0, Failed 1, Cancelled 2, TimedOut 3
        outcome: Completed 1, Aborted(Refused) 2, Aborted(Failed) 3, Aborted(Cancelled) 4, Aborted(TimedOut) 5
        attention: Unknown 0, RefusedAfterPivot 1, UndoFails 2, ResultMissing 3, OurMistake 4, RequestChanged 5, Expression 6, PromiseExpired 7, TimedOutAfterPivot 8, Quarantined 9, ParticipantGone 10
    "#]];
    let mut text = String::new();
    for (name, codes) in codes() {
        let _ = writeln!(text, "{name}: {codes}");
    }
    expected.assert_eq(&text);
}

fn codes() -> Vec<(&'static str, String)> {
    use partition::Move;
    use partition::branch::Status;
    use partition::transaction::{AttentionCause as A, Reason, TxOutcome};
    let payload = |m| batch(&[Entry { seq: 1, at: every::AT, kind: EntryKind::Moves { tx: 1, moves: smallvec![m] } }]);
    // The verdict begins behind: version 1, base 8, length 1, kind 1, time 1, transaction 1, count 1, tag 1.
    const FIRST: usize = 15;
    let statuses = [
        Status::Pending,
        Status::Active,
        Status::Done,
        Status::Refused,
        Status::Failed,
        Status::Unknown,
        Status::Skipped,
        Status::Undoing,
        Status::Compensated,
        Status::GivenUp,
    ];
    let settle = |status| payload(Move::Settle { step: 0, status, result: None, by_hand: false })[FIRST + 1];
    let reasons = [Reason::Refused, Reason::Failed, Reason::Cancelled, Reason::TimedOut];
    let stop = |reason| payload(Move::Stop { reason, cause: partition::transaction::Cause::default() })[FIRST];
    let outcomes = std::iter::once(TxOutcome::Completed).chain(reasons.map(TxOutcome::Aborted));
    let decide = |outcome| payload(Move::Decide { outcome, cause: None, output: None })[FIRST];
    let causes = [
        A::Unknown,
        A::RefusedAfterPivot,
        A::UndoFails,
        A::ResultMissing,
        A::OurMistake,
        A::RequestChanged,
        A::Expression,
        A::PromiseExpired,
        A::TimedOutAfterPivot,
        A::Quarantined,
        A::ParticipantGone,
    ];
    let ask = |cause| {
        let direction = model::Direction::Call;
        let attention =
            partition::transaction::Attention { cause, step: None, direction, detail: "".into(), since: every::AT };
        payload(Move::Ask(attention))[FIRST]
    };
    let list = |words: Vec<String>| words.join(", ");
    vec![
        ("status", list(statuses.iter().map(|s| format!("{s:?} {}", settle(*s))).collect())),
        ("reason", list(reasons.iter().map(|r| format!("{r:?} {}", stop(*r))).collect())),
        ("outcome", list(outcomes.map(|o| format!("{o:?} {}", decide(o))).collect())),
        ("attention", list(causes.iter().map(|c| format!("{c:?} {}", ask(*c))).collect())),
    ]
}
