//! Side files: batches that one slow partition still needs, copied out of the oldest segment so that it can go.
//!
//! A side file is framed like a segment, with an id that says whose it is, and grows by whole groups. Its batches lie
//! before everything that segments hold of the partition. It is deleted when its last batch is trimmable.
//! Left out: when to move batches aside (`keeper`).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::chain;
use crate::disk::{self, Disk};
use crate::error::Error;
use crate::format::{GroupFrame, SUPERSEDES_NOTHING, SegmentHeader};
use crate::recovered::Tail;
use crate::segment::{Closed, UNFINISHED, segment_name, side_name};
use crate::walk::{self, Source, Step, Walker};

const SIDE: u64 = 1 << 63;

/// What stands in the place of a segment's id in the side file of `partition`.
pub(crate) fn id_of_partition(partition: u16) -> u64 {
    SIDE | u64::from(partition)
}

/// The partition whose side file carries `id`, or nothing if `id` is that of a segment.
pub(crate) fn partition_of_id(id: u64) -> Option<u16> {
    (id & SIDE != 0).then_some(id as u16)
}

/// A side file and where it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    pub(crate) header: SegmentHeader,
    pub(crate) end: u64,
    pub(crate) next_group: u64,
    /// Its last batch.
    pub(crate) tail: Tail,
}

/// Copies what is still needed of `closed` to side files and syncs them. Afterwards the segment can be recycled.
///
/// Returns how many batches were moved. After an error the files must be opened again before more is moved.
pub(crate) fn move_aside(
    disk: &Arc<dyn Disk>,
    closed: &Closed,
    trimmable: &BTreeMap<u16, u64>,
    sides: &mut BTreeMap<u16, Side>,
) -> Result<u64, Error> {
    let mut frames: BTreeMap<u16, (GroupFrame, Tail)> = BTreeMap::new();
    let name = segment_name(closed.header.segment);
    let source = Source { name, header: closed.header, limit: closed.limit };
    let mut walker = Walker::new(Arc::clone(disk), vec![source]).knowing_all_durable();
    let mut moved = 0;
    while let Some(step) = walker.step()? {
        let group = match step {
            Step::Group(group) => group,
            Step::Damage(damage) => return Err(Error::damage(&damage)),
        };
        let frame = walker.frame(&group);
        for batch in walk::batches(&group.header, frame) {
            let batch = batch.map_err(|at| Error::damage(&chain::unreadable(closed.header.segment, &group, at)))?;
            let (partition, last_seq) = (batch.header.partition, batch.header.last_seq());
            if trimmable.get(&partition).is_some_and(|&seq| last_seq <= seq) {
                continue;
            }
            let tail = frames.get(&partition).map(|(_, tail)| *tail);
            // A crash after an earlier copy may have left batches in both.
            if let Some(tail) = tail.or_else(|| sides.get(&partition).map(|side| side.tail))
                && last_seq <= tail.seq
                && !chain::follows(&batch.header, &tail)
            {
                continue;
            }
            // A damaged batch is copied as it is: its own hash keeps telling.
            let bytes = &frame[batch.offset..batch.offset + batch.header.span()];
            let (into, tail) = frames.entry(partition).or_default();
            into.push(bytes);
            *tail = Tail { seq: last_seq, hash: batch.header.hash };
            moved += 1;
        }
    }
    for (partition, (mut frame, tail)) in frames {
        let known = sides.get(&partition).copied();
        let side = append(&**disk, partition, known, &mut frame, tail)
            .map_err(Error::io(format!("cannot move batches of partition {partition} aside")))?;
        sides.insert(partition, side);
    }
    Ok(moved)
}

/// One more group, synced, and then a seal, synced: without the seal, damage to the last group would look like a write
/// that was cut short, and by then the segment that had its batches is gone.
fn append(
    disk: &dyn Disk,
    partition: u16,
    known: Option<Side>,
    frame: &mut GroupFrame,
    tail: Tail,
) -> io::Result<Side> {
    let name = side_name(partition);
    let mut seal = GroupFrame::default();
    if let Some(side) = known {
        let file = disk.open(&name)?;
        let group = frame.finish(&side.header, side.next_group, side.next_group - 1);
        disk::write_all(&*file, group, side.end)?;
        file.sync_all()?;
        let end = side.end + group.len() as u64;
        let seal = seal.finish(&side.header, side.next_group + 1, side.next_group);
        disk::write_all(&*file, seal, end)?;
        file.sync_all()?;
        return Ok(Side { end: end + seal.len() as u64, next_group: side.next_group + 2, tail, ..side });
    }
    let header = SegmentHeader {
        segment: id_of_partition(partition),
        bytes: 0,
        align: 512,
        salt: disk.salt(),
        supersedes_from: SUPERSEDES_NOTHING,
    };
    // Under its name only when it is whole, so one sync is enough.
    let unfinished = format!("{name}{UNFINISHED}");
    let mut bytes = header.encode();
    bytes.extend_from_slice(frame.finish(&header, 1, 0));
    bytes.extend_from_slice(seal.finish(&header, 2, 1));
    let file = disk.create(&unfinished)?;
    disk::write_all(&*file, &bytes, 0)?;
    file.sync_all()?;
    disk.rename(&unfinished, &name)?;
    disk.sync_names()?;
    Ok(Side { header, end: bytes.len() as u64, next_group: 3, tail })
}

/// Writes a side file over with its own bytes and syncs it: what was readable may never have reached the disk.
pub(crate) fn secure(disk: &dyn Disk, partition: u16, end: u64) -> io::Result<()> {
    let file = disk.open(&side_name(partition))?;
    let mut piece = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < end {
        let take = piece.len().min((end - offset) as usize);
        let read = file.read_at(&mut piece[..take], offset)?;
        if read == 0 {
            break;
        }
        disk::write_all(&*file, &piece[..read], offset)?;
        offset += read as u64;
    }
    file.sync_all()
}

/// Whether a minority of what the closed segments hold keeps all of them: only then does moving it aside give room back.
/// When all partitions are slow, it would only write everything twice.
pub(crate) fn is_worth_moving(closed: &VecDeque<Closed>, trimmable: &BTreeMap<u16, u64>) -> bool {
    let needed: u64 = closed.iter().flat_map(|closed| closed.extents.needed(trimmable)).map(|(_, bytes)| bytes).sum();
    let all: u64 = closed.iter().map(|closed| closed.extents.bytes()).sum();
    needed * 2 <= all
}
