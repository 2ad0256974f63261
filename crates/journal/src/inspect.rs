//! Looks at a journal without changing a byte of it: what `tidegate doctor` prints.
//!
//! It goes on behind damage, so that one look shows all of it. It takes no lock; while a node runs (`in_use_by`) the
//! end may look torn because it is being written. Left out: repairing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::batch::BatchHash;
use crate::chain::{self, Chains, Fate};
use crate::disk::{self, DirDisk, Disk};
use crate::error::{Damage, Error, Place, Torn};
use crate::format::GroupKind;
use crate::segment::FAILED;
use crate::survey::Survey;
use crate::walk::{self, GroupAt, Source, Step, Walker};

/// What a journal's folder holds.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Oldest first; side files have their partition in `side_of`.
    pub files: Vec<FileReport>,
    pub partitions: BTreeMap<u16, PartitionReport>,
    /// Everything that is not whole, in the order of its place, with the batches behind a break of a chain left out.
    pub damage: Vec<Damage>,
    /// The write that a crash cut short; opening will cut it.
    pub torn: Option<Torn>,
    /// Whether the last thing in the journal is a seal: it was stopped cleanly, or was idle.
    pub sealed: bool,
    pub free_segments: u64,
    pub has_reserve: bool,
    /// What the last process wrote down when a write or fsync failed.
    pub failed: Option<String>,
    /// The process that has the journal open now; 0 if it does not say.
    pub in_use_by: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    pub name: String,
    pub segment: u64,
    pub side_of: Option<u16>,
    pub file_bytes: u64,
    /// Bytes of valid groups and seals.
    pub used_bytes: u64,
    pub groups: u64,
    pub seals: u64,
    pub batches: u64,
    pub first_group: Option<u64>,
    pub last_group: Option<u64>,
    /// Groups from this number on are void in this file, because a later one has them.
    pub superseded_from: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionReport {
    pub first_seq: u64,
    pub last_seq: u64,
    pub batches: u64,
    pub bytes: u64,
    pub epoch: u32,
    /// Of the last batch that continues the chain.
    pub hash: BatchHash,
    /// Where the chain ends.
    pub last: Place,
    pub damaged: bool,
}

/// The journal in the folder `dir`.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(dir));
    inspect_on(&disk)
}

/// As [`inspect`] on any disk.
pub fn inspect_on(disk: &Arc<dyn Disk>) -> Result<Inspection, Error> {
    let survey = Survey::read(disk)?;
    let mut look = Look { disk: Arc::clone(disk), chains: Chains::default(), seen: Inspection::default() };
    look.seen.damage = survey.damage;
    look.seen.free_segments = survey.names.free.len() as u64;
    look.seen.has_reserve = survey.names.reserve;
    look.seen.in_use_by = disk.locked_by().map_err(Error::io("cannot look at the lock"))?;
    if survey.names.failed {
        let mut bytes = Vec::new();
        let read = disk.open_to_read(FAILED).and_then(|file| disk::read_whole(&*file, &mut bytes));
        read.map_err(Error::io("cannot read the marker of the failure"))?;
        look.seen.failed = Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    for side in survey.sides {
        look.walk(vec![side])?;
    }
    look.seen.torn = look.walk(survey.segments)?;
    look.seen.sealed &= look.seen.torn.is_none();
    Ok(look.seen)
}

struct Look {
    disk: Arc<dyn Disk>,
    chains: Chains,
    seen: Inspection,
}

impl Look {
    fn walk(&mut self, sources: Vec<Source>) -> Result<Option<Torn>, Error> {
        let first = self.seen.files.len();
        for source in &sources {
            self.seen.files.push(report(&*self.disk, source)?);
        }
        self.seen.sealed = false;
        let mut walker = Walker::new(Arc::clone(&self.disk), sources);
        while let Some(step) = walker.step()? {
            match step {
                Step::Damage(damage) => self.seen.damage.push(damage),
                Step::Group(group) => self.group(&walker, &group, first + group.source),
            }
        }
        Ok(walker.torn())
    }

    fn group(&mut self, walker: &Walker, group: &GroupAt, file: usize) {
        let segment = walker.source(group.source).header.segment;
        let file = &mut self.seen.files[file];
        file.used_bytes += group.span as u64;
        file.first_group.get_or_insert(group.header.group);
        file.last_group = Some(group.header.group);
        self.seen.sealed = group.header.kind == GroupKind::Seal;
        if self.seen.sealed {
            file.seals += 1;
        } else {
            file.groups += 1;
        }
        let mut all_whole = true;
        for batch in walk::batches(&group.header, walker.frame(group)) {
            let batch = match batch {
                Ok(batch) => batch,
                Err(at) => {
                    self.seen.damage.push(chain::unreadable(segment, group, at));
                    return;
                }
            };
            file.batches += 1;
            all_whole &= batch.whole;
            let header = &batch.header;
            let last = Place::new(segment, group.offset + batch.offset);
            let partition = self.seen.partitions.entry(header.partition).or_insert_with(|| PartitionReport {
                first_seq: header.first_seq,
                last_seq: header.last_seq(),
                batches: 0,
                bytes: 0,
                epoch: header.epoch,
                hash: header.hash,
                last,
                damaged: false,
            });
            match self.chains.see(segment, group, &batch) {
                Fate::Follows => {
                    partition.last_seq = header.last_seq();
                    partition.batches += 1;
                    partition.bytes += u64::from(header.length);
                    partition.epoch = header.epoch;
                    partition.hash = header.hash;
                    partition.last = last;
                }
                Fate::Known | Fate::Behind => {}
                Fate::Damaged(damage) => {
                    partition.damaged = true;
                    self.seen.damage.push(damage);
                }
            }
        }
        if !group.whole && all_whole {
            self.seen.damage.push(chain::filling(segment, group));
        }
    }
}

fn report(disk: &dyn Disk, source: &Source) -> Result<FileReport, Error> {
    let Source { name, header, limit } = source;
    let bytes = disk.open_to_read(name).and_then(|file| file.bytes());
    Ok(FileReport {
        name: name.clone(),
        segment: header.segment,
        side_of: crate::side::partition_of_id(header.segment),
        file_bytes: bytes.map_err(Error::io(format!("cannot look at {name}")))?,
        used_bytes: 0,
        groups: 0,
        seals: 0,
        batches: 0,
        first_group: None,
        last_group: None,
        superseded_from: (*limit != crate::format::SUPERSEDES_NOTHING).then_some(*limit),
    })
}
