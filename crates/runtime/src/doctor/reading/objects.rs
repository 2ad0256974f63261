//! The objects of the catalog. `store::catalog` draws the format.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use store::catalog::{NodeIdentity, ObjectKey};

use super::{Fields, Unreadable};

const MAGIC: u64 = 0x3147_4f4c_5441_4754;
const VERSION: u32 = 1;
const HEADER: usize = 16;

/// Objects by name, and how many changes wrote them.
#[derive(Debug, Default)]
pub(in super::super) struct Objects {
    pub(in super::super) objects: BTreeMap<ObjectKey, Vec<u8>>,
    pub(in super::super) changes: u64,
}

/// Everything in the catalog of `dir`, up to the last whole change.
pub(in super::super) fn read(dir: &Path) -> Result<Objects, Unreadable> {
    let path = dir.join("catalog.log");
    let bytes = fs::read(&path).map_err(Unreadable::io(&path))?;
    let mut fields = Fields(&bytes);
    let head = (fields.u64(), fields.u32(), fields.u32());
    if (head.0, head.1) != (Some(MAGIC), Some(VERSION)) || bytes.len() < HEADER {
        return Err(Unreadable::new(&path, 0, "this is no catalog of format 1, the only one known here"));
    }
    let mut found = Objects::default();
    while let Some(body) = change(&mut fields) {
        apply(body, &mut found)
            .ok_or_else(|| Unreadable::new(&path, 0, format!("change {} cannot be decoded", found.changes + 1)))?;
        found.changes += 1;
    }
    Ok(found)
}

fn change<'a>(fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let (len, crc) = (fields.u32()?, fields.u32()?);
    fields.take(len as usize).filter(|body| crc32fast::hash(body) == crc)
}

fn apply(body: &[u8], found: &mut Objects) -> Option<()> {
    let mut fields = Fields(body);
    let _number = fields.u64()?;
    for _ in 0..fields.u32()? {
        let [tag] = fields.array()?;
        let kind = text(&mut fields)?;
        let name = text(&mut fields)?;
        let key = ObjectKey::new(kind, name, fields.u64()?);
        let len = fields.u32()?;
        let bytes = fields.take(len as usize)?;
        match tag {
            1 => found.objects.insert(key, bytes.to_vec()),
            2 => found.objects.remove(&key),
            _ => return None,
        };
    }
    fields.0.is_empty().then_some(())
}

fn text<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let len = fields.u16()?;
    std::str::from_utf8(fields.take(usize::from(len))?).ok()
}

impl Objects {
    /// Who the directory is; `None` if it does not say, or cannot be read.
    pub(in super::super) fn identity(&self) -> Option<NodeIdentity> {
        let mut fields = Fields(self.objects.get(&ObjectKey::new("node", "identity", 0))?);
        (fields.u16()? == 1).then_some(())?;
        Some(NodeIdentity {
            partitions: fields.u16()?,
            hash_version: fields.u16()?,
            incarnation: fields.u16()?,
            epoch: fields.u32()?,
            created_at_us: fields.u64()?,
        })
    }

    pub(in super::super) fn of_kind<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a [u8])> + 'a {
        self.objects.iter().filter(move |(key, _)| key.kind == kind).map(|(key, bytes)| (key, bytes.as_slice()))
    }
}
