//! The way to the disk and to the follower: one write at a time, told to its owner, read back by everybody else.

use journal::format::{BATCH_HEADER_BYTES, BatchHeader};
use model::mutant::{Mutant, is_planted};

use super::World;
use crate::disk::{Append, End};
use crate::event::{Event, Fault, Violation};
use crate::facts::tell;
use crate::node::Note;
use crate::queue::Happening;

impl World {
    /// Starts the next write if none is under way.
    pub(super) fn write(&mut self) {
        while self.out.journal.writing.is_none()
            && let Some((node, _)) = self.out.journal.queue.front()
        {
            let node = *node;
            let mut parts = Vec::new();
            while let Some((_, part)) = self.out.journal.queue.pop_front_if(|(n, _)| *n == node) {
                parts.push(part);
            }
            match self.out.disk.write(parts.iter()) {
                Append::Fenced { partition } => {
                    let epoch = parts.first().and_then(|p| p.batches.first()).map_or(0, journal::Batch::epoch);
                    self.say(&Event::Fenced { partition, epoch });
                    match [&mut self.node, &mut self.former].into_iter().flatten().find(|n| n.id == node) {
                        Some(owner) => owner.notes.push_back(Note::Fenced),
                        None => continue,
                    }
                    if self.node.as_ref().is_some_and(|n| n.id == node) {
                        self.wake();
                    } else {
                        self.out.queue.plan(self.next_tick(), Happening::FormerOwner);
                    }
                }
                Append::Taken => {
                    self.out.journal.writes += 1;
                    let write = self.out.journal.writes;
                    if is_planted(Mutant::SyncForgotten) {
                        self.tell_committed(node, &parts, false);
                    }
                    self.out.journal.writing = Some((write, node, parts));
                    let at = self.out.after_disk();
                    self.out.queue.plan(at, Happening::DiskDone { write });
                }
            }
        }
    }

    pub(super) fn tell_committed(&mut self, node: u32, parts: &[journal::Part], failed: bool) {
        let owner = [&mut self.node, &mut self.former].into_iter().flatten().find(|n| n.id == node);
        let Some(owner) = owner else { return };
        for part in parts {
            owner.notes.push_back(Note::Committed { token: part.token, failed });
        }
        self.wake();
    }

    pub(super) fn disk_done(&mut self, write: u64) {
        if self.out.journal.writing.as_ref().is_none_or(|(w, ..)| *w != write) {
            return;
        }
        let Some((_, node, parts)) = self.out.journal.writing.take() else { return };
        if std::mem::take(&mut self.out.moods.next_sync_fails) && self.node.as_ref().is_some_and(|n| n.id == node) {
            self.say(&Event::FaultWindow { fault: Fault::FailedSync, on: true });
            if is_planted(Mutant::FailedSyncIsRetried) {
                self.out.disk.synced_in_vain();
            } else {
                self.tell_committed(node, &parts, true);
                self.end = if self.rng.chance(1, 2) { End::Power } else { End::Process };
                return;
            }
        } else {
            self.out.disk.synced();
        }
        for batch in parts.iter().flat_map(|part| &part.batches) {
            let (partition, epoch) = (batch.partition(), batch.epoch());
            let (first_seq, last_seq) = (batch.first_seq(), batch.last_seq());
            self.say(&Event::Durable { partition, epoch, first_seq, last_seq });
            self.out.watch.mix(u64::from_le_bytes(batch.hash().0[..8].try_into().unwrap_or_default()));
            let header = BatchHeader::decode(batch.bytes());
            let length = header.map_or(0, |h| h.length as usize);
            let entries = &batch.bytes()[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + length];
            self.follow(partition, entries, first_seq);
        }
        if !is_planted(Mutant::SyncForgotten) {
            self.tell_committed(node, &parts, false);
        }
        if let Some(node) = &mut self.node {
            for part in parts {
                for batch in part.batches {
                    node.give_back_buffer(batch.into_buffer());
                }
            }
        }
        self.write();
    }

    /// The follower reads one durable batch back and applies it.
    pub(super) fn follow(&mut self, partition: u16, entries: &[u8], first_seq: u64) {
        let place = usize::from(partition);
        let broken = |what: String| Violation::new("JR-1", None, format!("partition {partition}: {what}"));
        let reader = match wire::EntryReader::new(entries, first_seq) {
            Ok(reader) => reader,
            Err(e) => return self.out.watch.found(broken(format!("a batch cannot be read: {e}"))),
        };
        for entry in reader {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => return self.out.watch.found(broken(format!("an entry cannot be read: {e}"))),
            };
            if entry.seq <= self.out.facts.followers[place].seq {
                continue;
            }
            match self.out.facts.followers[place].apply(&entry) {
                Ok(ended) => {
                    let event = Event::Applied { partition, entry: &entry, ended: ended.as_deref() };
                    tell(&mut self.out.watch, &self.out.facts, self.node.as_deref(), &event);
                }
                Err(e) => return self.out.watch.found(broken(e.to_string())),
            }
        }
    }
}
