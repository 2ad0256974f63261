//! Arbitrary entries against a partition that knows a real plan: each is applied or refused, none falls over, the same
//! entries give the same rows (JR-1), and every row that comes out can be kept and brought back.

use std::sync::OnceLock;

use definition::{Known, SourceFile, check};
use model::{PartitionId, Timestamp};
use partition::plans::Plans;
use partition::{Entry, EntryKind, Partition};
use plan::Saga;

pub(crate) fn run(data: &[u8]) {
    let first = played(data);
    assert_eq!(first, played(data), "JR-1: one journal, one state");
}

/// Rows of what is live, after all that could be applied.
fn played(data: &[u8]) -> Vec<Vec<u8>> {
    let mut partition = partition();
    let Ok(reader) = wire::EntryReader::new(data, partition.seq + 1) else { return Vec::new() };
    let mut rows = Vec::new();
    for entry in reader.map_while(Result::ok) {
        match partition.apply(&entry) {
            Ok(Some(ended)) => rows.push(kept(&ended, &partition)),
            Ok(None) => {}
            Err(refused) => {
                assert!(!refused.to_string().is_empty());
                // The state is not to be used further.
                return rows;
            }
        }
        assert_eq!(partition.seq, entry.seq);
        assert_eq!(partition.live_count(), partition.live_seqs().len());
        let _ = (partition.next_wake(), partition.due(entry.at, 10));
        let _ = partition.take_changes();
    }
    rows.extend(partition.residents().map(|tx| kept(tx, &partition)));
    rows
}

fn kept(tx: &partition::Transaction, partition: &Partition) -> Vec<u8> {
    let hash = partition.plans.get(tx.plan).expect("a transaction's plan is there").hash;
    let mut row = Vec::new();
    wire::row::write(tx, &hash, &mut row);
    let again = wire::row::read(&row, |hash| partition.plans.find(hash)).expect("we wrote it");
    assert_eq!(&again, tx, "a row brings back the transaction");
    row
}

/// A partition in its second epoch that knows the telecom plans.
fn partition() -> Partition {
    let mut partition = Partition::new(PartitionId(5));
    let at = Timestamp::from_millis(1_795_000_000_000);
    let epoch = EntryKind::Epoch { epoch: 2, incarnation: 1, semantics: 1 };
    partition.apply(&Entry { seq: 1, at, kind: epoch }).expect("the first entry");
    // As if each had been an entry: decoding them anew for every input would be all that is measured.
    partition.plans = plans().clone();
    partition.seq += partition.plans.len() as u64;
    partition
}

fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(|| {
        let files: Vec<SourceFile> = crate::TELECOM
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        let mut plans = Plans::default();
        for saga in check(&files, &Known::default()).sagas {
            let bytes = saga.plan.to_bytes();
            plans.add(Saga::hash_of(&bytes), bytes.into()).expect("a checked plan can be kept");
        }
        plans
    })
}
