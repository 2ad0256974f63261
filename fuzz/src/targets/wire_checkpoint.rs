//! The frame of a checkpoint: what is read can be written and read again, and is then the same.

use model::PartitionId;
use wire::checkpoint;

pub(crate) fn run(data: &[u8]) {
    let id = PartitionId(5);
    let Ok(partition) = checkpoint::read(id, data) else { return };
    let mut bytes = Vec::new();
    checkpoint::write(&partition, &mut bytes);
    let again = checkpoint::read(id, &bytes).expect("we wrote it");
    assert_eq!((again.epoch, again.incarnation), (partition.epoch, partition.incarnation));
    assert_eq!((again.seq, again.at), (partition.seq, partition.at));
    assert_eq!(again.plans.len(), partition.plans.len());
    let mut second = Vec::new();
    checkpoint::write(&again, &mut second);
    assert_eq!(second, bytes, "one value, one form");
}
