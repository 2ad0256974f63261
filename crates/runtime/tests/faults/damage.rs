//! A bit of a durable record flips while nobody looks: a start never passes over it in silence, its partition stands
//! still, the others go on, the doctor names the place, and with the bit put back everything is as it was.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{Refusal, Until};

use crate::bank::Bank;
use crate::campaign::doctor;
use crate::dice::Dice;
use crate::disk::Shadow;
use crate::life::{self, Life, Line, WAIT};

const BITS: u64 = 12;

/// A byte of a valid group of the journal, but for the last group: that one could be a write cut short.
fn durable_byte(data: &Path, dice: &mut Dice) -> (PathBuf, u64) {
    let found = journal::inspect::inspect(&data.join("journal")).expect("a journal");
    let files: Vec<_> = found.files.iter().filter(|file| file.groups > 4 && file.superseded_from.is_none()).collect();
    let file = files[dice.below(files.len() as u64) as usize];
    // The first half of the valid bytes, behind the segment's header: other groups follow.
    let at = 4_096.min(file.used_bytes / 4) + dice.below(file.used_bytes / 2);
    (data.join("journal").join(&file.name), at)
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = std::fs::File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).expect("written");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_found_wherever_it_is_and_costs_no_other_partition() {
    let dir = tempfile::tempdir().expect("a folder");
    let (data, shadow, bank) = (dir.path().join("data"), Shadow::new(1), Bank::new(1));
    std::fs::create_dir(&data).expect("a folder");
    bank.recover();
    let node = Life::begin(&data, &shadow, &bank, |_| ()).expect("the node starts");
    node.engine.apply(life::files(), false, "test").await.expect("applied");
    let mut ended = BTreeMap::new();
    for n in 0..60 {
        let (definition, name) = if n % 3 == 0 { ("awaiting", format!("w{n}")) } else { ("transfer", format!("t{n}")) };
        let order = life::order(definition, &format!("a{n}"), &name, 500);
        let wait = if definition == "awaiting" { Duration::ZERO } else { WAIT };
        let answer = node.engine.submit(order, wait, Until::End).await.expect("accepted");
        ended.insert(name, answer.id);
    }
    node.end();
    assert_eq!(doctor(&data), Vec::<String>::new());

    let mut dice = Dice::new(7, "bits");
    let (mut frozen, mut refused) = (0, 0);
    for round in 0..BITS {
        // Nothing of the copy is called: the bank knows every key already.
        let hurt = dir.path().join(format!("hurt-{round}"));
        copy(&data, &hurt);
        let (path, at) = durable_byte(&hurt, &mut dice);
        let bit = dice.below(8) as u8;
        flip(&path, at, bit);
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let told = doctor(&hurt);
        let names_it =
            told.iter().any(|line| line.contains("journal.") && line.contains(&file) && line.contains("byte"));
        assert!(names_it, "round {round}: {file}, byte {at}: {told:?}");
        match Life::begin(&hurt, &Shadow::new(round), &bank, |_| ()) {
            Err(why) => {
                refused += 1;
                assert!(why.contains("byte"), "round {round}: {file}, byte {at}: {why}");
            }
            Ok(node) => {
                let stands_still = serves_some(&node, &format!("r{round}")).await;
                frozen += usize::from(stands_still);
                node.end();
                assert!(path.exists(), "round {round}: what a frozen partition needs is not trimmed");
                flip(&path, at, bit);
                let node = Life::begin(&hurt, &Shadow::new(round), &bank, |_| ()).expect("it starts when it is mended");
                assert!(!serves_some(&node, &format!("m{round}")).await, "round {round}: nothing stands still");
                let lines = life::everything(&node.engine).await;
                let there = |name: &String| lines.iter().any(|line| line.key == *name && line.id == ended[name]);
                assert!(ended.keys().all(there), "round {round}");
                node.end();
                assert_eq!(doctor(&hurt), Vec::<String>::new(), "round {round}");
            }
        }
    }
    assert!(frozen + refused > 0, "nothing was hit");
    eprintln!("{frozen} starts with a frozen partition, {refused} refused");
    let node = Life::begin(&data, &Shadow::new(1), &bank, |_| ()).expect("the undamaged one starts");
    assert!(life::everything(&node.engine).await.len() == ended.len());
    node.end();
}

/// Submits to many partitions: those that stand still say so, the others complete. Gives whether any stands still.
async fn serves_some(node: &Life, round: &str) -> bool {
    let (mut well, mut still) = (0, 0);
    for n in 0..24 {
        let name = format!("{round}-{n}");
        let order = life::order("transfer", &format!("a{n}"), &name, 0);
        match node.engine.submit(order, WAIT, Until::End).await {
            Ok(answer) => {
                assert_eq!(Line::read(&answer.body).outcome, "completed", "{round}");
                well += 1;
            }
            Err(Refusal::Unavailable { what, .. }) => {
                assert!(what.contains("partition"), "{round}: {what}");
                still += 1;
            }
            Err(other) => panic!("{round}: {other:?}"),
        }
    }
    assert!(well > 0 || still == 24, "{round}");
    still > 0
}
