//! The batches of a slow partition, moved out of the way of the head.

const SIDE: u64 = 1 << 63;

/// What stands in the place of a segment's id in the side file of `partition`.
pub(crate) fn id_of_partition(partition: u16) -> u64 {
    SIDE | u64::from(partition)
}

/// The partition whose side file carries `id`, or nothing if `id` is that of a segment.
pub(crate) fn partition_of_id(id: u64) -> Option<u16> {
    (id & SIDE != 0).then_some(id as u16)
}
