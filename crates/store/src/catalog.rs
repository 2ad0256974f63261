//! Small durable objects of a node: definitions, participants, pauses and overrides, the node's identity.
//!
//! ```text
//! catalog.log   header: magic u64 · version u32 · crc u32
//! change        length u32 · crc u32 · number u64 │ ops u32 × { put or delete · kind · name · version · bytes }
//! ```
//! One change is one record and one sync: all of its objects or none. All objects are in memory; the file is rewritten
//! when most of it is dead. A damaged record that has a whole one behind it is damage and stops the open: a missing
//! definition must not look like one that was never applied. Leaves out: what an object means.

mod identity;
mod log;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

pub use identity::NodeIdentity;
pub use log::inspect;

use crate::Error;
use log::Log;

/// Names one object. A kind that keeps no versions uses 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectKey {
    /// For example `definition`, `participant`, `pause`, `node`.
    pub kind: String,
    pub name: String,
    pub version: u64,
}

impl ObjectKey {
    pub fn new(kind: impl Into<String>, name: impl Into<String>, version: u64) -> Self {
        Self { kind: kind.into(), name: name.into(), version }
    }
}

/// A stored object: opaque bytes, shared and never changed in place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    pub key: ObjectKey,
    pub bytes: Arc<[u8]>,
    /// The change that wrote it.
    pub change: u64,
}

/// One object's part of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    Put { key: ObjectKey, bytes: Vec<u8> },
    Delete { key: ObjectKey },
}

/// The most bytes of one change.
pub const CHANGE_BYTES_MAX: usize = 64 << 20;

/// The open catalog. One writer; readers take what they need from it and hold `Arc`s.
#[derive(Debug)]
pub struct Catalog {
    objects: BTreeMap<ObjectKey, Object>,
    log: Log,
    warnings: Vec<String>,
}

impl Catalog {
    /// Opens or creates the catalog in `dir`.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let mut objects = BTreeMap::new();
        let mut warnings = Vec::new();
        let log = Log::open(dir, &mut warnings, |change, ops| apply(&mut objects, change, ops))?;
        Ok(Self { objects, log, warnings })
    }

    /// What open had to repair; a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Makes all of `ops` durable in one step, in their order, and returns the change's number. On
    /// [`Error::DiskFull`] nothing has changed. Blocks for a sync.
    pub fn change(&mut self, ops: Vec<Op>) -> Result<u64, Error> {
        if ops.is_empty() {
            return Err(Error::Refused("a change of the catalog without any object".into()));
        }
        let change = self.log.append(&ops)?;
        apply(&mut self.objects, change, ops);
        self.log.rewrite_if_mostly_dead(&self.objects)?;
        Ok(change)
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.objects.get(key)
    }

    /// The highest version of a name.
    pub fn latest(&self, kind: &str, name: &str) -> Option<&Object> {
        self.versions(kind, name).next_back()
    }

    /// All versions of a name, lowest first.
    pub fn versions(&self, kind: &str, name: &str) -> impl DoubleEndedIterator<Item = &Object> {
        let from = ObjectKey::new(kind, name, 0);
        let to = ObjectKey::new(kind, name, u64::MAX);
        self.objects.range(from..=to).map(|(_, object)| object)
    }

    /// All objects of a kind by name and version.
    pub fn list<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        let from = Bound::Included(ObjectKey::new(kind, "", 0));
        self.objects.range((from, Bound::Unbounded)).map(|(_, object)| object).take_while(move |o| o.key.kind == kind)
    }

    /// The number of the last change; 0 when there was none.
    pub fn last_change(&self) -> u64 {
        self.log.last_change()
    }

    /// Who this data directory is; `None` in a new one.
    pub fn identity(&self) -> Result<Option<NodeIdentity>, Error> {
        self.get(&NodeIdentity::key())
            .map(|object| NodeIdentity::decode(&object.bytes).ok_or_else(|| self.log.damaged("the node's identity")))
            .transpose()
    }

    /// Writes who this data directory is. What may never change is refused when it would.
    pub fn set_identity(&mut self, identity: &NodeIdentity) -> Result<(), Error> {
        if let Some(old) = self.identity()? {
            old.may_become(identity)?;
        }
        self.change(vec![Op::Put { key: NodeIdentity::key(), bytes: identity.encode() }]).map(drop)
    }
}

fn apply(objects: &mut BTreeMap<ObjectKey, Object>, change: u64, ops: Vec<Op>) {
    for op in ops {
        match op {
            Op::Put { key, bytes } => {
                objects.insert(key.clone(), Object { key, bytes: bytes.into(), change });
            }
            Op::Delete { key } => {
                objects.remove(&key);
            }
        }
    }
}
