//! Which files a journal consists of, and their headers. Reads only.

use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, DamageKind, Error, Place};
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::segment::{Names, segment_name, side_name};
use crate::side;
use crate::walk::{self, Source};

#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) names: Names,
    pub(crate) sides: Vec<Source>,
    /// In the order of their ids, limits set.
    pub(crate) segments: Vec<Source>,
    /// Files whose header cannot be read; the others may still be walked.
    pub(crate) damage: Vec<Damage>,
}

impl Survey {
    pub(crate) fn read(disk: &Arc<dyn Disk>) -> Result<Self, Error> {
        let names = Names::read(&**disk).map_err(Error::io("cannot list the journal's folder"))?;
        let mut damage = Vec::new();
        let mut source = |name: String, id: u64| -> Result<Option<Source>, Error> {
            match read_header(&**disk, &name)? {
                Ok(header) if header.segment == id => Ok(Some(Source::new(name, header))),
                Ok(header) => {
                    let why = format!("the file {name} carries the header of segment {}", header.segment);
                    damage.push(header_damage(id, why));
                    Ok(None)
                }
                Err(why) => {
                    damage.push(header_damage(id, why));
                    Ok(None)
                }
            }
        };
        let mut sides = Vec::new();
        for &partition in &names.sides {
            sides.extend(source(side_name(partition), side::id_of_partition(partition))?);
        }
        let mut segments = Vec::new();
        for &id in &names.segments {
            segments.extend(source(segment_name(id), id)?);
        }
        walk::set_limits(&mut segments);
        Ok(Self { names, sides, segments, damage })
    }
}

fn header_damage(id: u64, why: String) -> Damage {
    let place = Place::new(id, 0);
    Damage { place, group: 0, batch: None, partition: None, kind: DamageKind::SegmentHeader { why } }
}

fn read_header(disk: &dyn Disk, name: &str) -> Result<Result<SegmentHeader, String>, Error> {
    let read = || -> std::io::Result<Vec<u8>> {
        let file: Arc<dyn DiskFile> = disk.open_to_read(name)?;
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        let mut have = 0;
        while have < bytes.len() {
            match file.read_at(&mut bytes[have..], have as u64)? {
                0 => break,
                read => have += read,
            }
        }
        bytes.truncate(have);
        Ok(bytes)
    };
    Ok(SegmentHeader::decode(&read().map_err(Error::io(format!("cannot read {name}")))?))
}
