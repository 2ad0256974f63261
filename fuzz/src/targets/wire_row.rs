//! The row of a transaction: what is read can be written and read again, and is then the same.

use partition::Transaction;

pub(crate) fn run(data: &[u8]) {
    let hash = wire::row::plan_of(data);
    let Ok(tx) = wire::row::read(data, |_| Some(7)) else { return };
    let hash = hash.expect("a row that can be read names its plan");
    let bytes = written(&tx, &hash);
    assert_eq!(wire::row::plan_of(&bytes), Ok(hash));
    let again = wire::row::read(&bytes, |found| (*found == hash).then_some(7)).expect("we wrote it");
    assert_eq!(again, tx);
    assert_eq!(written(&again, &hash), bytes, "one value, one form");
}

fn written(tx: &Transaction, hash: &plan::PlanHash) -> Vec<u8> {
    let mut row = Vec::new();
    wire::row::write(tx, hash, &mut row);
    row
}
